#!/usr/bin/env bash
# Builds tests for other machines and runs them on this one: for AArch64 and RISC-V under qemu, for Windows under Wine. They
# are those that hold the bits (every layer's digest, every kernel against the reference, every layer against the contract),
# the error texts, and the stored answers of PyTorch.
#
#   scripts/cross.sh                     on all three
#   scripts/cross.sh aarch64 riscv64     on these; the third is called windows
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

if [ $# -eq 0 ]; then set -- aarch64 riscv64 windows; fi
has_wine() { has_command wine64 wine || [ -x /usr/lib/wine/wine64 ]; }

need_build_tools
need catch2 has_header catch2/catch.hpp catch2/catch_test_macros.hpp
for machine in "$@"; do
  case $machine in
    aarch64 | riscv64)
      need "g++-$machine-linux-gnu" has_command "$machine-linux-gnu-g++"
      need qemu-user has_command "qemu-$machine"
      ;;
    windows)
      need g++-mingw-w64-x86-64-posix has_command x86_64-w64-mingw32-g++-posix
      need wine64 has_wine
      ;;
    *)
      echo "This script knows aarch64, riscv64 and windows, not $machine." >&2
      exit 1
      ;;
  esac
done
install_missing

for machine in "$@"; do
  printf '\n== %s (after %d minutes)\n' "$machine" $((SECONDS / 60))
  build="$PWD/build/cross-$machine"
  toolchain=$machine-linux-gnu
  targets=(digest_test kernels_test group_kernels_test instruction_sets_test contract_test misuse_test conformance)
  tests='(digest|kernels|contract|misuse)_test|conformance_pytorch'
  if [ "$machine" = windows ]; then
    toolchain=x86_64-w64-mingw32
    tests+='|example_0.*'
    for example in examples/0*.cpp; do targets+=("$(basename "$example" .cpp)"); done
    export WINEPREFIX="$build/wine" WINEDEBUG=-all
  fi
  cmake --preset dev -B "$build" -D CMAKE_TOOLCHAIN_FILE="$PWD/cmake/toolchains/$toolchain.cmake" \
    -D EIGENNORM_WARNINGS_AS_ERRORS=OFF
  cmake --build "$build" --parallel 2 --target "${targets[@]}"
  ctest --test-dir "$build" --output-on-failure --timeout 7200 \
    --tests-regex "^($tests)\$"
done

#!/usr/bin/env bash
# Installs what is missing, builds everything with two jobs, and tests it.
#
#   scripts/test.sh          some 40 minutes on two idle cores, most of them compiling: the whole suite (-O2, random problems, and
#                            what computes on each instruction set), the tests of memory and of misuse again with the
#                            address and undefined-behaviour sanitizers, and three planted bugs, which the suite must catch
#   scripts/test.sh --long   some six hours: the figures of docs/accuracy.md. The suite on each instruction set, with g++
#                            and clang (-O2) and wholly with sanitizers; three programs that hold the bits at -O0, -O1,
#                            -O3 and -O3 -march=native; three with the thread sanitizer; valgrind; 5,000 random problems of
#                            each kind, ten million random calls, tensors of more than 2^31 values; AArch64 and RISC-V,
#                            under emulation; all planted bugs; the coverage of branches. Not the newest compilers, nor
#                            Windows: scripts/newest.sh, scripts/cross.sh windows
#
# Further arguments go to CMake: scripts/test.sh -D EIGENNORM_WARNINGS_AS_ERRORS=ON
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

long=no
long_tests=OFF
if [ "${1:-}" = --long ]; then
  long=yes
  long_tests=ON
  shift
fi

# Can clang make programs that libFuzzer drives?
has_libfuzzer() {
  echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
    clang++ -x c++ -fsanitize=fuzzer -o /dev/null - 2>/dev/null
}

need_build_tools
need catch2 has_header catch2/catch.hpp catch2/catch_test_macros.hpp
need python3 has_command python3
need pkg-config has_command pkg-config pkgconf
need libopenmpi-dev has_command mpicxx
need openmpi-bin has_command mpiexec
if [ $long = yes ]; then
  need clang has_command clang++
  need libclang-rt-dev has_libfuzzer
  need valgrind has_command valgrind
  need llvm has_command llvm-cov
fi
install_missing

build="$PWD/build"
arguments=(-D EIGENNORM_WARNINGS_AS_ERRORS=OFF -D EIGENNORM_LONG_TESTS="$long_tests" "$@")

# What has passed, a line for each, for the end.
passed=()
current="the beginning"
stage() {
  current=$*
  printf '\n== %s (after %d minutes)\n' "$*" $((SECONDS / 60))
}
pass() { passed+=("$current${1:+: $1}"); }
at_exit() {
  local status=$?
  if [ $status -ne 0 ]; then
    printf '\n== NOT passed: %s (after %d minutes)\n' "$current" $((SECONDS / 60))
  elif [ ${#passed[@]} -gt 0 ]; then
    printf '\n== Everything passed, in %d minutes:\n' $(((SECONDS + 30) / 60))
    printf '%s\n' "${passed[@]}"
  fi
}
trap at_exit EXIT

# configure FOLDER PRESET [CMAKE ARGUMENT...]
configure() { cmake --preset "$2" -B "$build/$1" "${arguments[@]}" "${@:3}"; }

# suite FOLDER PRESET [CMAKE ARGUMENT...]: all tests
suite() {
  stage "the suite: $1"
  configure "$@"
  cmake --build "$build/$1" --parallel 2
  ctest --test-dir "$build/$1" --parallel 2 --output-on-failure --output-junit "$build/$1/junit.xml"
  pass "$(counts "$build/$1/junit.xml")"
}

# counts FILE: how many tests of ctest's report passed, and which were skipped, with the last line that each printed
counts() {
  python3 - "$1" <<'COUNTS'
import sys, xml.etree.ElementTree as xml
cases = xml.parse(sys.argv[1]).getroot().findall("testcase")
skipped = [case for case in cases if case.find("skipped") is not None]
print(f"{len(cases) - len(skipped)} tests passed" + (f", {len(skipped)} skipped" if skipped else ""))
for case in skipped:
    print(f"  skipped: {case.get('name')}: {(case.findtext('system-out') or 'no word').strip().splitlines()[-1]}")
COUNTS
}

# some "TEST..." FOLDER PRESET [CMAKE ARGUMENT...]: some test programs
some() {
  local programs=$1 name
  shift
  stage "$1: $programs"
  configure "$@" -D EIGENNORM_BUILD_EXAMPLES=OFF
  # shellcheck disable=SC2086
  cmake --build "$build/$1" --parallel 2 --target $programs
  for name in $programs; do (cd tests && "$build/$1/tests/$name"); done
  pass
}

suite test dev

if [ $long = no ]; then
  some "known_failures_test misuse_test zero_sizes_test" asan-some asan
  stage "planted bugs"
  python3 scripts/plant_bugs.py --short --jobs 2
  pass "$(tail -1 "$build/bugs/report.txt")"
  exit
fi

suite clang dev -D CMAKE_CXX_COMPILER=clang++
suite asan asan
for flags in "-O0" "-O1" "-O3" "-O3 -march=native"; do
  for compiler in g++ clang++; do
    for set in baseline avx2 avx512; do
      EIGENNORM_ISA=$set some "contract_test digest_test same_bits_test" "bits${flags//[^A-Za-z0-9]/}-$compiler" dev \
        -D CMAKE_CXX_COMPILER=$compiler -D "CMAKE_CXX_FLAGS_DEBUG=$flags"
    done
  done
done
some "known_failures_test remembered_test threads_test races_test" tsan tsan

# Valgrind computes long double in 64 bits, so the truth is none: what fails is not counted, what valgrind reports is.
stage "valgrind: 320 random problems"
status=0
valgrind --quiet --error-exitcode=9 "$build/test/tests/fuzz/fuzz_numeric" --n 4 > "$build/valgrind.txt" || status=$?
if [ $status -gt 1 ]; then exit 1; fi
pass

stage "four million doubles that share a statistic"
"$build/test/tests/many_values_test" "[long]"
pass

stage "5,000 random problems of each layer, type and storage order"
"$build/test/tests/fuzz/fuzz_numeric" --n 5000
pass

stage "errors beside those of other libraries"
"$build/test/tests/accuracy_test" "[peers]"
pass

stage "ten million random calls"
mkdir -p "$build/clang/found"
cmake --build "$build/clang" --target fuzz_api
"$build/clang/tests/fuzz/fuzz_api" -entropic=0 -seed=1 -runs=370000 -max_len=600 -timeout=60 -artifact_prefix="$build/clang/" \
  "$build/clang/found" tests/fuzz/corpus 2>&1 | tee "$build/clang/fuzz_api.txt"
awk '/calls accepted/ { calls = $1 + $4 } END { if (calls < 1e7) { print "only " calls " calls"; exit 1 } }' \
  "$build/clang/fuzz_api.txt"
pass

stage "a million files from strangers"
mkdir -p "$build/clang/found_safetensors"
cmake --build "$build/clang" --target fuzz_safetensors
"$build/clang/tests/fuzz/fuzz_safetensors" -seed=1 -runs=1000000 -max_len=1000 -timeout=10 -dict=tests/fuzz/safetensors.dict \
  -artifact_prefix="$build/clang/" "$build/clang/found_safetensors" tests/fuzz/corpus_safetensors
pass

stage "tensors of 2^31 values"
cmake --build "$build/test" --target big
"$build/test/tests/big"
pass

stage "AArch64 and RISC-V, under emulation"
scripts/cross.sh aarch64 riscv64
pass

stage "planted bugs"
python3 scripts/plant_bugs.py --jobs 2
pass "$(tail -1 "$build/bugs/report.txt")"

stage "coverage"
scripts/coverage.sh
pass

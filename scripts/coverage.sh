#!/usr/bin/env bash
# Runs the test suite in a build that counts, and prints how much of include/ it covers. Fails where less than 95 % of the
# lines, or 85 % of the branches, are run.
#
# Branches are those of the source, each condition once true and once false, as clang counts them. (gcc counts those of
# the machine's code: each inlined copy of a kernel again, and each way out that an exception may take.)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need_build_tools
need catch2 has_header catch2/catch.hpp catch2/catch_test_macros.hpp
need clang has_command clang++
need llvm has_command llvm-cov
need python3 has_command python3
install_missing

build="$PWD/build/coverage"
cmake --preset coverage
cmake --build "$build" --parallel 2
rm -rf "$build/profile"
LLVM_PROFILE_FILE="$build/profile/%4m.profraw" ctest --test-dir "$build" --parallel 2 --output-on-failure

llvm-profdata merge -sparse "$build"/profile/*.profraw -o "$build/suite.profdata"
programs=()
while IFS= read -r program; do
  programs+=(-object "$program")
done < <(find "$build/tests" -type f -perm -u+x \( -name '*_test' -o -name conformance -o -name 'fuzz_*' \))
counts=("${programs[@]:1}" -instr-profile "$build/suite.profdata" "$PWD/include")
llvm-cov report "${counts[@]}"
llvm-cov export -summary-only "${counts[@]}" | python3 -c '
import json, sys
totals = json.load(sys.stdin)["data"][0]["totals"]
lines, branches = totals["lines"]["percent"], totals["branches"]["percent"]
print(f"lines {lines:.1f} %, branches {branches:.1f} %")
sys.exit(lines < 95 or branches < 85)'

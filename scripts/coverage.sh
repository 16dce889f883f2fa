#!/usr/bin/env bash
# Runs the test suite in a build that counts, and prints how much of include/ it covers. Fails where less than 95 % of the
# lines, or 85 % of the branches, are run; branches that only an exception takes do not count.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need_build_tools
need catch2 has_header catch2/catch.hpp catch2/catch_test_macros.hpp
need gcovr has_command gcovr
install_missing

build="$PWD/build/coverage"
cmake --preset coverage
cmake --build "$build" --parallel 2
find "$build" -name '*.gcda' -delete
ctest --test-dir "$build" --parallel 2 --output-on-failure
gcovr --root "$PWD" --filter include/ --exclude-throw-branches --print-summary \
  --fail-under-line 95 --fail-under-branch 85 "$build"

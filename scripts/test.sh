#!/usr/bin/env bash
# Installs what is missing, builds everything with two jobs, and runs the whole test suite.
# Arguments go to CMake: scripts/test.sh -D EIGENNORM_WARNINGS_AS_ERRORS=ON
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need_build_tools
need catch2 has_header catch2/catch.hpp catch2/catch_test_macros.hpp
install_missing

build="$PWD/build/test"
cmake --preset dev -B "$build" -D EIGENNORM_WARNINGS_AS_ERRORS=OFF "$@"
cmake --build "$build" --parallel 2
exec ctest --test-dir "$build" --parallel 2 --output-on-failure

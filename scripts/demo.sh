#!/usr/bin/env bash
# Installs what is missing, builds the digits example, trains the nets, and says where the picture is.
# Arguments go to the example: scripts/demo.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need_build_tools
need gnuplot-nox has_command gnuplot
install_missing

build="$PWD/build/demo"
quietly "Configuring" cmake --preset release -B "$build" -D EIGENNORM_BUILD_TESTS=OFF
quietly "Compiling the digits example (about 25 seconds, where it is new)" \
  cmake --build "$build" --target digits --parallel 2

mkdir -p "$build/results"
"$build/examples/digits/digits" --data "$PWD/examples/digits/data" --out "$build/results" "$@"
echo "What next: docs/note.md goes through the claims about normalization one by one; scripts/note.sh makes its pictures."

#!/usr/bin/env bash
# Makes the pictures of docs/note.md, and its tables between their marks in the page: a quarter of an hour at most on two
# cores. Arguments go to the program: scripts/note.sh --mnist DIR, which leaves the page alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need_build_tools
need gnuplot-nox has_command gnuplot
install_missing

build="$PWD/build/demo"
results="$build/note"
quietly "Configuring" cmake --preset release -B "$build" -D EIGENNORM_BUILD_TESTS=OFF
quietly "Compiling the experiments (some minutes, where they are new)" \
  cmake --build "$build" --target experiments --parallel 2

"$build/examples/experiments/experiments" all --data "$PWD/examples/digits/data" --out "$results" "$@"
if [ $# -gt 0 ]; then exit; fi

for page in "$results"/*.md; do
  name=$(basename "$page" .md)
  # The verdicts of all sections stand together, in the last one.
  if [ "$name" != claims ]; then sed -i '/^| claim .*verdict/,$d' "$page"; fi
  { echo; sed '/./,$!d' "$page"; } > "$results/$name.page"
  if [ "$name" = claims ]; then echo >> "$results/$name.page"; fi
  sed -i -e "/<!-- $name -->/,/<!-- end -->/{/<!-- $name -->/{p;r $results/$name.page
};/<!-- end -->/p;d}" docs/note.md
  if [ -e "$results/$name.svg" ]; then cp "$results/$name.svg" docs/images/; fi
done
echo "Written: docs/note.md and its pictures in docs/images"

#!/usr/bin/env bash
# Times all systems with one and two threads, and writes the tables and the picture of docs/performance.md, with who is
# ahead. Takes some twenty minutes on a machine that does nothing else. Arguments go to the program:
# --only 'LayerNorm'
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need_build_tools
need libbenchmark-dev has_header benchmark/benchmark.h
need libcli11-dev has_header CLI/CLI.hpp
need gnuplot-nox has_command gnuplot
install_missing

build="${EIGENNORM_BENCHMARK_BUILD:-$PWD/build/benchmark}"
cmake -S . -B "$build" -D CMAKE_BUILD_TYPE=Release -D EIGENNORM_BUILD_TESTS=OFF -D EIGENNORM_BUILD_EXAMPLES=OFF \
  -D EIGENNORM_BUILD_BENCHMARKS=ON
cmake --build "$build" --target benchmarks --parallel 2

cd "$build"
for threads in 1 2; do
  echo "== $threads thread(s)"
  benchmarks/benchmarks --threads $threads --table table_$threads.md --data data_$threads.tsv "$@"
done
cd - >/dev/null
# Without a row that another system runs, too, there is nothing to show.
if [ -s "$build/data_1.tsv" ]; then
  gnuplot -e "data='$build/data_1.tsv'; picture='docs/images/performance.svg'" benchmarks/picture.gnuplot
fi

# What it ran on, and the tables, between their marks in the page.
{
  echo "Measured on $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores; caches:"
  lscpu | sed -n 's/^\(L[123][di]*\) cache: */\1 /p' | paste -sd ',' | sed 's/,/, /g; s/$/./'
  echo "Compiler: $(${CXX:-c++} --version | head -1)."
  echo "The library: \`-O2\`; Eigen loops and copies: \`-O3 -march=native\`."
  echo
  echo "### One thread"
  echo
  cat "$build/table_1.md"
  echo
  echo "### Two threads"
  echo
  cat "$build/table_2.md"
} > "$build/tables.md"
sed -i -e "/<!-- tables -->/,/<!-- end -->/{/<!-- tables -->/{p;r $build/tables.md
};/<!-- end -->/p;d}" docs/performance.md
echo "Written: docs/performance.md, docs/images/performance.svg"

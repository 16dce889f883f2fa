#!/usr/bin/env bash
# Makes the tables and the picture of docs/scaling.md anew, between their marks in the page: messages that are counted, times
# under MPI, and the digits net on spread batches. Some six minutes on two idle cores, of which the nets take five.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need_build_tools
need libopenmpi-dev has_command mpicxx
need openmpi-bin has_command mpiexec
need gnuplot-nox has_command gnuplot
install_missing

build="$PWD/build/scaling"
quietly "Configuring" cmake --preset release -B "$build" -D EIGENNORM_BUILD_TESTS=OFF -D EIGENNORM_MPI=ON
quietly "Compiling" cmake --build "$build" --target spread_counts spread_times digits_mpi --parallel 2

# Open MPI starts no more processes than there are cores, and none for root, unless it is told to.
flags=()
version=$(mpiexec --version)
case $version in *"Open MPI"* | *OpenRTE* | *prte*) flags=(--oversubscribe --allow-run-as-root) ;; esac
# job PROCESSES PROGRAM [ARGUMENT...]
job() { mpiexec -n "$1" "${flags[@]}" "${@:2}"; }

results="$build/results"
mkdir -p "$results"
"$build/benchmarks/spread/spread_counts" | tee "$results/counts.md"
{
  echo "Measured on $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores, with" \
    "$(head -1 <<<"$version" | sed "s/^[a-z]* (\([^)]*\))/\1/; s/OpenRTE/Open MPI/") and $(${CXX:-c++} --version | head -1)."
  echo "Flags: \`$(sed -n 's/^CMAKE_CXX_FLAGS_RELEASE:[A-Z]*=//p' "$build/CMakeCache.txt")\`."
  echo
  echo "| processes | samples x channels of each | forward, alone: us | spread | backward, alone: us | spread |"
  echo "|---|---|---|---|---|---|"
  for processes in 1 2 4 8; do job $processes "$build/benchmarks/spread/spread_times"; done
} | tee "$results/times.md"
job 8 "$build/examples/digits_mpi/digits_mpi" --data "$PWD/examples/digits/data" --compare --out "$results"

for name in counts times digits_mpi; do
  { echo; cat "$results/$name.md"; echo; } > "$results/$name.page"
  sed -i -e "/<!-- $name -->/,/<!-- end -->/{/<!-- $name -->/{p;r $results/$name.page
};/<!-- end -->/p;d}" docs/scaling.md
done
cp "$results/digits_mpi.svg" docs/images/
echo "Written: docs/scaling.md, docs/images/digits_mpi.svg"

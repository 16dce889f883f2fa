#!/usr/bin/env bash
# Measures what units of a program, and those of the library, cost to compile, and writes the tables of docs/compile-time.md.
# Takes about ten minutes on a machine that does nothing else. Another compiler: CXX=clang++ scripts/compile_times.sh
# Each unit is compiled three times and the fastest counts; --repeat 1 is quicker. --print leaves the page as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

repeat=3
page=docs/compile-time.md
while [ $# -gt 0 ]; do
  case $1 in
    --repeat) repeat=$2; shift 2 ;;
    --print) page=""; shift ;;
    *) echo "usage: scripts/compile_times.sh [--repeat N] [--print]" >&2; exit 1 ;;
  esac
done

need g++ has_command "${CXX:-g++}"
need python3 has_command python3
if [ -z "${EIGEN_INCLUDE:-}" ]; then need libeigen3-dev has_header eigen3/Eigen/Core; fi
install_missing

compiler="${CXX:-g++}"
eigen=""
for folder in ${EIGEN_INCLUDE:-} {/usr,/usr/local,/opt/local,/opt/homebrew}/include/eigen3; do
  if [ -e "$folder/Eigen/Core" ]; then eigen=$folder; break; fi
done
if [ -z "$eigen" ]; then
  echo "Where is Eigen? Set EIGEN_INCLUDE to the folder that has Eigen/Core." >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
counted="the fastest of $repeat"
if [ "$repeat" = 1 ]; then counted="of one run"; fi

# ---- the units

cat > "$work/eigen.cpp" <<'CODE'
#include <Eigen/Core>
void scale(Eigen::MatrixXf& x) { x *= 2; }
CODE

cat > "$work/tensor.cpp" <<'CODE'
#include <Eigen/Core>
#include <unsupported/Eigen/CXX11/Tensor>
void scale(Eigen::MatrixXf& x, Eigen::Tensor<float, 4>& y) {
  x *= 2;
  y = y * 2.0F;
}
CODE

cat > "$work/one.cpp" <<'CODE'
#include <eigennorm/layer_norm.hpp>
void step(eigennorm::LayerNorm<float>& layer, const Eigen::MatrixXf& x, Eigen::MatrixXf& y, Eigen::MatrixXf& dx) {
  layer.forward(x, y);
  layer.backward(x, y, dx);
}
CODE

cat > "$work/three.cpp" <<'CODE'
#include <eigennorm/eigennorm.hpp>
using Images = Eigen::Tensor<float, 4, Eigen::RowMajor>;
void step(eigennorm::BatchNorm<float>& batch, eigennorm::GroupNorm<float>& group, eigennorm::LayerNorm<float>& layer,
          const Images& images, Images& y, Images& dx, const Eigen::MatrixXf& rows, Eigen::MatrixXf& z,
          Eigen::MatrixXf& dz) {
  batch.forward(images, y);
  batch.backward(images, y, dx);
  batch.evaluate(images, y);
  group.forward(images, y);
  group.backward(images, y, dx);
  layer.forward(rows, z);
  layer.backward(rows, z, dz);
}
CODE

cat > "$work/short.cpp" <<'CODE'
#include <eigennorm/layer_norm.hpp>
template <typename T>
using Rows = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <typename T>
void both(eigennorm::LayerNorm<float>& layer, const Rows<T>& x, Rows<T>& y, Rows<T>& dx) {
  layer.forward(x, y);
  layer.backward(x, y, dx);
}
template void both(eigennorm::LayerNorm<float>&, const Rows<Eigen::half>&, Rows<Eigen::half>&, Rows<Eigen::half>&);
template void both(eigennorm::LayerNorm<float>&, const Rows<Eigen::bfloat16>&, Rows<Eigen::bfloat16>&,
                   Rows<Eigen::bfloat16>&);
CODE

# ---- measuring

# compile FLAG...: prints the CPU seconds and the memory in MB of one compilation.
compile() {
  python3 - "$compiler" -std=c++17 -I include -isystem "$eigen" "$@" <<'CODE'
import os, subprocess, sys
_, status, used = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0)
if status != 0:
    sys.exit("failed: " + " ".join(sys.argv[1:]))
kilobytes = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
print(f"{used.ru_utime + used.ru_stime:.2f} {kilobytes / 1024:.0f}")
CODE
}

# measure SOURCE FLAG...: sets seconds, of the fastest of $repeat compilations, megabytes, and kilobytes of the object.
measure() {
  local source=$1 result i
  shift
  echo "  $(basename "$source") $*" >&2
  seconds=""
  for ((i = 0; i < repeat; ++i)); do
    result=$(compile "$@" -c "$source" -o "$work/object.o")
    if [ -z "$seconds" ] || awk "BEGIN { exit !(${result% *} < $seconds) }"; then
      seconds=${result% *}
      megabytes=${result#* }
    fi
  done
  kilobytes=$((($(wc -c < "$work/object.o") + 512) / 1024))
}

# cells SOURCE FLAG...: the cells of one unit, with -O0 and -O2. Memory and object are those of -O2.
cells() {
  local unoptimized
  measure "$1" -O0 "${@:2}"
  unoptimized=$seconds
  measure "$1" -O2 "${@:2}"
  row+=" $unoptimized | $seconds | $megabytes | $kilobytes |"
}

# unit NAME SOURCE [MODE...]: a row, with cells for each mode: headers, compiled.
unit() {
  local row="| $1 |" mode
  for mode in headers compiled; do
    case " ${*:3} " in
      *" $mode "*) ;;
      *) row+=" | | | |"; continue ;;
    esac
    if [ "$mode" = compiled ]; then cells "$work/$2.cpp" -DEIGENNORM_COMPILED; else cells "$work/$2.cpp"; fi
  done
  echo "$row"
}

# precompiled NAME SOURCE: the same unit, where eigennorm.hpp is precompiled.
precompiled() {
  local row="| $1 |" mode level define
  for mode in headers compiled; do
    define=()
    if [ "$mode" = compiled ]; then define=(-DEIGENNORM_COMPILED); fi
    local times=()
    for level in -O0 -O2; do
      mkdir -p "$work/$mode$level"
      echo '#include <eigennorm/eigennorm.hpp>' > "$work/$mode$level/all.hpp"
      compile "$level" "${define[@]}" -x c++-header "$work/$mode$level/all.hpp" -o "$work/$mode$level/all.hpp.gch" > /dev/null
      measure "$work/$2.cpp" "$level" "${define[@]}" -include "$work/$mode$level/all.hpp"
      times+=("$seconds")
    done
    row+=" ${times[0]} | ${times[1]} | $megabytes | $kilobytes |"
  done
  echo "$row"
}

# ---- the tables

{
  echo "Measured on $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores."
  echo "Compiler: $("$compiler" --version | head -1), \`-std=c++17\`; Eigen" \
    "$(awk '/define EIGEN_(WORLD|MAJOR|MINOR)_VERSION/ { printf "%s%s", dot, $3; dot = "." }' "$eigen/Eigen/src/Core/util/Macros.h")." \
    "Seconds are of"
  echo "processor time, user and system, $counted. Memory (MB) is what the compiler takes, and the object's size (kB) what"
  echo "comes out, both with \`-O2\`."
  echo
  echo "### A unit of your program"
  echo
  echo "| | headers: -O0, s | -O2, s | MB | kB | compiled library: -O0, s | -O2, s | MB | kB |"
  echo "|---|---|---|---|---|---|---|---|---|"
  unit "Eigen/Core alone" eigen headers
  unit "Eigen/Core and its Tensor header alone" tensor headers
  unit "LayerNorm, forward and backward, \`MatrixXf\`" one headers compiled
  unit "BatchNorm, GroupNorm, LayerNorm, matrices and tensors of float" three headers compiled
  precompiled "the same, \`eigennorm.hpp\` precompiled" three
  unit "LayerNorm, forward and backward, half and bfloat16" short headers compiled
  echo
  echo "### The library"
  echo
  echo "| | -O0, s | -O2, s | MB | kB |"
  echo "|---|---|---|---|---|"
  for source in src/*.cpp; do
    row="| \`$source\` |"
    cells "$source"
    echo "$row"
  done
} > "$work/tables.md"

if [ -z "$page" ]; then
  cat "$work/tables.md"
else
  sed -i -e "/<!-- tables -->/,/<!-- end -->/{/<!-- tables -->/{p;r $work/tables.md
};/<!-- end -->/p;d}" "$page"
  echo "Written: $page"
fi

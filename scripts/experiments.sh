#!/usr/bin/env bash
# Makes the tables and pictures of docs/experiments.md anew, between their marks in the page.
#
#   scripts/experiments.sh          the 1,797 digits: scripts/demo.sh, a minute on two idle cores
#   scripts/experiments.sh DIR      also MNIST, whose four files lie in DIR: ten minutes more
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

results="$PWD/build/demo/results"
# write NAME: the tables of digits/NAME.md between the marks <!-- NAME --> and <!-- end -->, and the picture
write() {
  local name=$1
  {
    echo
    echo "Made on $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores," \
      "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), by $(build/demo/examples/digits/digits --version),"
    echo "with the flags of CMake's Release, \`$(sed -n 's/^CMAKE_CXX_FLAGS_RELEASE:[A-Z]*=//p' build/demo/CMakeCache.txt)\`."
    cat "$results/$name.md"
    echo
  } > "$results/$name.page"
  sed -i -e "/<!-- $name -->/,/<!-- end -->/{/<!-- $name -->/{p;r $results/$name.page
};/<!-- end -->/p;d}" docs/experiments.md
  cp "$results/$name.svg" docs/images/
  echo "Written: docs/experiments.md, docs/images/$name.svg"
}

scripts/demo.sh
write digits
if [ $# -gt 0 ]; then
  scripts/demo.sh --mnist "$1" --steps 4000 --every 100
  write mnist
fi

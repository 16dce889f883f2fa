#!/usr/bin/env bash
# Runs the suite with what is newest in Debian: sid's g++ and clang, Eigen 5 and Catch2 3. They go into a folder of their own,
# made by debootstrap, and nothing else of this machine is changed. Needs root, 4 GB, and about an hour.
#
#   scripts/newest.sh                        in build/sid
#   EIGENNORM_SID=/elsewhere scripts/newest.sh
#
# Further arguments go to CMake.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need debootstrap has_command debootstrap
install_missing

sid="${EIGENNORM_SID:-$PWD/build/sid}"
if [ ! -e "$sid/usr/include/eigen3" ]; then
  mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' | head -1)"
  debootstrap --variant=minbase \
    --include=g++,clang,libclang-rt-dev,cmake,make,libeigen3-dev,catch2,libcli11-dev,python3 sid "$sid" ${mirror:+"$mirror"}
fi

# Those of the sources that are the project's, as they are now.
rm -rf "$sid/eigennorm"
mkdir -p "$sid/eigennorm"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory="$sid/eigennorm"

for compiler in g++ clang++; do
  chroot "$sid" env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root bash -euo pipefail -s -- "$compiler" "$@" <<'INSIDE'
    compiler=$1
    shift
    echo "== $("$compiler" --version | head -1), $(dpkg-query --show libeigen3-dev catch2 | paste -sd ' ')"
    build=/build-$compiler
    cmake --preset dev -S /eigennorm -B "$build" -D CMAKE_CXX_COMPILER="$compiler" "$@"
    cmake --build "$build" --parallel 2
    ctest --test-dir "$build" --parallel 2 --output-on-failure
INSIDE
done

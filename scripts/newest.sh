#!/usr/bin/env bash
# Runs the suite with what is newest in Debian: sid's g++ and clang, Eigen 5 and Catch2 3. They go into a folder of their own,
# made by debootstrap, and nothing else of this machine is changed. Needs root, 4 GB, and about an hour.
#
#   scripts/newest.sh                        in build/sid
#   EIGENNORM_SID=/elsewhere scripts/newest.sh
#   EIGENNORM_COMPILERS=clang++ scripts/newest.sh
#
# Further arguments go to CMake.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

need debootstrap has_command debootstrap
need git has_command git
install_missing

sid="${EIGENNORM_SID:-$PWD/build/sid}"
in_sid() { chroot "$sid" env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }

if [ ! -d "$sid" ]; then
  # From where this machine has its packages, if it says so. A root that was not finished does not count.
  mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | sed -n 1p)"
  rm -rf "$sid.part"
  debootstrap --variant=minbase sid "$sid.part" ${mirror:+"$mirror"}
  mv "$sid.part" "$sid"
fi
# Sanitizers look at /proc.
mountpoint --quiet "$sid/proc" || mount -t proc proc "$sid/proc"
trap 'umount "$sid/proc"' EXIT
# A mirror may lag behind.
late=(-o Acquire::Check-Valid-Until=false)
in_sid apt-get "${late[@]}" update
in_sid apt-get "${late[@]}" dist-upgrade --yes
in_sid apt-get "${late[@]}" install --yes --no-install-recommends \
  g++ clang libclang-rt-dev cmake make libeigen3-dev catch2 libcli11-dev nlohmann-json3-dev python3 binutils pkg-config

# Those of the sources that are the project's, as they are now.
rm -rf "$sid/eigennorm"
mkdir -p "$sid/eigennorm"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  if [ -e "$file" ]; then cp --parents "$file" "$sid/eigennorm"; fi
done

for compiler in ${EIGENNORM_COMPILERS:-g++ clang++}; do
  in_sid bash -euo pipefail -s -- "$compiler" "$@" <<'INSIDE'
    compiler=$1
    shift
    echo "== $("$compiler" --version | sed -n 1p), $(dpkg-query --show libeigen3-dev catch2 | paste -sd ' ')"
    build=/build-$compiler
    cmake --preset dev -S /eigennorm -B "$build" -D CMAKE_CXX_COMPILER="$compiler" "$@"
    cmake --build "$build" --parallel 2
    ctest --test-dir "$build" --parallel 2 --output-on-failure
INSIDE
done

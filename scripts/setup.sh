# Sourced by the scripts beside it: installs what is missing, and only that.

missing=()

# Is one of these commands there?
has_command() {
  local name
  for name in "$@"; do
    if command -v "$name" >/dev/null; then return 0; fi
  done
  return 1
}

# Is one of these headers in a usual place?
has_header() {
  local prefix name
  for prefix in /usr /usr/local /opt/local /opt/homebrew; do
    for name in "$@"; do
      if [ -e "$prefix/include/$name" ]; then return 0; fi
    done
  done
  return 1
}

# need PACKAGE TEST...: notes Debian's package PACKAGE as missing where TEST fails.
need() {
  local package=$1
  shift
  if ! "$@"; then missing+=("$package"); fi
}

need_build_tools() {
  need g++ has_command c++ g++ clang++
  need cmake has_command cmake
  need make has_command make gmake
  need libeigen3-dev has_header eigen3/Eigen/Core Eigen/Core
  need libcli11-dev has_header CLI/CLI.hpp
}

install_missing() {
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  if ! has_command apt-get; then
    echo "These are missing (under their Debian names): ${missing[*]}" >&2
    echo "There is no apt-get on this machine: install them with its own package manager, then run this again." >&2
    exit 1
  fi
  local as_root=""
  if [ "$(id -u)" -ne 0 ]; then
    if ! has_command sudo; then
      echo "These are missing: ${missing[*]}" >&2
      echo "Run as root: apt-get install ${missing[*]}" >&2
      exit 1
    fi
    as_root=sudo
  fi
  echo "Installing ${missing[*]}"
  $as_root apt-get update </dev/null
  $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}" </dev/null
}

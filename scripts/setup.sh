# shellcheck shell=bash
# Sourced by the scripts beside it: installs what is missing, and only that, and says what is going on.

missing=()

# quietly TEXT COMMAND...: says TEXT, runs COMMAND, and says every ten seconds how long it has taken. What COMMAND prints is
# shown where it fails.
quietly() {
  local text=$1 log status=0 begin=$SECONDS ticks
  shift
  log="$(mktemp)"
  printf '%s: ' "$text"
  while sleep 10 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do printf '%d s ... ' $((SECONDS - begin)); done &
  ticks=$!
  "$@" </dev/null >"$log" 2>&1 || status=$?
  kill $ticks 2>/dev/null
  wait $ticks 2>/dev/null || true
  if [ $status -eq 0 ]; then
    printf 'done in %d s\n' $((SECONDS - begin))
  else
    printf 'failed after %d s\n' $((SECONDS - begin))
    cat "$log" >&2
  fi
  rm -f "$log"
  return $status
}

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
  need nlohmann-json3-dev has_header nlohmann/json.hpp
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
  quietly "Asking for the list of packages" $as_root apt-get update
  quietly "Installing ${missing[*]}" $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}"
  missing=()
}

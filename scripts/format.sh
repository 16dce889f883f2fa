#!/usr/bin/env bash
# Looks, in seconds, at how the code is laid out: clang-format 14 has nothing to say (.clang-format), and no line is longer
# than ColumnLimit there, which clang-format does not hold in comments. Rows of tables may be longer (`/// | ...`, and what
# stands behind `clang-format off`), and the sentence that a test of tests/compile_fail expects.
#
#   scripts/format.sh          says what is wrong
#   scripts/format.sh --fix    puts it right; a comment that is too long is wrapped
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

fix=no
case ${1:-} in
  "") ;;
  --fix) fix=yes ;;
  *) echo "usage: scripts/format.sh [--fix]" >&2; exit 1 ;;
esac

# Each version has views of its own, so it is this one.
need clang-format-14 has_command clang-format-14
install_missing

limit=$(sed -n 's/^ColumnLimit: *//p' .clang-format)
mapfile -d '' files < <(find include src tests examples benchmarks -path tests/data -prune -o \
  -type f '(' -name '*.hpp' -o -name '*.cpp' -o -name '*.inl' -o -name '*.h' ')' -print0 | sort --zero-terminated)

# Lines that are too long, as FILE:NUMBER: LINE
too_long() {
  awk -v limit="$limit" '
    FNR == 1 || /clang-format on/ { table = 0 }
    /clang-format off/ { table = 1 }
    length > limit && !table && !/^ *\/\/\/ \|/ && !/^\/\/ expect: / { print FILENAME ":" FNR ": " $0 }' "${files[@]}"
}

if [ $fix = yes ]; then
  clang-format-14 -i "${files[@]}"
  # From the last of a file to its first, so that numbers stay right.
  wrapping=$(mktemp)
  trap 'rm -f "$wrapping"' EXIT
  sed 's/^ReflowComments: false/ReflowComments: true/' .clang-format > "$wrapping"
  too_long | tac | while IFS=: read -r file number _; do
    clang-format-14 -i --style=file:"$wrapping" --lines="$number:$number" "$file"
  done
fi

wrong=no
clang-format-14 --dry-run -Werror --ferror-limit=1 "${files[@]}" || wrong=yes
lines=$(too_long)
if [ -n "$lines" ]; then
  wrong=yes
  printf 'Longer than %d characters:\n%s\n' "$limit" "$lines" >&2
fi
if [ $wrong = yes ]; then
  echo "scripts/format.sh --fix puts it right, but for lines that it still shows." >&2
  exit 1
fi
echo "${#files[@]} files are laid out as .clang-format says."

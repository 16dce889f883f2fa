#!/bin/sh
# Kills a whole job while it trains, and lets another one go on: what that stores last must have the bytes of a job that
# nobody disturbed.
#
#   kill_and_resume.sh FOLDER JOB...    JOB is mpiexec with its flags and the program
set -eu
folder=$1
shift
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"

# It would go on for longer than anybody waits.
"$@" --steps 100000000 --checkpoint killed.safetensors --checkpoint-every 20 &
job=$!
waited=0
until [ -e killed.safetensors ]; do
  sleep 0.01
  waited=$((waited + 1))
  if [ $waited -gt 6000 ] || ! kill -0 $job; then
    echo "There is no checkpoint." >&2
    exit 1
  fi
done
kill $job
if wait $job; then
  echo "The job ended by itself." >&2
  exit 1
fi

# No step is left to do, so it only says where it is.
killed_at=$("$@" --steps 1 --checkpoint killed.safetensors --resume | sed -n 's/^from step \([0-9]*\) .*/\1/p')
steps=$((killed_at + 70))
if [ "$killed_at" -lt 20 ]; then
  echo "The job goes on from step $killed_at." >&2
  exit 1
fi
"$@" --steps $steps --checkpoint killed.safetensors --resume
"$@" --steps $steps --checkpoint whole.safetensors
cmp killed.safetensors whole.safetensors
echo "Killed after step $killed_at, resumed, the same bytes after step $steps."

if "$@" --steps $steps --checkpoint killed.safetensors --resume --seed 2; then
  echo "A training with another seed went on." >&2
  exit 1
fi

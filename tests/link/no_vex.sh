#!/usr/bin/env bash
# In a unit compiled with plain flags, the baseline kernels use no instruction that an old processor lacks, whatever is
# compiled beside them. Usage: no_vex.sh OBJDUMP OBJECT...
set -euo pipefail
objdump=$1
shift

"$objdump" --disassemble --demangle --no-show-raw-insn "$@" | awk '
  /^[0-9a-f]+ <.*>:$/ {
    baseline = /unit_for_baseline::baseline::Functions/
    wide = /unit_for_baseline::avx512::Functions/
    baselines += baseline
    name = $0
    next
  }
  # Every VEX or EVEX mnemonic begins with v; of the others only these do.
  baseline && /\tv/ && !/\tver[rw]/ { print name; print; ++wrong }
  wide && /zmm/ { ++zmm }
  END {
    if (baselines == 0) { print "no baseline kernels found: nothing was tested"; exit 1 }
    if (zmm == 0) { print "no AVX-512 kernels found: nothing was tested"; exit 1 }
    if (wrong > 0) { print wrong " instructions with VEX in " baselines " baseline kernels"; exit 1 }
    print baselines " baseline kernels, none with VEX; " zmm " instructions on zmm elsewhere"
  }'

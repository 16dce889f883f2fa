#pragma once

#include <atomic>
#include <cstdlib>
#include <string_view>

/// \file
/// Which instruction set runs: the best that the processor has, or less on request.

// Where there are kernels for AVX2 and AVX-512. Not with g++ for Windows: it keeps their registers on a stack that it
// aligns to 16 bytes only, and crashes there (GCC bug 54412).
#if defined(__x86_64__) && (defined(__clang__) || !(defined(_WIN32) || defined(__CYGWIN__)))
#define EIGENNORM_X86_REGIONS
#endif

namespace eigennorm {

/// Instruction sets for which there are kernels, from least to best.
enum class InstructionSet {
  reference,  ///< none: value by value, as docs/arithmetic.md says it; for tests, and slow
  baseline,   ///< whatever the compiler takes for granted: SSE2 on x86-64
  avx2,       ///< AVX2, FMA and F16C
  avx512,     ///< AVX-512 F, VL, BW and DQ
};

namespace kernels {

/// What the processor has.
inline InstructionSet detected_instruction_set() {
#if defined(EIGENNORM_X86_REGIONS)
  __builtin_cpu_init();
  // Every processor with AVX2 has F16C, which clang 14 cannot ask for.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::baseline;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq")) {
    return InstructionSet::avx512;
  }
  return InstructionSet::avx2;
#else
  return InstructionSet::baseline;
#endif
}

/// The environment's EIGENNORM_ISA=reference|baseline|avx2|avx512 can lower the choice, never raise it.
inline InstructionSet initial_instruction_set() {
  const InstructionSet best = detected_instruction_set();
  const char* asked = std::getenv("EIGENNORM_ISA");
  if (asked == nullptr) return best;
  const std::string_view name = asked;
  const InstructionSet wanted = name == "reference"  ? InstructionSet::reference
                                : name == "baseline" ? InstructionSet::baseline
                                : name == "avx2"     ? InstructionSet::avx2
                                                     : InstructionSet::avx512;
  return wanted < best ? wanted : best;
}

/// (Visible, so that a program and a shared library of it have one choice.)
__attribute__((visibility("default"))) inline std::atomic<InstructionSet>& chosen_instruction_set() {
  static std::atomic<InstructionSet> chosen{initial_instruction_set()};
  return chosen;
}

}  // namespace kernels

/// The instruction set in use.
inline InstructionSet instruction_set() { return kernels::chosen_instruction_set().load(std::memory_order_relaxed); }

/// Uses at most `wanted` from now on, in all threads; what the processor lacks is not used. Results do not
/// change, to the bit.
inline void limit_instruction_set(InstructionSet wanted) {
  const InstructionSet best = kernels::detected_instruction_set();
  kernels::chosen_instruction_set().store(wanted < best ? wanted : best, std::memory_order_relaxed);
}

}  // namespace eigennorm

#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <type_traits>

#include "eigennorm/kernels/reference.hpp"
#include "eigennorm/kernels/targets.hpp"

/// \file
/// Which instruction set runs: the best that the processor has, or less on request.

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
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
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

inline std::atomic<InstructionSet>& chosen_instruction_set() {
  static std::atomic<InstructionSet> chosen{initial_instruction_set()};
  return chosen;
}

}  // namespace kernels

/// The instruction set in use.
inline InstructionSet instruction_set() {
  return kernels::chosen_instruction_set().load(std::memory_order_relaxed);
}

/// Uses at most `wanted` from now on, in all threads; what the processor lacks is not used. Results do not
/// change, to the bit.
inline void limit_instruction_set(InstructionSet wanted) {
  const InstructionSet best = kernels::detected_instruction_set();
  kernels::chosen_instruction_set().store(wanted < best ? wanted : best, std::memory_order_relaxed);
}

namespace kernels {

inline namespace EIGENNORM_UNIT {

/// The block kernels of the instruction set in use.
template <typename Storage, typename Scalar>
const BlockKernels<Storage, Scalar>& block_kernels() {
  using Kernels = BlockKernels<Storage, Scalar>;
  if constexpr (std::is_same_v<Scalar, long double>) {
    static constexpr Kernels scalar = Kernels::template of<reference::Functions<Storage, Scalar>>();
    return scalar;
  } else {
    static constexpr Kernels kernels[] = {
      Kernels::template of<reference::Functions<Storage, Scalar>>(),
      Kernels::template of<baseline::Functions<Storage, Scalar>>(),
#if defined(EIGENNORM_X86_REGIONS)
      Kernels::template of<avx2::Functions<Storage, Scalar>>(),
      Kernels::template of<avx512::Functions<Storage, Scalar>>(),
#endif
    };
    return kernels[static_cast<int>(instruction_set())];
  }
}

}  // namespace EIGENNORM_UNIT
}  // namespace kernels
}  // namespace eigennorm

#undef EIGENNORM_UNIT

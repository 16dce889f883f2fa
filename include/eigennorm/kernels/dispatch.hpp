#pragma once

#include <type_traits>

#include "eigennorm/instruction_set.hpp"
#include "eigennorm/kernels/reference.hpp"
#include "eigennorm/kernels/targets.hpp"

/// \file
/// The table of the kernels of each instruction set.

namespace eigennorm {

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
    // Blocks come in parts where memory is gathered value by value. Wider registers gain nothing there, except that
    // those of AVX2 convert 16-bit values; and each instance costs the compiler a tenth of what all kernels of a set
    // do.
    using Baseline = baseline::Functions<Storage, Scalar>;
#if defined(EIGENNORM_X86_REGIONS)
    using Avx2 = avx2::Functions<Storage, Scalar>;
    using Parts = std::conditional_t<std::is_same_v<Storage, Scalar>, Baseline, Avx2>;
#endif
    static constexpr Kernels kernels[] = {
      Kernels::template of<reference::Functions<Storage, Scalar>>(),
      Kernels::template of<Baseline>(),
#if defined(EIGENNORM_X86_REGIONS)
      Kernels::template of<Avx2, Parts>(),
      Kernels::template of<avx512::Functions<Storage, Scalar>, Parts>(),
#endif
    };
    return kernels[static_cast<int>(instruction_set())];
  }
}

}  // namespace EIGENNORM_UNIT
}  // namespace kernels
}  // namespace eigennorm

#undef EIGENNORM_UNIT

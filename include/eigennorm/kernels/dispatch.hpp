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

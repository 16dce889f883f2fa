#pragma once

#include <type_traits>

/// \file
/// The type in which sums of blocks are kept.

namespace eigennorm {

/// The type in which a layer of `Scalar` merges its block sums: double for float, otherwise Scalar itself.
template <typename Scalar>
using Wide = std::conditional_t<std::is_same_v<Scalar, float>, double, Scalar>;

}  // namespace eigennorm

#pragma once

#include <cstdint>
#include <vector>

#include "eigennorm/core/peers.hpp"
#include "eigennorm/kernels/wide.hpp"

/// \file
/// What a layer keeps for batches that are spread over members.

namespace eigennorm::core {

/// A group whose sums are out of range, where a batch is spread: what its values are, and what became of it.
template <typename Scalar>
struct Outlier {
  std::int64_t group;
  Scalar first, largest;
  bool varied;
  std::int64_t place;  ///< among those that are scaled; -1: it is not
  int exponent;
  bool found;  ///< the statistics that follow
  Scalar high, low, rstd;
  Wide<Scalar> variance;
};

/// What a layer keeps for calls whose batch is spread: after the first, nothing is allocated.
template <typename Scalar>
struct SpreadRoom {
  Peers::Record sums, more, next;
  std::vector<Outlier<Scalar>> out;
};

}  // namespace eigennorm::core

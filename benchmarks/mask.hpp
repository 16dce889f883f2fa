#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "workload.hpp"

/// \file
/// Which positions of a batch of sequences are valid, as each system wants to be told.

namespace benchmarks {

struct Mask {
  std::unique_ptr<bool[]> valid;      ///< samples x positions
  std::vector<std::int64_t> lengths;  ///< of each sample; none where valid positions are anywhere
  std::vector<std::int64_t> places;   ///< of the valid ones among samples x positions
};

/// The same at each call; none where the workload has none.
std::shared_ptr<const Mask> mask_of(const Workload& workload);

}  // namespace benchmarks

#pragma once

#include <cstddef>
#include <cstdint>

#include "workload.hpp"

/// \file
/// The memory that all systems work on.

namespace benchmarks {

/// Memory that the buffers of all workloads are cut from, in pages of 2 MB where the system has them. Results have a
/// part of their own, so that x and dy are the same random values for each workload.
class Ring {
 public:
  explicit Ring(std::size_t bytes);

  /// Set number `turn` of the buffers of a workload. After the last set comes the first.
  Buffers at(std::size_t turn, const Workload& workload) const;

  /// The next set, other memory each time.
  Buffers next(const Workload& workload) { return at(turn_++, workload); }

  /// Lets x of set number `turn` hold other values, which stay there.
  void fill(std::size_t turn, const Workload& workload, const Values& values);

 private:
  /// How many sets there is memory for. Fails where there is none.
  std::size_t sets(const Workload& workload) const;

  float* input_;
  float* result_;
  std::size_t results_;  ///< how many values there are room for
  std::size_t turn_ = 0;
};

}  // namespace benchmarks

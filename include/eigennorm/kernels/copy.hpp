#pragma once

#include <cstdint>

/// \file
/// Between the user's memory, of any stride and storage type, and contiguous blocks of the compute type.

namespace eigennorm::kernels {

/// Where a run of values of several lanes is: value i of lane t at `stride * i + lane_stride * t`.
struct Run {
  std::int64_t length, stride;
  std::int64_t lanes, lane_stride;
};

/// Reads a run into blocks: value i of lane t goes to `block[t * block_stride + i]`.
template <typename Storage, typename Scalar>
void load(const Storage* from, const Run& run, Scalar* block, std::int64_t block_stride) {
  if (run.lanes == 1 && run.stride == 1) {
    for (std::int64_t i = 0; i < run.length; ++i) block[i] = static_cast<Scalar>(from[i]);
    return;
  }
  for (std::int64_t i = 0; i < run.length; ++i) {
    const Storage* row = from + i * run.stride;
    for (std::int64_t t = 0; t < run.lanes; ++t) block[t * block_stride + i] = static_cast<Scalar>(row[t * run.lane_stride]);
  }
}

/// Writes blocks to a run: the way back of `load`, with one rounding where the storage type is narrower.
template <typename Storage, typename Scalar>
void store(Storage* to, const Run& run, const Scalar* block, std::int64_t block_stride) {
  if (run.lanes == 1 && run.stride == 1) {
    for (std::int64_t i = 0; i < run.length; ++i) to[i] = static_cast<Storage>(block[i]);
    return;
  }
  for (std::int64_t i = 0; i < run.length; ++i) {
    Storage* row = to + i * run.stride;
    for (std::int64_t t = 0; t < run.lanes; ++t) row[t * run.lane_stride] = static_cast<Storage>(block[t * block_stride + i]);
  }
}

}  // namespace eigennorm::kernels

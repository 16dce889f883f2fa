#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/device.hpp"
#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/lane_layout.hpp"

/// \file
/// How groups are cut into tiles, and long ones into segments, for tasks.

namespace eigennorm::core {

/// Runs longer than this are transformed one by one; shorter ones side by side with their neighbours.
constexpr std::int64_t longest_short_run = 256;

/// How many lanes a tile has.
template <typename Scalar>
std::int64_t tile_width(const kernels::Partition& partition, const kernels::LaneLayout& layout, int threads) {
  const std::int64_t extent = layout.lane.extent;
  if (!partition.groups.interleaved)
    return layout.direct && layout.run <= longest_short_run ? layout.width<Scalar>(kernels::gathered_lanes)
                                                            : 1;
  if (!layout.direct || partition.values.rank > 1 || extent < kernels::gathered_lanes)
    return kernels::gathered_lanes;
  // Fewer lanes where that gives every thread a tile, if groups are not long enough to be cut; then all tiles alike, so
  // that none is too narrow.
  std::int64_t width = kernels::most_lanes<Scalar>;
  while (kernels::segments_in(partition.count) == 1 && width > kernels::gathered_lanes &&
         partition.groups.tiles(width) < threads) {
    width /= 2;
  }
  const std::int64_t tiles = (extent + width - 1) / width;
  // Rows of whole cache lines stay such.
  const std::int64_t unit = extent % kernels::gathered_lanes == 0 ? kernels::gathered_lanes : 1;
  return (extent / unit + tiles - 1) / tiles * unit;
}

/// Whether tasks are whole tiles: where groups are short, or tiles enough for all threads to have as much to do.
inline bool takes_whole_tiles(std::int64_t tiles, std::int64_t segments, int threads) {
  return segments == 1 || tiles >= 4 * threads || tiles % threads == 0;
}

/// Bytes in which the partial results of segments wait to be merged: room for those of sixteen at a time.
constexpr std::int64_t waiting_bytes = 16 * 1024;

/// The segments of a tile's groups, as many at once as the device likes and there is room for: `compute(first, last,
/// at)` leaves one partial result for each segment and lane, from place `at` on; `merge(lane, segment, at)` takes
/// them in order.
template <typename Compute, typename Merge>
void for_each_segment(const Device& device, std::int64_t segments, std::int64_t lanes, std::int64_t room,
                      const Compute& compute, const Merge& merge) {
  const std::int64_t wave = room / lanes;
  for (std::int64_t start = 0; start < segments; start += wave) {
    const std::int64_t numbers = (std::min)(wave, segments - start);
    device.parallel_for(numbers, kernels::segment_size * lanes, [&](std::int64_t first, std::int64_t last) {
      compute(start + first, start + last, first * lanes);
    });
    for (std::int64_t i = 0; i < numbers * lanes; ++i) merge(i % lanes, start + i / lanes, i);
  }
}

}  // namespace eigennorm::core

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/device.hpp"
#include "eigennorm/kernels/engine.hpp"
#include "eigennorm/kernels/job.hpp"

/// \file
/// Forward: how a call is cut into tasks.

namespace eigennorm::core {

/// Runs a forward call by each group's own statistics.
template <typename Storage, typename Scalar>
void forward(const kernels::ForwardJob<Storage, Scalar>& job, const Device& device) {
  using Engine = kernels::Engine<Storage, Scalar>;
  constexpr std::int64_t width = kernels::tile_width<Scalar>;
  const kernels::Partition& partition = *job.partition;
  const std::int64_t tiles = partition.groups.tiles(width);
  const std::int64_t segments = kernels::segments_in(partition.count);
  if (segments == 1 || tiles >= device.threads()) {
    device.parallel_for(tiles, partition.size / tiles,
                        [&](std::int64_t first, std::int64_t last) { Engine::forward(job, first, last); });
    return;
  }
  // Few, long groups: the segments of a tile at once. Summaries wait on the stack, a wave at a time.
  constexpr std::int64_t wave = 64;
  for (std::int64_t id = 0; id < tiles; ++id) {
    const kernels::Tile tile = partition.groups.tile(id, width);
    const std::int64_t values = kernels::segment_size * tile.lanes;
    std::array<kernels::Summary<Scalar>, static_cast<std::size_t>(wave * width)> waiting;
    std::array<kernels::Summary<Scalar>, static_cast<std::size_t>(width)> total;
    for (std::int64_t start = 0; start < segments; start += wave) {
      const std::int64_t numbers = std::min(wave, segments - start);
      device.parallel_for(numbers, values, [&](std::int64_t first, std::int64_t last) {
        Engine::summarize_segments(job, tile, start + first, start + last, waiting.data() + first * width);
      });
      for (std::int64_t i = 0; i < numbers; ++i) {
        for (std::int64_t t = 0; t < tile.lanes; ++t) {
          total[static_cast<std::size_t>(t)].merge(waiting[static_cast<std::size_t>(i * width + t)],
                                                   kernels::is_centred(job.statistic));
        }
      }
    }
    std::array<kernels::GroupStatistics<Scalar>, static_cast<std::size_t>(width)> statistics;
    Engine::finish_tile(job, tile, total.data(), statistics.data());
    if (job.y == nullptr) continue;
    device.parallel_for(segments, values, [&](std::int64_t first, std::int64_t last) {
      Engine::write_segments(job, tile, first, last, statistics.data());
    });
  }
}

/// Runs a forward call by given statistics.
template <typename Storage, typename Scalar>
void forward_given(const kernels::ForwardJob<Storage, Scalar>& job, const Device& device) {
  using Engine = kernels::Engine<Storage, Scalar>;
  const kernels::Partition& partition = *job.partition;
  const std::int64_t tasks =
      partition.groups.tiles(kernels::tile_width<Scalar>) * kernels::segments_in(partition.count);
  device.parallel_for(tasks, partition.size / tasks, [&](std::int64_t first, std::int64_t last) {
    Engine::forward_given(job, first, last);
  });
}

}  // namespace eigennorm::core

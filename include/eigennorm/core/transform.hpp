#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/device.hpp"
#include "eigennorm/core/tiles.hpp"
#include "eigennorm/kernels/forward_given.hpp"
#include "eigennorm/kernels/forward_rows.hpp"
#include "eigennorm/kernels/forward_statistics.hpp"
#include "eigennorm/kernels/forward_tiles.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/streaming.hpp"

/// \file
/// Forward: how a call is cut into tasks.

namespace eigennorm::core {

/// Statistics of the groups of a tile, their segments at once. (Not inlined, so that what waits is on the stack only
/// here.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void tile_statistics(const kernels::ForwardJob<Storage, Scalar>& job,
                                       const kernels::Tile& tile, const Device& device,
                                       kernels::Normalizer<Scalar>* by) {
  // They wait on the stack, since evaluate has no other place.
  using Waiting = kernels::WaitingSummary<Scalar>;
  constexpr std::int64_t room = waiting_bytes / static_cast<std::int64_t>(sizeof(Waiting));
  std::array<Waiting, static_cast<std::size_t>(room)> waiting;
  std::array<kernels::Summary<Scalar>, static_cast<std::size_t>(kernels::most_lanes<Scalar>)> total;
  const std::int64_t count = job.partition->count;
  for_each_segment(
      device, kernels::segments_in(count), tile.lanes, room,
      [&](std::int64_t first, std::int64_t last, std::int64_t at) {
        kernels::ForwardTiles<Storage, Scalar>::summarize_segments(job, tile, first, last,
                                                                   waiting.data() + at);
      },
      [&](std::int64_t lane, std::int64_t segment, std::int64_t at) {
        const std::int64_t values =
            (std::min)(kernels::segment_size, count - segment * kernels::segment_size);
        total[static_cast<std::size_t>(lane)].merge(waiting[static_cast<std::size_t>(at)].get(values),
                                                    kernels::is_centred(job.statistic));
      });
  kernels::ForwardStatistics<Storage, Scalar>::finish_tile(job, tile, total.data(), by);
}

/// Runs a forward call by each group's own statistics.
template <typename Storage, typename Scalar>
void forward(kernels::ForwardJob<Storage, Scalar>& job, const Device& device) {
  using Rows = kernels::ForwardRows<Storage, Scalar>;
  using Tiles = kernels::ForwardTiles<Storage, Scalar>;
  const kernels::Partition& partition = *job.partition;
  job.stream = job.y != nullptr && kernels::streams<Storage>(partition.size);
  const std::int64_t groups = partition.groups.kept.size;
  const std::int64_t segments = kernels::segments_in(partition.count);
  if (partition.rows(2) && takes_whole_tiles(groups, segments, device.threads())) {
    device.parallel_for(groups, partition.count,
                        [&](std::int64_t first, std::int64_t last) { Rows::rows(job, first, last); });
    return;
  }
  const kernels::LaneLayout layout = kernels::layout_of_groups(partition, 2);
  job.layout = &layout;
  job.width = tile_width<Scalar>(partition, layout, device.threads());
  const std::int64_t tiles = partition.groups.tiles(job.width);
  if (takes_whole_tiles(tiles, segments, device.threads())) {
    device.parallel_for(tiles, partition.size / tiles,
                        [&](std::int64_t first, std::int64_t last) { Tiles::tiles(job, first, last); });
    return;
  }
  // Few, long groups: the segments of a tile at once.
  for (std::int64_t id = 0; id < tiles; ++id) {
    const kernels::Tile tile = partition.groups.tile(id, job.width);
    std::array<kernels::Normalizer<Scalar>, static_cast<std::size_t>(kernels::most_lanes<Scalar>)> by;
    tile_statistics(job, tile, device, by.data());
    if (job.y == nullptr) continue;
    device.parallel_for(segments, kernels::segment_size * tile.lanes,
                        [&](std::int64_t first, std::int64_t last) {
                          Tiles::write_segments(job, tile, first, last, by.data());
                        });
  }
}

/// y by given statistics of each feature.
template <typename Storage, typename Scalar>
void transform_given(kernels::ForwardJob<Storage, Scalar>& job, const Device& device) {
  using Given = kernels::ForwardGiven<Storage, Scalar>;
  using kernels::segment_size;
  const kernels::Partition& partition = *job.partition;
  job.stream = kernels::streams<Storage>(partition.size);
  const kernels::LaneLayout layout = kernels::layout_of_features(partition, job.from);
  job.layout = &layout;
  if (!layout.direct || layout.run > longest_short_run) {
    const std::int64_t runs = Given::runs_in(job);
    const std::int64_t pieces = (partition.size / runs + segment_size - 1) / segment_size;
    device.parallel_for(
        runs * pieces, partition.size / (runs * pieces),
        [&](std::int64_t first, std::int64_t last) { Given::runs(job, pieces, first, last); });
    return;
  }
  job.width = layout.width<Scalar>(kernels::most_positions<Scalar>);
  const std::int64_t chunks = (layout.lane.extent + job.width - 1) / job.width;
  const std::int64_t rows_in_task = (std::max)(segment_size / (job.width * layout.run), std::int64_t{1});
  const std::int64_t bands = (layout.rows.size + rows_in_task - 1) / rows_in_task;
  device.parallel_for(chunks * bands, partition.size / (chunks * bands),
                      [&](std::int64_t first, std::int64_t last) {
                        while (first < last) {
                          // The bands of one chunk together.
                          const std::int64_t chunk = first / bands;
                          const std::int64_t end = (std::min)(last, (chunk + 1) * bands);
                          Given::lanes(job, chunk, (first - chunk * bands) * rows_in_task,
                                       (std::min)((end - chunk * bands) * rows_in_task, layout.rows.size));
                          first = end;
                        }
                      });
}

/// Runs a forward call by given statistics.
template <typename Storage, typename Scalar>
void forward_given(kernels::ForwardJob<Storage, Scalar>& job, const Device& device) {
  if (job.sink.high != nullptr) kernels::ForwardGiven<Storage, Scalar>::keep(job);
  if (job.y != nullptr) transform_given(job, device);
}

}  // namespace eigennorm::core

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/device.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/slab.hpp"
#include "eigennorm/kernels/wide.hpp"

/// \file
/// How work is cut into tasks, forward and backward alike: into tiles of groups, and few long groups into segments.
/// Sums are cut by shape alone; what a task takes may depend on the number of threads.

namespace eigennorm::core {

using kernels::most_lanes;

/// Up to so many bytes, what a task reads next is asked for while it writes the present: as much as an L2 of 1 MB
/// holds. (With 400 KB instead, BatchNorm's backward of 32 x 64 x 56 x 56 takes 1.3 times as long; with none, its
/// forward 1.4 times.)
constexpr std::int64_t resident_bytes = 900 * 1024;

/// Tensors of so many bytes are likely to be near: asking for what is there costs a fifth of the time of LayerNorm.
constexpr std::int64_t near_bytes = 512 * 1024;

/// How far ahead to ask for the next of several tiles of `values` in the `tensors` tensors that are read, of `all`: not
/// at all where they do not stay in cache, or all are there.
template <typename Storage>
std::int64_t next_after(std::int64_t values, std::int64_t all, std::int64_t tensors, std::int64_t distance) {
  const std::int64_t bytes = tensors * static_cast<std::int64_t>(sizeof(Storage));
  return values * bytes <= resident_bytes && all * bytes > near_bytes ? distance : 0;
}

/// Runs longer than this are transformed one by one; shorter ones side by side with their neighbours.
constexpr std::int64_t longest_short_run = 256;

/// How many lanes a tile has. `resident`: values of rows that stay near, in L1 or
/// hardly out of it, between sums and results.
template <typename Scalar>
std::int64_t tile_width(const Partition& partition, const Layout& layout, std::int64_t resident, int threads) {
  const std::int64_t extent = layout.lane.extent;
  if (!partition.groups.interleaved) {
    if (extent == 1) return 1;
    if (partition.rows(layout.last))
      return partition.count > block_size ? 1
                                          : std::clamp(resident / partition.count, std::int64_t{1}, most_lanes<Scalar>);
    if (!layout.side_by_side || layout.run() > longest_short_run) return 1;
    const std::int64_t wide = layout.run() < Layout::shortest_run ? 1 : most_rows;
    return std::clamp(wide * most_positions<Scalar> / layout.run(), std::int64_t{1}, most_rows);
  }
  if (!layout.side_by_side || extent < most_rows) return most_rows;
  // All tiles alike. Rows of whole cache lines stay such.
  const std::int64_t unit = extent % most_rows == 0 ? most_rows : 1;
  const auto even = [=](std::int64_t width) {
    const std::int64_t tiles = (extent + width - 1) / width;
    return (extent / unit + tiles - 1) / tiles * unit;
  };
  // Fewer lanes where that gives every thread a tile, if groups are not long enough to be cut, but never too few for
  // kernels of lanes.
  std::int64_t width = most_lanes<Scalar>;
  while (segments_in(partition.count) == 1 && width > most_rows && even(width / 2) >= most_rows &&
         partition.groups.tiles(width) < threads)
    width /= 2;
  return even(width);
}

/// Whether tasks are whole tiles: where groups are short, or tiles enough for all threads to have as much to do.
inline bool takes_whole_tiles(std::int64_t tiles, std::int64_t segments, int threads) {
  return segments == 1 || tiles >= 4 * threads || tiles % threads == 0;
}

/// Tiles [first, last) of a call.
struct Tiles {
  std::int64_t first, last, width;
};

// A `Task` is made with the call and the number of its tiles. It has
// - `W`, the type in which sums wait;
// - `Sums`, of a tile's groups: `clear(lanes)`, `add(next, lanes)`, and `put` and `get` of what has to wait,
//   `Sums::numbers` of W for each group;
// - `begin(id, tile)`, `segments()`, `sum(segment, sums)`, `values_in(segment)`, `finish(sums)`, `writes()`, and
//   `write(first, last)` for values of the tile.

/// One tile, its segments at once. (Not inlined, so that what waits is on the stack only here.)
template <typename Task, typename Call>
[[gnu::noinline]] void run_segments(const Call& call, std::int64_t id, std::int64_t width, const Device& device) {
  using Sums = typename Task::Sums;
  using W = typename Task::W;
  const Partition& partition = *call.partition;
  const Tile tile = partition.groups.tile(id, width);
  // As many partial results as there is room for, in order.
  constexpr std::int64_t room = 8 * 1024 / static_cast<std::int64_t>(sizeof(W));
  W waiting[static_cast<std::size_t>(room)];
  const std::int64_t each = Sums::numbers * tile.lanes, wave = room / each;
  Task task(call, 1);
  task.begin(id, tile);
  Sums total;
  total.clear(tile.lanes);
  for (std::int64_t start = 0; start < task.segments(); start += wave) {
    const std::int64_t count = (std::min)(wave, task.segments() - start);
    device.parallel_for(count, segment_size * tile.lanes, [&](std::int64_t first, std::int64_t last) {
      Sums sums;
      for (std::int64_t i = first; i < last; ++i) {
        sums.clear(tile.lanes);
        task.sum(start + i, sums);
        sums.put(waiting + i * each, tile.lanes);
      }
    });
    for (std::int64_t i = 0; i < count; ++i) {
      Sums next;
      next.get(waiting + i * each, tile.lanes, task.values_in(start + i));
      if (start + i == 0) {
        total = next;
      } else {
        total.add(next, tile.lanes);
      }
    }
  }
  task.finish(total);
  if (!task.writes()) return;
  device.parallel_for(segments_in(partition.count), segment_size * tile.lanes,
                      [&](std::int64_t first, std::int64_t last) {
                        task.write(first * segment_size, (std::min)(last * segment_size, partition.count));
                        if (call.stream) call.kernels->fence();
                      });
}

/// Runs the tiles of a call.
template <typename Task, typename Call>
void run_tiles(const Call& call, const Tiles& tiles, const Device& device) {
  const Partition& partition = *call.partition;
  const std::int64_t number = tiles.last - tiles.first, segments = segments_in(partition.count);
  if (number == 0) return;
  if (takes_whole_tiles(number, segments, device.threads())) {
    device.parallel_for(number, partition.count * tiles.width, [&](std::int64_t first, std::int64_t last) {
      Task task(call, last - first);
      for (std::int64_t id = tiles.first + first; id < tiles.first + last; ++id) {
        typename Task::Sums sums, next;
        const Tile tile = partition.groups.tile(id, tiles.width);
        task.begin(id, tile);
        const std::int64_t lanes = tile.lanes;
        sums.clear(lanes);
        task.sum(0, sums);
        for (std::int64_t segment = 1; segment < task.segments(); ++segment) {
          next.clear(lanes);
          task.sum(segment, next);
          sums.add(next, lanes);
        }
        task.finish(sums);
        task.write(0, partition.count);
      }
      if (call.stream) call.kernels->fence();
    });
    return;
  }
  for (std::int64_t id = tiles.first; id < tiles.last; ++id) run_segments<Task>(call, id, tiles.width, device);
}

}  // namespace eigennorm::core

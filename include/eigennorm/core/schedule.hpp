#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/device.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/slab_parts.hpp"
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

/// How far ahead to ask for the next of several tiles of `values` in the `tensors` tensors of `all` values that are
/// read: not at all where tiles do not stay in cache, or where all is near.
template <typename Storage>
std::int64_t next_after(std::int64_t values, std::int64_t all, std::int64_t tensors, std::int64_t distance) {
  const std::int64_t bytes = tensors * static_cast<std::int64_t>(sizeof(Storage));
  return is_far<Storage>(all) && values * bytes <= resident_bytes ? distance : 0;
}

/// Whether tasks are whole tiles: where there are enough of them for all threads to have as much to do, and where
/// nothing else can be shared out, or is too little.
inline bool takes_whole_tiles(const Partition& partition, std::int64_t tiles, int threads) {
  if (tiles >= 4 * threads || tiles % threads == 0) return true;
  if (segments_in(partition.count) > 1) return false;
  return tiles >= threads || !partition.groups.interleaved;
}

/// Whether few long groups whose runs are long, too, are lanes of one tile, so that threads meet once for all of them
/// and not for each (three channels of images).
inline bool long_runs_together(const Partition& partition, const Layout& layout, int threads) {
  const std::int64_t groups = layout.lane.extent;
  return groups <= most_rows && groups == partition.groups.kept.size && layout.rows.size >= 2 * threads &&
         !takes_whole_tiles(partition, groups, threads);
}

/// How many lanes a tile has. `resident`: values of rows that stay near, in L1 or
/// hardly out of it, between sums and results.
template <typename Scalar>
std::int64_t tile_width(const Partition& partition, const Layout& layout, std::int64_t resident, int threads) {
  const std::int64_t extent = layout.lane.extent;
  if (!partition.groups.interleaved) {
    if (extent == 1) return 1;
    if (layout.has_places()) return layout.lanes_of_runs();
    if (partition.rows(layout.last))
      return partition.count > block_size ? 1
                                          : std::clamp(resident / partition.count, std::int64_t{1}, most_lanes<Scalar>);
    if (!layout.side_by_side) return 1;
    if (layout.run() > longest_short_run) return long_runs_together(partition, layout, threads) ? extent : 1;
    const std::int64_t wide = layout.run() < Layout::shortest_run ? 1 : most_rows;
    return std::clamp(wide * most_positions<Scalar> / layout.run(), std::int64_t{1}, most_rows);
  }
  if (!layout.side_by_side || extent < most_rows) return most_rows;
  // All tiles alike. Rows of whole cache lines stay such.
  const std::int64_t unit = extent % most_rows == 0 ? most_rows : 1;
  const std::int64_t tiles = (extent + most_lanes<Scalar> - 1) / most_lanes<Scalar>;
  return (extent / unit + tiles - 1) / tiles * unit;
}

/// Whether results of N x C are made apart from their sums, once those of all channels are there, by rows of all
/// channels: its tiles are pieces of rows, and pieces 4 KB apart take each other's place in L1. (256 x 1024, forward:
/// 0.45 of the time.)
inline bool are_columns_apart(const Partition& partition) {
  return partition.groups.interleaved && partition.features_kept && are_features(partition.groups) &&
         !partition.is_part;
}

/// What a task takes of results that need no sums: so many lanes, and of each a multiple of `unit` values.
struct Band {
  std::int64_t lanes, unit;
};

/// Calls `write(tile, part)` for all values of a reduction, about a segment at a time and in a task, which ends with
/// `fence` where it is not null.
template <typename Write>
void for_each_band(const Reduction& of, Band band, const Device& device, const Write& write, void (*fence)()) {
  const std::int64_t in_task = (std::max)(segment_size / (band.lanes * band.unit), std::int64_t{1}) * band.unit;
  const std::int64_t count = of.reduced.size, bands = (count + in_task - 1) / in_task;
  const std::int64_t tiles = of.tiles(band.lanes);
  device.parallel_for(tiles * bands, count * of.kept.size / (tiles * bands), [&](std::int64_t task, std::int64_t last) {
    while (task < last) {
      // The bands of one tile together.
      const std::int64_t id = task / bands, end = (std::min)(last, (id + 1) * bands);
      write(of.tile(id, band.lanes),
            Segment{(task - id * bands) * in_task, (std::min)((end - id * bands) * in_task, count)});
      task = end;
    }
    if (fence != nullptr) fence();
  });
}

/// Tiles [first, last) of a call.
struct Tiles {
  std::int64_t first, last, width;
};

// A `Task` is made with the call and the number of its tiles. It has
// - `W`, the type in which sums wait;
// - `Sums`, of a tile's groups: `clear(lanes)`, `add(next, lanes)`, and `put(to, lanes)` and `get(from, {first, last})`
//   of what has to wait, `Sums::numbers` of W for each group; `count_is(values)` of each;
// - `Summing`, what of a task makes sums: `begin(id, tile)` and `sum(segment, sums)`;
// - `segments(call)` and `values_in(call, segment)`;
// - `begin(id, tile)`, `finish(sums)`, `writes()`, and `write(first, last)` for values of the tile.

/// The sums of a tile that wait for those before them: of segments, each of all lanes in `parts` parts.
template <typename Task, typename Call>
struct WaitingSums {
  using Sums = typename Task::Sums;
  using W = typename Task::W;

  const Call& call;
  std::int64_t id;
  const Tile& tile;
  std::int64_t parts;
  W* waiting;

  /// The lanes of a part: whole vectors, but for the last.
  Segment lanes(std::int64_t part) const {
    const std::int64_t vectors = tile.lanes / most_rows;
    return {part * vectors / parts * most_rows,
            part + 1 == parts ? tile.lanes : (part + 1) * vectors / parts * most_rows};
  }
  W* place(std::int64_t segment, std::int64_t lane) const {
    return waiting + Sums::numbers * (segment * tile.lanes + lane);
  }

  /// Makes those of parts [first, last) of segments from `start` on.
  void make(std::int64_t start, std::int64_t first, std::int64_t last) const {
    typename Task::Summing task(call, 1);
    Sums sums;
    for (std::int64_t i = first; i < last; ++i) {
      const Segment range = lanes(i % parts);
      const std::int64_t count = range.last - range.first;
      const Tile some = lanes_of(tile, range.first, count);
      task.begin(id, some);
      sums.clear(count);
      task.sum(start + i / parts, sums);
      sums.put(place(i / parts, range.first), count);
    }
  }
  void get(std::int64_t segment, Sums& sums) const {
    std::int64_t part = 0;
    do {  // (There is one at least, and compilers see it.)
      sums.get(place(segment, lanes(part).first), lanes(part));
    } while (++part < parts);
  }
};

/// In how many parts the lanes of a tile are summed at once.
inline std::int64_t parts_of_lanes(const Partition& partition, const Tile& tile, std::int64_t segments, int threads) {
  if (segments > 1 || !partition.groups.interleaved) return 1;
  return std::clamp(tile.lanes / most_rows, std::int64_t{1}, static_cast<std::int64_t>(threads));
}

/// The sums of one tile, its segments, or the lanes of its only one, at once. (Not inlined, so that what waits is on
/// the stack only here.)
template <typename Task, typename Call>
[[gnu::noinline]] void sum_segments(const Call& call, std::int64_t id, const Tile& tile, const Device& device,
                                    typename Task::Sums& total) {
  using Waiting = WaitingSums<Task, Call>;
  using W = typename Task::W;
  // As many partial results as there is room for, in order. (What else is on the stack grows with W.)
  constexpr std::int64_t room = (sizeof(W) > 8 ? 4 : 8) * 1024 / static_cast<std::int64_t>(sizeof(W));
  W numbers[static_cast<std::size_t>(room)];
  const std::int64_t segments = Task::segments(call), wave = room / (Task::Sums::numbers * tile.lanes);
  const Waiting waiting{call, id, tile, parts_of_lanes(*call.partition, tile, segments, device.threads()), numbers};
  total.clear(tile.lanes);
  for (std::int64_t start = 0; start < segments; start += wave) {
    const std::int64_t count = (std::min)(wave, segments - start);
    device.parallel_for(count * waiting.parts, segment_size * tile.lanes / waiting.parts,
                        [&](std::int64_t first, std::int64_t last) { waiting.make(start, first, last); });
    for (std::int64_t i = 0; i < count; ++i) {
      typename Task::Sums next;
      next.count_is(Task::values_in(call, start + i));
      waiting.get(i, next);
      if (start + i == 0) {
        total = next;
      } else {
        total.add(next, tile.lanes);
      }
    }
  }
}

/// The results of one tile from its sums, shared out. (Not inlined, so that its task is on the stack only here.)
template <typename Task, typename Call>
[[gnu::noinline]] void write_shared(const Call& call, std::int64_t id, const Tile& tile, const Device& device,
                                    typename Task::Sums& total) {
  const std::int64_t count = call.partition->count;
  Task task(call, 1);
  task.begin(id, tile);
  task.finish(total);
  if (!task.writes()) return;
  const std::int64_t share = (count / device.threads() / block_size + 1) * block_size;
  const std::int64_t each = (std::min)(segment_size, share), bands = (count + each - 1) / each;
  device.parallel_for(bands, each * tile.lanes, [&](std::int64_t first, std::int64_t last) {
    task.write(first * each, (std::min)(last * each, count));
    if (call.stream) call.kernels->fence();
  });
}

/// One tile, shared out among threads: its sums, then its results. (Which part of these is whose changes no bit.)
template <typename Task, typename Call>
[[gnu::noinline]] void run_shared(const Call& call, std::int64_t id, std::int64_t width, const Device& device) {
  const Tile tile = call.partition->groups.tile(id, width);
  typename Task::Sums total;
  sum_segments<Task>(call, id, tile, device, total);
  write_shared<Task>(call, id, tile, device, total);
}

/// Runs the tiles of a call.
template <typename Task, typename Call>
void run_tiles(const Call& call, const Tiles& tiles, const Device& device) {
  const Partition& partition = *call.partition;
  const std::int64_t number = tiles.last - tiles.first;
  if (number == 0) return;
  if (takes_whole_tiles(partition, number, device.threads_for(partition.size))) {
    device.parallel_for(number, partition.count * tiles.width, [&](std::int64_t first, std::int64_t last) {
      Task task(call, last - first);
      const std::int64_t segments = Task::segments(call);
      for (std::int64_t id = tiles.first + first; id < tiles.first + last; ++id) {
        typename Task::Sums sums, next;
        const Tile tile = partition.groups.tile(id, tiles.width);
        task.begin(id, tile);
        const std::int64_t lanes = tile.lanes;
        sums.clear(lanes);
        task.sum(0, sums);
        for (std::int64_t segment = 1; segment < segments; ++segment) {
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
  for (std::int64_t id = tiles.first; id < tiles.last; ++id) run_shared<Task>(call, id, tiles.width, device);
}

}  // namespace eigennorm::core

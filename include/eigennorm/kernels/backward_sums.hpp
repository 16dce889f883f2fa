#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/piece_sums.hpp"

/// \file
/// The sums that dx of the groups of a tile needs.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

/// Whether a tile is one group of such runs, side by side in the tensors of sums.
inline bool runs_are_rows(const Partition& partition, const GroupPieces& cut, const Tile& tile) {
  const Axis run = partition.groups.reduced.fastest();
  return cut.by_runs && tile.lanes == 1 && run.extent == cut.run && Partition::steps_by(run, 1, 0, 2);
}

/// Calls `f(offsets, position, rows, n)` for the runs that cover values [first, last) of a group: whole runs of
/// neighbouring features together, as rows, others one by one, by blocks.
template <typename F>
void for_each_feature_run(const Loop& values, std::int64_t first, std::int64_t last, const F& f) {
  const std::int64_t run = values.fastest().extent;
  const Axis next = values.axes[static_cast<std::size_t>(values.rank - 2)];
  for (std::int64_t at = first; at < last;) {
    const std::int64_t inside = at % run;
    std::int64_t rows = 1, n = (std::min)({run - inside, last - at, block_size});
    if (n == run) rows = (std::min)({most_rows, (last - at) / run, next.extent - at / run % next.extent});
    f(values.at(at), at, rows, n);
    at += rows * n;
  }
}

template <typename Storage, typename Scalar>
struct BackwardSums {
  using Job = BackwardJob<Storage, Scalar>;
  /// Of x and of dy each: a block of a long double, several of others.
  using Buffer = Gathered<Storage, 16 * 1024>;
  static constexpr std::int64_t most = most_lanes<Scalar>;

  /// What each lane of a tile is normalized with, and the sums of its block.
  struct LaneSums {
    alignas(64) Scalar high[most], low[most], rstd[most], first[most], second[most];

    Normalizer<Scalar> by(std::int64_t lane) const { return {high[lane], low[lane], rstd[lane]}; }
    Lanes<Scalar> lanes() const { return {high, low, rstd, nullptr, nullptr, nullptr, nullptr}; }
  };

  /// The scale of each value of a block, or null where the group has one scale.
  static const Scalar* scales(const Job& job, std::int64_t feature, std::int64_t first, std::int64_t n,
                              Scalar* buffer) {
    if (job.partition->features_kept || job.scale == nullptr) return nullptr;
    return read_parameter(job.scale, job.partition->groups.reduced, feature, first, n, buffer);
  }

  /// Adds up one segment of each lane. `sample`: of its wave, where pieces are kept.
  static void sum(const Job& job, const Tile& tile, Segment segment, GradientSums<Scalar>* sums,
                  std::int64_t sample = 0) {
    const Partition& partition = *job.partition;
    const GroupPieces cut(partition, job.scale != nullptr);
    for (std::int64_t t = 0; t < tile.lanes; ++t) sums[t] = {};
    if (runs_are_rows(partition, cut, tile)) {
      sum_feature_runs(job, tile, cut, segment, sample, sums[0]);
      return;
    }
    const bool in_place =
        sums_in_place(partition, tile, 2) && (tile.lane.feature == 0 || partition.features_kept);
    LaneSums lanes;
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      const Normalizer<Scalar> by = job.moments.of(tile.base.group + t * tile.lane.group);
      lanes.high[t] = by.high;
      lanes.low[t] = by.low;
      lanes.rstd[t] = by.rstd;
    }
    for (std::int64_t piece = segment.first_block; piece < segment.last_block; ++piece) {
      const std::int64_t first = cut.first_value(piece), n = cut.values_in(piece);
      if (in_place && is_one_run(partition.values, first, n)) {
        sum_in_place(job, tile, first, n, !cut.by_runs, lanes);
      } else {
        (in_place ? sum_gathered_lanes : sum_gathered_rows)(job, tile, first, n, !cut.by_runs, lanes);
      }
      const std::int64_t feature =
          cut.by_runs ? tile.base.feature + partition.groups.reduced.at(first).feature : 0;
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        const std::int64_t mine = feature + t * tile.lane.feature;
        const Sums<Scalar> next{lanes.first[t], lanes.second[t]};
        if (job.pieces != nullptr) job.pieces->put(sample, piece % cut.per_run, mine, next);
        sums[t].add(next, cut.by_runs ? job.scale[mine] : Scalar(1));
      }
    }
  }

  // Values [first, first + n) of each lane, at most a block; `scaled`: each by its own scale. (Not inlined, so that
  // their buffers are on the stack only where they are needed.)

  [[gnu::noinline]] static void sum_in_place(const Job& job, const Tile& tile, std::int64_t first,
                                             std::int64_t n, bool scaled, LaneSums& lanes) {
    const Loop& values = job.partition->values;
    Scalar scale_buffer[block_size];
    job.kernels->lane_gradient_sums(
        lanes_in_place(job.x, 0, values, tile, first), lanes_in_place(job.dy, 1, values, tile, first), n,
        tile.lanes, lanes.lanes(), scaled ? scales(job, tile.base.feature, first, n, scale_buffer) : nullptr,
        lanes.first, lanes.second);
  }

  [[gnu::noinline]] static void sum_gathered_lanes(const Job& job, const Tile& tile, std::int64_t first,
                                                   std::int64_t n, bool scaled, LaneSums& lanes) {
    static_assert(Buffer::lanes == gathered_lanes);
    Buffer x_buffer, dy_buffer;
    Scalar scale_buffer[Buffer::room / gathered_lanes];
    OpenTree<Scalar> trees[gathered_lanes] = {};
    const Loop& values = job.partition->values;
    const std::int64_t part = Buffer::part(gathered_lanes);
    for (std::int64_t at = 0; at < n; at += part) {
      const std::int64_t count = (std::min)(part, n - at);
      job.kernels->continue_lane_gradient_sums(
          gather_lanes(job.x, 0, values, tile, first + at, count, x_buffer.values),
          gather_lanes(job.dy, 1, values, tile, first + at, count, dy_buffer.values), count, lanes.lanes(),
          scaled ? scales(job, tile.base.feature, first + at, count, scale_buffer) : nullptr, at, trees);
    }
    job.kernels->fold_lanes(trees, lanes.first, lanes.second);
  }

  /// As rows, as many lanes at a time as there is room for.
  [[gnu::noinline]] static void sum_gathered_rows(const Job& job, const Tile& tile, std::int64_t first,
                                                  std::int64_t n, bool scaled, LaneSums& lanes) {
    Buffer x_buffer, dy_buffer;
    Scalar scale_buffer[block_size];
    const Loop& values = job.partition->values;
    for (std::int64_t start = 0; start < tile.lanes;) {
      const Tile some = Buffer::some(tile, start, n);
      const std::int64_t step = Buffer::step(some.lanes, n);
      const Storage* x = read_block(*job.kernels, job.x, 0, values, some, first, n, x_buffer.values, step);
      const Storage* dy = read_block(*job.kernels, job.dy, 1, values, some, first, n, dy_buffer.values, step);
      for (std::int64_t t = 0; t < some.lanes; ++t) {
        const std::int64_t feature = some.base.feature + t * some.lane.feature;
        const Affine<Scalar> affine{scaled ? scales(job, feature, first, n, scale_buffer) : nullptr, nullptr,
                                    0, true};
        const Normalizer<Scalar> by = lanes.by(start + t);
        job.kernels->gradient_sums({x + t * step, 0}, {dy + t * step, 0}, 1, n, &by, affine,
                                   lanes.first + start + t, lanes.second + start + t);
      }
      start += some.lanes;
    }
  }

  static void sum_feature_runs(const Job& job, const Tile& tile, const GroupPieces& cut, Segment segment,
                               std::int64_t sample, GradientSums<Scalar>& total) {
    const Loop& values = job.partition->groups.reduced;
    const Axis next = values.axes[static_cast<std::size_t>(values.rank - 2)];
    Normalizer<Scalar> by[most_rows];
    std::fill(by, by + most_rows, job.moments.of(tile.base.group));
    const std::int64_t last =
        segment.last_block == cut.pieces ? job.partition->count : cut.first_value(segment.last_block);
    for_each_feature_run(values, cut.first_value(segment.first_block), last,
                         [&](const Offsets& at, std::int64_t position, std::int64_t rows, std::int64_t n) {
                           Scalar first[most_rows], second[most_rows];
                           job.kernels->gradient_sums(
                               {job.x + tile.base.tensor[0] + at.tensor[0], next.stride[0]},
                               {job.dy + tile.base.tensor[1] + at.tensor[1], next.stride[1]}, rows, n, by, {},
                               first, second);
                           for (std::int64_t r = 0; r < rows; ++r) {
                             const std::int64_t feature = tile.base.feature + at.feature + r * next.feature;
                             const Sums<Scalar> sums{first[r], second[r]};
                             if (job.pieces != nullptr)
                               job.pieces->put(sample, position % cut.run / block_size, feature, sums);
                             total.add(sums, job.scale[feature]);
                           }
                         });
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

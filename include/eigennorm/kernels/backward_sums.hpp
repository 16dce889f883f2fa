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
  using Buffer = Gathered<Storage>;

  /// The scale of each value of a block, or null where the group has one scale.
  static const Scalar* scales(const Job& job, std::int64_t feature, std::int64_t first, std::int64_t n,
                              Scalar* buffer) {
    if (job.partition->features_kept || job.scale == nullptr) return nullptr;
    return read_parameter(job.scale, job.partition->groups.reduced, feature, first, n, buffer);
  }

  /// Adds up one segment of each lane. `sample`: of its wave, where pieces are kept.
  static void sum(const Job& job, const Tile& tile, Segment segment, Buffer& x_buffer, Buffer& dy_buffer,
                  GradientSums<Scalar>* sums, std::int64_t sample = 0) {
    const Partition& partition = *job.partition;
    const GroupPieces cut(partition, job.scale != nullptr);
    for (std::int64_t t = 0; t < tile.lanes; ++t) sums[t] = {};
    if (runs_are_rows(partition, cut, tile)) {
      sum_feature_runs(job, tile, cut, segment, sample, sums[0]);
      return;
    }
    const bool in_place =
        sums_in_place(partition, tile, 2) && (tile.lane.feature == 0 || partition.features_kept);
    Scalar scale_buffer[block_size];
    alignas(64) Scalar high[most_lanes], low[most_lanes], rstd[most_lanes], first_sums[most_lanes],
        second_sums[most_lanes];
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      const Normalizer<Scalar> by = job.moments.of(tile.base.group + t * tile.lane.group);
      high[t] = by.high;
      low[t] = by.low;
      rstd[t] = by.rstd;
    }
    for (std::int64_t piece = segment.first_block; piece < segment.last_block; ++piece) {
      const std::int64_t first = cut.first_value(piece), n = cut.values_in(piece);
      const std::int64_t feature =
          cut.by_runs ? tile.base.feature + partition.groups.reduced.at(first).feature : 0;
      const auto add = [&](std::int64_t t, Sums<Scalar> next) {
        const std::int64_t mine = feature + t * tile.lane.feature;
        if (job.pieces != nullptr) job.pieces->put(sample, piece % cut.per_run, mine, next);
        sums[t].add(next, cut.by_runs ? job.scale[mine] : Scalar(1));
      };
      if (in_place) {
        const Lanes<Scalar> by{high, low, rstd, nullptr, nullptr, nullptr, nullptr};
        job.kernels->lane_gradient_sums(
            read_lanes(job.x, 0, partition.values, tile, first, n, x_buffer.values),
            read_lanes(job.dy, 1, partition.values, tile, first, n, dy_buffer.values), n, tile.lanes, by,
            cut.by_runs ? nullptr : scales(job, tile.base.feature, first, n, scale_buffer), first_sums,
            second_sums);
        for (std::int64_t t = 0; t < tile.lanes; ++t) add(t, {first_sums[t], second_sums[t]});
        continue;
      }
      const Storage* x =
          read_block(*job.kernels, job.x, 0, partition.values, tile, first, n, x_buffer.values);
      const Storage* dy =
          read_block(*job.kernels, job.dy, 1, partition.values, tile, first, n, dy_buffer.values);
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        const Scalar* scale =
            cut.by_runs ? nullptr
                        : scales(job, tile.base.feature + t * tile.lane.feature, first, n, scale_buffer);
        const Normalizer<Scalar> by{high[t], low[t], rstd[t]};
        Sums<Scalar> next;
        job.kernels->gradient_sums({x + t * block_size, 0}, {dy + t * block_size, 0}, 1, n, &by,
                                   {scale, nullptr, 0, true}, &next.first, &next.second);
        add(t, next);
      }
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

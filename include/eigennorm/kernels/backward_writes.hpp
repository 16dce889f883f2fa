#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/backward_sums.hpp"
#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/lane_layout.hpp"

/// \file
/// dx of the groups of a tile, by their sums.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

template <typename Storage, typename Scalar>
struct BackwardWrites {
  using Job = BackwardJob<Storage, Scalar>;
  using Buffer = Gathered<Storage, 8 * 1024>;
  using Sums = BackwardSums<Storage, Scalar>;

  /// Writes dx for segments [first, last) of each lane.
  static void write(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                    const GradientSums<Scalar>* sums) {
    const Partition& partition = *job.partition;
    const std::int64_t first_value = first * segment_size;
    const std::int64_t last_value = (std::min)(last * segment_size, partition.count);
    Normalizer<Scalar> by[most_lanes<Scalar>];
    Correction<Scalar> correction[most_lanes<Scalar>];
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      by[t] = job.moments.of(tile.base.group + t * tile.lane.group);
      correction[t] = correction_of(sums[t], job.statistic, partition.count);
    }
    const GroupPieces cut(partition, job.scale != nullptr);
    if (runs_are_rows(partition, cut, tile) &&
        Partition::steps_by(partition.groups.reduced.fastest(), 1, 2, 3)) {
      write_feature_runs(job, tile, first_value, last_value, by[0], correction[0]);
      return;
    }
    const bool lanes_can = partition.features_kept || job.scale == nullptr || job.layout->by_row;
    if (job.layout->direct && lanes_can && (tile.lanes > 1 || partition.groups.interleaved)) {
      const std::int64_t run = job.layout->run;
      write_lanes(job, tile, (first_value + run - 1) / run, (last_value + run - 1) / run, by, correction);
    } else if (tile.lanes == 1 && partition.features_kept &&
               Partition::steps_by(partition.groups.reduced.fastest(), 1, 0, 3)) {
      partition.groups.reduced.for_each_run(
          first_value, last_value, [&](const Offsets& offsets, std::int64_t, std::int64_t length) {
            job.kernels->gradient(
                {job.x + tile.base.tensor[0] + offsets.tensor[0], 0},
                {job.dy + tile.base.tensor[1] + offsets.tensor[1], 0},
                {job.dx + tile.base.tensor[2] + offsets.tensor[2], 0}, 1, length, by, correction,
                {at_feature(job.scale, tile.base.feature), nullptr, 0, false},
                {job.stream,
                 next_after<Storage>(partition.count, 2, partition.groups.kept.fastest().stride[0])});
          });
    } else {
      write_blocks(job, tile, first_value, last_value, by, correction);
    }
  }

  static void write_feature_runs(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                                 const Normalizer<Scalar>& normalizer, const Correction<Scalar>& correction) {
    const Loop& values = job.partition->groups.reduced;
    const Axis step = values.axes[static_cast<std::size_t>(values.rank - 2)];
    Normalizer<Scalar> by[most_rows];
    Correction<Scalar> corrections[most_rows];
    std::fill(by, by + most_rows, normalizer);
    std::fill(corrections, corrections + most_rows, correction);
    const std::int64_t next = next_after<Storage>(job.partition->count, 2, job.partition->count);
    for_each_feature_run(
        values, first, last, [&](const Offsets& at, std::int64_t, std::int64_t rows, std::int64_t n) {
          job.kernels->gradient(
              {job.x + tile.base.tensor[0] + at.tensor[0], step.stride[0]},
              {job.dy + tile.base.tensor[1] + at.tensor[1], step.stride[1]},
              {job.dx + tile.base.tensor[2] + at.tensor[2], step.stride[2]}, rows, n, by, corrections,
              {at_feature(job.scale, tile.base.feature + at.feature), nullptr, step.feature, false, true},
              {job.stream, next});
        });
  }

  /// Lanes side by side. (Not inlined, so that their arrays are on the stack only where they are needed.)
  [[gnu::noinline]] static void write_lanes(const Job& job, const Tile& tile, std::int64_t first,
                                            std::int64_t last, const Normalizer<Scalar>* by,
                                            const Correction<Scalar>* correction) {
    const LaneLayout& layout = *job.layout;
    if (layout.by_runs()) {
      write_short_runs(job, tile, first, last, by, correction);
      return;
    }
    const bool by_row = layout.by_row && job.scale != nullptr;
    LaneArrays<Scalar> arrays(layout, tile.lanes, 0, 3, LaneArrays<Scalar>::most(job.stream));
    arrays.fill(arrays.high, [&](std::int64_t t, std::int64_t) { return by[t].high; });
    arrays.fill(arrays.low, [&](std::int64_t t, std::int64_t) { return by[t].low; });
    arrays.fill(arrays.rstd, [&](std::int64_t t, std::int64_t) { return by[t].rstd; });
    arrays.fill(arrays.mean, [&](std::int64_t t, std::int64_t) { return correction[t].mean; });
    arrays.fill(arrays.slope, [&](std::int64_t t, std::int64_t) { return correction[t].slope; });
    arrays.fill(arrays.scale, [&](std::int64_t t, std::int64_t) {
      return by_row || job.scale == nullptr ? Scalar(1)
                                            : job.scale[tile.base.feature + t * tile.lane.feature];
    });
    const std::int64_t next = next_after<Storage>(tile.lanes * job.partition->count, 2, arrays.positions());
    const Lanes<Scalar> lanes{arrays.high, arrays.low,  arrays.rstd, arrays.scale,
                              nullptr,     arrays.mean, arrays.slope};
    arrays.for_each_band(layout, first, last,
                         [&](const Offsets& offsets, std::int64_t rows, std::int64_t width, const Axis& axis,
                             std::int64_t copies) {
                           job.kernels->lane_gradient(
                               {job.x + tile.base.tensor[0] + offsets.tensor[0], axis.stride[0] * copies},
                               {job.dy + tile.base.tensor[1] + offsets.tensor[1], axis.stride[1] * copies},
                               {job.dx + tile.base.tensor[2] + offsets.tensor[2], axis.stride[2] * copies},
                               rows, width, lanes,
                               by_row ? job.scale + tile.base.feature + offsets.feature : nullptr,
                               {job.stream, next != 0 ? next : rows_ahead(width) * axis.stride[0] * copies});
                         });
  }

  /// As in ForwardWrites.
  static void write_short_runs(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                               const Normalizer<Scalar>* by, const Correction<Scalar>* correction) {
    const LaneLayout& layout = *job.layout;
    const Axis lane = layout.lane;
    const std::int64_t next =
        next_after<Storage>(tile.lanes * job.partition->count, 2, tile.lanes * layout.run);
    layout.rows.for_each_run(first, last, [&](Offsets at, std::int64_t, std::int64_t length) {
      for (std::int64_t i = 0; i < length; ++i) {
        job.kernels->gradient(
            {job.x + tile.base.tensor[0] + at.tensor[0], lane.stride[0]},
            {job.dy + tile.base.tensor[1] + at.tensor[1], lane.stride[1]},
            {job.dx + tile.base.tensor[2] + at.tensor[2], lane.stride[2]}, tile.lanes, layout.run, by,
            correction,
            {at_feature(job.scale, tile.base.feature), nullptr, lane.feature, layout.inside.feature != 0},
            {job.stream, next});
        at.step(layout.rows.fastest(), 1);
      }
    });
  }

  /// Values [first, last) of each lane, through buffers. (Not inlined, so that they are on the stack only where they
  /// are needed.)
  [[gnu::noinline]] static void write_blocks(const Job& job, const Tile& tile, std::int64_t first,
                                             std::int64_t last, const Normalizer<Scalar>* by,
                                             const Correction<Scalar>* correction) {
    const Partition& partition = *job.partition;
    Buffer x_buffer, dy_buffer;
    Scalar scale_buffer[Buffer::longest];
    const std::int64_t part = Buffer::length(tile.lanes);
    for (std::int64_t at = first; at < last; at += part) {
      const std::int64_t n = (std::min)(part, last - at);
      const Storage* x =
          read_block(*job.kernels, job.x, 0, partition.values, tile, at, n, x_buffer.values, part);
      const Storage* dy =
          read_block(*job.kernels, job.dy, 1, partition.values, tile, at, n, dy_buffer.values, part);
      Storage* place = place_of_block(job.dx, 2, partition.values, tile, at, n);
      Storage* dx = place == nullptr ? dy_buffer.values : place;
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        const std::int64_t feature = tile.base.feature + t * tile.lane.feature;
        const Scalar* scale = partition.features_kept ? at_feature(job.scale, feature)
                                                      : Sums::scales(job, feature, at, n, scale_buffer);
        job.kernels->gradient({x + t * part, 0}, {dy + t * part, 0}, {dx + t * part, 0}, 1, n, by + t,
                              correction + t, {scale, nullptr, 0, !partition.features_kept},
                              {job.stream && place != nullptr, 0});
      }
      if (place == nullptr)
        write_block(*job.kernels, job.dx, 2, partition.values, tile, at, n, dy_buffer.values, part);
    }
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

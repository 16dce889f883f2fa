#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/lane_layout.hpp"

/// \file
/// y of the groups of a tile, by their statistics.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

template <typename Storage, typename Scalar>
struct ForwardWrites {
  using Job = ForwardJob<Storage, Scalar>;
  using Buffer = Gathered<Storage, 8 * 1024>;

  /// Writes y for segments [first, last) of each lane.
  static void write(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                    const Normalizer<Scalar>* by) {
    const std::int64_t count = job.partition->count;
    const std::int64_t first_value = first * segment_size;
    const std::int64_t last_value = (std::min)(last * segment_size, count);
    if (job.layout->direct && (tile.lanes > 1 || job.partition->groups.interleaved)) {
      const std::int64_t run = job.layout->run;
      write_lanes(job, tile, (first_value + run - 1) / run, (last_value + run - 1) / run, by);
    } else if (tile.lanes == 1 && Partition::steps_by(job.partition->groups.reduced.fastest(), 1, 0, 2)) {
      write_runs(job, tile, first_value, last_value, *by);
    } else {
      write_blocks(job, tile, first_value, last_value, by);
    }
  }

  /// Lanes side by side. (Not inlined, so that their arrays are on the stack only where they are needed.)
  [[gnu::noinline]] static void write_lanes(const Job& job, const Tile& tile, std::int64_t first,
                                            std::int64_t last, const Normalizer<Scalar>* by) {
    const LaneLayout& layout = *job.layout;
    if (layout.by_runs()) {
      write_short_runs(job, tile, first, last, by,
                       next_after<Storage>(tile.lanes * job.partition->count, 1, tile.lanes * layout.run));
      return;
    }
    LaneArrays<Scalar> arrays(layout, tile.lanes, 0, 2, LaneArrays<Scalar>::most(job.stream));
    arrays.fill(arrays.high, [&](std::int64_t t, std::int64_t) { return by[t].high; });
    arrays.fill(arrays.low, [&](std::int64_t t, std::int64_t) { return by[t].low; });
    arrays.fill(arrays.rstd, [&](std::int64_t t, std::int64_t) { return by[t].rstd; });
    write_bands(job, layout, tile, first, last, arrays,
                next_after<Storage>(tile.lanes * job.partition->count, 1, arrays.positions()));
  }

  /// Rows [first, last) of some lanes, run by run, each by its own.
  static void write_short_runs(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                               const Normalizer<Scalar>* by, std::int64_t next) {
    const LaneLayout& layout = *job.layout;
    const Axis lane = layout.lane;
    layout.rows.for_each_run(first, last, [&](Offsets at, std::int64_t, std::int64_t length) {
      for (std::int64_t i = 0; i < length; ++i) {
        const Rows<const Storage> x{job.x + tile.base.tensor[job.from] + at.tensor[job.from],
                                    lane.stride[job.from]};
        const Rows<Storage> y{job.y + tile.base.tensor[job.to] + at.tensor[job.to], lane.stride[job.to]};
        job.kernels->transform(
            x, y, tile.lanes, layout.run, by,
            {at_feature(job.scale, tile.base.feature), at_feature(job.shift, tile.base.feature), lane.feature,
             layout.inside.feature != 0},
            {job.stream, next});
        at.step(layout.rows.fastest(), 1);
      }
    });
  }

  /// Rows [first, last) of some lanes, by arrays whose mean and rstd are set; asks for what is `next` behind,
  /// or, where that is 0, for some rows ahead.
  static void write_bands(const Job& job, const LaneLayout& layout, const Tile& tile, std::int64_t first,
                          std::int64_t last, LaneArrays<Scalar>& arrays, std::int64_t next) {
    const bool by_row = layout.by_row && (job.scale != nullptr || job.shift != nullptr);
    if (!by_row) {
      const auto feature = [&](std::int64_t t, std::int64_t i) {
        return tile.base.feature + t * tile.lane.feature + i * layout.inside.feature;
      };
      arrays.fill(arrays.scale, [&](std::int64_t t, std::int64_t i) {
        return job.scale == nullptr ? Scalar(1) : job.scale[feature(t, i)];
      });
      arrays.fill(arrays.shift, [&](std::int64_t t, std::int64_t i) {
        return job.shift == nullptr ? Scalar(-0.0) : job.shift[feature(t, i)];
      });
    }
    const Lanes<Scalar> lanes{arrays.high,  arrays.low, arrays.rstd, arrays.scale,
                              arrays.shift, nullptr,    nullptr};
    arrays.for_each_band(
        layout, first, last,
        [&](const Offsets& offsets, std::int64_t rows, std::int64_t width, const Axis& axis,
            std::int64_t copies) {
          const std::int64_t feature = tile.base.feature + offsets.feature;
          const Rows<const Storage> x{job.x + tile.base.tensor[job.from] + offsets.tensor[job.from],
                                      axis.stride[job.from] * copies};
          const Rows<Storage> y{job.y + tile.base.tensor[job.to] + offsets.tensor[job.to],
                                axis.stride[job.to] * copies};
          job.kernels->lane_transform(x, y, rows, width, lanes,
                                      by_row ? at_feature(job.scale, feature) : nullptr,
                                      by_row ? at_feature(job.shift, feature) : nullptr,
                                      {job.stream, next != 0 ? next : rows_ahead(width) * x.step});
        });
  }

  /// Values [first, last) of one group, by runs.
  static void write_runs(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                         const Normalizer<Scalar>& by) {
    const Loop& values = job.partition->groups.reduced;
    const Axis axis = values.fastest();
    const std::int64_t next =
        next_after<Storage>(job.partition->count, 1, job.partition->groups.kept.fastest().stride[0]);
    values.for_each_run(first, last, [&](const Offsets& offsets, std::int64_t, std::int64_t length) {
      const Rows<const Storage> x{job.x + tile.base.tensor[0] + offsets.tensor[0], 0};
      const Rows<Storage> y{job.y + tile.base.tensor[1] + offsets.tensor[1], 0};
      const std::int64_t feature = tile.base.feature + offsets.feature;
      if (axis.feature <= 1) {
        job.kernels->transform(
            x, y, 1, length, &by,
            {at_feature(job.scale, feature), at_feature(job.shift, feature), 0, axis.feature == 1},
            {job.stream, next});
        return;
      }
      constexpr std::int64_t together = 256;
      Scalar scale[together], shift[together];
      for (std::int64_t at = 0; at < length; at += together) {
        const std::int64_t n = (std::min)(together, length - at);
        for (std::int64_t i = 0; i < n; ++i) {
          scale[i] = job.scale == nullptr ? Scalar(1) : job.scale[feature + (at + i) * axis.feature];
          shift[i] = job.shift == nullptr ? Scalar(-0.0) : job.shift[feature + (at + i) * axis.feature];
        }
        job.kernels->transform({x.data + at, 0}, {y.data + at, 0}, 1, n, &by, {scale, shift, 0, true},
                               {job.stream, 0});
      }
    });
  }

  /// Values [first, last) of each lane, through a buffer. (Not inlined, as above.)
  [[gnu::noinline]] static void write_blocks(const Job& job, const Tile& tile, std::int64_t first,
                                             std::int64_t last, const Normalizer<Scalar>* by) {
    const Partition& partition = *job.partition;
    Buffer buffer;
    Scalar scale_buffer[Buffer::longest], shift_buffer[Buffer::longest];
    const std::int64_t part = Buffer::length(tile.lanes);
    for (std::int64_t at = first; at < last; at += part) {
      const std::int64_t n = (std::min)(part, last - at);
      const Storage* x =
          read_block(*job.kernels, job.x, 0, partition.values, tile, at, n, buffer.values, part);
      Storage* place = place_of_block(job.y, 1, partition.values, tile, at, n);
      Storage* y = place == nullptr ? buffer.values : place;
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        const std::int64_t feature = tile.base.feature + t * tile.lane.feature;
        const Scalar* scale = job.scale;
        const Scalar* shift = job.shift;
        if (partition.features_kept) {
          scale = at_feature(scale, feature);
          shift = at_feature(shift, feature);
        } else {
          if (scale != nullptr)
            scale = read_parameter(scale, partition.groups.reduced, feature, at, n, scale_buffer);
          if (shift != nullptr)
            shift = read_parameter(shift, partition.groups.reduced, feature, at, n, shift_buffer);
        }
        job.kernels->transform({x + t * part, 0}, {y + t * part, 0}, 1, n, by + t,
                               {scale, shift, 0, !partition.features_kept}, {});
      }
      if (place == nullptr)
        write_block(*job.kernels, job.y, 1, partition.values, tile, at, n, buffer.values, part);
    }
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

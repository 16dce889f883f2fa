#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/feature_sums.hpp"
#include "eigennorm/kernels/forward.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/lane_layout.hpp"
#include "eigennorm/kernels/piece_sums.hpp"

/// \file
/// What a task of a backward call does.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

template <typename Storage, typename Scalar>
struct BackwardEngine {
  using Job = BackwardJob<Storage, Scalar>;
  using Buffer = Gathered<Storage>;
  using In = Rows<const Storage>;
  using Out = Rows<Storage>;

  static const Scalar* at_feature(const Scalar* parameter, std::int64_t feature) {
    return parameter == nullptr ? nullptr : parameter + feature;
  }

  /// As in ForwardEngine, for x and dy.
  static std::int64_t next_after(std::int64_t values, std::int64_t distance) {
    return ForwardEngine<Storage, Scalar>::next_after(values, 2, distance);
  }

  static void keep(const Job& job, std::int64_t group, const GradientSums<Scalar>& sums) {
    if (job.partition->features_kept && job.wants_parameters) job.sums.put(group, sums);
  }

  // ---- groups that are rows, of one feature or of one after the other

  /// The sums of `count` groups, of at most a block where there are several.
  static void sum_some_rows(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                            const Normalizer<Scalar>* by, GradientSums<Scalar>* sums) {
    const Partition& partition = *job.partition;
    const In x{job.x + at.tensor[0], axis.stride[0]};
    const In dy{job.dy + at.tensor[1], axis.stride[1]};
    const Scalar* scale = partition.features_kept ? nullptr : at_feature(job.scale, at.feature);
    const Affine<Scalar> affine{scale, nullptr, axis.feature, true};
    if (partition.count <= block_size) {
      Scalar first[most_rows], second[most_rows];
      job.kernels->gradient_sums(x, dy, count, partition.count, by, affine, first, second);
      for (std::int64_t r = 0; r < count; ++r) {
        sums[r] = {};
        sums[r].add(Sums<Scalar>{first[r], second[r]});
      }
      return;
    }
    sums[0] = {};
    for (std::int64_t number = 0; number < segments_in(partition.count); ++number)
      sums[0].add(sum_segment(job, x.data, dy.data, segment(number, partition.count), by, scale));
  }

  static GradientSums<Scalar> sum_segment(const Job& job, const Storage* x, const Storage* dy,
                                          Segment segment, const Normalizer<Scalar>* by,
                                          const Scalar* scale) {
    GradientSums<Scalar> result;
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t first = block * block_size;
      Sums<Scalar> sums;
      job.kernels->gradient_sums({x + first, 0}, {dy + first, 0}, 1,
                                 values_in_block(block, job.partition->count), by,
                                 {at_feature(scale, first), nullptr, 0, true}, &sums.first, &sums.second);
      result.add(sums);
    }
    return result;
  }

  static void moments_of(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                         Normalizer<Scalar>* by) {
    for (std::int64_t r = 0; r < count; ++r) by[r] = job.moments.of(at.group + r * axis.group);
  }

  /// Groups [first, last).
  static void rows(const Job& job, std::int64_t first, std::int64_t last) {
    const Partition& partition = *job.partition;
    const Axis axis = partition.groups.kept.fastest();
    const bool each = !partition.features_kept;
    const std::int64_t most = partition.count > block_size
                                  ? 1
                                  : std::clamp(block_size / partition.count, std::int64_t{1}, most_rows);
    partition.groups.kept.for_each_run(first, last, [&](Offsets at, std::int64_t, std::int64_t length) {
      for (std::int64_t done = 0; done < length; done += most) {
        const std::int64_t count = std::min(most, length - done);
        Normalizer<Scalar> by[most_rows];
        GradientSums<Scalar> sums[most_rows];
        Correction<Scalar> correction[most_rows];
        moments_of(job, at, axis, count, by);
        sum_some_rows(job, at, axis, count, by, sums);
        for (std::int64_t r = 0; r < count; ++r) {
          keep(job, at.group + r * axis.group, sums[r]);
          correction[r] = correction_of(sums[r], job.statistic, partition.count);
        }
        job.kernels->gradient({job.x + at.tensor[0], axis.stride[0]}, {job.dy + at.tensor[1], axis.stride[1]},
                              {job.dx + at.tensor[2], axis.stride[2]}, count, partition.count, by, correction,
                              {at_feature(job.scale, at.feature), nullptr, axis.feature, each},
                              {job.stream, next_after(partition.count * count, count * axis.stride[0])});
        at.step(axis, count);
      }
    });
    if (job.stream) job.kernels->fence();
  }

  // ---- rows of features, with dscale and dshift in the same walk

  /// Whether each group is a row of all features, in their order.
  static bool are_feature_rows(const Partition& partition) {
    return partition.rows(3) && !partition.features_kept && partition.groups.reduced.rank == 1 &&
           partition.groups.reduced.fastest().feature == 1 && partition.run == 1 &&
           partition.count == partition.features.kept.size && partition.groups.kept.rank <= 1 &&
           partition.groups.kept.fastest().feature == 0;
  }

  /// Parts [first, last) of the rows.
  static void feature_rows(const Job& job, std::int64_t first, std::int64_t last) {
    const FeaturePieces cut(*job.partition);
    const std::int64_t n = job.partition->count;
    const Axis axis = job.partition->groups.kept.fastest();
    for (std::int64_t part = first; part < last; ++part) {
      const GradientTotals<Scalar> totals = job.sums.from(part * n);
      totals.clear(0, n);
      const std::int64_t end = std::min((part + 1) * cut.per_part, cut.pieces);
      for (std::int64_t row = part * cut.per_part; row < end; row += pieces_together) {
        const std::int64_t count = std::min(pieces_together, end - row);
        Offsets at;
        at.step(axis, row);
        some_feature_rows(job, at, axis, count, totals);
      }
    }
    if (job.stream) job.kernels->fence();
  }

  /// Longer rows are taken in column blocks, sixteen at a time: two of them with all accumulators leave L2.
  static constexpr std::int64_t longest_row = 8 * block_size;

  /// At most sixteen rows: dx, and their sums added to `totals`.
  static void some_feature_rows(const Job& job, Offsets at, const Axis& axis, std::int64_t count,
                                const GradientTotals<Scalar>& totals) {
    const std::int64_t n = job.partition->count;
    alignas(64) Scalar sums[longest_row], products[longest_row];
    if (n > longest_row) {
      Normalizer<Scalar> by[most_rows];
      Correction<Scalar> correction[most_rows];
      correct_rows(job, at, axis, count, by, correction);
      // Column by column, so that the accumulators stay in L1.
      for (std::int64_t column = 0; column < n; column += block_size) {
        const std::int64_t width = std::min(block_size, n - column);
        std::fill(sums, sums + width, Scalar(0));
        std::fill(products, products + width, Scalar(0));
        write_pairs(job, at, axis, count, column, width, by, correction, sums, products);
        flush_sums(job, totals.from(column), width, sums, products);
      }
      return;
    }
    std::fill(sums, sums + n, Scalar(0));
    std::fill(products, products + n, Scalar(0));
    // As many rows at a time as stay in L1 between sums and dx: an even number, for pairs.
    const std::int64_t most = std::clamp(block_size / n / 2 * 2, std::int64_t{2}, most_rows);
    for (std::int64_t done = 0; done < count; done += most) {
      const std::int64_t some = std::min(most, count - done);
      Normalizer<Scalar> by[most_rows];
      Correction<Scalar> correction[most_rows];
      correct_rows(job, at, axis, some, by, correction);
      write_pairs(job, at, axis, some, 0, n, by, correction, sums, products);
      at.step(axis, some);
    }
    flush_sums(job, totals, n, sums, products);
  }

  static void correct_rows(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                           Normalizer<Scalar>* by, Correction<Scalar>* correction) {
    GradientSums<Scalar> sums[most_rows];
    moments_of(job, at, axis, count, by);
    if (job.partition->count <= block_size) {
      sum_some_rows(job, at, axis, count, by, sums);
    } else {
      Offsets row = at;
      for (std::int64_t r = 0; r < count; ++r, row.step(axis, 1))
        sum_some_rows(job, row, axis, 1, by + r, sums + r);
    }
    for (std::int64_t r = 0; r < count; ++r)
      correction[r] = correction_of(sums[r], job.statistic, job.partition->count);
  }

  static void write_pairs(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                          std::int64_t column, std::int64_t width, const Normalizer<Scalar>* by,
                          const Correction<Scalar>* correction, Scalar* sums, Scalar* products) {
    job.kernels->gradient_pairs(
        {job.x + at.tensor[0] + column, axis.stride[0]}, {job.dy + at.tensor[1] + column, axis.stride[1]},
        {job.dx + at.tensor[2] + column, axis.stride[2]}, count, width, by, correction,
        at_feature(job.scale, column), sums, products,
        {job.stream, next_after(job.partition->count * count, count * axis.stride[0])});
  }

  // ---- sums of tiles

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
        sums[t].add(next, cut.by_runs && job.scale != nullptr ? job.scale[mine] : Scalar(1));
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

  // ---- groups of runs of one feature each

  /// Whether a tile is one group of such runs, side by side in the tensors of sums.
  static bool runs_are_rows(const Partition& partition, const GroupPieces& cut, const Tile& tile) {
    const Axis run = partition.groups.reduced.fastest();
    return cut.by_runs && tile.lanes == 1 && run.extent == cut.run && Partition::steps_by(run, 1, 0, 2);
  }

  /// Calls `f(offsets, position, rows, n)` for the runs that cover values [first, last) of a group: whole runs of
  /// neighbouring features together, as rows, others one by one, by blocks.
  template <typename F>
  static void for_each_feature_run(const Loop& values, std::int64_t first, std::int64_t last, const F& f) {
    const std::int64_t run = values.fastest().extent;
    const Axis next = values.axes[static_cast<std::size_t>(values.rank - 2)];
    for (std::int64_t at = first; at < last;) {
      const std::int64_t inside = at % run;
      std::int64_t rows = 1, n = std::min({run - inside, last - at, block_size});
      if (n == run) rows = std::min({most_rows, (last - at) / run, next.extent - at / run % next.extent});
      f(values.at(at), at, rows, n);
      at += rows * n;
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
                             total.add(sums, job.scale == nullptr ? Scalar(1) : job.scale[feature]);
                           }
                         });
  }

  static void write_feature_runs(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                                 const Normalizer<Scalar>& normalizer, const Correction<Scalar>& correction) {
    const Loop& values = job.partition->groups.reduced;
    const Axis step = values.axes[static_cast<std::size_t>(values.rank - 2)];
    Normalizer<Scalar> by[most_rows];
    Correction<Scalar> corrections[most_rows];
    std::fill(by, by + most_rows, normalizer);
    std::fill(corrections, corrections + most_rows, correction);
    const std::int64_t next = next_after(job.partition->count, job.partition->count);
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

  // ---- dx of tiles

  /// Writes dx for segments [first, last) of each lane.
  static void write(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                    const GradientSums<Scalar>* sums, Buffer& x_buffer, Buffer& dy_buffer) {
    const Partition& partition = *job.partition;
    const std::int64_t first_value = first * segment_size;
    const std::int64_t last_value = std::min(last * segment_size, partition.count);
    Normalizer<Scalar> by[most_lanes];
    Correction<Scalar> correction[most_lanes];
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
                {job.stream, next_after(partition.count, partition.groups.kept.fastest().stride[0])});
          });
    } else {
      write_blocks(job, tile, first_value, last_value, by, correction, x_buffer, dy_buffer);
    }
  }

  static void write_lanes(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                          const Normalizer<Scalar>* by, const Correction<Scalar>* correction) {
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
    const std::int64_t next = next_after(tile.lanes * job.partition->count, arrays.positions());
    const Lanes<Scalar> lanes{arrays.high, arrays.low,  arrays.rstd, arrays.scale,
                              nullptr,     arrays.mean, arrays.slope};
    arrays.for_each_band(layout, first, last,
                         [&](const Offsets& offsets, std::int64_t, std::int64_t rows, std::int64_t width,
                             const Axis& axis, std::int64_t copies) {
                           job.kernels->lane_gradient(
                               {job.x + tile.base.tensor[0] + offsets.tensor[0], axis.stride[0] * copies},
                               {job.dy + tile.base.tensor[1] + offsets.tensor[1], axis.stride[1] * copies},
                               {job.dx + tile.base.tensor[2] + offsets.tensor[2], axis.stride[2] * copies},
                               rows, width, lanes,
                               by_row ? job.scale + tile.base.feature + offsets.feature : nullptr,
                               {job.stream, next != 0 ? next
                                                      : ForwardEngine<Storage, Scalar>::rows_ahead(width) *
                                                            axis.stride[0] * copies});
                         });
  }

  /// As in ForwardEngine.
  static void write_short_runs(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                               const Normalizer<Scalar>* by, const Correction<Scalar>* correction) {
    const LaneLayout& layout = *job.layout;
    const Axis lane = layout.lane;
    const std::int64_t next = next_after(tile.lanes * job.partition->count, tile.lanes * layout.run);
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

  static void write_blocks(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                           const Normalizer<Scalar>* by, const Correction<Scalar>* correction,
                           Buffer& x_buffer, Buffer& dy_buffer) {
    const Partition& partition = *job.partition;
    Scalar scale_buffer[block_size];
    for (std::int64_t at = first; at < last; at += block_size) {
      const std::int64_t n = std::min(block_size, last - at);
      const Storage* x = read_block(*job.kernels, job.x, 0, partition.values, tile, at, n, x_buffer.values);
      const Storage* dy =
          read_block(*job.kernels, job.dy, 1, partition.values, tile, at, n, dy_buffer.values);
      Storage* place = place_of_block(job.dx, 2, partition.values, tile, at, n);
      Storage* dx = place == nullptr ? dy_buffer.values : place;
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        const std::int64_t feature = tile.base.feature + t * tile.lane.feature;
        const Scalar* scale = partition.features_kept ? at_feature(job.scale, feature)
                                                      : scales(job, feature, at, n, scale_buffer);
        job.kernels->gradient({x + t * block_size, 0}, {dy + t * block_size, 0}, {dx + t * block_size, 0}, 1,
                              n, by + t, correction + t, {scale, nullptr, 0, !partition.features_kept},
                              {job.stream && place != nullptr, 0});
      }
      if (place == nullptr)
        write_block(*job.kernels, job.dx, 2, partition.values, tile, at, n, dy_buffer.values);
    }
  }

  // ---- tasks on tiles

  /// Tiles [first, last).
  static void tiles(const Job& job, std::int64_t first, std::int64_t last) {
    Buffer x_buffer, dy_buffer;
    const Partition& partition = *job.partition;
    const GroupPieces cut(partition, job.scale != nullptr);
    for (std::int64_t id = first; id < last; ++id) {
      const Tile tile = partition.groups.tile(id, job.width);
      GradientSums<Scalar> total[most_lanes];
      for (std::int64_t number = 0; number < cut.segments; ++number) {
        GradientSums<Scalar> next[most_lanes];
        sum(job, tile, cut.segment(number), x_buffer, dy_buffer, next, sample_of(job, id));
        for (std::int64_t t = 0; t < tile.lanes; ++t) total[t].add(next[t]);
      }
      keep_tile(job, tile, total);
      if (!job.frozen) write(job, tile, 0, segments_in(partition.count), total, x_buffer, dy_buffer);
    }
    if (job.stream) job.kernels->fence();
  }

  static void keep_tile(const Job& job, const Tile& tile, const GradientSums<Scalar>* sums) {
    for (std::int64_t t = 0; t < tile.lanes; ++t) keep(job, tile.base.group + t * tile.lane.group, sums[t]);
  }

  /// Which sample of its wave a tile belongs to, where pieces are kept; tiles are single groups then.
  static std::int64_t sample_of(const Job& job, std::int64_t id) {
    if (job.pieces == nullptr) return 0;
    using Pieces = PieceSums<Scalar>;
    const Partition& partition = *job.partition;
    return id / (partition.groups.kept.size / Pieces::samples_in(partition)) % Pieces::wave(partition);
  }

  /// Segments [first, last) of tile number `id`: their sums, its lanes apart.
  static void sum_segments(const Job& job, std::int64_t id, std::int64_t first, std::int64_t last,
                           GradientSums<Scalar>* sums) {
    Buffer x_buffer, dy_buffer;
    const GroupPieces cut(*job.partition, job.scale != nullptr);
    const Tile tile = job.partition->groups.tile(id, job.width);
    for (std::int64_t number = first; number < last; ++number)
      sum(job, tile, cut.segment(number), x_buffer, dy_buffer, sums + (number - first) * tile.lanes,
          sample_of(job, id));
  }

  /// Segments [first, last) of one tile: dx.
  static void write_segments(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                             const GradientSums<Scalar>* sums) {
    Buffer x_buffer, dy_buffer;
    write(job, tile, first, last, sums, x_buffer, dy_buffer);
    if (job.stream) job.kernels->fence();
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

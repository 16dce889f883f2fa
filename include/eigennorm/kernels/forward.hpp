#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/lane_layout.hpp"
#include "eigennorm/kernels/scaled.hpp"

/// \file
/// What a task of a forward call does: walks groups, block by block, and leaves each block to the kernels of
/// the job.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

/// Lanes that are gathered from scattered memory together: a cache line of float.
constexpr std::int64_t gathered_lanes = 16;

/// A block of each lane of a tile, where memory has them scattered. Not initialized.
template <typename Storage>
struct Gathered {
  Storage values[static_cast<std::size_t>(gathered_lanes * block_size)];
};

/// Whether the lanes of a tile are summed where they are; of several loops, only as many as can be copied.
inline bool sums_in_place(const Partition& partition, const Tile& tile, std::size_t tensors) {
  return partition.groups.interleaved && Partition::steps_by(tile.lane, 1, 0, tensors) &&
         (tile.lanes == gathered_lanes || (tile.lanes > gathered_lanes && partition.values.rank <= 1));
}

/// The rows of a block of interleaved lanes: in the tensor itself where they are equally far apart, otherwise
/// copied, `gathered_lanes` wide.
template <typename Storage>
Rows<const Storage> read_lanes(const Storage* data, std::size_t tensor, const Loop& values, const Tile& tile,
                               std::int64_t first, std::int64_t n, Storage* buffer) {
  const Axis fastest = values.fastest();
  const Storage* base = data + tile.base.tensor[tensor];
  if (first % fastest.extent + n <= fastest.extent)
    return {base + values.at(first).tensor[tensor], fastest.stride[tensor]};
  values.for_each_run(
      first, first + n, [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
        for (std::int64_t i = 0; i < length; ++i) {
          const Storage* from = base + offsets.tensor[tensor] + i * fastest.stride[tensor];
          std::copy(from, from + gathered_lanes, buffer + (position - first + i) * gathered_lanes);
        }
      });
  return {buffer, gathered_lanes};
}

/// Groups of one block: h and their sums about it. (Behind the last, zeros up to a whole vector.)
template <typename Scalar, std::int64_t Most>
struct ShortGroups {
  alignas(64) Scalar h[Most], first[Most], second[Most];

  explicit ShortGroups(std::int64_t count) {
    const std::int64_t whole = count / most_rows * most_rows;
    for (Scalar* each : {h, first, second}) {
      if (whole < count) std::fill(each + whole, each + whole + most_rows, Scalar(0));
    }
  }
};

template <typename Storage, typename Scalar>
struct ForwardEngine {
  using W = Wide<Scalar>;
  using Job = ForwardJob<Storage, Scalar>;
  using Buffer = Gathered<Storage>;

  // ---- groups that are rows

  /// Groups [first, last), each of contiguous values.
  static void rows(const Job& job, std::int64_t first, std::int64_t last) {
    const Partition& partition = *job.partition;
    const Axis axis = partition.groups.kept.fastest();
    const Loop& reduced = partition.groups.reduced;
    const bool each =
        reduced.rank == 1 && reduced.fastest().feature == 1 && !has_features(partition.groups.kept);
    const AlignedParameter<Scalar> scale(job.scale, each, partition.count, last - first);
    const AlignedParameter<Scalar> shift(job.shift, each, partition.count, last - first);
    // Their x and y stay in L1 between statistics and transform.
    const std::int64_t most = partition.count > block_size
                                  ? 1
                                  : std::clamp(4 * block_size / partition.count, std::int64_t{1}, most_rows);
    partition.groups.kept.for_each_run(first, last, [&](Offsets at, std::int64_t, std::int64_t length) {
      for (std::int64_t done = 0; done < length; done += most) {
        const std::int64_t count = std::min(most, length - done);
        some_rows(job, at, axis, count, scale.get(), shift.get());
        at.step(axis, count);
      }
    });
    if (job.stream) job.kernels->fence();
  }

  static void some_rows(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                        const Scalar* scale, const Scalar* shift) {
    const Partition& partition = *job.partition;
    const Rows<const Storage> x{job.x + at.tensor[0], axis.stride[0]};
    Normalizer<Scalar> by[most_rows];
    const Tile tile{at, count, axis};
    if (partition.count <= block_size) {
      finish_short_rows(job, tile, x, by);
    } else {
      Summary<Scalar> summary;
      for (std::int64_t number = 0; number < segments_in(partition.count); ++number) {
        Summary<Scalar> next;
        const Segment part = segment(number, partition.count);
        for (std::int64_t block = part.first_block; block < part.last_block; ++block) {
          append_rows(*job.kernels, job.statistic, {x.data + block * block_size, 0}, 1,
                      values_in_block(block, partition.count), block == part.first_block, &next);
        }
        summary.merge(next, is_centred(job.statistic));
      }
      finish_tile(job, tile, &summary, by);
    }
    if (job.y == nullptr) return;
    const Rows<Storage> y{job.y + at.tensor[1], axis.stride[1]};
    if (partition.groups.reduced.rank > 1 || partition.groups.reduced.fastest().feature > 1) {
      Tile row{at, 1, no_axis()};
      for (std::int64_t r = 0; r < count; ++r) {
        write_runs(job, row, 0, partition.count, by[r]);
        row.base.step(axis, 1);
      }
      return;
    }
    const Axis values = partition.groups.reduced.fastest();
    const bool each = values.feature != 0;
    job.kernels->transform(x, y, count, partition.count, by,
                           {at_feature(scale, at.feature), at_feature(shift, at.feature), axis.feature, each},
                           {job.stream, next_after(partition.count * count, 1, count * axis.stride[0])});
  }

  /// Statistics of at most sixteen rows of one block.
  static void finish_short_rows(const Job& job, const Tile& tile, Rows<const Storage> x,
                                Normalizer<Scalar>* by) {
    const std::int64_t n = job.partition->count;
    const auto summarize = [&](std::int64_t r, Summary<Scalar>& summary) {
      append_rows(*job.kernels, job.statistic, {x(r), 0}, 1, n, true, &summary);
    };
    // For fewer, sixteen together take longer.
    constexpr std::int64_t worth_it = 8;
    if (tile.lanes < worth_it) {
      Summary<Scalar> summaries[worth_it];
      append_rows(*job.kernels, job.statistic, x, tile.lanes, n, true, summaries);
      finish_tile(job, tile, summaries, by);
      return;
    }
    ShortGroups<Scalar, most_rows> groups(tile.lanes);
    if (is_centred(job.statistic)) {
      first_shifts(*job.kernels, x, tile.lanes, n, groups.h);
      job.kernels->sweeps(x, tile.lanes, n, groups.h, groups.first, groups.second);
    } else {
      job.kernels->sums(x, tile.lanes, n, true, groups.second);
      std::fill(groups.h, groups.h + tile.lanes, Scalar(0));
      std::fill(groups.first, groups.first + tile.lanes, Scalar(0));
    }
    finish_short(job, tile, groups, by, summarize);
  }

  /// The same of lanes that are summed where they are.
  static void finish_short_lanes(const Job& job, const Tile& tile, Buffer& buffer, Normalizer<Scalar>* by) {
    const std::int64_t n = job.partition->count;
    const Rows<const Storage> x = read_lanes(job.x, 0, job.partition->values, tile, 0, n, buffer.values);
    ShortGroups<Scalar, most_lanes> groups(tile.lanes);
    if (is_centred(job.statistic)) {
      first_lane_shifts(*job.kernels, x, n, tile.lanes, groups.h);
    } else {
      std::fill(groups.h, groups.h + tile.lanes, Scalar(0));
    }
    job.kernels->lane_sweeps(x, n, tile.lanes, groups.h, groups.first, groups.second);
    if (!is_centred(job.statistic)) std::fill(groups.first, groups.first + tile.lanes, Scalar(0));
    // Any lane's sixteen neighbours, of which it is one.
    finish_short(job, tile, groups, by, [&](std::int64_t t, Summary<Scalar>& summary) {
      const std::int64_t first = std::min(t, tile.lanes - gathered_lanes);
      Summary<Scalar> summaries[gathered_lanes];
      append_lanes(*job.kernels, job.statistic, {x.data + first, x.step}, n, gathered_lanes, true, summaries);
      summary = summaries[t - first];
    });
  }

  /// Statistics of groups of one block, from their sums; `summarize(i, summary)` for those that need more.
  template <std::int64_t Most, typename Summarize>
  static void finish_short(const Job& job, const Tile& tile, const ShortGroups<Scalar, Most>& groups,
                           Normalizer<Scalar>* by, const Summarize& summarize) {
    const auto n = static_cast<W>(job.partition->count);
    const Rule<Scalar> rule{has_sigma(job.statistic), n, job.statistic == Statistic::sum_square ? W(1) : n,
                            job.eps};
    alignas(64) Scalar high[most_rows], low[most_rows], rstd[most_rows];
    alignas(64) W variance[most_rows];
    for (std::int64_t start = 0; start < tile.lanes; start += most_rows) {
      unsigned left = job.kernels->finish(rule, groups.h + start, groups.first + start, groups.second + start,
                                          high, low, rstd, variance);
      const std::int64_t count = std::min(tile.lanes - start, most_rows);
      for (std::int64_t i = 0; i < count; ++i, left >>= 1) {
        if ((left & 1) != 0) {
          Summary<Scalar> summary;
          summarize(start + i, summary);
          by[start + i] = finish_lane(job, tile, start + i, summary).normalizer;
          continue;
        }
        by[start + i] = {high[i], low[i], rstd[i]};
        job.sink.put(tile.base.group + (start + i) * tile.lane.group, {by[start + i], variance[i]});
      }
    }
  }

  /// How far ahead to ask for the next of several tiles of `values` in `tensors` tensors: not at all where they
  /// do not stay in cache.
  static std::int64_t next_after(std::int64_t values, std::int64_t tensors, std::int64_t distance) {
    return values * tensors * static_cast<std::int64_t>(sizeof(Storage)) <= resident_bytes ? distance : 0;
  }

  static const Scalar* at_feature(const Scalar* parameter, std::int64_t feature) {
    return parameter == nullptr ? nullptr : parameter + feature;
  }

  // ---- statistics of tiles

  /// Summaries of one segment of each lane.
  static void summarize(const Job& job, const Tile& tile, Segment segment, Buffer& buffer,
                        Summary<Scalar>* summaries) {
    const Partition& partition = *job.partition;
    const bool in_place = sums_in_place(partition, tile, 1);
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t first = block * block_size;
      const std::int64_t n = values_in_block(block, partition.count);
      const bool is_first = block == segment.first_block;
      if (in_place) {
        append_lanes(*job.kernels, job.statistic,
                     read_lanes(job.x, 0, partition.values, tile, first, n, buffer.values), n, tile.lanes,
                     is_first, summaries);
      } else {
        const Storage* x =
            read_block(*job.kernels, job.x, 0, partition.values, tile, first, n, buffer.values);
        append_rows(*job.kernels, job.statistic, {x, block_size}, tile.lanes, n, is_first, summaries);
      }
    }
  }

  static GroupStatistics<Scalar> finish_lane(const Job& job, const Tile& tile, std::int64_t lane,
                                             const Summary<Scalar>& summary) {
    const GroupStatistics<Scalar> result =
        is_out_of_range(summary, job.statistic)
            ? ScaledStatistics<Storage, Scalar>(job, tile, lane).find(summary)
            : finish(summary, job.statistic, job.eps);
    job.sink.put(tile.base.group + lane * tile.lane.group, result);
    return result;
  }

  /// Finished statistics of each lane of a tile, from the summaries of all its segments.
  static void finish_tile(const Job& job, const Tile& tile, const Summary<Scalar>* summaries,
                          Normalizer<Scalar>* by) {
    for (std::int64_t t = 0; t < tile.lanes; ++t) by[t] = finish_lane(job, tile, t, summaries[t]).normalizer;
  }

  // ---- y of tiles

  /// Writes y for segments [first, last) of each lane.
  static void write(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                    const Normalizer<Scalar>* by, Buffer& buffer) {
    const std::int64_t count = job.partition->count;
    const std::int64_t first_value = first * segment_size;
    const std::int64_t last_value = std::min(last * segment_size, count);
    if (job.layout->direct && (tile.lanes > 1 || job.partition->groups.interleaved)) {
      const std::int64_t run = job.layout->run;
      write_lanes(job, tile, (first_value + run - 1) / run, (last_value + run - 1) / run, by);
    } else if (tile.lanes == 1 && Partition::steps_by(job.partition->groups.reduced.fastest(), 1, 0, 2)) {
      write_runs(job, tile, first_value, last_value, *by);
    } else {
      write_blocks(job, tile, first_value, last_value, by, buffer);
    }
  }

  static void write_lanes(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                          const Normalizer<Scalar>* by) {
    const LaneLayout& layout = *job.layout;
    if (layout.by_runs()) {
      write_short_runs(job, tile, first, last, by,
                       next_after(tile.lanes * job.partition->count, 1, tile.lanes * layout.run));
      return;
    }
    LaneArrays<Scalar> arrays(layout, tile.lanes, 0, 2, LaneArrays<Scalar>::most(job.stream));
    arrays.fill(arrays.high, [&](std::int64_t t, std::int64_t) { return by[t].high; });
    arrays.fill(arrays.low, [&](std::int64_t t, std::int64_t) { return by[t].low; });
    arrays.fill(arrays.rstd, [&](std::int64_t t, std::int64_t) { return by[t].rstd; });
    write_bands(job, layout, tile, first, last, arrays,
                next_after(tile.lanes * job.partition->count, 1, arrays.positions()));
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
        [&](const Offsets& offsets, std::int64_t, std::int64_t rows, std::int64_t width, const Axis& axis,
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

  /// Rows that are four kilobytes of float.
  static std::int64_t rows_ahead(std::int64_t width) { return std::max(block_size / width, std::int64_t{4}); }

  /// Values [first, last) of one group, by runs.
  static void write_runs(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                         const Normalizer<Scalar>& by) {
    const Loop& values = job.partition->groups.reduced;
    const Axis axis = values.fastest();
    const std::int64_t next =
        next_after(job.partition->count, 1, job.partition->groups.kept.fastest().stride[0]);
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
      Scalar scale[block_size], shift[block_size];
      for (std::int64_t at = 0; at < length; at += block_size) {
        const std::int64_t n = std::min(block_size, length - at);
        for (std::int64_t i = 0; i < n; ++i) {
          scale[i] = job.scale == nullptr ? Scalar(1) : job.scale[feature + (at + i) * axis.feature];
          shift[i] = job.shift == nullptr ? Scalar(-0.0) : job.shift[feature + (at + i) * axis.feature];
        }
        job.kernels->transform({x.data + at, 0}, {y.data + at, 0}, 1, n, &by, {scale, shift, 0, true},
                               {job.stream, 0});
      }
    });
  }

  /// Values [first, last) of each lane, through a buffer.
  static void write_blocks(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                           const Normalizer<Scalar>* by, Buffer& buffer) {
    const Partition& partition = *job.partition;
    Scalar scale_buffer[block_size], shift_buffer[block_size];
    for (std::int64_t at = first; at < last; at += block_size) {
      const std::int64_t n = std::min(block_size, last - at);
      const Storage* x = read_block(*job.kernels, job.x, 0, partition.values, tile, at, n, buffer.values);
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
        job.kernels->transform({x + t * block_size, 0}, {y + t * block_size, 0}, 1, n, by + t,
                               {scale, shift, 0, !partition.features_kept}, {});
      }
      if (place == nullptr) write_block(*job.kernels, job.y, 1, partition.values, tile, at, n, buffer.values);
    }
  }

  // ---- tasks on tiles

  /// Tiles [first, last) by their own statistics.
  static void tiles(const Job& job, std::int64_t first, std::int64_t last) {
    Buffer buffer;
    const std::int64_t segments = segments_in(job.partition->count);
    for (std::int64_t id = first; id < last; ++id) {
      const Tile tile = job.partition->groups.tile(id, job.width);
      Normalizer<Scalar> by[most_lanes];
      if (job.partition->count <= block_size && sums_in_place(*job.partition, tile, 1)) {
        finish_short_lanes(job, tile, buffer, by);
        if (job.y != nullptr) write(job, tile, 0, segments, by, buffer);
        continue;
      }
      Summary<Scalar> total[most_lanes];
      for (std::int64_t number = 0; number < segments; ++number) {
        Summary<Scalar> next[most_lanes];
        summarize(job, tile, segment(number, job.partition->count), buffer, number == 0 ? total : next);
        for (std::int64_t t = 0; number > 0 && t < tile.lanes; ++t)
          total[t].merge(next[t], is_centred(job.statistic));
      }
      finish_tile(job, tile, total, by);
      if (job.y != nullptr) write(job, tile, 0, segments, by, buffer);
    }
    if (job.stream) job.kernels->fence();
  }

  /// Segments [first, last) of one tile: their summaries, `tile.lanes` apart.
  static void summarize_segments(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                                 Summary<Scalar>* summaries) {
    Buffer buffer;
    for (std::int64_t number = first; number < last; ++number) {
      summarize(job, tile, segment(number, job.partition->count), buffer,
                summaries + (number - first) * tile.lanes);
    }
  }

  /// Segments [first, last) of one tile: y.
  static void write_segments(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                             const Normalizer<Scalar>* by) {
    Buffer buffer;
    write(job, tile, first, last, by, buffer);
    if (job.stream) job.kernels->fence();
  }

  // ---- by given statistics, one of each feature

  static GroupStatistics<Scalar> given_statistics(const Job& job, std::int64_t feature) {
    GroupStatistics<Scalar> result{{0, 0, 1}, 0};
    if (job.given_mean != nullptr) result.normalizer.high = job.given_mean[feature];
    if (job.given_rstd != nullptr) result.normalizer.rstd = static_cast<Scalar>(job.given_rstd[feature]);
    if (job.given_variance != nullptr) {
      result.variance = static_cast<W>(job.given_variance[feature]);
      result.normalizer.rstd = reciprocal_root<Scalar>(result.variance + job.eps);
    }
    return result;
  }

  /// Keeps the given statistics as those of every group.
  static void keep_given(const Job& job) {
    const Loop& kept = job.partition->groups.kept;
    for (std::int64_t i = 0; i < kept.size; ++i) {
      const Offsets group = kept.at(i);
      job.sink.put(group.group, given_statistics(job, group.feature));
    }
  }

  /// The axis along which runs of one feature lie, of one value each where features are fastest.
  static Axis given_run(const Job& job) {
    const Axis fastest = job.partition->memory.fastest();
    return fastest.feature == 0 ? fastest : no_axis();
  }
  static std::int64_t given_runs_in(const Job& job) { return job.partition->size / given_run(job).extent; }

  /// Runs of one feature each, numbered in memory order, in so many pieces each: pieces [first, last).
  static void given_runs(const Job& job, std::int64_t pieces, std::int64_t first, std::int64_t last) {
    const Loop& memory = job.partition->memory;
    const Axis inside = given_run(job);
    const Loop runs = inside.extent > 1 ? without_fastest(memory, 1) : memory;
    const Axis axis = runs.fastest();
    if (pieces > 1) {
      for (std::int64_t task = first; task < last; ++task) {
        Offsets at = runs.at(task / pieces);
        const std::int64_t start = task % pieces * segment_size;
        at.step(inside, start);
        given_some_runs(job, at, axis, 1, inside, std::min(segment_size, inside.extent - start));
      }
    } else {
      runs.for_each_run(first, last, [&](Offsets at, std::int64_t, std::int64_t length) {
        for (std::int64_t done = 0; done < length; done += most_rows) {
          const std::int64_t count = std::min(most_rows, length - done);
          given_some_runs(job, at, axis, count, inside, inside.extent);
          at.step(axis, count);
        }
      });
    }
    if (job.stream) job.kernels->fence();
  }

  static void given_some_runs(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                              const Axis& inside, std::int64_t n) {
    Normalizer<Scalar> by[most_rows];
    for (std::int64_t r = 0; r < count; ++r)
      by[r] = given_statistics(job, at.feature + r * axis.feature).normalizer;
    const Rows<const Storage> x{job.x + at.tensor[job.from], axis.stride[job.from]};
    const Rows<Storage> y{job.y + at.tensor[job.to], axis.stride[job.to]};
    const Affine<Scalar> affine{at_feature(job.scale, at.feature), at_feature(job.shift, at.feature),
                                axis.feature, false};
    if (n == 1 || (inside.stride[job.from] == 1 && inside.stride[job.to] == 1)) {
      job.kernels->transform(x, y, count, n, by, affine, {job.stream, 512});
    } else {
      given_values(job, x, y, count, inside, n, by, affine);
    }
  }

  /// Values that do not follow each other in memory.
  static void given_values(const Job& job, Rows<const Storage> x, Rows<Storage> y, std::int64_t rows,
                           const Axis& inside, std::int64_t length, const Normalizer<Scalar>* by,
                           Affine<Scalar> affine) {
    Storage values[block_size];
    for (std::int64_t r = 0; r < rows; ++r) {
      const Affine<Scalar> mine{at_feature(affine.scale, r * affine.step),
                                at_feature(affine.shift, r * affine.step), 0, false};
      for (std::int64_t at = 0; at < length; at += block_size) {
        const std::int64_t n = std::min(block_size, length - at);
        for (std::int64_t i = 0; i < n; ++i) values[i] = x(r)[(at + i) * inside.stride[job.from]];
        job.kernels->transform({values, 0}, {values, 0}, 1, n, by + r, mine, {});
        for (std::int64_t i = 0; i < n; ++i) y(r)[(at + i) * inside.stride[job.to]] = values[i];
      }
    }
  }

  /// Rows [first, last) of the lanes of one chunk.
  static void given_lanes(const Job& job, std::int64_t chunk, std::int64_t first, std::int64_t last) {
    const LaneLayout& layout = *job.layout;
    const std::int64_t start = chunk * job.width;
    Tile tile{{}, std::min(job.width, layout.lane.extent - start), layout.lane};
    tile.base.step(layout.lane, start);
    Normalizer<Scalar> by[most_positions];
    for (std::int64_t t = 0; t < tile.lanes; ++t)
      by[t] = given_statistics(job, tile.base.feature + t * tile.lane.feature).normalizer;
    if (layout.by_runs()) {
      write_short_runs(job, tile, first, last, by, 512);
      if (job.stream) job.kernels->fence();
      return;
    }
    LaneArrays<Scalar> arrays(layout, tile.lanes, job.from, job.to + 1, LaneArrays<Scalar>::most(job.stream));
    arrays.fill(arrays.high, [&](std::int64_t t, std::int64_t) { return by[t].high; });
    arrays.fill(arrays.low, [&](std::int64_t, std::int64_t) { return Scalar(0); });
    arrays.fill(arrays.rstd, [&](std::int64_t t, std::int64_t) { return by[t].rstd; });
    write_bands(job, layout, tile, first, last, arrays, 0);
    if (job.stream) job.kernels->fence();
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

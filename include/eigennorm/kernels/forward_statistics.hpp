#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/scaled.hpp"

/// \file
/// The statistics of the groups of a tile, from its x.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

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
struct ForwardStatistics {
  using W = Wide<Scalar>;
  using Job = ForwardJob<Storage, Scalar>;
  using Buffer = Gathered<Storage, 16 * 1024>;

  // ---- groups of any size, from summaries of their segments

  /// Summaries of one segment of each lane.
  static void summarize(const Job& job, const Tile& tile, Segment segment, Summary<Scalar>* summaries) {
    const Partition& partition = *job.partition;
    const bool in_place = sums_in_place(partition, tile, 1);
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t first = block * block_size;
      const std::int64_t n = values_in_block(block, partition.count);
      const bool is_first = block == segment.first_block;
      if (in_place && is_one_run(partition.values, first, n)) {
        append_lanes(*job.kernels, job.statistic, lanes_in_place(job.x, 0, partition.values, tile, first), n,
                     tile.lanes, is_first, summaries);
      } else {
        summarize_gathered(job, tile, in_place, first, n, is_first, summaries);
      }
    }
  }

  /// Appends values [first, first + n) of each lane, a block, as rows or `by_lanes`.
  /// (Not inlined, so that its buffer is on the stack only where it is needed.)
  [[gnu::noinline]] static void summarize_gathered(const Job& job, const Tile& tile, bool by_lanes,
                                                   std::int64_t first, std::int64_t n, bool is_first,
                                                   Summary<Scalar>* summaries) {
    static_assert(Buffer::lanes == gathered_lanes);
    const auto& kernels = *job.kernels;
    const Loop& values = job.partition->values;
    Buffer buffer;
    if (!by_lanes) {
      // As many lanes at a time as there is room for.
      for (std::int64_t start = 0; start < tile.lanes;) {
        const Tile some = Buffer::some(tile, start, n);
        const std::int64_t step = Buffer::step(some.lanes, n);
        append_rows(kernels, job.statistic,
                    {read_block(kernels, job.x, 0, values, some, first, n, buffer.values, step), step},
                    some.lanes, n, is_first, summaries + start);
        start += some.lanes;
      }
      return;
    }
    const auto lanes = [&](std::int64_t at, std::int64_t count) {
      return gather_lanes(job.x, 0, values, tile, first + at, count, buffer.values);
    };
    const std::int64_t part = Buffer::part(gathered_lanes);
    if (n <= part) {
      append_lanes(kernels, job.statistic, lanes(0, n), n, tile.lanes, is_first, summaries);
      return;
    }
    const auto shifts = [&](Scalar* h) {
      first_lane_shifts(kernels, lanes(0, step_size), step_size, tile.lanes, h);
    };
    const auto sweep = [&](const Scalar* h, Scalar* sum, Scalar* square) {
      OpenTree<Scalar> trees[gathered_lanes] = {};
      for (std::int64_t at = 0; at < n; at += part)
        kernels.continue_lane_sweeps(lanes(at, (std::min)(part, n - at)), (std::min)(part, n - at), h, at,
                                     trees);
      kernels.fold_lanes(trees, sum, square);
    };
    append_swept(job.statistic, n, tile.lanes, is_first, shifts, sweep, summaries);
  }

  /// (Not inlined, as above.)
  [[gnu::noinline]] static GroupStatistics<Scalar> find_scaled(const Job& job, const Tile& tile,
                                                               std::int64_t lane,
                                                               const Summary<Scalar>& summary) {
    return ScaledStatistics<Storage, Scalar>(job, tile, lane).find(summary);
  }

  static GroupStatistics<Scalar> finish_lane(const Job& job, const Tile& tile, std::int64_t lane,
                                             const Summary<Scalar>& summary) {
    const GroupStatistics<Scalar> result = is_out_of_range(summary, job.statistic)
                                               ? find_scaled(job, tile, lane, summary)
                                               : finish(summary, job.statistic, job.eps);
    job.sink.put(tile.base.group + lane * tile.lane.group, result);
    return result;
  }

  /// Finished statistics of each lane of a tile, from the summaries of all its segments.
  static void finish_tile(const Job& job, const Tile& tile, const Summary<Scalar>* summaries,
                          Normalizer<Scalar>* by) {
    for (std::int64_t t = 0; t < tile.lanes; ++t) by[t] = finish_lane(job, tile, t, summaries[t]).normalizer;
  }

  // ---- groups of one block, without summaries

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

  /// Whether the groups of a tile are lanes of one block that are where they are, or can be copied whole.
  static bool are_short_lanes(const Partition& partition, const Tile& tile) {
    return partition.count <= block_size && sums_in_place(partition, tile, 1) &&
           (partition.count <= Buffer::part(gathered_lanes) ||
            is_one_run(partition.values, 0, partition.count));
  }

  /// The same of such lanes. (Not inlined, as above.)
  [[gnu::noinline]] static void finish_short_lanes(const Job& job, const Tile& tile, Normalizer<Scalar>* by) {
    const std::int64_t n = job.partition->count;
    const Loop& values = job.partition->values;
    Buffer buffer;
    const Rows<const Storage> x = is_one_run(values, 0, n)
                                      ? lanes_in_place(job.x, 0, values, tile, 0)
                                      : gather_lanes(job.x, 0, values, tile, 0, n, buffer.values);
    ShortGroups<Scalar, most_lanes<Scalar>> groups(tile.lanes);
    if (is_centred(job.statistic)) {
      first_lane_shifts(*job.kernels, x, n, tile.lanes, groups.h);
    } else {
      std::fill(groups.h, groups.h + tile.lanes, Scalar(0));
    }
    job.kernels->lane_sweeps(x, n, tile.lanes, groups.h, groups.first, groups.second);
    if (!is_centred(job.statistic)) std::fill(groups.first, groups.first + tile.lanes, Scalar(0));
    // Of each lane's sixteen neighbours at once: constant channels come together.
    Summary<Scalar> summaries[gathered_lanes];
    std::int64_t first = -gathered_lanes;
    finish_short(job, tile, groups, by, [&](std::int64_t t, Summary<Scalar>& summary) {
      if (t >= first + gathered_lanes) {
        first = (std::min)(t, tile.lanes - gathered_lanes);
        append_lanes(*job.kernels, job.statistic, {x.data + first, x.step}, n, gathered_lanes, true,
                     summaries);
      }
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
      const std::int64_t count = (std::min)(tile.lanes - start, most_rows);
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
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

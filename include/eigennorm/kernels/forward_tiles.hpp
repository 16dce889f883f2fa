#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/forward_statistics.hpp"
#include "eigennorm/kernels/forward_writes.hpp"
#include "eigennorm/kernels/job.hpp"

/// \file
/// What a task of a forward call does with tiles: some groups side by side, or one, wherever their values lie.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

template <typename Storage, typename Scalar>
struct ForwardTiles {
  using Job = ForwardJob<Storage, Scalar>;
  using Statistics = ForwardStatistics<Storage, Scalar>;
  using Writes = ForwardWrites<Storage, Scalar>;

  /// Tiles [first, last) by their own statistics.
  static void tiles(const Job& job, std::int64_t first, std::int64_t last) {
    const std::int64_t segments = segments_in(job.partition->count);
    for (std::int64_t id = first; id < last; ++id) {
      const Tile tile = job.partition->groups.tile(id, job.width);
      Normalizer<Scalar> by[most_lanes<Scalar>];
      if (Statistics::are_short_lanes(*job.partition, tile)) {
        Statistics::finish_short_lanes(job, tile, by);
      } else {
        find_statistics(job, tile, by);
      }
      if (job.y != nullptr) Writes::write(job, tile, 0, segments, by);
    }
    if (job.stream) job.kernels->fence();
  }

  static void find_statistics(const Job& job, const Tile& tile, Normalizer<Scalar>* by) {
    const std::int64_t count = job.partition->count;
    Summary<Scalar> total[most_lanes<Scalar>];
    for (std::int64_t number = 0; number < segments_in(count); ++number) {
      Summary<Scalar> next[most_lanes<Scalar>];
      Statistics::summarize(job, tile, segment(number, count), number == 0 ? total : next);
      for (std::int64_t t = 0; number > 0 && t < tile.lanes; ++t)
        total[t].merge(next[t], is_centred(job.statistic));
    }
    Statistics::finish_tile(job, tile, total, by);
  }

  /// Segments [first, last) of one tile: their summaries, `tile.lanes` apart.
  static void summarize_segments(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                                 WaitingSummary<Scalar>* waiting) {
    for (std::int64_t number = first; number < last; ++number) {
      Summary<Scalar> summaries[most_lanes<Scalar>];
      Statistics::summarize(job, tile, segment(number, job.partition->count), summaries);
      for (std::int64_t t = 0; t < tile.lanes; ++t) (waiting++)->put(summaries[t]);
    }
  }

  /// Segments [first, last) of one tile: y.
  static void write_segments(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                             const Normalizer<Scalar>* by) {
    Writes::write(job, tile, first, last, by);
    if (job.stream) job.kernels->fence();
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

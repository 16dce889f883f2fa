#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/backward_sums.hpp"
#include "eigennorm/kernels/backward_writes.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/piece_sums.hpp"

/// \file
/// What a task of a backward call does with tiles: some groups side by side, or one, wherever their values lie.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

template <typename Storage, typename Scalar>
struct BackwardTiles {
  using Job = BackwardJob<Storage, Scalar>;
  using Sums = BackwardSums<Storage, Scalar>;
  using Writes = BackwardWrites<Storage, Scalar>;

  /// Tiles [first, last).
  static void tiles(const Job& job, std::int64_t first, std::int64_t last) {
    const Partition& partition = *job.partition;
    const GroupPieces cut(partition, job.scale != nullptr);
    for (std::int64_t id = first; id < last; ++id) {
      const Tile tile = partition.groups.tile(id, job.width);
      GradientSums<Scalar> total[most_lanes<Scalar>];
      for (std::int64_t number = 0; number < cut.segments; ++number) {
        GradientSums<Scalar> next[most_lanes<Scalar>];
        Sums::sum(job, tile, cut.segment(number), next, sample_of(job, id));
        for (std::int64_t t = 0; t < tile.lanes; ++t) total[t].add(next[t]);
      }
      keep_tile(job, tile, total);
      if (!job.frozen) Writes::write(job, tile, 0, segments_in(partition.count), total);
    }
    if (job.stream) job.kernels->fence();
  }

  static void keep_tile(const Job& job, const Tile& tile, const GradientSums<Scalar>* sums) {
    for (std::int64_t t = 0; t < tile.lanes; ++t) job.keep(tile.base.group + t * tile.lane.group, sums[t]);
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
                           const GradientTotals<Scalar>& waiting) {
    const GroupPieces cut(*job.partition, job.scale != nullptr);
    const Tile tile = job.partition->groups.tile(id, job.width);
    for (std::int64_t number = first; number < last; ++number) {
      GradientSums<Scalar> sums[most_lanes<Scalar>];
      Sums::sum(job, tile, cut.segment(number), sums, sample_of(job, id));
      for (std::int64_t t = 0; t < tile.lanes; ++t) waiting.put((number - first) * tile.lanes + t, sums[t]);
    }
  }

  /// Segments [first, last) of one tile: dx.
  static void write_segments(const Job& job, const Tile& tile, std::int64_t first, std::int64_t last,
                             const GradientSums<Scalar>* sums) {
    Writes::write(job, tile, first, last, sums);
    if (job.stream) job.kernels->fence();
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

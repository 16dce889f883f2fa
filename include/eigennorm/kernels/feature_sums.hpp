#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/lane_layout.hpp"
#include "eigennorm/kernels/reference.hpp"

/// \file
/// dscale and dshift by themselves, where scale and shift vary within a group and it is no row of all features.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

/// Adds the sums of sixteen pieces to the wide totals of their features.
template <typename Storage, typename Scalar>
void flush_sums(const BackwardJob<Storage, Scalar>& job, const GradientTotals<Scalar>& totals, std::int64_t n,
                Scalar* sums, Scalar* products) {
  job.kernels->flush(sums, n, totals.sum, totals.sum_lost);
  job.kernels->flush(products, n, totals.product, totals.product_lost);
}

template <typename Storage, typename Scalar>
struct FeatureSums {
  using Job = BackwardJob<Storage, Scalar>;

  /// Features that a task handles together where they lie side by side: 256 of float are 1 KB of each row,
  /// their sums 4 KB.
  static constexpr std::int64_t lanes_together = 256;
  static std::int64_t width(const Partition& partition) {
    return partition.features.interleaved ? lanes_together : 1;
  }

  /// Tasks [first, last), numbered by part and, within a part, by tile of features.
  static void parts(const Job& job, std::int64_t first, std::int64_t last) {
    const FeaturePieces cut(*job.partition);
    const Reduction& features = job.partition->features;
    const std::int64_t width = FeatureSums::width(*job.partition);
    const std::int64_t tiles = features.tiles(width);
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t part = task / tiles;
      const Tile tile = features.tile(task % tiles, width);
      const GradientTotals<Scalar> into = job.sums.from(part * features.kept.size);
      if (cut.run == 1) {
        sum_positions(job, cut, part, tile, into);
      } else {
        sum_runs(job, cut, part, tile, into);
      }
    }
  }

  /// One part of features that lie side by side.
  static void sum_positions(const Job& job, const FeaturePieces& cut, std::int64_t part, const Tile& tile,
                            const GradientTotals<Scalar>& into) {
    alignas(64) Scalar pair[2][lanes_together] = {}, together[2][lanes_together] = {};
    alignas(64) Wide<Scalar> wide[4 * lanes_together] = {};
    const GradientTotals<Scalar> totals(wide, lanes_together);
    const std::int64_t first = part * cut.per_part;
    const std::int64_t last = (std::min)(first + cut.per_part, cut.pieces);
    for (std::int64_t position = first; position < last; ++position) {
      add_position(job, job.partition->features.reduced.at(position), tile, pair[0], pair[1]);
      const std::int64_t done = position - first + 1;
      if (done % 2 != 0 && position + 1 < last) continue;
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        together[0][t] = together[0][t] + pair[0][t];
        together[1][t] = together[1][t] + pair[1][t];
        pair[0][t] = pair[1][t] = Scalar(0);
      }
      if (done % pieces_together == 0 || position + 1 == last)
        flush_sums(job, totals, tile.lanes, together[0], together[1]);
    }
    for (std::int64_t t = 0; t < tile.lanes; ++t)
      into.put(tile.base.feature + t * tile.lane.feature, totals.get(t));
  }

  static void add_position(const Job& job, const Offsets& position, const Tile& tile, Scalar* sums,
                           Scalar* products) {
    const Storage* x = job.x + tile.base.tensor[0] + position.tensor[0];
    const Storage* dy = job.dy + tile.base.tensor[1] + position.tensor[1];
    const std::int64_t group = tile.base.group + position.group;
    if (tile.lane.group == 0 && tile.lane.stride[0] == 1 && tile.lane.stride[1] == 1) {
      job.kernels->add_position(x, dy, tile.lanes, job.moments.of(group), sums, products);
      return;
    }
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      job.kernels->add_position(x + t * tile.lane.stride[0], dy + t * tile.lane.stride[1], 1,
                                job.moments.of(group + t * tile.lane.group), sums + t, products + t);
    }
  }

  /// One part of a feature whose positions follow each other in memory.
  static void sum_runs(const Job& job, const FeaturePieces& cut, std::int64_t part, const Tile& tile,
                       const GradientTotals<Scalar>& into) {
    GradientSums<Scalar> total;
    Sums<Scalar> pair{0, 0}, together{0, 0};
    const std::int64_t first = part * cut.per_part;
    const std::int64_t last = (std::min)(first + cut.per_part, cut.pieces);
    for (std::int64_t piece = first; piece < last; ++piece) {
      const std::int64_t start = piece % cut.per_run * block_size;
      const Sums<Scalar> next = sum_piece(job, tile, piece / cut.per_run * cut.run + start,
                                          (std::min)(block_size, cut.run - start));
      pair = {pair.first + next.first, pair.second + next.second};
      const std::int64_t done = piece - first + 1;
      if (done % 2 != 0 && piece + 1 < last) continue;
      together = {together.first + pair.first, together.second + pair.second};
      pair = {0, 0};
      if (done % pieces_together == 0 || piece + 1 == last) {
        total.add(together);
        together = {0, 0};
      }
    }
    into.put(tile.base.feature, total);
  }

  /// xhat of positions [first, first + n) of a feature, each by its own group.
  static void normalize(const Job& job, const Tile& tile, std::int64_t first, std::int64_t n,
                        const Storage* x, Scalar* xhat) {
    const Loop& positions = job.partition->features.reduced;
    const Axis fastest = positions.fastest();
    positions.for_each_run(
        first, first + n, [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
          for (std::int64_t i = 0; i < length; ++i) {
            const std::int64_t at = position - first + i;
            const Normalizer<Scalar> by = job.moments.of(tile.base.group + offsets.group + i * fastest.group);
            xhat[at] = ((static_cast<Scalar>(x[at]) - by.high) - by.low) * by.rstd;
          }
        });
  }

  static Sums<Scalar> sum_piece(const Job& job, const Tile& tile, std::int64_t first, std::int64_t n) {
    const Loop& positions = job.partition->features.reduced;
    Storage x_values[block_size], dy_values[block_size];
    const Storage* x = read_block(*job.kernels, job.x, 0, positions, tile, first, n, x_values, block_size);
    const Storage* dy = read_block(*job.kernels, job.dy, 1, positions, tile, first, n, dy_values, block_size);
    const Axis fastest = positions.fastest();
    const Offsets start = positions.at(first);
    const std::int64_t group = tile.base.group + start.group;
    Sums<Scalar> sums;
    if (first % fastest.extent + n <= fastest.extent && (fastest.group == 0 || n == 1)) {
      const Normalizer<Scalar> by = job.moments.of(group);
      job.kernels->gradient_sums({x, 0}, {dy, 0}, 1, n, &by, {}, &sums.first, &sums.second);
      return sums;
    }
    // The group changes on the way: xhat first, then dy * xhat with nothing left to normalize by.
    const Normalizer<Scalar> nothing{0, 0, 1};
    if constexpr (std::is_same_v<Storage, Scalar>) {
      Scalar* xhat = x_values;  // x may be there already
      if (first % fastest.extent + n <= fastest.extent && fastest.group == 1 && n >= 16) {
        const Lanes<Scalar> lanes{job.moments.high + group,
                                  job.moments.low + group,
                                  job.moments.rstd + group,
                                  nullptr,
                                  nullptr,
                                  nullptr,
                                  nullptr};
        const Scalar one = 1;
        job.kernels->lane_transform({x, 0}, {xhat, 0}, 1, n, lanes, &one, nullptr, {});
      } else {
        normalize(job, tile, first, n, x, xhat);
      }
      job.kernels->gradient_sums({xhat, 0}, {dy, 0}, 1, n, &nothing, {}, &sums.first, &sums.second);
    } else {
      Scalar xhat[block_size], d[block_size];
      normalize(job, tile, first, n, x, xhat);
      for (std::int64_t i = 0; i < n; ++i) d[i] = static_cast<Scalar>(dy[i]);
      reference::Functions<Scalar, Scalar>::gradient_sums({xhat, 0}, {d, 0}, 1, n, &nothing, {}, &sums.first,
                                                          &sums.second);
    }
    return sums;
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

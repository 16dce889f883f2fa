#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "eigennorm/core/backward.hpp"
#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/gradient_sums.hpp"
#include "eigennorm/kernels/reference.hpp"

/// \file
/// dscale and dshift by themselves, where scale and shift vary within a group and it is no row of all features.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// Adds the sums of sixteen pieces to the wide totals of their features.
template <typename Storage, typename Scalar>
void flush_sums(const BackwardCall<Storage, Scalar>& call, const GradientTotals<Scalar>& totals, std::int64_t n,
                Scalar* sums, Scalar* products) {
  call.kernels->flush(sums, n, totals.sum, totals.sum_lost);
  call.kernels->flush(products, n, totals.product, totals.product_lost);
}

template <typename Storage, typename Scalar>
struct FeatureSums {
  using Call = BackwardCall<Storage, Scalar>;

  /// Features that a task handles together where they lie side by side: 256 of float are 1 KB of each row,
  /// their sums 4 KB.
  static constexpr std::int64_t lanes_together = 256;
  static std::int64_t width(const Partition& partition) { return partition.features.interleaved ? lanes_together : 1; }

  /// Tasks [first, last), numbered by part and, within a part, by tile of features.
  static void parts(const Call& call, std::int64_t first, std::int64_t last) {
    const FeaturePieces cut(*call.partition);
    const Reduction& features = call.partition->features;
    const std::int64_t width = FeatureSums::width(*call.partition);
    const std::int64_t tiles = features.tiles(width);
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t part = task / tiles;
      const Tile tile = features.tile(task % tiles, width);
      const GradientTotals<Scalar> into = call.sums.starting_at(part * features.kept.size);
      if (cut.run == 1) {
        sum_positions(call, cut, part, tile, into);
      } else {
        sum_runs(call, cut, part, tile, into);
      }
    }
  }

  /// One part of features that lie side by side: positions by twos, of which the second may be of the next run.
  static void sum_positions(const Call& call, const FeaturePieces& cut, std::int64_t part, const Tile& tile,
                            const GradientTotals<Scalar>& into) {
    alignas(64) Scalar pair[2][lanes_together] = {}, together[2][lanes_together] = {};
    alignas(64) Wide<Scalar> wide[4 * lanes_together] = {};
    const GradientTotals<Scalar> totals(wide, lanes_together);
    const std::int64_t first = part * cut.per_part;
    const std::int64_t last = (std::min)(first + cut.per_part, cut.pieces);
    const Loop& positions = call.partition->features.reduced;
    const Axis run = positions.fastest();
    positions.for_each_run(first, last, [&](Offsets at, std::int64_t position, std::int64_t length) {
      for (std::int64_t left = length; left > 0;) {
        const std::int64_t in_sixteen = (position - first) % pieces_together;
        const bool second = in_sixteen % 2 != 0, alone = second || left == 1;
        const std::int64_t rows = alone ? 1 : (std::min)(pieces_together - in_sixteen, left) / 2 * 2;
        add_positions(call, at, rows, tile, alone ? pair : together);
        at.step(run, rows);
        position += rows;
        left -= rows;
        if (second || (alone && position == last)) {
          for (std::int64_t t = 0; t < tile.lanes; ++t) {
            together[0][t] = together[0][t] + pair[0][t];
            together[1][t] = together[1][t] + pair[1][t];
            pair[0][t] = pair[1][t] = Scalar(0);
          }
        }
        if ((position - first) % pieces_together == 0 || position == last)
          flush_sums(call, totals, tile.lanes, together[0], together[1]);
      }
    });
    for (std::int64_t t = 0; t < tile.lanes; ++t) into.put(tile.base.feature + t * tile.lane.feature, totals.get(t));
  }

  /// Adds the sums of `rows` positions of one run, by twos.
  static void add_positions(const Call& call, const Offsets& at, std::int64_t rows, const Tile& tile,
                            Scalar (*sums)[lanes_together]) {
    const Axis run = call.partition->features.reduced.fastest();
    const Rows<const Storage> x{call.x + tile.base.tensor[0] + at.tensor[0], run.stride[0]};
    const Rows<const Storage> dy{call.dy + tile.base.tensor[1] + at.tensor[1], run.stride[1]};
    Normalizers<Scalar> by = of_group(call, tile.base.group + at.group);
    by.step = run.group;
    if (tile.lane.group == 0 && tile.lane.stride[0] == 1 && tile.lane.stride[1] == 1)
      return call.kernels->pair_sums(x, dy, {rows, tile.lanes}, by, {sums[0], sums[1]});
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      const std::int64_t group = t * tile.lane.group;
      call.kernels->pair_sums({x.data + t * tile.lane.stride[0], x.step}, {dy.data + t * tile.lane.stride[1], dy.step},
                              {rows, 1}, {by.high + group, by.low + group, by.rstd + group, by.step, false},
                              {sums[0] + t, sums[1] + t});
    }
  }

  static Normalizers<Scalar> of_group(const Call& call, std::int64_t group) {
    const MomentsView<Scalar>& moments = call.moments;
    return {moments.high + group, moments.low + group, moments.rstd + group, 0, false};
  }

  /// One part of a feature whose positions follow each other in memory.
  static void sum_runs(const Call& call, const FeaturePieces& cut, std::int64_t part, const Tile& tile,
                       const GradientTotals<Scalar>& into) {
    GradientSums<Scalar> total;
    Scalar pair[2] = {0, 0}, together[2] = {0, 0};
    const std::int64_t first = part * cut.per_part;
    const std::int64_t last = (std::min)(first + cut.per_part, cut.pieces);
    for (std::int64_t piece = first; piece < last; ++piece) {
      const std::int64_t start = piece % cut.per_run * block_size, at = piece / cut.per_run * cut.run + start;
      Scalar next[2];
      sum_piece(call, tile, {at, at + (std::min)(block_size, cut.run - start)}, {next, next + 1});
      for (int k = 0; k < 2; ++k) pair[k] = pair[k] + next[k];
      const std::int64_t done = piece - first + 1;
      if (done % 2 != 0 && piece + 1 < last) continue;
      for (int k = 0; k < 2; ++k) {
        together[k] = together[k] + pair[k];
        pair[k] = 0;
      }
      if (done % pieces_together == 0 || piece + 1 == last) {
        total.add(together[0], together[1]);
        together[0] = together[1] = 0;
      }
    }
    into.put(tile.base.feature, total);
  }

  /// xhat of some positions of a feature, each by its own group.
  static void normalize(const Call& call, const Tile& tile, Segment part, const Storage* x, Scalar* xhat) {
    const Loop& positions = call.partition->features.reduced;
    const Axis fastest = positions.fastest();
    const MomentsView<Scalar>& by = call.moments;
    positions.for_each_run(
        part.first, part.last, [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
          for (std::int64_t i = 0; i < length; ++i) {
            const std::int64_t at = position - part.first + i;
            const std::int64_t group = tile.base.group + offsets.group + i * fastest.group;
            xhat[at] = ((static_cast<Scalar>(x[at]) - by.high[group]) - by.low[group]) * by.rstd[group];
          }
        });
  }

  /// The sums of some positions of a feature, at most a block.
  static void sum_piece(const Call& call, const Tile& tile, Segment part, kernels::Sums<Scalar> sums) {
    const Loop& positions = call.partition->features.reduced;
    const std::int64_t n = part.last - part.first;
    Storage x_values[block_size + kernels::selection_room<Storage>],
        dy_values[block_size + kernels::selection_room<Storage>];
    const Storage* x = value_rows<Storage, Scalar>({*call.kernels, call.x, 0}, positions, tile, part, x_values).data;
    const Storage* dy = value_rows<Storage, Scalar>({*call.kernels, call.dy, 1}, positions, tile, part, dy_values).data;
    const Axis fastest = positions.fastest();
    const std::int64_t group = tile.base.group + positions.at(part.first).group;
    const bool one_run = is_one_run(positions, part.first, n);
    if (one_run && (fastest.group == 0 || n == 1)) {
      call.kernels->gradient_sums({x, 0}, {dy, 0}, {1, n}, of_group(call, group), {}, sums);
      return;
    }
    // The group changes on the way: xhat first, then dy * xhat with nothing left to normalize by.
    const Scalar numbers[2] = {0, 1};
    const Normalizers<Scalar> nothing{numbers, numbers, numbers + 1, 0, false};
    if constexpr (std::is_same_v<Storage, Scalar>) {
      Scalar* xhat = x_values;  // x may be there already
      if (one_run && fastest.group == 1) {
        Normalizers<Scalar> by = of_group(call, group);
        by.by_column = true;
        call.kernels->transform({x, 0}, {xhat, 0}, {1, n}, by, {}, {});
      } else {
        normalize(call, tile, part, x, xhat);
      }
      call.kernels->gradient_sums({xhat, 0}, {dy, 0}, {1, n}, nothing, {}, sums);
    } else {
      Scalar xhat[block_size], d[block_size];
      normalize(call, tile, part, x, xhat);
      for (std::int64_t i = 0; i < n; ++i) d[i] = static_cast<Scalar>(dy[i]);
      kernels::reference::Functions<Scalar, Scalar>::gradient_sums({xhat, 0}, {d, 0}, {1, n}, nothing, {}, sums);
    }
  }
};

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

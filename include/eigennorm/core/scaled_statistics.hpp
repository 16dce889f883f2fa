#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/statistics.hpp"
#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/reference.hpp"
#include "eigennorm/statistic.hpp"

/// \file
/// Statistics of groups that are out of range (docs/arithmetic.md): zeros, constants, and values whose squares are.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

using kernels::Extent;
using kernels::Range;

/// What is known of the values of a group by looking at them: the first, and, where they are not all of its bits, their
/// largest magnitude; NaN where one is NaN. (Of one type, so that nothing lies between its numbers.)
template <typename Scalar>
struct Look {
  Scalar first, largest, varied;

  bool is_finite() const { return largest <= (std::numeric_limits<Scalar>::max)(); }
};

/// value * 2^exponent. (A product where it can be: of double, and not at the ends of its range.)
template <typename T>
T times_power(T value, int exponent) {
  constexpr int most = 1000, bias = 1023, digits = 52;
  if (!std::is_same_v<T, double> || exponent < -most || exponent > most) return std::ldexp(value, exponent);
  const std::uint64_t bits = static_cast<std::uint64_t>(exponent + bias) << digits;
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return value * static_cast<T>(power);
}

/// Puts the statistics of a group that need no sums to place i: those of the unscaled values are there, which is right
/// for zeros. One that holds NaN or infinity has none: all are NaN. Returns whether the group's values have to be
/// scaled.
template <typename Scalar>
bool needs_scaling(const Look<Scalar>& look, Statistic statistic, Wide<Scalar> eps, std::int64_t i,
                   Statistics<Scalar>& to) {
  using W = Wide<Scalar>;
  if (look.largest == 0) return false;
  if (!look.is_finite()) {
    to.high[i] = to.low[i] = to.rstd[i] = std::numeric_limits<Scalar>::quiet_NaN();
    to.variance[i] = std::numeric_limits<W>::quiet_NaN();
  } else if (look.varied == 0 && is_centred(statistic)) {
    to.high[i] = look.first;
    to.low[i] = 0;
    to.variance[i] = 0;
    to.rstd[i] = has_sigma(statistic) ? kernels::reference::Functions<Scalar, Scalar>::reciprocal_root(eps) : Scalar(1);
  } else {
    return true;
  }
  return false;
}

/// The statistics of a group, to place i, from the summaries at place r of its values times 2^-exponent.
template <typename Scalar>
void finish_scaled(const Summaries<Scalar>& of, std::int64_t r, int exponent, Statistic statistic, Wide<Scalar> eps,
                   std::int64_t i, Statistics<Scalar>& to) {
  using W = Wide<Scalar>;
  using Reference = kernels::reference::Functions<Scalar, Scalar>;
  const auto number = static_cast<std::int64_t>(of.count);
  W mean = times_power(of.mean[r], exponent), residual = 0, m2 = of.m2[r];
  if constexpr (Summaries<Scalar>::two_parts) {
    residual = times_power(of.low[r], exponent);
    m2 = m2 + of.lost[r];
  }
  to.high[i] = static_cast<Scalar>(mean);
  to.low[i] = static_cast<Scalar>((mean - static_cast<W>(to.high[i])) + residual);
  to.rstd[i] = 1;
  to.variance[i] = 0;
  if (!has_sigma(statistic)) return;
  const W variance = (std::max)(m2 / rule_of<Scalar>(statistic, number, eps).divisor, W(0));
  to.variance[i] = times_power(variance, 2 * exponent);
  // Where one of the summands leaves the range of W, only the other matters.
  const W scaled_eps = times_power(eps, -2 * exponent);
  if (variance != 0 && scaled_eps <= (std::numeric_limits<W>::max)()) {
    const W radicand = variance + scaled_eps;
    to.rstd[i] = radicand == 0 ? Scalar(0) : Reference::rstd_of(times_power(W(1) / std::sqrt(radicand), -exponent));
  } else {
    to.rstd[i] = Reference::reciprocal_root(to.variance[i] + eps);
  }
}

/// Statistics of groups whose squares leave the range of Scalar, by the arithmetic of the contract on values scaled by
/// a power of two to at most 1. Scaling is exact, so a group's bits do not depend on which side of the range it was on.
///
/// Ordinary data come here too: padding, silence, dead channels. So the values are first looked at, once and by
/// vectors: groups of one value have statistics that need no sums.
template <typename Storage, typename Scalar>
class ScaledStatistics {
 public:
  using W = Wide<Scalar>;

  ScaledStatistics(const BlockKernels<Storage, Scalar>& kernels, const Storage* x, const Partition& partition,
                   Statistic statistic, W eps)
      : kernels_(kernels),
        x_(x),
        groups_(partition.groups),
        values_(partition.values),
        statistic_(statistic),
        eps_(eps) {}

  /// Puts the statistics of those lanes of a tile, at most sixteen, that have a bit in `out` where those of the
  /// unscaled values are: right for a group of zeros. One that holds NaN or infinity has none: all are NaN.
  void find(const Tile& tile, Range lanes, unsigned out, Statistics<Scalar>& to) {
    Look<Scalar> looks[most_rows];
    look(tile, lanes, out, looks);
    unsigned scaled = 0;
    int exponents[most_rows];
    for (std::int64_t k = 0; k < lanes.count; ++k) {
      exponents[k] = 0;
      if ((out >> k & 1U) == 0 || !needs_scaling(looks[k], statistic_, eps_, lanes.first + k, to)) continue;
      std::frexp(looks[k].largest, exponents + k);
      scaled |= 1U << k;
    }
    if (scaled != 0) find_scaled(tile, lanes, scaled, exponents, to);
  }

  /// Looks at the values of those lanes.
  void look(const Tile& tile, Range lanes, unsigned out, Look<Scalar>* to) {
    Scalar largest[most_rows];
    const Storage* x = x_ + tile.base.tensor[0] + values_.offset(0, 0) + lanes.first * tile.lane.stride[0];
    for (std::int64_t k = 0; k < lanes.count; ++k) {
      first_[k] = static_cast<Scalar>(x[k * tile.lane.stride[0]]);
      largest[k] = (std::abs)(first_[k]);
    }
    const unsigned varied = are_lanes(groups_, tile, 0, 1) ? look_at_lanes(tile, lanes, out, largest)
                                                           : look_at_rows(tile, lanes, out, largest);
    for (std::int64_t k = 0; k < lanes.count; ++k)
      to[k] = {first_[k], largest[k], static_cast<Scalar>(varied >> k & 1U)};
  }

  /// Sums the values of those lanes of a tile that have a bit in `scaled`, times 2^-exponent of each: lane k to place
  /// k.
  [[gnu::noinline]] void sum(const Tile& tile, Range lanes, unsigned scaled, const int* exponents,
                             Summaries<Scalar>& to) {
    for (std::int64_t k = 0, some = rows_at_once(); k < lanes.count; k += some) {
      const std::int64_t rows = (std::min)(some, lanes.count - k);
      const unsigned these = scaled >> k & ((1U << rows) - 1);
      if (these == 0) continue;
      Summaries<Scalar> total, next;
      total.count = 0;
      const Tile part = lanes_of(tile, lanes.first + k, rows);
      for (std::int64_t number = 0; number < segments_in(values_.size); ++number) {
        summarize(part, segment(number, values_.size), exponents + k, next);
        merge(total, 0, next, rows, is_centred(statistic_));
        total.count = total.count + next.count;
      }
      for (std::int64_t r = 0; r < rows; ++r) {
        if ((these >> r & 1U) != 0) copy(total, r, k + r, to);
      }
      to.count = total.count;
    }
  }

 private:
  using Reference = kernels::reference::Functions<Scalar, Scalar>;
  static constexpr bool plain = std::is_same_v<Storage, Scalar>;

  /// Finds the largest magnitude of each group, if it is of several values. Returns bit k where group k is.
  unsigned look_at_rows(const Tile& tile, Range lanes, unsigned which, Scalar* largest) {
    unsigned varied = 0;
    for (std::int64_t block = 0; block < blocks_in(values_.size); ++block) {
      // What has to be copied has little room.
      const std::int64_t n = values_in_block(block, values_.size),
                         some = are_rows(values_, 0, block_of(block)) ? lanes.count : rows_at_once();
      for (std::int64_t k = 0; k < lanes.count; k += some) {
        const std::int64_t rows = (std::min)(some, lanes.count - k);
        if ((which >> k & ((1U << rows) - 1)) == 0) continue;
        const auto x = rows_of(lanes_of(tile, lanes.first + k, rows), block);
        varied |= kernels_.ranges(x, {rows, n}, which >> k, first_ + k, largest + k) << k;
      }
    }
    return varied;
  }

  /// The same of lanes that are neighbours in memory, by sixteen; the last sixteen may begin before `lanes` do.
  [[gnu::noinline]] unsigned look_at_lanes(const Tile& tile, Range lanes, unsigned which, Scalar* largest) {
    const std::int64_t start = (std::min)(lanes.first, tile.lanes - most_rows), before = lanes.first - start;
    Scalar first[most_rows] = {}, all[most_rows] = {};
    std::copy(first_, first_ + lanes.count, first + before);
    std::copy(largest, largest + lanes.count, all + before);
    std::int64_t offsets[block_size];
    unsigned varied = 0;
    for (std::int64_t block = 0; block < blocks_in(values_.size); ++block) {
      const std::int64_t n = values_in_block(block, values_.size);
      const auto x = lane_rows(x_ + tile.base.tensor[0] + start, 0, values_, block * block_size, n, offsets);
      varied |= kernels_.lane_ranges(x, n, which << before, first, all);
    }
    for (std::int64_t k = 0; k < lanes.count; ++k) {
      if ((varied >> (before + k) & 1U) != 0) largest[k] = all[before + k];
    }
    return varied >> before;
  }

  /// As many rows as there is room for.
  std::int64_t rows_at_once() const {
    return std::clamp(block_size / (std::max)(values_.size, std::int64_t{1}), std::int64_t{1}, most_rows);
  }

  /// Values of a block.
  Segment block_of(std::int64_t block) const {
    return {block * block_size, block * block_size + values_in_block(block, values_.size)};
  }
  /// Those of some lanes, as rows.
  Rows<const Storage> rows_of(const Tile& some, std::int64_t block) {
    return value_rows<Storage, Scalar>({kernels_, x_, 0}, values_, some, block_of(block), copied());
  }

  [[gnu::noinline]] void find_scaled(const Tile& tile, Range lanes, unsigned scaled, const int* exponents,
                                     Statistics<Scalar>& to) {
    Summaries<Scalar> sums;
    sum(tile, lanes, scaled, exponents, sums);
    for (std::int64_t k = 0; k < lanes.count; ++k) {
      if ((scaled >> k & 1U) != 0) finish_scaled(sums, k, exponents[k], statistic_, eps_, lanes.first + k, to);
    }
  }

  static void copy(const Summaries<Scalar>& from, std::int64_t r, std::int64_t k, Summaries<Scalar>& to) {
    to.mean[k] = from.mean[r];
    to.m2[k] = from.m2[r];
    if constexpr (Summaries<Scalar>::two_parts) {
      to.low[k] = from.low[r];
      to.lost[k] = from.lost[r];
    }
  }

  /// Values of some groups, times 2^-exponent. (Two factors, because 2^-exponent alone may be out of range.)
  void load(const Tile& some, std::int64_t block, const int* exponents) {
    const std::int64_t n = values_in_block(block, values_.size);
    const Rows<const Storage> x = rows_of(some, block);
    const Scalar zeros[most_rows] = {};
    Scalar once[most_rows], again[most_rows];
    for (std::int64_t r = 0; r < some.lanes; ++r) {
      once[r] = static_cast<Scalar>(times_power(W(1), -exponents[r] / 2));
      again[r] = static_cast<Scalar>(times_power(W(1), -exponents[r] - -exponents[r] / 2));
    }
    if constexpr (plain) {
      kernels_.transform(x, {numbers_, n}, {some.lanes, n}, {zeros, zeros, once}, {again, nullptr, 1, 0}, {});
    } else {
      for (std::int64_t r = 0; r < some.lanes; ++r) {
        for (std::int64_t i = 0; i < n; ++i) numbers_[r * n + i] = static_cast<Scalar>(x(r)[i]) * once[r] * again[r];
      }
    }
  }

  void summarize(const Tile& some, Segment segment, const int* exponents, Summaries<Scalar>& to) {
    to.count = 0;
    for (std::int64_t block = segment.first; block < segment.last; ++block) {
      const std::int64_t n = values_in_block(block, values_.size);
      load(some, block, exponents);
      append_block(RowSource<Scalar, Scalar>{scalar_kernels(), {numbers_, n}, some.lanes}, is_centred(statistic_), n, 0,
                   to);
      to.count = to.count + static_cast<W>(n);
    }
  }

  /// Those of numbers in Scalar. (Of 16-bit data, which have kernels of their own only, the reference: half is never
  /// scaled, and bfloat16 hardly ever.)
  const BlockKernels<Scalar, Scalar>& scalar_kernels() const {
    if constexpr (plain) {
      return kernels_;
    } else {
      static constexpr auto kernels = BlockKernels<Scalar, Scalar>::template of<Reference>();
      return kernels;
    }
  }

  /// Where values that have no place of their own are copied to: at once where they are scaled, if that is of their
  /// type.
  Storage* copied() {
    if constexpr (plain) {
      return numbers_;
    } else {
      return storage_;
    }
  }

  const BlockKernels<Storage, Scalar>& kernels_;
  const Storage* x_;
  const Reduction& groups_;
  const Loop& values_;
  Statistic statistic_;
  W eps_;
  Scalar first_[most_rows];
  Storage storage_[plain ? 1 : block_size + kernels::selection_room<Storage>];
  alignas(64) Scalar numbers_[block_size + kernels::selection_room<Storage>];
};

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

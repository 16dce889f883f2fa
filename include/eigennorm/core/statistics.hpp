#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/moments_view.hpp"
#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/reference.hpp"
#include "eigennorm/statistic.hpp"

/// \file
/// The arithmetic contract (docs/arithmetic.md) above one block: from the sums of blocks to what groups are normalized
/// with. All numbers of a tile's groups are arrays, from the sums to the last store.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

using kernels::BlockKernels;
using kernels::most_lanes;
using kernels::Rows;
using kernels::Statistics;
using kernels::Summaries;
using kernels::Sums;

/// Appends the summaries of groups [0, lanes) of `next`, whose values come after these, to those of groups from `at` on
/// (Chan, Golub and LeVeque 1979). The number of values is the caller's to add, once for all groups.
template <typename Scalar>
void merge(Summaries<Scalar>& to, std::int64_t at, const Summaries<Scalar>& next, std::int64_t lanes, bool centred) {
  using W = Wide<Scalar>;
  constexpr bool two_parts = Summaries<Scalar>::two_parts;
  const bool first = to.count == 0;
  const W weight = next.count / (to.count + next.count), product = to.count * weight;
  for (std::int64_t i = 0; i < lanes; ++i) {
    const std::int64_t t = at + i;
    if (first) {
      to.mean[t] = next.mean[i];
      to.m2[t] = next.m2[i];
      if constexpr (two_parts) {
        to.low[t] = next.low[i];
        to.lost[t] = next.lost[i];
      }
      continue;
    }
    kernels::WideSum<Scalar> m2{to.m2[t], 0}, more{next.m2[i], 0};
    W d = next.mean[i] - to.mean[t];
    if constexpr (two_parts) {
      m2.lost = to.lost[t];
      more.lost = next.lost[i];
    }
    m2.add(more);
    if (centred) {
      if constexpr (two_parts) {
        d = d + (next.low[i] - to.low[t]);
        W error;
        const W sum = kernels::two_sum(to.mean[t], d * weight, error);
        to.mean[t] = kernels::two_sum(sum, to.low[t] + error, to.low[t]);
      } else {
        to.mean[t] = to.mean[t] + d * weight;
      }
      m2.add(d * d * product);
    }
    to.m2[t] = m2.value;
    if constexpr (two_parts) to.lost[t] = m2.lost;
  }
}

/// Groups whose values are rows.
template <typename Storage, typename Scalar>
struct RowSource {
  const BlockKernels<Storage, Scalar>& kernels;
  Rows<const Storage> x;
  std::int64_t lanes;
  static constexpr bool together = false;  ///< whether sixteen are swept as fast as one

  /// tree(v) or tree(v^2) of the first n values of all.
  void sum(std::int64_t n, bool squares, Scalar* sums) const { kernels.sums(x, {lanes, n}, squares, sums); }
  /// The sums about h of groups [first, first + count).
  void sweep(std::int64_t first, std::int64_t count, std::int64_t n, const Scalar* h, Sums<Scalar> sums) const {
    kernels.sweeps({x(first), x.step}, {count, n}, h + first, {sums.plain + first, sums.product + first});
  }
};

/// Groups that are lanes, at least sixteen.
template <typename Storage, typename Scalar>
struct LaneSource {
  const BlockKernels<Storage, Scalar>& kernels;
  kernels::LaneRows<const Storage> x;
  std::int64_t lanes;
  static constexpr bool together = true;

  void sum(std::int64_t n, bool squares, Scalar* sums) const {
    constexpr std::int64_t most = most_lanes<Scalar>;
    const Scalar about[most] = {};
    Scalar others[most];
    kernels.lane_sweeps(x, {n, lanes}, about, squares ? Sums<Scalar>{others, sums} : Sums<Scalar>{sums, others});
  }
  void sweep(std::int64_t first, std::int64_t count, std::int64_t n, const Scalar* h, Sums<Scalar> sums) const {
    const std::int64_t width = (std::max)(count, most_rows), start = (std::min)(first, lanes - width);
    kernels::LaneRows<const Storage> some = x;
    some.data += start;
    kernels.lane_sweeps(some, {n, width}, h + start, {sums.plain + start, sums.product + start});
  }
};

/// Sums groups from `g` on about nearer shifts where they are `distant`. (Not inlined: it is rare.)
template <typename Source, typename Scalar>
[[gnu::noinline]] void sweep_again(const Source& source, std::int64_t g, unsigned distant, std::int64_t n, Scalar* h,
                                   Summaries<Scalar>& next, Sums<Scalar> sums) {
  using W = Wide<Scalar>;
  const std::int64_t count = (std::min)(source.lanes - g, most_rows);
  const W inverse = W(1) / next.count;
  for (std::int64_t i = g; i < g + count; ++i) {
    if ((distant >> (i - g) & 1U) == 0) continue;
    h[i] = static_cast<Scalar>(static_cast<W>(h[i]) + static_cast<W>(sums.plain[i]) * inverse);
    if (!Source::together) source.sweep(i, 1, n, h, sums);
  }
  // Those that were near come out as before.
  if (Source::together) source.sweep(g, count, n, h, sums);
  source.kernels.summarize({g, count}, h, sums, next);
}

/// Appends the sums of squares of a block, where the statistic has no mean.
template <typename Source, typename Scalar>
void append_squares(const Source& source, std::int64_t n, std::int64_t at, Summaries<Scalar>& to) {
  alignas(64) Scalar product[most_lanes<Scalar>];
  Summaries<Scalar> next;
  next.count = static_cast<Wide<Scalar>>(n);
  source.sum(n, true, product);
  for (std::int64_t i = 0; i < source.lanes; ++i) {
    next.mean[i] = 0;
    next.m2[i] = static_cast<Wide<Scalar>>(product[i]);
    if constexpr (Summaries<Scalar>::two_parts) next.low[i] = next.lost[i] = 0;
  }
  merge(to, at, next, source.lanes, false);
}

/// Appends a block of n values of each group of a source to the summaries from `at` on.
template <typename Source, typename Scalar>
void append_block(const Source& source, bool centred, std::int64_t n, std::int64_t at, Summaries<Scalar>& to) {
  using W = Wide<Scalar>;
  constexpr std::int64_t most = most_lanes<Scalar>;
  const std::int64_t lanes = source.lanes;
  alignas(64) Scalar h[most], plain[most], product[most];
  const Sums<Scalar> sums{plain, product};
  Summaries<Scalar> next;
  if (!centred) return append_squares(source, n, at, to);
  // Behind the last, zeros up to sixteen. (All of the last sixteen: a fixed number is a store or four.)
  if (lanes % most_rows != 0) {
    for (Scalar* numbers : {h, plain, product})
      std::fill_n(numbers + lanes / most_rows * most_rows, most_rows, Scalar(0));
  }
  // Summaries of first blocks need not be merged, unless what lies behind them is others'.
  const bool first = to.count == 0, direct = first && at == 0;
  Summaries<Scalar>& made = direct ? to : next;
  made.count = static_cast<W>(n);
  if (first) {
    const std::int64_t q = (std::min)(step_size, n);
    source.sum(q, false, h);
    for (std::int64_t g = 0; g < lanes; g += most_rows)
      source.kernels.shifts({g, (std::min)(lanes - g, most_rows)}, static_cast<W>(q), h);
  } else {
    for (std::int64_t i = 0; i < lanes; ++i) h[i] = static_cast<Scalar>(to.mean[at + i]);
  }
  source.sweep(0, lanes, n, h, sums);
  for (std::int64_t g = 0; g < lanes; g += most_rows) {
    const std::int64_t count = (std::min)(lanes - g, most_rows);
    const unsigned distant = source.kernels.summarize({g, count}, h, sums, made);
    if (distant != 0) sweep_again(source, g, distant, n, h, made, sums);
  }
  // (The caller adds up counts.)
  if (direct) {
    to.count = 0;
  } else {
    merge(to, at, next, lanes, true);
  }
}

/// The rule for groups of so many values.
template <typename Scalar>
kernels::Rule<Scalar> rule_of(Statistic statistic, std::int64_t count, Wide<Scalar> eps) {
  using W = Wide<Scalar>;
  const auto n = static_cast<W>(count);
  // Below min / epsilon, squares that still matter are rounded as subnormal numbers. One value has variance 0, whatever
  // its size.
  constexpr W smallest = (std::numeric_limits<Scalar>::min)() / std::numeric_limits<Scalar>::epsilon();
  const bool any = is_centred(statistic) && count == 1;
  return {has_sigma(statistic), any ? W(0) : smallest * n, statistic == Statistic::sum_square ? W(1) : n, eps};
}

/// Statistics of a group whose squares leave the range of Scalar, by the arithmetic of the contract on values scaled by
/// a power of two to at most 1. Scaling is exact, so a group's bits do not depend on which side of the range it was on.
template <typename Storage, typename Scalar>
class ScaledStatistics {
 public:
  using W = Wide<Scalar>;

  ScaledStatistics(const BlockKernels<Storage, Scalar>& kernels, const Storage* x, const Loop& values, const Tile& lane)
      : kernels_(kernels), x_(x), values_of_group_(values), lane_(lane) {}

  /// Puts the statistics in place `i`, where those of the unscaled values are: right for a group of zeros. One that
  /// holds NaN or infinity has none: all are NaN.
  void find(Statistic statistic, W eps, std::int64_t i, Statistics<Scalar>& to) {
    const Scalar largest = this->largest();
    if (largest == 0) return;
    if (!(largest <= (std::numeric_limits<Scalar>::max)())) {
      to.high[i] = to.low[i] = to.rstd[i] = std::numeric_limits<Scalar>::quiet_NaN();
      to.variance[i] = std::numeric_limits<W>::quiet_NaN();
      return;
    }
    int exponent = 0;
    std::frexp(largest, &exponent);
    const std::int64_t count = values_of_group_.size;
    Summaries<Scalar> total, next;
    total.count = total.mean[0] = total.m2[0] = 0;
    for (std::int64_t number = 0; number < segments_in(count); ++number) {
      summarize(segment(number, count), is_centred(statistic), exponent, next);
      merge(total, 0, next, 1, is_centred(statistic));
      total.count = total.count + next.count;
    }
    finish(total, statistic, eps, exponent, i, to);
  }

 private:
  /// The values of a block, times 2^-exponent.
  std::int64_t load(std::int64_t block, int exponent) {
    const std::int64_t first = block * block_size, n = values_in_block(block, values_of_group_.size);
    const Storage* x =
        value_rows<Storage, Scalar>({kernels_, x_, 0}, values_of_group_, lane_, {first, first + n}, copied()).data;
    // Two factors, because 2^-exponent alone may be out of range.
    const Scalar once = std::ldexp(Scalar(1), -exponent / 2);
    const Scalar again = std::ldexp(Scalar(1), -exponent - -exponent / 2);
    for (std::int64_t i = 0; i < n; ++i) numbers_[i] = static_cast<Scalar>(x[i]) * once * again;
    return n;
  }

  Scalar largest() {
    Scalar largest = 0;
    for (std::int64_t block = 0; block < blocks_in(values_of_group_.size); ++block) {
      const std::int64_t n = load(block, 0);
      for (std::int64_t i = 0; i < n; ++i) {
        const Scalar magnitude = (std::abs)(numbers_[i]);
        if (!(magnitude <= (std::numeric_limits<Scalar>::max)())) return magnitude;
        largest = (std::max)(largest, magnitude);
      }
    }
    return largest;
  }

  void summarize(Segment segment, bool centred, int exponent, Summaries<Scalar>& to) {
    static constexpr auto kernels =
        BlockKernels<Scalar, Scalar>::template of<kernels::reference::Functions<Scalar, Scalar>>();
    to.count = 0;
    for (std::int64_t block = segment.first; block < segment.last; ++block) {
      const std::int64_t n = load(block, exponent);
      append_block(RowSource<Scalar, Scalar>{kernels, {numbers_, 0}, 1}, centred, n, 0, to);
      to.count = to.count + static_cast<W>(n);
    }
  }

  static void finish(const Summaries<Scalar>& of, Statistic statistic, W eps, int exponent, std::int64_t i,
                     Statistics<Scalar>& to) {
    using Reference = kernels::reference::Functions<Scalar, Scalar>;
    const auto number = static_cast<std::int64_t>(of.count);
    W mean = std::ldexp(of.mean[0], exponent), residual = 0, m2 = of.m2[0];
    if constexpr (Summaries<Scalar>::two_parts) {
      residual = std::ldexp(of.low[0], exponent);
      m2 = m2 + of.lost[0];
    }
    to.high[i] = static_cast<Scalar>(mean);
    to.low[i] = static_cast<Scalar>((mean - static_cast<W>(to.high[i])) + residual);
    to.rstd[i] = 1;
    to.variance[i] = 0;
    if (!has_sigma(statistic)) return;
    const W variance = (std::max)(m2 / rule_of<Scalar>(statistic, number, eps).divisor, W(0));
    to.variance[i] = std::ldexp(variance, 2 * exponent);
    // Where one of the summands leaves the range of W, only the other matters.
    const W scaled_eps = std::ldexp(eps, -2 * exponent);
    if (variance != 0 && scaled_eps <= (std::numeric_limits<W>::max)()) {
      const W radicand = variance + scaled_eps;
      to.rstd[i] = radicand == 0 ? Scalar(0) : Reference::rstd_of(std::ldexp(W(1) / std::sqrt(radicand), -exponent));
    } else {
      to.rstd[i] = Reference::reciprocal_root(to.variance[i] + eps);
    }
  }

  /// Where values that have no place of their own are copied to: at once where they are scaled, if that is of their
  /// type.
  Storage* copied() {
    if constexpr (std::is_same_v<Storage, Scalar>) {
      return numbers_;
    } else {
      return storage_;
    }
  }

  const BlockKernels<Storage, Scalar>& kernels_;
  const Storage* x_;
  const Loop& values_of_group_;
  Tile lane_;
  Storage storage_[std::is_same_v<Storage, Scalar> ? 1 : block_size];
  Scalar numbers_[block_size];
};

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

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

/// A group of so many values whose magnitudes are all at most this is out of range for certain, so that nobody asks for
/// its sums. It is less than a quarter of the root of what squares must reach (see rule_of): deviations may be twice as
/// large as values, and sums are rounded. 0: none is known to be, since groups have no sigma or several blocks, or it
/// is not worth a look, since they are short. (Many squares of quiet values are subnormal numbers, so that sums take up
/// to ten times as long.)
template <typename Scalar>
constexpr Scalar quiet_up_to(Statistic statistic, std::int64_t count) {
  using Limits = std::numeric_limits<Scalar>;
  constexpr std::int64_t shortest = 256;
  constexpr Scalar limit = kernels::power_of_two<Scalar>((Limits::min_exponent + Limits::digits) / 2 - 4);
  return has_sigma(statistic) && shortest <= count && count <= block_size ? limit : Scalar(0);
}

/// Groups whose values are rows.
template <typename Storage, typename Scalar>
struct RowSource {
  const BlockKernels<Storage, Scalar>& kernels;
  Rows<const Storage> x;
  std::int64_t lanes;
  Scalar quiet = 0;                        ///< quiet_up_to: sums of quiet rows are said to be 0
  static constexpr bool together = false;  ///< whether sixteen are swept as fast as one

  /// tree(v) or tree(v^2) of the first n values of all.
  void sum(std::int64_t n, bool squares, Scalar* sums) const {
    if (!squares) return kernels.sums(x, {lanes, n}, false, sums);
    for_each_loud(0, lanes, n, {sums, sums}, [&](std::int64_t i, std::int64_t rows) {
      kernels.sums({x(i), x.step}, {rows, n}, true, sums + i);
    });
  }
  /// The sums about h of groups [first, first + count).
  void sweep(std::int64_t first, std::int64_t count, std::int64_t n, const Scalar* h, Sums<Scalar> sums) const {
    for_each_loud(first, count, n, sums, [&](std::int64_t i, std::int64_t rows) {
      kernels.sweeps({x(i), x.step}, {rows, n}, h + i, {sums.plain + i, sums.product + i});
    });
  }
  /// Whether no magnitude is above `quiet`. (Where one is, three values mostly tell.)
  bool is_quiet(std::int64_t row, std::int64_t n) const {
    const Storage* values = x(row);
    for (const std::int64_t i : {std::int64_t{0}, n / 2, n - 1}) {
      if (!((std::abs)(static_cast<Scalar>(values[i])) <= quiet)) return false;
    }
    return kernels.is_quiet(values, n, quiet);
  }

 private:
  /// Calls `f(i, rows)` for all of rows [first, first + count) that are not quiet; sums of the others are 0.
  template <typename F>
  void for_each_loud(std::int64_t first, std::int64_t count, std::int64_t n, Sums<Scalar> sums, const F& f) const {
    if (quiet == 0) return f(first, count);
    const std::int64_t last = first + count;
    for (std::int64_t i = first; i < last; ++i) {
      std::int64_t next = i;
      while (next < last && !is_quiet(next, n)) ++next;
      if (next > i) f(i, next - i);
      if (next < last) sums.plain[next] = sums.product[next] = 0;
      i = next;
    }
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
    if (!squares) return kernels.lane_sums(x, {n, lanes}, sums);
    constexpr std::int64_t most = most_lanes<Scalar>;
    const Scalar about[most] = {};
    Scalar others[most];
    kernels.lane_sweeps(x, {n, lanes}, about, {others, sums});
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
  // Behind the last, zeros up to sixteen. (All of the last sixteen: a fixed number is a store or four. One alone is
  // done by itself.)
  if (lanes > 1 && lanes % most_rows != 0) {
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

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/wide.hpp"

/// \file
/// The arithmetic contract (docs/arithmetic.md) above one block: from the sums of blocks to what a group is
/// normalized with.

namespace eigennorm {

/// What a layer divides by, and whether it subtracts the mean.
enum class Statistic {
  mean_variance,  ///< mu = mean, sigma = sqrt(variance + eps)
  mean,           ///< mu = mean, sigma = 1
  mean_square,    ///< mu = 0, sigma = sqrt(mean square + eps)
  sum_square,     ///< mu = 0, sigma = sqrt(sum of squares + eps)
};

namespace kernels {

constexpr bool is_centred(Statistic statistic) {
  return statistic == Statistic::mean_variance || statistic == Statistic::mean;
}
constexpr bool has_sigma(Statistic statistic) { return statistic != Statistic::mean; }

#include "eigennorm/kernels/strict_begin.inl"

/// The values of some blocks, mergeable: how many, their mean (as mean + low where Scalar is no narrower than Wide)
/// and the sum of their squared deviations from it. Not centred: low and mean stay 0 and m2 is the sum of squares.
template <typename Scalar>
struct Summary {
  using W = Wide<Scalar>;
  static constexpr bool two_part_mean = WideSum<Scalar>::compensated;

  W count = 0, mean = 0, low = 0;
  WideSum<Scalar> m2;

  /// The mean of a block: its shift plus a correction.
  void set_mean(W shift, W correction) {
    if constexpr (two_part_mean) {
      mean = two_sum(shift, correction, low);
    } else {
      mean = shift + correction;
    }
  }

  /// Appends `next`, whose values come after these (Chan, Golub and LeVeque 1979).
  void merge(const Summary& next, bool centred) {
    if (count == 0) {
      *this = next;
      return;
    }
    m2.add(next.m2);
    const W total = count + next.count;
    if (centred) {
      const W weight = next.count / total;
      W d = next.mean - mean;
      if constexpr (two_part_mean) {
        d = d + (next.low - low);
        W error;
        const W sum = two_sum(mean, d * weight, error);
        mean = two_sum(sum, low + error, low);
      } else {
        mean = mean + d * weight;
      }
      m2.add(d * d * (count * weight));
    }
    count = total;
  }
};

/// What follows from the sums of a block of n values about h, with inverse = 1 / n in Wide.
template <typename Scalar>
struct BlockSums {
  using W = Wide<Scalar>;
  W n, inverse;

  explicit BlockSums(std::int64_t count) : n(static_cast<W>(count)), inverse(W(1) / n) {}

  /// (Member by member: a summary that is made apart and then copied waits for its parts in memory.)
  void summarize(Sums<Scalar> sums, Scalar h, Summary<Scalar>& summary) const {
    const W sum = static_cast<W>(sums.first);
    const W correction = sum * inverse;
    summary.count = n;
    summary.low = 0;
    summary.set_mean(static_cast<W>(h), correction);
    summary.m2.value = static_cast<W>(sums.second) - sum * correction;
    summary.m2.lost = 0;
  }

  /// Whether the sums of a block say that its shift was far from its mean, so that squares would cancel.
  bool is_far(Sums<Scalar> sums) const {
    const W sum = static_cast<W>(sums.first);
    return sum * (sum * inverse) > W(0.25) * static_cast<W>(sums.second);
  }

  /// The shift that a block takes then.
  Scalar nearer_shift(Sums<Scalar> sums, Scalar h) const {
    return static_cast<Scalar>(static_cast<W>(h) + static_cast<W>(sums.first) * inverse);
  }

  /// The shift of a segment's first block, from the sum of its first n values.
  Scalar first_shift(Scalar sum) const { return static_cast<Scalar>(static_cast<W>(sum) * inverse); }
};

/// The shifts of the first blocks of some rows, or of some lanes.
template <typename Storage, typename Scalar>
void first_shifts(const BlockKernels<Storage, Scalar>& kernels, Rows<const Storage> x, std::int64_t rows,
                  std::int64_t n, Scalar* h) {
  const std::int64_t q = (std::min)(step_size, n);
  const BlockSums<Scalar> start(q);
  kernels.sums(x, rows, q, false, h);
  for (std::int64_t r = 0; r < rows; ++r) h[r] = start.first_shift(h[r]);
}
template <typename Storage, typename Scalar>
void first_lane_shifts(const BlockKernels<Storage, Scalar>& kernels, Rows<const Storage> x, std::int64_t n,
                       std::int64_t lanes, Scalar* h) {
  const std::int64_t q = (std::min)(step_size, n);
  const BlockSums<Scalar> start(q);
  Scalar about[most_lanes<Scalar>] = {}, squares[most_lanes<Scalar>];
  kernels.lane_sweeps(x, q, lanes, about, h, squares);
  for (std::int64_t t = 0; t < lanes; ++t) h[t] = start.first_shift(h[t]);
}

/// Appends a block of each of at most `most_rows` rows to the summaries of their segments.
template <typename Storage, typename Scalar>
void append_rows(const BlockKernels<Storage, Scalar>& kernels, Statistic statistic, Rows<const Storage> x,
                 std::int64_t rows, std::int64_t n, bool first, Summary<Scalar>* summaries) {
  if (!is_centred(statistic)) {
    Scalar sums[most_rows];
    kernels.sums(x, rows, n, true, sums);
    for (std::int64_t r = 0; r < rows; ++r) {
      if (first) summaries[r] = {};
      summaries[r].m2.add(static_cast<Wide<Scalar>>(sums[r]));
      summaries[r].count = summaries[r].count + static_cast<Wide<Scalar>>(n);
    }
    return;
  }
  const BlockSums<Scalar> block(n);
  Scalar h[most_rows] = {}, sum[most_rows], square[most_rows];
  if (first) {
    first_shifts(kernels, x, rows, n, h);
  } else {
    for (std::int64_t r = 0; r < rows; ++r) h[r] = static_cast<Scalar>(summaries[r].mean);
  }
  kernels.sweeps(x, rows, n, h, sum, square);
  for (std::int64_t r = 0; r < rows; ++r) {
    if (block.is_far({sum[r], square[r]})) {
      h[r] = block.nearer_shift({sum[r], square[r]}, h[r]);
      kernels.sweeps({x(r), 0}, 1, n, h + r, sum + r, square + r);
    }
    if (first) {
      block.summarize({sum[r], square[r]}, h[r], summaries[r]);
    } else {
      Summary<Scalar> next;
      block.summarize({sum[r], square[r]}, h[r], next);
      summaries[r].merge(next, true);
    }
  }
}

/// Appends a block of n values to each of at most `most_lanes` summaries, first or not in its segment: `shifts(h)`
/// gives the shifts of first blocks, `sweep(h, sum, square)` the sums about any.
template <typename Scalar, typename Shifts, typename Sweep>
void append_swept(Statistic statistic, std::int64_t n, std::int64_t lanes, bool first, const Shifts& shifts,
                  const Sweep& sweep, Summary<Scalar>* summaries) {
  alignas(64) Scalar h[most_lanes<Scalar>] = {}, sum[most_lanes<Scalar>], square[most_lanes<Scalar>];
  if (!is_centred(statistic)) {
    sweep(h, sum, square);
    for (std::int64_t t = 0; t < lanes; ++t) {
      if (first) summaries[t] = {};
      summaries[t].m2.add(static_cast<Wide<Scalar>>(square[t]));
      summaries[t].count = summaries[t].count + static_cast<Wide<Scalar>>(n);
    }
    return;
  }
  const BlockSums<Scalar> block(n);
  if (first) {
    shifts(h);
  } else {
    for (std::int64_t t = 0; t < lanes; ++t) h[t] = static_cast<Scalar>(summaries[t].mean);
  }
  sweep(h, sum, square);
  bool any_far = false;
  for (std::int64_t t = 0; t < lanes; ++t) {
    if (!block.is_far({sum[t], square[t]})) continue;
    h[t] = block.nearer_shift({sum[t], square[t]}, h[t]);
    any_far = true;
  }
  // Those that were near come out as before.
  if (any_far) sweep(h, sum, square);
  for (std::int64_t t = 0; t < lanes; ++t) {
    if (first) {
      block.summarize({sum[t], square[t]}, h[t], summaries[t]);
    } else {
      Summary<Scalar> next;
      block.summarize({sum[t], square[t]}, h[t], next);
      summaries[t].merge(next, true);
    }
  }
}

/// The same where lanes lie side by side.
template <typename Storage, typename Scalar>
void append_lanes(const BlockKernels<Storage, Scalar>& kernels, Statistic statistic, Rows<const Storage> x,
                  std::int64_t n, std::int64_t lanes, bool first, Summary<Scalar>* summaries) {
  append_swept(
      statistic, n, lanes, first, [&](Scalar* h) { first_lane_shifts(kernels, x, n, lanes, h); },
      [&](const Scalar* h, Scalar* sum, Scalar* square) { kernels.lane_sweeps(x, n, lanes, h, sum, square); },
      summaries);
}

/// What of a summary has to wait until it is merged: how many values it has is known.
template <typename Scalar>
class WaitingSummary {
 public:
  void put(const Summary<Scalar>& summary) {
    numbers_[0] = summary.mean;
    numbers_[1] = summary.m2.value;
    if constexpr (WideSum<Scalar>::compensated) {
      numbers_[2] = summary.low;
      numbers_[3] = summary.m2.lost;
    }
  }
  Summary<Scalar> get(std::int64_t count) const {
    Summary<Scalar> summary;
    summary.count = static_cast<Wide<Scalar>>(count);
    summary.mean = numbers_[0];
    summary.m2.value = numbers_[1];
    if constexpr (WideSum<Scalar>::compensated) {
      summary.low = numbers_[2];
      summary.m2.lost = numbers_[3];
    }
    return summary;
  }

 private:
  Wide<Scalar> numbers_[WideSum<Scalar>::compensated ? 4 : 2];
};

/// A group's statistics, finished.
template <typename Scalar>
struct GroupStatistics {
  Normalizer<Scalar> normalizer;
  Wide<Scalar> variance;  ///< of Statistic::mean_variance: the biased variance
};

/// 1 / sigma as a Scalar; 0 where that is beyond its range, as where sigma is 0: such a group counts as constant and is
/// normalized to 0. (NaN stays NaN.)
template <typename Scalar>
Scalar rstd_of(Wide<Scalar> reciprocal) {
  const auto rstd = static_cast<Scalar>(reciprocal);
  return rstd > (std::numeric_limits<Scalar>::max)() ? Scalar(0) : rstd;
}

/// The same from sigma^2.
template <typename Scalar>
Scalar reciprocal_root(Wide<Scalar> radicand) {
  return radicand == 0 ? Scalar(0) : rstd_of<Scalar>(Wide<Scalar>(1) / std::sqrt(radicand));
}

/// What a group is normalized with, from its summary.
template <typename Scalar>
GroupStatistics<Scalar> finish(const Summary<Scalar>& summary, Statistic statistic, Wide<Scalar> eps) {
  using W = Wide<Scalar>;
  GroupStatistics<Scalar> result{{0, 0, 1}, 0};
  if (is_centred(statistic)) {
    result.normalizer.high = static_cast<Scalar>(summary.mean);
    result.normalizer.low =
        static_cast<Scalar>((summary.mean - static_cast<W>(result.normalizer.high)) + summary.low);
  }
  if (has_sigma(statistic)) {
    const W m2 = summary.m2.total();
    const W variance = (std::max)(statistic == Statistic::sum_square ? m2 : m2 / summary.count, W(0));
    result.normalizer.rstd = reciprocal_root<Scalar>(variance + eps);
    result.variance = variance;
  }
  return result;
}

/// The same from the summary of a group whose values were scaled by 2^-exponent.
template <typename Scalar>
GroupStatistics<Scalar> finish_scaled(Summary<Scalar> summary, Statistic statistic, Wide<Scalar> eps,
                                      int exponent) {
  using W = Wide<Scalar>;
  summary.mean = std::ldexp(summary.mean, exponent);
  summary.low = std::ldexp(summary.low, exponent);
  GroupStatistics<Scalar> result = finish(summary, statistic, eps);
  if (!has_sigma(statistic)) return result;
  const W variance = result.variance;
  result.variance = std::ldexp(variance, 2 * exponent);
  // Where one of the summands leaves the range of W, only the other matters.
  const W scaled_eps = std::ldexp(eps, -2 * exponent);
  if (variance != 0 && scaled_eps <= (std::numeric_limits<W>::max)()) {
    const W radicand = variance + scaled_eps;
    result.normalizer.rstd =
        radicand == 0 ? Scalar(0) : rstd_of<Scalar>(std::ldexp(W(1) / std::sqrt(radicand), -exponent));
  } else {
    result.normalizer.rstd = reciprocal_root<Scalar>(result.variance + eps);
  }
  return result;
}

/// Whether sums or squares may have left the range of Scalar, so that they say nothing. A rule on data alone.
template <typename Scalar>
bool is_out_of_range(const Summary<Scalar>& summary, Statistic statistic) {
  using W = Wide<Scalar>;
  if (!((std::abs)(summary.mean) <= (std::numeric_limits<W>::max)())) return true;
  if (!has_sigma(statistic)) return false;
  // One value has variance 0, whatever its size.
  if (is_centred(statistic) && summary.count == 1) return false;
  // Below min / epsilon, squares that still matter are rounded as subnormal numbers.
  constexpr W smallest = (std::numeric_limits<Scalar>::min)() / std::numeric_limits<Scalar>::epsilon();
  const W m2 = summary.m2.total();
  return !(m2 >= smallest * summary.count && m2 <= (std::numeric_limits<W>::max)());
}

#include "eigennorm/kernels/strict_end.inl"

}  // namespace kernels
}  // namespace eigennorm

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

/// The values of some blocks, mergeable: how many, their mean (as mean + low where Scalar is no narrower
/// than Wide) and
/// the sum of their squared deviations from it. Not centred: low and mean stay 0 and m2 is the sum of
/// squares.
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

/// The block's summary from its sums about `h`.
template <typename Scalar>
Summary<Scalar> summary_of(Sums<Scalar> sums, std::int64_t n, Scalar h) {
  using W = Wide<Scalar>;
  const W sum = static_cast<W>(sums.first);
  const W correction = sum * (W(1) / static_cast<W>(n));
  Summary<Scalar> summary;
  summary.count = static_cast<W>(n);
  summary.set_mean(static_cast<W>(h), correction);
  summary.m2.add(static_cast<W>(sums.second) - sum * correction);
  return summary;
}

/// Whether the sums of a segment's first block say that its shift was far from the mean.
template <typename Scalar>
bool is_far(Sums<Scalar> sums, std::int64_t n) {
  using W = Wide<Scalar>;
  const W sum = static_cast<W>(sums.first);
  return sum * (sum * (W(1) / static_cast<W>(n))) > W(0.25) * static_cast<W>(sums.second);
}

/// The shift that a first block takes instead.
template <typename Scalar>
Scalar nearer_shift(Sums<Scalar> sums, std::int64_t n, Scalar h) {
  using W = Wide<Scalar>;
  return static_cast<Scalar>(static_cast<W>(h) + static_cast<W>(sums.first) * (W(1) / static_cast<W>(n)));
}

/// The shift of a segment's first block, from the sum of its first `q` values.
template <typename Scalar>
Scalar first_shift(Scalar sum, std::int64_t q) {
  using W = Wide<Scalar>;
  return static_cast<Scalar>(static_cast<W>(sum) * (W(1) / static_cast<W>(q)));
}

/// Appends a block of contiguous values to the summary of its segment.
template <typename Storage, typename Scalar>
void append_block(const BlockKernels<Storage, Scalar>& kernels, Statistic statistic, const Storage* x,
                  std::int64_t n, bool first, Summary<Scalar>& summary) {
  if (first) summary = {};
  if (!is_centred(statistic)) {
    summary.m2.add(static_cast<Wide<Scalar>>(kernels.sum_of_squares(x, n)));
    summary.count = summary.count + static_cast<Wide<Scalar>>(n);
  } else if (first) {
    const std::int64_t q = std::min(step_size, n);
    Scalar h = first_shift(kernels.sum(x, q), q);
    Sums<Scalar> sums = kernels.sweep(x, n, h);
    if (is_far(sums, n)) {
      h = nearer_shift(sums, n, h);
      sums = kernels.sweep(x, n, h);
    }
    summary = summary_of(sums, n, h);
  } else {
    const Scalar h = static_cast<Scalar>(summary.mean);
    summary.merge(summary_of(kernels.sweep(x, n, h), n, h), true);
  }
}

/// A group's statistics, finished.
template <typename Scalar>
struct GroupStatistics {
  Normalizer<Scalar> normalizer;
  Wide<Scalar> variance;  ///< of Statistic::mean_variance: the biased variance
};

/// 1 / sqrt(variance * 4^exponent + eps); 0 where that root is 0, so that a constant group is normalized to
/// 0.
template <typename Scalar>
Scalar reciprocal_root(Wide<Scalar> variance, Wide<Scalar> eps, int exponent) {
  using W = Wide<Scalar>;
  if (exponent != 0 && variance != 0) {
    // Where one of the summands leaves the range of W, only the other matters.
    const W scaled_eps = std::ldexp(eps, -2 * exponent);
    if (scaled_eps <= std::numeric_limits<W>::max()) {
      const W radicand = variance + scaled_eps;
      return radicand == 0 ? Scalar(0)
                           : static_cast<Scalar>(std::ldexp(W(1) / std::sqrt(radicand), -exponent));
    }
    variance = std::ldexp(variance, 2 * exponent);
  }
  const W radicand = variance + eps;
  return radicand == 0 ? Scalar(0) : static_cast<Scalar>(W(1) / std::sqrt(radicand));
}

/// From the summary of a group whose values were scaled by 2^-exponent to what it is normalized with.
template <typename Scalar>
GroupStatistics<Scalar> finish(const Summary<Scalar>& summary, Statistic statistic, Wide<Scalar> eps,
                               int exponent) {
  using W = Wide<Scalar>;
  GroupStatistics<Scalar> result{{0, 0, 1}, 0};
  if (is_centred(statistic)) {
    const W mean = exponent == 0 ? summary.mean : std::ldexp(summary.mean, exponent);
    const W low = exponent == 0 ? summary.low : std::ldexp(summary.low, exponent);
    result.normalizer.high = static_cast<Scalar>(mean);
    result.normalizer.low = static_cast<Scalar>((mean - static_cast<W>(result.normalizer.high)) + low);
  }
  if (has_sigma(statistic)) {
    W variance = statistic == Statistic::sum_square ? summary.m2.total() : summary.m2.total() / summary.count;
    if (variance < 0) variance = 0;
    result.normalizer.rstd = reciprocal_root<Scalar>(variance, eps, exponent);
    result.variance = exponent == 0 ? variance : std::ldexp(variance, 2 * exponent);
  }
  return result;
}

/// Whether sums or squares may have left the range of Scalar, so that they say nothing. A rule on data alone.
template <typename Scalar>
bool is_out_of_range(const Summary<Scalar>& summary, Statistic statistic) {
  if (!(std::abs(summary.mean) <= std::numeric_limits<Wide<Scalar>>::max())) return true;
  if (!has_sigma(statistic)) return false;
  // Below min / epsilon, squares that still matter are rounded as subnormal numbers.
  constexpr auto smallest = std::numeric_limits<Scalar>::min() / std::numeric_limits<Scalar>::epsilon();
  const auto variance = summary.m2.total() / summary.count;
  return !(variance >= static_cast<Wide<Scalar>>(smallest) &&
           variance <= std::numeric_limits<Wide<Scalar>>::max());
}

#include "eigennorm/kernels/strict_end.inl"

}  // namespace kernels
}  // namespace eigennorm

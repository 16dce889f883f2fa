#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/wide.hpp"
#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/copy.hpp"

/// \file
/// The statistics of a group: what docs/arithmetic.md lays down for everything above one block.

namespace eigennorm {

/// What a layer divides by, and whether it subtracts the mean.
enum class Statistic {
  mean_variance,  ///< mu = mean, sigma = sqrt(variance + eps)
  mean,           ///< mu = mean, sigma = 1
  mean_square,    ///< mu = 0, sigma = sqrt(mean square + eps)
  sum_square,     ///< mu = 0, sigma = sqrt(sum of squares + eps)
};

namespace core {

constexpr bool is_centred(Statistic statistic) {
  return statistic == Statistic::mean_variance || statistic == Statistic::mean;
}
constexpr bool has_sigma(Statistic statistic) { return statistic != Statistic::mean; }

#include "eigennorm/kernels/strict_begin.inl"

/// The values of some blocks, mergeable: how many, their mean (as mean + low where Scalar is no narrower than Wide) and
/// the sum of their squared deviations from it. Not centred: low and mean stay 0 and m2 is the sum of squares.
template <typename Scalar>
struct Summary {
  using W = Wide<Scalar>;
  static constexpr bool two_part_mean = std::is_same_v<Scalar, W>;

  W count = 0, mean = 0, low = 0, m2 = 0;

  /// a + b as sum and rounding error (Knuth 1969).
  static void two_sum(W a, W b, W& sum, W& error) {
    sum = a + b;
    const W part = sum - a;
    error = (a - (sum - part)) + (b - part);
  }

  /// The mean of a block: its shift plus a correction.
  void set_mean(W shift, W correction) {
    if constexpr (two_part_mean) {
      two_sum(shift, correction, mean, low);
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
    if (centred) {
      const W total = count + next.count;
      const W weight = next.count / total;
      const W d = two_part_mean ? (next.mean - mean) + (next.low - low) : next.mean - mean;
      if constexpr (two_part_mean) {
        W sum, error;
        two_sum(mean, d * weight, sum, error);
        two_sum(sum, low + error, mean, low);
      } else {
        mean = mean + d * weight;
      }
      m2 = m2 + (next.m2 + d * d * (count * weight));
    } else {
      m2 = m2 + next.m2;
    }
    count = count + next.count;
  }
};

/// The summary of one centred block, shifted by `h`. Sweeps again about the mean where the first shift was far from it.
template <typename Scalar>
Summary<Scalar> summarize_block(const Scalar* x, std::int64_t n, Scalar h, bool first) {
  using W = Wide<Scalar>;
  const W inverse = W(1) / static_cast<W>(n);
  kernels::Sums<Scalar> sums = kernels::sweep(x, n, h);
  W sum = static_cast<W>(sums.first);
  W correction = sum * inverse;
  if (first && sum * correction > W(0.25) * static_cast<W>(sums.second)) {
    h = static_cast<Scalar>(static_cast<W>(h) + correction);
    sums = kernels::sweep(x, n, h);
    sum = static_cast<W>(sums.first);
    correction = sum * inverse;
  }
  Summary<Scalar> summary;
  summary.count = static_cast<W>(n);
  summary.set_mean(static_cast<W>(h), correction);
  summary.m2 = static_cast<W>(sums.second) - sum * correction;
  return summary;
}

/// The shift of a segment's first block: the mean of its first 64 values.
template <typename Scalar>
Scalar first_shift(const Scalar* x, std::int64_t n) {
  using W = Wide<Scalar>;
  const std::int64_t q = std::min(kernels::step_size, n);
  return static_cast<Scalar>(static_cast<W>(kernels::tree(x, q)) * (W(1) / static_cast<W>(q)));
}

/// A group's statistics, finished.
template <typename Scalar>
struct GroupStatistics {
  kernels::Normalizer<Scalar> normalizer;
  Wide<Scalar> variance;  ///< of Statistic::mean_variance: the biased variance
};

/// 1 / sqrt(variance * 4^exponent + eps); 0 where that root is 0, so that a constant group is normalized to 0.
template <typename Scalar>
Scalar reciprocal_root(Wide<Scalar> variance, Wide<Scalar> eps, int exponent) {
  using W = Wide<Scalar>;
  if (exponent != 0) {
    // Out of the range of W only one of the summands matters, and which of the two scales holds it depends on the sign.
    const W scaled_eps = std::ldexp(eps, -2 * exponent);
    if (scaled_eps <= std::numeric_limits<W>::max()) {
      const W radicand = variance + scaled_eps;
      return radicand == 0 ? Scalar(0) : static_cast<Scalar>(std::ldexp(W(1) / std::sqrt(radicand), -exponent));
    }
    variance = std::ldexp(variance, 2 * exponent);
  }
  const W radicand = variance + eps;
  return radicand == 0 ? Scalar(0) : static_cast<Scalar>(W(1) / std::sqrt(radicand));
}

/// From the summary of a group whose values were scaled by 2^-exponent to what it is normalized with.
template <typename Scalar>
GroupStatistics<Scalar> finish(const Summary<Scalar>& summary, Statistic statistic, Wide<Scalar> eps, int exponent) {
  using W = Wide<Scalar>;
  GroupStatistics<Scalar> result{{0, 0, 1}, 0};
  if (is_centred(statistic)) {
    const W mean = exponent == 0 ? summary.mean : std::ldexp(summary.mean, exponent);
    const W low = exponent == 0 ? summary.low : std::ldexp(summary.low, exponent);
    result.normalizer.high = static_cast<Scalar>(mean);
    result.normalizer.low = static_cast<Scalar>((mean - static_cast<W>(result.normalizer.high)) + low);
  }
  if (has_sigma(statistic)) {
    W variance = statistic == Statistic::sum_square ? summary.m2 : summary.m2 / summary.count;
    if (variance < 0) variance = 0;
    result.normalizer.rstd = reciprocal_root<Scalar>(variance, eps, exponent);
    result.variance = exponent == 0 ? variance : std::ldexp(variance, 2 * exponent);
  }
  return result;
}

#include "eigennorm/kernels/strict_end.inl"

/// Whether sums or squares may have left the range of Scalar, so that they say nothing. A rule on data alone.
template <typename Scalar>
bool is_out_of_range(const Summary<Scalar>& summary, Statistic statistic) {
  if (!(std::abs(summary.mean) <= std::numeric_limits<Wide<Scalar>>::max())) return true;
  if (!has_sigma(statistic)) return false;
  // Below min / epsilon, squares that still matter are rounded as subnormal numbers.
  constexpr auto smallest = std::numeric_limits<Scalar>::min() / std::numeric_limits<Scalar>::epsilon();
  const auto variance = summary.m2 / summary.count;
  return !(variance >= static_cast<Wide<Scalar>>(smallest) && variance <= std::numeric_limits<Wide<Scalar>>::max());
}

/// Lanes of a tile: a cache line of Scalar, so that interleaved groups are read by whole lines.
template <typename Scalar>
constexpr std::int64_t tile_width = sizeof(Scalar) >= 64 ? 1 : 64 / static_cast<std::int64_t>(sizeof(Scalar));

/// A block of each lane of a tile, contiguous.
template <typename Scalar>
struct Blocks {
  Scalar values[static_cast<std::size_t>(tile_width<Scalar> * kernels::block_size)];  // not initialized: filled by load

  Scalar* lane(std::int64_t t) { return values + t * kernels::block_size; }
};

/// Calls `f(offsets, run, position in the block)` for the runs of values [first, first + n) of a tile.
template <typename F>
void for_each_run(const Reduction& reduction, const Tile& tile, std::size_t tensor, std::int64_t first, std::int64_t n, F&& f) {
  const std::int64_t stride = reduction.reduced.fastest().stride[tensor];
  reduction.reduced.for_each_run(first, first + n, [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
    f(tile.base.tensor[tensor] + offsets.tensor[tensor],
      kernels::Run{length, stride, tile.lanes, tile.lane.stride[tensor]}, position - first);
  });
}

/// Values [first, first + n) of every lane of a tile, of tensor number `tensor`, into blocks.
template <typename Storage, typename Scalar>
void load(const Storage* data, std::size_t tensor, const Reduction& reduction, const Tile& tile, std::int64_t first,
          std::int64_t n, Blocks<Scalar>& blocks) {
  for_each_run(reduction, tile, tensor, first, n, [&](std::int64_t offset, const kernels::Run& run, std::int64_t at) {
    kernels::load(data + offset, run, blocks.lane(0) + at, kernels::block_size);
  });
}

/// The way back.
template <typename Storage, typename Scalar>
void store(Storage* data, std::size_t tensor, const Reduction& reduction, const Tile& tile, std::int64_t first,
           std::int64_t n, Blocks<Scalar>& blocks) {
  for_each_run(reduction, tile, tensor, first, n, [&](std::int64_t offset, const kernels::Run& run, std::int64_t at) {
    kernels::store(data + offset, run, blocks.lane(0) + at, kernels::block_size);
  });
}

/// The numbers of a segment of a group: blocks [first, last).
struct Segment {
  std::int64_t first_block, last_block;
};

inline std::int64_t blocks_in(std::int64_t count) { return (count + kernels::block_size - 1) / kernels::block_size; }
inline std::int64_t segments_in(std::int64_t count) { return (count + kernels::segment_size - 1) / kernels::segment_size; }

inline Segment segment(std::int64_t number, std::int64_t count) {
  const std::int64_t first = number * kernels::segment_blocks;
  return {first, std::min(first + kernels::segment_blocks, blocks_in(count))};
}

inline std::int64_t values_in_block(std::int64_t block, std::int64_t count) {
  return std::min(kernels::block_size, count - block * kernels::block_size);
}

/// Finds the statistics of groups of one tensor.
template <typename Storage, typename Scalar>
class StatisticsFinder {
 public:
  StatisticsFinder(const Storage* x, const Reduction& groups, std::int64_t count, Statistic statistic, double eps)
      : x_(x), groups_(groups), count_(count), statistic_(statistic), eps_(static_cast<Wide<Scalar>>(eps)) {}

  /// Summaries of one segment of each lane of a tile. Leaves the values of the last block in `blocks`.
  void summarize(const Tile& tile, Segment segment, Blocks<Scalar>& blocks, Summary<Scalar>* summaries) const {
    summarize(tile, segment, blocks, summaries, 0);
  }

  /// Finished statistics of one lane, given the summary of all its segments.
  GroupStatistics<Scalar> finish(const Tile& tile, std::int64_t lane, const Summary<Scalar>& summary) const {
    return is_out_of_range(summary, statistic_) ? find_scaled(tile, lane, summary) : core::finish(summary, statistic_, eps_, 0);
  }

 private:
  void summarize(const Tile& tile, Segment segment, Blocks<Scalar>& blocks, Summary<Scalar>* summaries, int exponent) const {
    const bool centred = is_centred(statistic_);
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t n = values_in_block(block, count_);
      load(x_, 0, groups_, tile, block * kernels::block_size, n, blocks);
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        Scalar* x = blocks.lane(t);
        if (exponent != 0) scale_by_power(x, n, -exponent);
        Summary<Scalar> next;
        if (centred) {
          const bool first = block == segment.first_block;
          const Scalar h = first ? first_shift(x, n) : static_cast<Scalar>(summaries[t].mean);
          next = summarize_block(x, n, h, first);
        } else {
          next.count = static_cast<Wide<Scalar>>(n);
          next.m2 = static_cast<Wide<Scalar>>(kernels::sweep(x, n, Scalar(0)).second);
        }
        if (block == segment.first_block) {
          summaries[t] = next;
        } else {
          summaries[t].merge(next, centred);
        }
      }
    }
  }

  /// Two factors, because 2^exponent alone may be out of range.
  static void scale_by_power(Scalar* x, std::int64_t n, int exponent) {
    kernels::multiply(x, std::ldexp(Scalar(1), exponent / 2), n);
    kernels::multiply(x, std::ldexp(Scalar(1), exponent - exponent / 2), n);
  }

  /// The largest magnitude of a lane; 0 or not finite where scaling cannot help.
  Scalar largest(const Tile& tile, Blocks<Scalar>& blocks) const {
    Scalar largest = 0;
    for (std::int64_t block = 0; block < blocks_in(count_); ++block) {
      const std::int64_t n = values_in_block(block, count_);
      load(x_, 0, groups_, tile, block * kernels::block_size, n, blocks);
      for (std::int64_t i = 0; i < n; ++i) {
        const Scalar magnitude = std::abs(blocks.lane(0)[i]);
        if (!(magnitude <= std::numeric_limits<Scalar>::max())) return magnitude;
        largest = std::max(largest, magnitude);
      }
    }
    return largest;
  }

  /// The same arithmetic on values scaled by a power of two to at most 1: exact, so a group's bits do not depend on
  /// which side of the range it was on.
  GroupStatistics<Scalar> find_scaled(const Tile& tile, std::int64_t lane, const Summary<Scalar>& unscaled) const {
    Tile single{tile.base, 1, Axis{}};
    single.base.step(tile.lane, lane);
    Blocks<Scalar> blocks;
    const Scalar largest = this->largest(single, blocks);
    if (largest == 0 || !(largest <= std::numeric_limits<Scalar>::max())) {
      return core::finish(unscaled, statistic_, eps_, 0);
    }
    int exponent = 0;
    std::frexp(largest, &exponent);
    Summary<Scalar> total;
    for (std::int64_t number = 0; number < segments_in(count_); ++number) {
      Summary<Scalar> next;
      summarize(single, segment(number, count_), blocks, &next, exponent);
      total.merge(next, is_centred(statistic_));
    }
    return core::finish(total, statistic_, eps_, exponent);
  }

  const Storage* x_;
  const Reduction& groups_;
  std::int64_t count_;
  Statistic statistic_;
  Wide<Scalar> eps_;
};

}  // namespace core
}  // namespace eigennorm

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/reference.hpp"
#include "eigennorm/kernels/summary.hpp"

/// \file
/// Groups whose squares leave the range of Scalar.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

/// Statistics of a group by the arithmetic of the contract on values scaled by a power of two to at most 1. Scaling is
/// exact, so a group's bits do not depend on which side of the range it was on.
template <typename Storage, typename Scalar>
class ScaledStatistics {
 public:
  ScaledStatistics(const ForwardJob<Storage, Scalar>& job, const Tile& tile, std::int64_t lane)
      : job_(job), tile_{tile.base, 1, no_axis()} {
    tile_.base.step(tile.lane, lane);
  }

  /// `unscaled` is the answer for a group of zeros. One that holds NaN or infinity has no statistics: all
  /// are NaN.
  GroupStatistics<Scalar> find(const Summary<Scalar>& unscaled) {
    const Scalar largest = this->largest();
    if (largest == 0) return finish(unscaled, job_.statistic, job_.eps);
    if (!(largest <= (std::numeric_limits<Scalar>::max)())) {
      constexpr Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();
      return {{nan, nan, nan}, std::numeric_limits<Wide<Scalar>>::quiet_NaN()};
    }
    int exponent = 0;
    std::frexp(largest, &exponent);
    Summary<Scalar> total;
    for (std::int64_t number = 0; number < segments_in(job_.partition->count); ++number) {
      total.merge(summarize(segment(number, job_.partition->count), exponent), is_centred(job_.statistic));
    }
    return finish_scaled(total, job_.statistic, job_.eps, exponent);
  }

 private:
  /// The values of a block, times 2^-exponent.
  std::int64_t load(std::int64_t block, int exponent) {
    const std::int64_t n = values_in_block(block, job_.partition->count);
    const Storage* x = read_block(*job_.kernels, job_.x, 0, job_.partition->values, tile_, block * block_size,
                                  n, copied(), block_size);
    // Two factors, because 2^-exponent alone may be out of range.
    const Scalar once = std::ldexp(Scalar(1), -exponent / 2);
    const Scalar again = std::ldexp(Scalar(1), -exponent - -exponent / 2);
    for (std::int64_t i = 0; i < n; ++i) values_[i] = static_cast<Scalar>(x[i]) * once * again;
    return n;
  }

  Scalar largest() {
    Scalar largest = 0;
    for (std::int64_t block = 0; block < blocks_in(job_.partition->count); ++block) {
      const std::int64_t n = load(block, 0);
      for (std::int64_t i = 0; i < n; ++i) {
        const Scalar magnitude = (std::abs)(values_[i]);
        if (!(magnitude <= (std::numeric_limits<Scalar>::max)())) return magnitude;
        largest = (std::max)(largest, magnitude);
      }
    }
    return largest;
  }

  Summary<Scalar> summarize(Segment segment, int exponent) {
    static constexpr auto kernels =
        BlockKernels<Scalar, Scalar>::template of<reference::Functions<Scalar, Scalar>>();
    Summary<Scalar> summary;
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t n = load(block, exponent);
      append_rows(kernels, job_.statistic, Rows<const Scalar>{values_, 0}, 1, n, block == segment.first_block,
                  &summary);
    }
    return summary;
  }

  /// Where values that have no place of their own are copied to: at once where they are scaled, if that is of their
  /// type.
  Storage* copied() {
    if constexpr (std::is_same_v<Storage, Scalar>) {
      return values_;
    } else {
      return storage_;
    }
  }

  const ForwardJob<Storage, Scalar>& job_;
  Tile tile_;
  Storage storage_[std::is_same_v<Storage, Scalar> ? 1 : block_size];
  Scalar values_[block_size];
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

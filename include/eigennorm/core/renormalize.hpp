#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "eigennorm/core/given.hpp"
#include "eigennorm/core/moments_view.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/renormalization.hpp"

/// \file
/// Batch Renormalization: r and d of each feature, and what a call then takes for scale and shift.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// sigma_B / sigma within its limits. `rstd` is 1 / sigma_B as x is multiplied by it: where nothing is clipped, its
/// rounding goes out again. 0 is that of sigma_B = 0.
template <typename W>
W clipped_ratio(W rstd, W sigma, const Renormalization& limits) {
  const W most = static_cast<W>(limits.r_max), inverse = rstd * sigma;
  if (rstd == 0) return sigma == 0 ? W(1) : W(1) / most;
  return inverse == 0 ? most : std::clamp(W(1) / inverse, W(1) / most, most);
}

/// distance / sigma within its limits: compared before it is divided, because sigma may be 0.
template <typename W>
W clipped_distance(W distance, W sigma, const Renormalization& limits) {
  const W most = static_cast<W>(limits.d_max);
  if (distance == 0) return 0;
  return (std::abs)(distance) >= most * sigma ? std::copysign(most, distance) : distance / sigma;
}

/// r and d of each feature, from the statistics of its group and the running ones as they are.
template <typename Scalar>
void find_corrections(const Partition& partition, const MomentsView<Scalar>& batch, const Given<Scalar>& running,
                      Wide<Scalar> eps, const Renormalization& limits, const Corrections<Scalar>& to) {
  using W = Wide<Scalar>;
  for (std::int64_t i = 0; i < partition.kept_features.size; ++i) {
    const Offsets at = partition.kept_features.at(i);
    const W sigma = running.variance == nullptr ? W(1) : std::sqrt(static_cast<W>(running.variance[at.feature]) + eps);
    const W distance = (static_cast<W>(batch.high[at.group]) - static_cast<W>(running.mean[at.feature])) +
                       static_cast<W>(batch.low[at.group]);
    to.r[at.feature] = clipped_ratio<W>(batch.rstd[at.group], sigma, limits);
    to.d[at.feature] = clipped_distance<W>(distance, sigma, limits);
  }
}

/// scale * r of each feature, in `room`. (Null: 1.)
template <typename Scalar>
const Scalar* corrected_scale(const Scalar* scale, const Corrections<Scalar>& by, std::int64_t features, Scalar* room) {
  for (std::int64_t i = 0; i < features; ++i)
    room[i] = static_cast<Scalar>(scale == nullptr ? by.r[i] : static_cast<Wide<Scalar>>(scale[i]) * by.r[i]);
  return room;
}

/// shift + scale * d of each feature, in `room`. (Null: 0 and 1.)
template <typename Scalar>
const Scalar* corrected_shift(const Scalar* scale, const Scalar* shift, const Corrections<Scalar>& by,
                              std::int64_t features, Scalar* room) {
  using W = Wide<Scalar>;
  for (std::int64_t i = 0; i < features; ++i) {
    const W own = shift == nullptr ? W(0) : static_cast<W>(shift[i]);
    const W more = scale == nullptr ? by.d[i] : static_cast<W>(scale[i]) * by.d[i];
    room[i] = static_cast<Scalar>(by.d[i] == 0 ? own : own + more);
  }
  return room;
}

/// The sum of dy * (r * xhat + d), from those of dy * xhat and of dy.
template <typename Scalar>
Wide<Scalar> corrected_product(const Corrections<Scalar>& by, std::int64_t feature, Wide<Scalar> product,
                               Wide<Scalar> sum) {
  if (by.r == nullptr) return product;
  const Wide<Scalar> corrected = by.r[feature] * product;
  return by.d[feature] == 0 ? corrected : corrected + by.d[feature] * sum;
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "reference.hpp"

// The natural scale of a result is the size of the summands that it is made of: a rounding error is proportional to
// those, not to what they leave of each other, so a result that cancels to nearly nothing is not asked to be better
// than they are. All tests that compare with a truth measure in this unit. With d = dy * scale, s the root mean square
// of x - mu, and means and the largest taken over the group:
//
//     y           (|x - mu| + s) / sigma * |scale| + |shift|       s: the mean is known to its share of the deviations
//     dx          (largest |d| + |xhat| * mean of |d * xhat|) / sigma
//     dscale      sum of |dy| * (|x - mu| + s) / sigma             over the feature
//     dshift      sum of |dy|
//     running     weight of the old * its scale + weight of the new * mean of |x|
//
// s is 0 where there is no mean to subtract, or a given one; by given statistics dx has the scale of |d| / sigma.
// Weights are divided by a norm, not averaged: their dv is made of its own |d|, not of the largest, and of the sum, not
// of the mean. A value that is its mean has xhat = 0, and its y is exactly the shift. Nothing here grows with the
// number of values or with mu / sigma: an error that does is found.

namespace reference {

struct Scales {
  Numbers y, dx;
  Numbers direct;        // of dx without what comes through xhat: the first of its two summands
  Numbers scale, shift;  // of their gradients, by feature
};

/// Where two programs measure otherwise, as their limits were measured.
struct Measure {
  bool whole_sigma = false;         // s / sigma is 1, although eps makes it less
  bool largest_of_weights = false;  // dv, too, is made of the largest |d|
};
/// A constant group of another system is seldom exactly the shift: its error is to be a finite one.
constexpr Measure of_stored_answers{true, false};
/// Weights are constant, or have an outlier, as often as not.
constexpr Measure of_random_problems{false, true};

/// `fixed`: the statistics are given, not those of x. `dy` may be left out where only y is judged.
inline Scales natural_scales(const Formula& formula, const Roles& roles, const Statistics& given,
                             const Parameters& parameters, const Numbers& x, const Numbers& dy, bool fixed,
                             const Measure& measure = {}) {
  const Numbers xhat = normalized(roles, given, x);
  Scales result;
  result.scale.assign(roles.features, 0);
  result.shift.assign(roles.features, 0);
  Numbers largest(roles.groups, 0), products(roles.groups, 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t group = roles.group[i], feature = roles.feature[i];
    Real spread = std::abs(xhat[i]);
    if (formula.centred() && !fixed) {
      spread += measure.whole_sigma ? 1 : std::sqrt(given.variance[group]) * given.rstd[group];
    }
    const Real of_xhat = spread * std::abs(parameters.scale_of(feature));
    result.y.push_back(of_xhat > 0 ? of_xhat + std::abs(parameters.shift_of(feature)) : 0);
    if (dy.empty()) continue;
    result.direct.push_back(std::abs(dy[i] * parameters.scale_of(feature)) * given.rstd[group]);
    result.scale[feature] += std::abs(dy[i]) * spread;
    result.shift[feature] += std::abs(dy[i]);
    largest[group] = std::max(largest[group], result.direct[i]);
    products[group] += result.direct[i] * std::abs(xhat[i]);
  }
  result.dx = result.direct;
  if (fixed) return result;
  const bool summed = formula.kind == Kind::sum_square;
  for (std::size_t i = 0; i < result.dx.size(); ++i) {
    const std::size_t group = roles.group[i];
    if (!summed || measure.largest_of_weights) result.direct[i] = largest[group];
    const Real share = summed ? 1 : static_cast<Real>(roles.count_of(group));
    const Real slope = formula.kind == Kind::mean ? 0 : std::abs(xhat[i]) * products[group] / share;
    result.dx[i] = result.direct[i] + slope;
  }
  return result;
}

/// Of a mean: each of `parts` has its number in `part`.
inline Numbers mean_scale(const Indices& part, std::size_t parts, const Numbers& x) {
  Numbers sum(parts, 0), count(parts, 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum[part[i]] += std::abs(x[i]);
    count[part[i]] += 1;
  }
  for (std::size_t k = 0; k < parts; ++k) sum[k] /= count[k];
  return sum;
}

/// Of a running mean, from that of the old one. What was rounded before is carried along.
inline Numbers running_mean_scale(const Roles& roles, const Numbers& x, Numbers scale, Real momentum) {
  const Numbers batch = mean_scale(roles.feature, roles.features, x);
  for (std::size_t k = 0; k < batch.size(); ++k) scale[k] = (1 - momentum) * scale[k] + momentum * batch[k];
  return scale;
}

inline Numbers magnitudes(Numbers values) {
  for (Real& value : values) value = std::abs(value);
  return values;
}

/// Of a quantity that is not a sum of known summands.
inline Numbers own_scale(const Numbers& truth) {
  Real square = 0;
  for (const Real value : truth) square += value * value;
  const Real root_mean_square = truth.empty() ? 0 : std::sqrt(square / static_cast<Real>(truth.size()));
  Numbers scale = magnitudes(truth);
  for (Real& value : scale) value = std::max(value, root_mean_square);
  return scale;
}

}  // namespace reference

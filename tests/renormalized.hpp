#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <eigennorm/renormalization.hpp>

#include "natural_scales.hpp"
#include "reference.hpp"

// Batch Renormalization from its definition, in long double, for layers whose groups are their features: with r and d
// given, y is that of the same statistics with other parameters, and so is dx. Natural scales are those of BatchNorm
// times r, and beside them d, or, where it is not clipped, what it is the difference of.

namespace reference {

struct Renormalized {
  Numbers r, d, y;
  Gradients gradients;
  Numbers d_scale;
  Scales scales;
};

/// sigma where the running statistics are `running`.
inline Real running_sigma(const Formula& formula, const Running& running, std::size_t feature) {
  return formula.kind == Kind::mean ? 1 : std::sqrt(running.variance[feature] + formula.epsilon);
}

inline void find_corrections(const Formula& formula, const Statistics& batch, const Running& running,
                             const eigennorm::Renormalization& limits, Renormalized& to) {
  const Real r_max = limits.r_max, d_max = limits.d_max;
  for (std::size_t i = 0; i < running.mean.size(); ++i) {
    const Real sigma = running_sigma(formula, running, i), rstd = batch.rstd[i];
    const Real distance = ((batch.origin[i] - running.mean[i]) + batch.distance[i]) / sigma;
    to.r.push_back(std::min(std::max(rstd == 0 ? 0 : 1 / (rstd * sigma), 1 / r_max), r_max));
    to.d.push_back(std::min(std::max(distance, -d_max), d_max));
    const bool clipped = std::abs(distance) >= d_max;
    to.d_scale.push_back(clipped ? d_max : (std::abs(batch.mean(i)) + std::abs(running.mean[i])) / sigma);
  }
}

/// Of a forward and a backward whose data, parameters and running statistics (before the forward) these are.
inline Renormalized renormalized(const Formula& formula, const Roles& roles, const Parameters& own,
                                 const Running& running, const Numbers& x, const Numbers& dy,
                                 const eigennorm::Renormalization& limits, const Measure& measure = {}) {
  const Statistics batch = statistics(formula, roles, x);
  Renormalized result;
  find_corrections(formula, batch, running, limits, result);
  Parameters made, scaled;
  for (std::size_t i = 0; i < roles.features; ++i) {
    made.scale.push_back(own.scale_of(i) * result.r[i]);
    made.shift.push_back(own.shift_of(i) + own.scale_of(i) * result.d[i]);
  }
  scaled.scale = made.scale;
  result.y = forward(roles, batch, made, x);
  result.gradients = backward(formula, roles, batch, made, x, dy, false);
  result.scales = natural_scales(formula, roles, batch, scaled, x, dy, false, measure);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t feature = roles.feature[i];
    result.scales.y[i] += std::abs(own.scale_of(feature)) * result.d_scale[feature] + std::abs(own.shift_of(feature));
  }
  for (std::size_t i = 0; i < roles.features; ++i) {
    Real& product = result.gradients.scale[i];
    product = result.r[i] * product + result.d[i] * result.gradients.shift[i];
    result.scales.scale[i] = result.r[i] * result.scales.scale[i] + result.d_scale[i] * result.scales.shift[i];
  }
  return result;
}

}  // namespace reference

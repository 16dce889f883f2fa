#pragma once

#include <cmath>
#include <cstddef>

#include "allowances.hpp"
#include "draw.hpp"
#include "plan.hpp"
#include "renormalized.hpp"

// Batch Renormalization of a case (tests/renormalized.hpp): other parameters, and what they make of natural scales.

namespace fuzz {

/// Whether a layer takes it, and every quotient of it is a number.
inline bool may_be_renormalized(const Plan& plan) {
  if (!plan.has_running || plan.fixed()) return false;
  if (plan.formula.kind == Kind::mean_variance && plan.formula.epsilon == 0) return false;
  for (std::size_t axis = 0; axis < plan.shape.size(); ++axis) {
    if (!reference::contains(plan.formula.averaged, axis) && !reference::contains(plan.formula.features, axis))
      return false;
  }
  return true;
}

inline eigennorm::Renormalization draw_limits(Random& random) {
  return {pick(random, std::vector<double>{1, 1.5, 3, 100}), pick(random, std::vector<double>{0, 0.5, 5, 100})};
}

class Corrected {
 public:
  Corrected(const Formula& formula, const Statistics& batch, const reference::Running& running, const Parameters& own,
            const eigennorm::Renormalization& limits)
      : own_(own) {
    reference::find_corrections(formula, batch, running, limits, by_);
    for (std::size_t i = 0; i < by_.r.size(); ++i) {
      parameters_.scale.push_back(own.scale_of(i) * by_.r[i]);
      parameters_.shift.push_back(own.shift_of(i) + own.scale_of(i) * by_.d[i]);
    }
  }

  /// As they are in the formula of the layer without it.
  const Parameters& parameters() const { return parameters_; }

  void widen(Allowances& scales, const Roles& roles) const {
    for (std::size_t i = 0; i < roles.size(); ++i) {
      const std::size_t feature = roles.feature[i];
      scales.y[i].size += std::abs(own_.scale_of(feature)) * by_.d_scale[feature] + std::abs(own_.shift_of(feature));
    }
    for (std::size_t i = 0; i < scales.scale.size(); ++i) {
      Scale &scale = scales.scale[i], &shift = scales.shift[i];
      scale.size = by_.r[i] * scale.size + by_.d_scale[i] * shift.size;
      scale.slack = by_.r[i] * scale.slack + by_.d_scale[i] * shift.slack;
      scale.unbalanced = scale.unbalanced || shift.unbalanced;
    }
  }

  void correct(reference::Gradients& truth) const {
    for (std::size_t i = 0; i < truth.scale.size(); ++i)
      truth.scale[i] = by_.r[i] * truth.scale[i] + by_.d[i] * truth.shift[i];
  }

 private:
  Parameters own_, parameters_;
  reference::Renormalized by_;
};

}  // namespace fuzz

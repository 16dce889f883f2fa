#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "draw.hpp"
#include "masked.hpp"
#include "plan.hpp"

// Which positions of a case are left out: any axes that its layer takes, and masks of every kind.

namespace fuzz {

/// Whether a layer takes valid positions at all.
inline bool takes_valid(const Plan& plan) { return plan.formula.kind != Kind::sum_square; }

/// Axes along which a mask may vary: not along features that have statistics of their own, or are cut into groups.
inline std::vector<bool> draw_masked_axes(const Plan& plan, Random& random) {
  bool features_averaged = false;
  for (const int axis : plan.formula.features) {
    const bool averaged = reference::contains(plan.formula.averaged, axis);
    // (An axis of one position is as good as none.)
    features_averaged = features_averaged || (averaged && plan.shape[static_cast<std::size_t>(axis)] > 1);
  }
  const bool along_features = features_averaged && plan.op != Op::group_norm && plan.formula.groups == 1;
  const double share = random.uniform() * 1.3;
  std::vector<bool> varies;
  for (std::size_t axis = 0; axis < plan.shape.size(); ++axis) {
    const bool may = along_features || !reference::contains(plan.formula.features, axis);
    varies.push_back(chance(random, share) && may);
  }
  return varies;
}

/// A mask, and the elements that it leaves, in logical order.
struct LeftOut {
  test::Mask mask;
  reference::Indices elements;
  std::string description;
};

inline LeftOut draw_left_out(const Plan& plan, Random& random) {
  using test::Kinds;
  static const std::vector<Kinds> kinds = {Kinds::lengths, Kinds::random, Kinds::lengths,
                                           Kinds::random,  Kinds::one,    Kinds::none};
  const std::vector<bool> varies = draw_masked_axes(plan, random);
  const Kinds kind = pick(random, kinds);
  LeftOut result{test::make_mask(plan.shape, varies, kind, random), {}, "valid along"};
  // All but a few, or all.
  if (kind == Kinds::random && chance(random, 0.3)) {
    for (char& value : result.mask.values) value = value != 0 || chance(random, 0.95);
  }
  for (std::size_t element = 0; element < reference::size_of(plan.shape); ++element) {
    if (result.mask.at(element, plan.shape)) result.elements.push_back(element);
  }
  for (std::size_t axis = 0; axis < varies.size(); ++axis) {
    if (varies[axis]) result.description += " " + std::to_string(axis);
  }
  result.description += ", " + std::to_string(result.elements.size()) + " values";
  return result;
}

}  // namespace fuzz

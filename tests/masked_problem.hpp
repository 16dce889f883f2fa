#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "masked.hpp"
#include "problem.hpp"

// The table of problems, each with the masks that its layer takes, and what a call on a packed part of it is given.

namespace test {

/// What is not valid is not looked at: NaN, infinity, numbers that are far off.
template <typename FieldType>
void spoil(FieldType& field, const Mask& mask) {
  using Data = typename FieldType::Data;
  const Data bad[] = {std::numeric_limits<Data>::quiet_NaN(), std::numeric_limits<Data>::infinity(),
                      rounded<Data>(3e4L)};
  const std::vector<std::size_t> place = places(field.shape(), FieldType::order);
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (!mask.at(i, field.shape())) field.data()[place[i]] = bad[i % 3];
  }
}

template <typename FieldType>
FieldType pack(const FieldType& whole, const Packed& part) {
  FieldType packed(part.shape);
  const std::vector<std::size_t> place = places(whole.shape(), FieldType::order);
  for (std::size_t k = 0; k < part.elements.size(); ++k) packed.data()[k] = whole.data()[place[part.elements[k]]];
  return packed;
}

inline eigennorm::Statistic statistic_of(const Formula& formula) {
  return formula.kind == Kind::mean_square ? eigennorm::Statistic::mean_square
         : formula.kind == Kind::mean      ? eigennorm::Statistic::mean
                                           : eigennorm::Statistic::mean_variance;
}

/// The layer that a packed part is given to: as it is, or, of a group whose features are packed too, one for as many
/// values, each with its own scale and shift; or with one for all, where one place is left of all that may be left out.
template <typename Scalar>
eigennorm::Normalization<Scalar> layer_of(const eigennorm::Normalization<Scalar>& layer, const Formula& formula,
                                          const reference::Roles& roles, const Packed& part, const Packing& packing) {
  if (!packing.by_group) return layer;
  bool one = part.elements.size() == packing.together;
  for (const std::size_t element : part.elements)
    one = one && roles.feature[element] == roles.feature[part.elements[0]];
  const std::size_t features = one ? 1 : part.elements.size();
  eigennorm::Normalization<Scalar> own(eigennorm::over(0), one ? eigennorm::no_axes : eigennorm::over(0), features,
                                       statistic_of(formula), layer.eps);
  own.activation = layer.activation;
  own.use_scale(layer.scale.value.size() > 0);
  own.use_shift(layer.shift.value.size() > 0);
  for (std::size_t k = 0; k < features; ++k) {
    const auto to = static_cast<Eigen::Index>(k), from = static_cast<Eigen::Index>(roles.feature[part.elements[k]]);
    if (own.scale.value.size() > 0) own.scale.value[to] = layer.scale.value[from];
    if (own.shift.value.size() > 0) own.shift.value[to] = layer.shift.value[from];
  }
  return own;
}

/// Masks that a layer takes: along every axis that may vary, each alone and some together.
inline std::vector<std::vector<bool>> choices(const std::string& name, const Formula& formula, const Sizes& shape,
                                              Random& random) {
  std::vector<std::size_t> axes;
  bool kept = true;
  for (const int axis : formula.features) kept = kept && !reference::contains(formula.averaged, axis);
  const bool free = !kept && formula.groups == 1 && name.rfind("GroupNorm", 0) != 0;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] > 1 && (free || !reference::contains(formula.features, axis))) axes.push_back(axis);
  }
  std::vector<std::vector<bool>> result;
  const auto add = [&](const auto& chosen) {
    std::vector<bool> varies(shape.size(), false);
    for (const std::size_t axis : axes) varies[axis] = chosen(axis);
    result.push_back(varies);
  };
  for (const std::size_t only : axes) add([&](std::size_t axis) { return axis == only; });
  if (axes.size() > 1) add([](std::size_t) { return true; });
  if (axes.size() > 2) add([&](std::size_t) { return random.uniform() < 0.5; });
  return result;
}

template <typename FieldType, typename Check>
int for_every_mask(const Check& check) {
  int checked = 0;
  Random random(11);
  for_every_problem<FieldType>([&](const Problem<FieldType>& problem) {
    if (problem.formula.kind == Kind::sum_square) return;
    for (const std::vector<bool>& varies : choices(problem.name, problem.formula, problem.x.shape(), random)) {
      for (const Kinds kind : {Kinds::random, Kinds::lengths, Kinds::one, Kinds::none}) {
        const Mask mask = make_mask(problem.x.shape(), varies, kind, random);
        std::string along;
        for (const bool one : varies) along += one ? '1' : '0';
        INFO("along " << along << ", kind " << static_cast<int>(kind));
        check(problem, mask);
        ++checked;
      }
    }
  });
  return checked;
}

}  // namespace test

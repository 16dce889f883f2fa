#pragma once

#include "cases.hpp"
#include "catch.hpp"
#include "support.hpp"

// A row of the table with random data and parameters, and how its results are held against the formula.

namespace test {

/// A layer with its data, and the same data as numbers.
template <typename FieldType>
struct Problem {
  using Data = typename FieldType::Data;
  using Scalar = typename FieldType::Scalar;

  Problem(const Case& which, double offset, Random random)
      : name(which.name),
        formula(which.formula),
        roles(formula, which.shape),
        layer(which.layer<Scalar>()),
        x(which.shape, sample(roles, offset, random)),
        dy(which.shape, random.normals(which.size())),
        y(which.shape),
        dx(which.shape),
        x_numbers(x.numbers()),
        dy_numbers(dy.numbers()) {
    randomize(layer, random);
  }

  reference::Statistics batch() const { return reference::statistics(formula, roles, x_numbers); }
  reference::Statistics fixed() const { return reference::from_running(formula, roles, running(layer)); }

  reference::Scales scales(const reference::Statistics& given, bool fixed) const {
    return reference::natural_scales(formula, roles, given, parameters(layer), x_numbers, dy_numbers, fixed);
  }

  void check_output(const reference::Statistics& given, bool fixed) const {
    const reference::Scales scale = scales(given, fixed);
    const Numbers truth = reference::forward(roles, given, parameters(layer), x_numbers);
    CHECK(worst(y.numbers(), truth, scale.y, tolerance<Data>()) <= tolerance<Data>().limit);
  }

  /// `times`: how often the same parameter gradients were accumulated.
  void check_gradients(const reference::Statistics& given, bool fixed, Real times = 1) const {
    reference::Scales scale = scales(given, fixed);
    reference::Gradients truth =
        reference::backward(formula, roles, given, parameters(layer), x_numbers, dy_numbers, fixed);
    CHECK(worst(dx.numbers(), truth.x, scale.dx, tolerance<Data>()) <= tolerance<Data>().limit);
    for (Numbers* sums : {&truth.scale, &truth.shift, &scale.scale, &scale.shift}) {
      for (Real& value : *sums) value *= times;
    }
    const Tolerance limits = tolerance<Scalar>();
    if (layer.scale.value.size() > 0) {
      CHECK(worst(numbers(layer.scale.grad), truth.scale, scale.scale, limits) <= limits.limit);
    }
    if (layer.shift.value.size() > 0) {
      CHECK(worst(numbers(layer.shift.grad), truth.shift, scale.shift, limits) <= limits.limit);
    }
  }

  std::string name;
  Formula formula;
  reference::Roles roles;
  eigennorm::Normalization<Scalar> layer;
  FieldType x, dy, y, dx;
  Numbers x_numbers, dy_numbers;
};

/// The whole table: data about 0.5, and data that are as far from 0, compared with their spread, as their
/// type can hold without losing it.
template <typename FieldType, typename Check>
void for_every_problem(const Check& check) {
  std::uint64_t seed = 0;
  for (const Case& which : cases()) {
    const double far = std::is_same_v<typename FieldType::Data, typename FieldType::Scalar> ? 1e6 : 100;
    for (const double offset : {0.5, far}) {
      INFO(which.name << ", data about " << offset);
      Problem<FieldType> problem(which, offset, Random(++seed));
      check(problem);
    }
  }
}

}  // namespace test

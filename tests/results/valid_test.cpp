#include <cmath>
#include <cstddef>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "masked_problem.hpp"
#include "problem.hpp"
#include "same_bits.hpp"
#include "watch.hpp"

// A call with valid positions has the bits of calls on what is valid, packed by plain loops; everywhere else it looks
// at nothing and gives zeros. Every geometry, type and order, masks of lengths and at random.

using namespace test;

namespace {

template <typename FieldType>
struct Masked {
  using Data = typename FieldType::Data;
  using Scalar = typename FieldType::Scalar;

  Masked(const Problem<FieldType>& of, const Mask& with)
      : problem(of), mask(with), field(with), packing(of.formula, of.x.shape(), with, FieldType::order) {
    spoil(problem.x, mask);
    spoil(problem.dy, mask);
    context.valid = field.valid();
    bool variance_of_one = problem.formula.kind == Kind::mean_variance && problem.roles.count == 1;
    for (const Packed& part : packing.parts) {
      const Formula own = packing.by_group ? Formula{{0}, {0}} : problem.formula;
      variance_of_one = variance_of_one || reference::Roles(own, part.shape).count == 1;
    }
    if (problem.layer.running && variance_of_one) problem.layer.running->update = false;
  }

  bool in_one() const { return !packing.by_group && !packing.by_sample; }

  void step() {
    forward(problem.layer, problem.x, problem.y, context);
    backward(problem.layer, problem.x, problem.dy, problem.dx, context);
  }

  /// Holds what `step` left against calls on the packed parts.
  void check(const eigennorm::Normalization<Scalar>& before) const {
    const std::vector<std::size_t> place = places(problem.x.shape(), FieldType::order);
    std::vector<char> seen(problem.x.size(), 0);
    Numbers scale(static_cast<std::size_t>(problem.layer.scale.grad.size())),
        shift(static_cast<std::size_t>(problem.layer.shift.grad.size()));
    bool same = true, same_moments = true;
    for (const Packed& part : packing.parts) {
      eigennorm::Normalization<Scalar> layer = layer_of(before, problem.formula, problem.roles, part, packing);
      if (!in_one() && layer.running) layer.running->update = false;
      const FieldType x = pack(problem.x, part), dy = pack(problem.dy, part);
      FieldType y(part.shape), dx(part.shape);
      forward(layer, x, y);
      backward(layer, x, dy, dx);
      for (std::size_t k = 0; k < part.elements.size(); ++k) {
        const std::size_t at = place[part.elements[k]];
        seen[part.elements[k]] = 1;
        same = same && same_bits(y.data()[k], problem.y.data()[at]) && same_bits(dx.data()[k], problem.dx.data()[at]);
      }
      same_moments = same_moments && has_moments_of(layer, part);
      add_gradients(layer, part, scale, shift);
      if (in_one()) check_layer(layer);
    }
    CHECK(same);
    CHECK(same_moments);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const Data zero = rounded<Data>(0);
      if (seen[i] == 0)
        same = same && same_bits(problem.y.data()[place[i]], zero) && same_bits(problem.dx.data()[place[i]], zero);
    }
    CHECK(same);
    if (!in_one()) check_gradients(scale, shift);
  }

  Problem<FieldType> problem;
  Mask mask;
  MaskField<Eigen::RowMajor> field;
  Packing packing;
  eigennorm::Context<Scalar> context;

 private:
  /// Whether the groups of a part have the moments that a call on it has.
  bool has_moments_of(const eigennorm::Normalization<Scalar>& layer, const Packed& part) const {
    const Formula own = packing.by_group ? Formula{{0}, {0}} : problem.formula;
    const reference::Roles roles(own, part.shape);
    const std::vector<std::size_t> order = places(part.shape, FieldType::order);
    const auto mean = layer.moments().mean(), all_means = problem.layer.moments().mean();
    const auto rstd = layer.moments().rstd(), all_rstd = problem.layer.moments().rstd();
    const auto variance = layer.moments().variance(), all_variances = problem.layer.moments().variance();
    bool same = true;
    for (std::size_t i = 0; i < part.elements.size(); ++i) {
      const auto group = static_cast<Eigen::Index>(roles.group[i]);
      const auto whole = static_cast<Eigen::Index>(problem.roles.group[part.elements[order[i]]]);
      same = same && same_bits(mean[group], all_means[whole]) && same_bits(rstd[group], all_rstd[whole]);
      if (all_variances.size() > 0) same = same && same_bits(variance[group], all_variances[whole]);
    }
    return same;
  }

  void check_layer(const eigennorm::Normalization<Scalar>& layer) const {
    CHECK(same_bits(layer.scale.grad, problem.layer.scale.grad));
    CHECK(same_bits(layer.shift.grad, problem.layer.shift.grad));
    CHECK(layer.moments().count() == problem.layer.moments().count());
    if (layer.running) CHECK(watch::bits(*layer.running) == watch::bits(*problem.layer.running));
  }

  void add_gradients(const eigennorm::Normalization<Scalar>& layer, const Packed& part, Numbers& scale,
                     Numbers& shift) const {
    const auto add = [&](const auto& grad, Numbers& to) {
      for (Eigen::Index k = 0; k < grad.size(); ++k) {
        const auto own = static_cast<std::size_t>(k);
        to[packing.by_group ? problem.roles.feature[part.elements[own]] : own] += static_cast<Real>(grad[k]);
      }
    };
    add(layer.scale.grad, scale);
    add(layer.shift.grad, shift);
  }

  /// Of several parts: against the sum of theirs, each of which is rounded, by the sizes of the terms.
  void check_gradients(const Numbers& scale, const Numbers& shift) const {
    Numbers of_scale(problem.roles.features, 0), of_shift(problem.roles.features, 0);
    const auto mean = problem.layer.moments().mean();
    const auto rstd = problem.layer.moments().rstd();
    for (std::size_t i = 0; i < problem.roles.size(); ++i) {
      if (!mask.at(i, problem.x.shape())) continue;
      const auto group = static_cast<Eigen::Index>(problem.roles.group[i]);
      const Real dy = std::abs(problem.dy_numbers[i]),
                 distance = std::abs(problem.x_numbers[i] - static_cast<Real>(mean[group]));
      of_scale[problem.roles.feature[i]] += dy * (distance * static_cast<Real>(rstd[group]) + 1);
      of_shift[problem.roles.feature[i]] += dy;
    }
    const auto near = [&](const auto& grad, const Numbers& truth, const Numbers& size) {
      const Real unit = tolerance<Scalar>().unit * 8;
      for (std::size_t i = 0; i < truth.size(); ++i) {
        if (!(std::abs(static_cast<Real>(grad[static_cast<Eigen::Index>(i)]) - truth[i]) <= unit * size[i]))
          return false;
      }
      return true;
    };
    CHECK(near(problem.layer.scale.grad, scale, of_scale));
    CHECK(near(problem.layer.shift.grad, shift, of_shift));
  }
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("a call on valid positions has the bits of the call on them, packed", "", AllFields) {
  int number = 0;
  const int checked = for_every_mask<TestType>([&](const Problem<TestType>& problem, const Mask& mask) {
    Masked<TestType> masked(problem, mask);
    if (++number % 3 == 0) masked.problem.layer.activation = eigennorm::Activation::relu;
    const auto before = masked.problem.layer;
    masked.step();
    masked.check(before);
  });
  CHECK(checked > 500);
}

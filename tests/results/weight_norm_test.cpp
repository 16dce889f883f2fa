#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "catch.hpp"
#include "support.hpp"

// What Salimans and Kingma (2016) say of weight normalization, w = g v / |v|, beside what the table of layers
// covers.

using namespace test;
using eigennorm::outputs_on;
using eigennorm::WeightNorm;
using eigennorm::whole_tensor;

namespace {

using reference::Formula;
using reference::Kind;

/// A geometry of weights, as the layer and as the formula.
template <typename Scalar>
struct Weights {
  const char* name;
  WeightNorm<Scalar> layer;
  Sizes shape;
  Formula formula;
};

template <typename Scalar>
std::vector<Weights<Scalar>> geometries() {
  return {
      {"axis 0", WeightNorm<Scalar>(5), {5, 40}, {{1}, {0}, Kind::sum_square}},
      {"axis 1", WeightNorm<Scalar>(5, outputs_on(1)), {40, 5}, {{0}, {1}, Kind::sum_square}},
      {"last axis", WeightNorm<Scalar>(5, outputs_on(-1)), {3, 4, 5}, {{0, 1}, {2}, Kind::sum_square}},
      {"convolution", WeightNorm<Scalar>(4), {4, 3, 3, 3}, {{1, 2, 3}, {0}, Kind::sum_square}},
      {"whole tensor", WeightNorm<Scalar>(whole_tensor), {6, 30}, {{0, 1}, {}, Kind::sum_square}},
      {"one long row", WeightNorm<Scalar>(1), {1, 3000}, {{1}, {0}, Kind::sum_square}},
  };
}

/// Sum over each group.
Numbers summed(const reference::Roles& roles, const Numbers& a, const Numbers& b) {
  Numbers sums(roles.groups, 0);
  for (std::size_t i = 0; i < roles.size(); ++i) sums[roles.group[i]] += a[i] * b[i];
  return sums;
}

Numbers absolute(Numbers numbers) {
  for (Real& number : numbers) number = std::abs(number);
  return numbers;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("scale_from(v) gives v back", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  for (auto& [name, layer, shape, formula] : geometries<Scalar>()) {
    INFO(name);
    const reference::Roles roles(formula, shape);
    Random random(1);
    const TestType v(shape, random.normals(roles.size(), 0.1, 0.05));
    with_rank(shape.size(), [&, &named = layer](auto rank) { named.scale_from(v.template map<rank>()); });
    const auto truth = reference::statistics(formula, roles, v.numbers());
    Numbers norms;
    for (const Real square : truth.variance) norms.push_back(std::sqrt(square));
    const Tolerance limits = tolerance<Scalar>();
    CHECK(worst(numbers(layer.scale.value), norms, norms, limits) <= limits.limit);
    CHECK((layer.scale.grad == 0).all());
    TestType w(shape);
    forward(layer, v, w);
    CHECK(worst(w.numbers(), v.numbers(), absolute(v.numbers()), tolerance<typename TestType::Data>()) <= limits.limit);
  }
}

TEMPLATE_LIST_TEST_CASE("dv is orthogonal to v", "", FloatingFields) {
  using Scalar = typename TestType::Scalar;
  for (auto& [name, layer, shape, formula] : geometries<Scalar>()) {
    INFO(name);
    const reference::Roles roles(formula, shape);
    Random random(2);
    randomize<Scalar>(layer, random);
    const TestType v(shape, random.normals(roles.size(), 0.2));
    const TestType dw(shape, random.normals(roles.size(), 0.3));
    TestType w(shape), dv(shape);
    forward(layer, v, w);
    backward(layer, v, dw, dv);
    const Numbers products = summed(roles, v.numbers(), dv.numbers());
    const Numbers sizes = summed(roles, absolute(v.numbers()), absolute(dv.numbers()));
    CHECK(worst(products, Numbers(roles.groups, 0), sizes, tolerance<Scalar>()) <= tolerance<Scalar>().limit);
    // dv itself is not small, or this would say nothing; dw does have a part along v.
    const Numbers along = summed(roles, v.numbers(), dw.numbers());
    for (std::size_t group = 0; group < roles.groups; ++group) {
      CHECK(sizes[group] > 0.1);
      CHECK(std::abs(along[group]) > 0.01);
    }
  }
}

TEMPLATE_LIST_TEST_CASE("a gradient step grows the square of the norm by exactly that of the step", "",
                        FloatingFields) {
  using Scalar = typename TestType::Scalar;
  for (auto& [name, layer, shape, formula] : geometries<Scalar>()) {
    INFO(name);
    const reference::Roles roles(formula, shape);
    Random random(3);
    randomize<Scalar>(layer, random);
    const TestType v(shape, random.normals(roles.size(), 0.2));
    const TestType dw(shape, random.normals(roles.size(), 0.3));
    TestType w(shape), dv(shape);
    forward(layer, v, w);
    backward(layer, v, dw, dv);
    const Real rate = 0.7;
    const Numbers before = v.numbers();
    Numbers step = dv.numbers();
    Numbers after = before;
    for (std::size_t i = 0; i < after.size(); ++i) after[i] -= step[i] *= rate;
    const Numbers old_square = summed(roles, before, before);
    const Numbers new_square = summed(roles, after, after);
    const Numbers step_square = summed(roles, step, step);
    Numbers growth;
    for (std::size_t group = 0; group < roles.groups; ++group) growth.push_back(new_square[group] - old_square[group]);
    // Only dv was rounded: twice its error along v may show.
    CHECK(worst(growth, step_square, summed(roles, absolute(before), absolute(step)), tolerance<Scalar>()) <=
          2 * tolerance<Scalar>().limit);
    for (std::size_t group = 0; group < roles.groups; ++group) CHECK(step_square[group] > 1e-3);
  }
}

TEMPLATE_LIST_TEST_CASE("the length of v does not count, and its gradient is as much smaller", "", FloatingFields) {
  using Scalar = typename TestType::Scalar;
  for (auto& [name, layer, shape, formula] : geometries<Scalar>()) {
    INFO(name);
    const reference::Roles roles(formula, shape);
    Random random(4);
    randomize<Scalar>(layer, random);
    const TestType v(shape, random.normals(roles.size(), 0.2));
    Numbers hundredfold = v.numbers();
    for (Real& value : hundredfold) value *= 128;
    const TestType longer(shape, hundredfold);
    const TestType dw(shape, random.normals(roles.size()));
    TestType w(shape), dv(shape), w_longer(shape), dv_longer(shape);
    forward(layer, v, w);
    backward(layer, v, dw, dv);
    const auto dscale = layer.scale.grad;
    layer.zero_grad();
    forward(layer, longer, w_longer);
    backward(layer, longer, dw, dv_longer);
    Numbers back = dv_longer.numbers();
    for (Real& value : back) value *= 128;
    CHECK(same_bits(w, w_longer));
    CHECK(back == dv.numbers());
    CHECK(same_bits(layer.scale.grad, dscale));
  }
}

TEMPLATE_LIST_TEST_CASE("an all-zero weight gives zeros, and spoils no other", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  const Sizes shape{4, 37};
  WeightNorm<Scalar> layer(4);
  Random random(5);
  randomize<Scalar>(layer, random);
  Numbers values = random.normals(4 * 37);
  const TestType full(shape, values);
  std::fill(values.begin() + 37, values.begin() + 74, 0);
  const TestType v(shape, values);
  const TestType dw(shape, random.normals(4 * 37));
  TestType w(shape), dv(shape), w_full(shape), dv_full(shape);
  WeightNorm<Scalar> untouched = layer;
  forward<Scalar>(untouched, full, w_full);
  backward<Scalar>(untouched, full, dw, dv_full);
  forward<Scalar>(layer, v, w);
  backward<Scalar>(layer, v, dw, dv);
  const Numbers got_w = w.numbers();
  const Numbers got_dv = dv.numbers();
  const Numbers full_w = w_full.numbers();
  const Numbers full_dv = dv_full.numbers();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool zero = i / 37 == 1;
    CHECK(got_w[i] == (zero ? 0 : full_w[i]));
    CHECK(got_dv[i] == (zero ? 0 : full_dv[i]));
  }
  for (Eigen::Index output = 0; output < 4; ++output) {
    CHECK(layer.scale.grad[output] == (output == 1 ? 0 : untouched.scale.grad[output]));
  }
  layer.scale_from(v.template map<2>());
  CHECK(layer.scale.value[1] == 0);
  CHECK(layer.scale.value[0] > 0);
}

namespace {

/// Data whose values can be so small that 1 / |v| is beyond the parameters' range. (Those of half are not.)
using WideFields = std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>,
                              Field<double, Eigen::RowMajor>, Field<double, Eigen::ColMajor>,
                              Field<Eigen::bfloat16, Eigen::RowMajor>, Field<Eigen::bfloat16, Eigen::ColMajor>>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("a row whose norm has no inverse counts as zeros, and spoils no other", "", WideFields) {
  using Scalar = typename TestType::Scalar;
  // 1 / norm overflows below 2.94e-39 (float), 5.56e-309 (double). Long rows take another way than short ones.
  const Real limit = std::is_same_v<Scalar, float> ? 2.94e-39L : 5.57e-309L;
  for (const Eigen::Index width : {1, 3, 37, 1500}) {
    const auto n = static_cast<std::size_t>(width);
    const Sizes shape{20, width};
    Random random(8);
    WeightNorm<Scalar> layer(20);
    randomize<Scalar>(layer, random);
    Numbers values = random.normals(20 * n);
    const TestType full(shape, values);
    const auto row = [&](std::size_t number) { return values.begin() + static_cast<std::ptrdiff_t>(number * n); };
    std::fill(row(1), row(2), 0);
    *row(1) = limit / 4;                                                     // one subnormal value
    std::fill(row(7), row(8), limit / 2 / std::sqrt(static_cast<Real>(n)));  // all of them, as long together
    std::fill(row(12), row(13), 0);
    *(row(13) - 1) = -limit / 64;
    std::fill(row(15), row(16), 0);
    *row(15) = 1.1L * limit;  // just long enough
    const TestType v(shape, values);
    const TestType dw(shape, random.normals(20 * n));
    TestType w(shape), dv(shape), w_full(shape), dv_full(shape);
    WeightNorm<Scalar> untouched = layer;
    forward<Scalar>(untouched, full, w_full);
    backward<Scalar>(untouched, full, dw, dv_full);
    forward<Scalar>(layer, v, w);
    backward<Scalar>(layer, v, dw, dv);
    INFO("rows of " << width);
    const Numbers all_w = w.numbers(), all_w_full = w_full.numbers();
    const Numbers all_dv = dv.numbers(), all_dv_full = dv_full.numbers();
    int wrong = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t output = i / n;
      if (output == 15) continue;
      const bool tiny = output == 1 || output == 7 || output == 12;
      wrong += all_w[i] != (tiny ? 0 : all_w_full[i]);
      wrong += all_dv[i] != (tiny ? 0 : all_dv_full[i]);
    }
    CHECK(wrong == 0);
    for (const Eigen::Index output : {1, 7, 12}) {
      CHECK(layer.moments().rstd()[output] == 0);
      CHECK(layer.scale.grad[output] == 0);
    }
    CHECK(layer.scale.grad[2] == untouched.scale.grad[2]);
    // The direction of the row that is just long enough is a unit vector.
    CHECK(std::abs(all_w[15 * n] / static_cast<Real>(layer.scale.value[15]) - 1) < 0.01);
    layer.scale_from(v.template map<2>());
    for (const Eigen::Index output : {1, 7, 12}) CHECK(layer.scale.value[output] == 0);
    CHECK(layer.scale.value[15] > 0);
    CHECK(layer.scale.value.isFinite().all());
  }
}

TEMPLATE_TEST_CASE("other statistics whose sigma has no inverse, with eps 0 or next to it", "", float, double) {
  using Values = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  constexpr TestType tiny = std::numeric_limits<TestType>::denorm_min();
  const Values dy = Values::Constant(20, 6, TestType(0.5));
  Values x = Values::Zero(20, 6);
  x.col(0).setConstant(tiny);
  // (An eps that float does not know, but the double in which the root is taken does.)
  for (const double eps : {0.0, 1e-90}) {
    if (eps > 0 && std::is_same_v<TestType, double>) continue;
    CAPTURE(eps);
    eigennorm::LayerNorm<TestType> layer_norm(6, eps);
    layer_norm.shift.value.setConstant(3);
    CHECK((layer_norm.forward(x).array() == 3).all());
    CHECK((layer_norm.backward(x, dy).array() == 0).all());
    CHECK((layer_norm.scale.grad == 0).all());
    CHECK((layer_norm.evaluate(x).array() == 3).all());
    eigennorm::RMSNorm<TestType> rms_norm(6, eps);
    CHECK((rms_norm.forward(x).array() == 0).all());
    CHECK((rms_norm.backward(x, dy).array() == 0).all());
    eigennorm::BatchNorm<TestType> batch_norm(6, eigennorm::channels_on(1), eps);
    Values columns = Values::Zero(20, 6);
    columns.row(0).setConstant(tiny);
    CHECK((batch_norm.forward(columns).array() == 0).all());
    CHECK((batch_norm.backward(columns, dy).array() == 0).all());
    // By a running variance of 0.
    batch_norm.running->variance.setZero();
    CHECK((batch_norm.evaluate(dy).array() == 0).all());
  }
  // NaN is not small.
  x(3, 3) = std::numeric_limits<TestType>::quiet_NaN();
  eigennorm::LayerNorm<TestType> layer_norm(6, 0.0);
  const Values y = layer_norm.forward(x);
  CHECK(y.row(3).array().isNaN().all());
  CHECK((y.row(4).array() == 0).all());
}

TEST_CASE("a linear layer learns through its weight's direction and length") {
  // The gradients of a loss with respect to v, g and the bias, by differences through the whole of y = x w^T
  // + b.
  using Matrix = Eigen::MatrixXd;
  Random random(6);
  const auto normals = [&random](Eigen::Index rows, Eigen::Index columns) {
    Matrix matrix(rows, columns);
    for (double& value : matrix.reshaped()) value = random.normal();
    return matrix;
  };
  const Matrix x = normals(8, 5);
  const Matrix target = normals(8, 3);
  Matrix v = normals(3, 5);
  WeightNorm<double> layer(3);
  layer.scale_from(v);
  CHECK((layer.forward(v) - v).cwiseAbs().maxCoeff() <= 1e-15);
  for (double& value : layer.scale.value) value *= 1 + 0.3 * random.normal();

  const auto loss = [&](WeightNorm<double> probe, const Matrix& at) {
    return 0.5 * (x * probe.forward(at).transpose() - target).squaredNorm();
  };
  const Matrix error = x * layer.forward(v).transpose() - target;
  const Matrix dv = layer.backward(v, Matrix(error.transpose() * x));
  const double step = 1e-3;
  const auto slope = [step](const auto& value_at) {
    return (8 * (value_at(step) - value_at(-step)) - (value_at(2 * step) - value_at(-2 * step))) / (12 * step);
  };
  for (Eigen::Index row = 0; row < 3; ++row) {
    for (Eigen::Index column = 0; column < 5; ++column) {
      const double expected = slope([&](double move) {
        Matrix moved = v;
        moved(row, column) += move;
        return loss(layer, moved);
      });
      CHECK(std::abs(dv(row, column) - expected) <= 1e-8);
    }
    const double expected = slope([&](double move) {
      WeightNorm<double> moved = layer;
      moved.scale.value[row] += move;
      return loss(moved, v);
    });
    CHECK(std::abs(layer.scale.grad[row] - expected) <= 1e-8);
  }
}

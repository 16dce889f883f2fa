#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "reference.hpp"
#include "support.hpp"
#include "watch.hpp"

// NaN and infinity spoil their own group and no other. Finite data give the finite right answer, however
// large or small.

using namespace eigennorm;
using watch::bits;

namespace {

template <typename Data>
using Tensor = Eigen::Tensor<Data, 3, Eigen::RowMajor>;

const reference::Sizes shape = {4, 6, 5};

template <typename Scalar>
struct Case {
  std::string name;
  Normalization<Scalar> layer;
  reference::Formula formula;
};

template <typename Scalar>
std::vector<Case<Scalar>> cases(double eps) {
  using reference::Kind;
  const reference::Real exact = eps;
  return {
      {"BatchNorm", BatchNorm<Scalar>(6, channels_on(1), eps), {{0, 2}, {1}, Kind::mean_variance, exact}},
      {"BatchNorm, channels last",
       BatchNorm<Scalar>(5, channels_on(-1), eps),
       {{0, 1}, {2}, Kind::mean_variance, exact}},
      {"MeanOnlyBatchNorm", MeanOnlyBatchNorm<Scalar>(6), {{0, 2}, {1}, Kind::mean, 0}},
      {"LayerNorm", LayerNorm<Scalar>(5, eps), {{2}, {2}, Kind::mean_variance, exact}},
      {"LayerNorm of two axes", LayerNorm<Scalar>({6, 5}, eps), {{1, 2}, {1, 2}, Kind::mean_variance, exact}},
      {"LayerNorm, channels first", LayerNorm<Scalar>(6, over(1), eps), {{1}, {1}, Kind::mean_variance, exact}},
      {"GroupNorm",
       GroupNorm<Scalar>(3, 6, channels_on(1), samples_on(0), eps),
       {{1, 2}, {1}, Kind::mean_variance, exact, 3}},
      {"InstanceNorm",
       InstanceNorm<Scalar>(6, channels_on(1), samples_on(0), eps),
       {{2}, {1}, Kind::mean_variance, exact}},
      {"RMSNorm", RMSNorm<Scalar>(5, eps), {{2}, {2}, Kind::mean_square, exact}},
      {"WeightNorm", WeightNorm<Scalar>(4), {{1, 2}, {0}, Kind::sum_square, 0}},
      {"WeightNorm of the whole", WeightNorm<Scalar>(whole_tensor), {{0, 1, 2}, {}, Kind::sum_square, 0}},
  };
}

template <typename Data>
Tensor<Data> tensor_of(const reference::Numbers& numbers) {
  Tensor<Data> x(4, 6, 5);
  for (std::size_t i = 0; i < numbers.size(); ++i) x.data()[i] = test::rounded<Data>(numbers[i]);
  return x;
}

template <typename Data>
reference::Numbers numbers_of(const Tensor<Data>& x) {
  reference::Numbers numbers;
  for (Eigen::Index i = 0; i < x.size(); ++i) numbers.push_back(test::widened(x.data()[i]));
  return numbers;
}

template <typename Scalar>
Normalization<Scalar> randomized(Normalization<Scalar> layer, std::uint64_t seed) {
  test::Random random(seed);
  test::randomize(layer, random);
  return layer;
}

// Counts values of good groups or features whose bits changed, and values of bad ones that are not as they
// must be.
struct Damage {
  int changed = 0, missed = 0;
};

template <typename Data, typename IsBad, typename Must>
Damage damage(const Data* got, const Data* clean, std::size_t size, IsBad is_bad, Must must) {
  Damage result;
  for (std::size_t i = 0; i < size; ++i) {
    if (is_bad(i)) {
      result.missed += !must(got[i]);
    } else {
      result.changed += !test::same_bits(got[i], clean[i]);
    }
  }
  return result;
}

bool is_nan(double value) { return std::isnan(value); }
bool is_spoiled(double value) { return !std::isfinite(value); }

}  // namespace

TEMPLATE_TEST_CASE("NaN or infinity in x spoils its group, and no bit of another", "", float, double) {
  const std::size_t poisoned = 4 * 30 / 2 + 7;
  test::Random random(1);
  const auto clean_x = random.normals(120), clean_dy = random.normals(120);
  for (const auto& c : cases<TestType>(1e-5)) {
    const reference::Roles roles(c.formula, shape);
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                             -std::numeric_limits<double>::infinity()}) {
      CAPTURE(c.name, bad);
      auto clean_layer = randomized(c.layer, 2), layer = clean_layer;
      Tensor<TestType> x = tensor_of<TestType>(clean_x);
      const Tensor<TestType> dy = tensor_of<TestType>(clean_dy);
      const Tensor<TestType> clean_y = clean_layer.forward(x), clean_dx = clean_layer.backward(x, dy);
      x.data()[poisoned] = static_cast<TestType>(bad);
      const Tensor<TestType> y = layer.forward(x), dx = layer.backward(x, dy);

      const auto in_group = [&](std::size_t i) { return roles.group[i] == roles.group[poisoned]; };
      const Damage in_y = damage(y.data(), clean_y.data(), 120, in_group, is_nan);
      CHECK(in_y.changed == 0);
      CHECK(in_y.missed == 0);
      const Damage in_dx = damage(dx.data(), clean_dx.data(), 120, in_group, is_nan);
      CHECK(in_dx.changed == 0);
      // The mean alone does not enter its gradient.
      if (c.formula.kind != reference::Kind::mean) CHECK(in_dx.missed == 0);

      // A feature is touched by the group if one of its values is in it.
      std::vector<bool> touched(roles.features, false);
      for (std::size_t i = 0; i < 120; ++i) touched[roles.feature[i]] = touched[roles.feature[i]] || in_group(i);
      const auto is_touched = [&](std::size_t f) { return bool(touched[f]); };
      if (layer.scale.grad.size() > 0) {
        const Damage in_scale =
            damage(layer.scale.grad.data(), clean_layer.scale.grad.data(), roles.features, is_touched, is_nan);
        CHECK(in_scale.changed == 0);
        CHECK(in_scale.missed == 0);
      }
      if (layer.shift.grad.size() > 0) CHECK(bits(layer.shift.grad) == bits(clean_layer.shift.grad));
      // What evaluate does without running statistics is the same.
      layer.running.reset();
      CHECK(bits(Tensor<TestType>(layer.evaluate(x))) == bits(y));
    }
  }
}

TEMPLATE_TEST_CASE("NaN or infinity in dy spoils its group, and no bit of another", "", float, double) {
  const std::size_t poisoned = 37;
  test::Random random(11);
  const auto clean_x = random.normals(120), clean_dy = random.normals(120);
  for (const auto& c : cases<TestType>(1e-5)) {
    const reference::Roles roles(c.formula, shape);
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      CAPTURE(c.name, bad);
      auto clean_layer = randomized(c.layer, 12), layer = clean_layer;
      const Tensor<TestType> x = tensor_of<TestType>(clean_x);
      Tensor<TestType> dy = tensor_of<TestType>(clean_dy);
      clean_layer.forward(x);
      layer.forward(x);
      const Tensor<TestType> clean_dx = clean_layer.backward(x, dy);
      dy.data()[poisoned] = static_cast<TestType>(bad);
      const Tensor<TestType> dx = layer.backward(x, dy);
      const auto in_group = [&](std::size_t i) { return roles.group[i] == roles.group[poisoned]; };
      const Damage in_dx = damage(dx.data(), clean_dx.data(), 120, in_group, is_spoiled);
      CHECK(in_dx.changed == 0);
      CHECK(in_dx.missed == 0);
      const auto is_feature = [&](std::size_t f) { return f == roles.feature[poisoned]; };
      for (const auto& [got, clean] : {std::pair(&layer.scale.grad, &clean_layer.scale.grad),
                                       std::pair(&layer.shift.grad, &clean_layer.shift.grad)}) {
        if (got->size() == 0) continue;
        const Damage in_grad = damage(got->data(), clean->data(), roles.features, is_feature, is_spoiled);
        CHECK(in_grad.changed == 0);
        CHECK(in_grad.missed == 0);
      }
    }
  }
}

namespace {

// Numbers about `offset`, of both signs about it in every group, at most 1 from it and at least 1/2, so that
// no group is nearly constant.
reference::Numbers spread_numbers(double magnitude, double offset) {
  test::Random random(31);
  reference::Numbers x(120);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double distance = 0.5 + 0.5 * random.uniform();
    x[i] = magnitude * (offset + (i % 2 == 0 ? distance : -distance));
  }
  return x;
}

template <typename Data, typename Scalar>
void check_accuracy(const Case<Scalar>& c, const Tensor<Data>& x, const Tensor<Data>& dy) {
  auto layer = randomized(c.layer, 21);
  const Tensor<Data> y = layer.forward(x), dx = layer.backward(x, dy);
  const reference::Roles roles(c.formula, shape);
  const auto exact_x = numbers_of(x), exact_dy = numbers_of(dy);
  const auto given = reference::statistics(c.formula, roles, exact_x);
  const auto parameters = test::parameters(layer);
  const auto scales = reference::natural_scales(c.formula, roles, given, parameters, exact_x, exact_dy, false);
  const auto truth_y = reference::forward(roles, given, parameters, exact_x);
  const auto truth = reference::backward(c.formula, roles, given, parameters, exact_x, exact_dy, false);
  // Where sigma is so large that 1/sigma is a subnormal number, rounding it, and then its product with the
  // scale, costs half their spacing. It enters y once and dx three times.
  const reference::Real smallest_rstd = *std::min_element(given.rstd.begin(), given.rstd.end());
  reference::Real smallest_scale = 1;
  for (const auto scale : parameters.scale) smallest_scale = std::min(smallest_scale, std::abs(scale));
  const reference::Real coarseness = std::numeric_limits<Scalar>::min() / smallest_rstd;
  const reference::Real extra = coarseness > 1 ? coarseness * (1 + 1 / smallest_scale) : 0;

  const auto data = test::tolerance<Data>();
  const auto parameter = test::tolerance<Scalar>();
  CHECK(test::worst(numbers_of(y), truth_y, scales.y, data) <= data.limit + extra);
  CHECK(test::worst(numbers_of(dx), truth.x, scales.dx, data) <= data.limit + 3 * extra);
  if (layer.scale.grad.size() > 0) {
    CHECK(test::worst(test::numbers(layer.scale.grad), truth.scale, scales.scale, parameter) <=
          parameter.limit + extra);
  }
  if (layer.shift.grad.size() > 0) {
    CHECK(test::worst(test::numbers(layer.shift.grad), truth.shift, scales.shift, parameter) <= parameter.limit);
  }
}

template <typename Data>
void check_magnitude(double magnitude, double gradient, double eps, double offset) {
  test::Random random(32);
  const auto x = tensor_of<Data>(spread_numbers(magnitude, offset)),
             dy = tensor_of<Data>(random.normals(120, 0, gradient));
  for (const auto& c : cases<test::ScalarOf<Data>>(eps)) {
    CAPTURE(c.name, std::log10(magnitude), gradient, eps, offset);
    check_accuracy(c, x, dy);
  }
}

}  // namespace

TEST_CASE("large finite data") {
  for (const double offset : {0.0, 0.5}) {
    for (const double magnitude : {1e18, 1e20, 1e30, 1e37, 1e38}) check_magnitude<float>(magnitude, 1e3, 1e-5, offset);
    for (const double magnitude : {1e150, 1e160, 1e200, 1e300, 1e308}) {
      check_magnitude<double>(magnitude, 1e3, 1e-5, offset);
    }
  }
}

TEST_CASE("small finite data, without eps") {
  for (const double offset : {0.0, 3.0}) {
    for (const double magnitude : {1e-18, 1e-20, 1e-30, 1e-37, 1e-38})
      check_magnitude<float>(magnitude, 1e-3, 0, offset);
    for (const double magnitude : {1e-150, 1e-160, 1e-200, 1e-300, 2e-308}) {
      check_magnitude<double>(magnitude, 1e-3, 0, offset);
    }
  }
}

TEST_CASE("small finite data, with eps") {
  for (const double magnitude : {1e-3, 1e-10, 1e-20, 1e-30}) check_magnitude<float>(magnitude, 1, 1e-5, 1);
  for (const double magnitude : {1e-10, 1e-100, 1e-200}) check_magnitude<double>(magnitude, 1, 1e-5, 1);
  for (const double magnitude : {1e-30, 1e-36}) check_magnitude<float>(magnitude, 1e-3, 1e-64, 1);
}

TEST_CASE("data in sixteen bits up to their largest") {
  check_magnitude<Eigen::half>(30000, 100, 1e-5, 0);
  check_magnitude<Eigen::half>(40000, 100, 1e-5, 0.5);
  check_magnitude<Eigen::half>(1e-4, 0.1, 0, 0);
  check_magnitude<Eigen::bfloat16>(1e38, 1e3, 1e-5, 0.5);
  check_magnitude<Eigen::bfloat16>(1e-36, 1e-3, 0, 0.5);
}

TEST_CASE("a mean of many deviations costs no digits") {
  // The mean is no number of the data's type. In double the deviations are less small, because the truth, in long
  // double, is to be known well enough.
  test::Random random(35);
  const auto dy = random.normals(120);
  for (const auto& c : cases<float>(1e-5)) {
    for (const double mean : {30.0, 1e3, 3e4}) {
      CAPTURE(c.name, mean);
      check_accuracy(c, tensor_of<float>(spread_numbers(1, mean)), tensor_of<float>(dy));
    }
  }
  for (const auto& c : cases<double>(1e-5)) {
    CAPTURE(c.name);
    check_accuracy(c, tensor_of<double>(spread_numbers(1, 100)), tensor_of<double>(dy));
  }
}

TEMPLATE_TEST_CASE("times a power of two, without eps: the same bits", "", float, double) {
  // Also beyond the point where squares leave the range, and other arithmetic takes over.
  const int most = std::numeric_limits<TestType>::max_exponent - 3;
  test::Random random(33);
  const auto dy = tensor_of<TestType>(random.normals(120));
  for (const auto& c : cases<TestType>(0)) {
    if (c.formula.kind == reference::Kind::mean) continue;
    auto layer = randomized(c.layer, 34);
    layer.running.reset();
    const auto x = tensor_of<TestType>(spread_numbers(1, 0.25));
    const Tensor<TestType> y = layer.forward(x), dx = layer.backward(x, dy);
    const Vector<TestType> dscale = layer.scale.grad;
    for (const int exponent : {1, -1, 10, most / 2 - 3, most / 2, most / 2 + 4, -most / 2, -most + 20, most - 20}) {
      CAPTURE(c.name, exponent);
      Tensor<TestType> scaled = x;
      for (Eigen::Index i = 0; i < 120; ++i) scaled.data()[i] = std::ldexp(x.data()[i], exponent);
      CHECK(bits(Tensor<TestType>(layer.forward(scaled))) == bits(y));
      layer.zero_grad();
      Tensor<TestType> scaled_dx = layer.backward(scaled, dy);
      CHECK(bits(layer.scale.grad) == bits(dscale));
      // Gradients of huge data may be subnormal, and rounded as such.
      if (exponent > most / 2) continue;
      for (Eigen::Index i = 0; i < 120; ++i) scaled_dx.data()[i] = std::ldexp(scaled_dx.data()[i], exponent);
      CHECK(bits(scaled_dx) == bits(dx));
    }
  }
}

TEMPLATE_TEST_CASE("a group that spans the range of its type", "", float, double) {
  // The sum of the values, and all their squares, are out of range; the difference of two of them is just in
  // it.
  using Matrix = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic>;
  const TestType half = std::numeric_limits<TestType>::max() / 2;
  for (const TestType sign : {TestType(1), TestType(-1)}) {
    Matrix x = Matrix::Constant(1, 9, -sign * half);
    x(0, 4) = sign * half;
    LayerNorm<TestType> layer(9);
    const Matrix y = layer.forward(x);
    // One value of 9 stands out: 8/9 and -1/9 of a step from the mean, over the deviation of sqrt(8)/9.
    CHECK(y(0, 4) == Approx(static_cast<double>(sign) * std::sqrt(8.0)).epsilon(1e-6));
    CHECK(y(0, 0) == Approx(static_cast<double>(-sign) / std::sqrt(8.0)).epsilon(1e-6));
  }
}

TEMPLATE_TEST_CASE("the largest values there are, alike, are a constant group", "", float, double) {
  using Matrix = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic>;
  for (const TestType value : {std::numeric_limits<TestType>::max(), std::numeric_limits<TestType>::lowest(),
                               std::numeric_limits<TestType>::min(), std::numeric_limits<TestType>::denorm_min()}) {
    CAPTURE(value);
    const Matrix x = Matrix::Constant(3, 70, value);
    LayerNorm<TestType> layer(70);
    CHECK((Matrix(layer.forward(x)).array() == 0).all());
    RMSNorm<TestType> rms(70, 0.0);
    const Matrix y = rms.forward(x);
    if (std::abs(value) >= std::numeric_limits<TestType>::min()) {
      CHECK((y.array() * (value > 0 ? 1 : -1)).isApproxToConstant(1, TestType(1e-5)));
    }
  }
}

TEMPLATE_TEST_CASE("a weight row of zeros: w, dv and dscale are zero", "", float, double) {
  using Matrix = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  test::Random random(41);
  Matrix v(4, 7), dw(4, 7);
  for (Eigen::Index i = 0; i < v.size(); ++i) {
    v.data()[i] = static_cast<TestType>(random.normal());
    dw.data()[i] = static_cast<TestType>(random.normal());
  }
  WeightNorm<TestType> whole(4), layer(4);
  layer.scale.value.setConstant(3);
  whole.scale.value.setConstant(3);
  const Matrix full_w = whole.forward(v), full_dv = whole.backward(v, dw);
  v.row(2).setZero();
  v(2, 3) = -TestType(0);
  const Matrix w = layer.forward(v), dv = layer.backward(v, dw);
  CHECK((w.row(2).array() == 0).all());
  CHECK((dv.row(2).array() == 0).all());
  CHECK(layer.scale.grad(2) == 0);
  for (const Eigen::Index row : {0, 1, 3}) {
    CHECK(bits(Matrix(w.row(row))) == bits(Matrix(full_w.row(row))));
    CHECK(bits(Matrix(dv.row(row))) == bits(Matrix(full_dv.row(row))));
    CHECK(layer.scale.grad(row) == whole.scale.grad(row));
  }
  layer.scale_from(v);
  CHECK(layer.scale.value(2) == 0);
  CHECK((Matrix(layer.forward(v)).row(2).array() == 0).all());
  const Matrix nothing = Matrix::Zero(4, 7);
  WeightNorm<TestType> one(whole_tensor);
  CHECK((Matrix(one.forward(nothing)).array() == 0).all());
  CHECK((Matrix(one.backward(nothing, dw)).array() == 0).all());
  CHECK(one.scale.grad(0) == 0);
}

TEMPLATE_TEST_CASE("a constant group with eps 0: y is the shift, dx and dscale are zero", "", float, double) {
  test::Random random(51);
  const auto dy = tensor_of<TestType>(random.normals(120));
  for (const double value : {0.0, 1.0, -0.1, 1234.567, 1e30}) {
    for (const auto& c : cases<TestType>(0)) {
      if (!c.formula.centred()) continue;
      CAPTURE(c.name, value);
      auto layer = randomized(c.layer, 52);
      Tensor<TestType> x(4, 6, 5);
      x.setConstant(static_cast<TestType>(value));
      const Tensor<TestType> y = layer.forward(x), dx = layer.backward(x, dy);
      const reference::Roles roles(c.formula, shape);
      int wrong = 0;
      for (std::size_t i = 0; i < 120; ++i) {
        wrong += y.data()[i] != layer.shift.value(static_cast<Eigen::Index>(roles.feature[i]));
        if (c.formula.kind == reference::Kind::mean_variance) wrong += dx.data()[i] != 0;
      }
      CHECK(wrong == 0);
      if (layer.scale.grad.size() > 0) CHECK((layer.scale.grad == 0).all());
      CHECK(layer.shift.grad.isFinite().all());
    }
  }
  // So is RMSNorm of zeros.
  RMSNorm<TestType> rms(5, 0.0);
  Tensor<TestType> x(4, 6, 5);
  x.setZero();
  const Tensor<TestType> y = rms.forward(x), dx = rms.backward(x, dy);
  CHECK(std::all_of(y.data(), y.data() + 120, [](TestType v) { return v == 0; }));
  CHECK(std::all_of(dx.data(), dx.data() + 120, [](TestType v) { return v == 0; }));
  CHECK((rms.scale.grad == 0).all());
}

TEST_CASE("a large group with one bad value far inside") {
  // Several blocks and segments of one group, beside good ones.
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  test::Random random(61);
  Rows x(3, 70000);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(random.normal());
  LayerNorm<float> layer(70000);
  const Rows clean = layer.forward(x);
  for (const Eigen::Index where : {0, 1500, 66000, 69999}) {
    Rows spoiled = x;
    spoiled(1, where) = std::numeric_limits<float>::quiet_NaN();
    const Rows y = layer.forward(spoiled);
    CHECK(y.row(1).array().isNaN().all());
    CHECK(bits(Rows(y.row(0))) == bits(Rows(clean.row(0))));
    CHECK(bits(Rows(y.row(2))) == bits(Rows(clean.row(2))));
  }
}

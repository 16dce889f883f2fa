#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "support.hpp"
#include "watch.hpp"

// Layers are values: copies are deep and carry their moments, moves are cheap, a vector holds any of them.
// One layer may be used several times before going back.

using namespace eigennorm;
using test::random_matrix;
using watch::bits;

namespace {

using Matrix = Eigen::MatrixXf;

BatchNorm<float> trained() {
  BatchNorm<float> layer(5);
  test::Random numbers(3);
  test::randomize(layer, numbers);
  const Matrix x = random_matrix(8, 5, 1);
  layer.forward(x);
  layer.backward(x, random_matrix(8, 5, 2));
  return layer;
}

}  // namespace

TEST_CASE("a copy is equal and independent") {
  BatchNorm<float> layer = trained();
  const BatchNorm<float> copy = layer;
  const auto before = bits(copy);
  CHECK(bits(layer) == before);
  CHECK(copy.scale.value.data() != layer.scale.value.data());
  CHECK(copy.running->mean.data() != layer.running->mean.data());
  layer.scale.value.setZero();
  layer.shift.grad.setZero();
  layer.running->mean.setConstant(7);
  layer.eps = 1;
  layer.forward(random_matrix(6, 5, 4));
  CHECK(bits(copy) == before);
  BatchNorm<float> other(2);
  other = copy;
  CHECK(bits(other) == before);
  CHECK(other.features() == 5);
}

TEST_CASE("a copied layer carries its moments: it can go back") {
  BatchNorm<float> layer = trained();
  const Matrix x = random_matrix(8, 5, 1), dy = random_matrix(8, 5, 5);
  BatchNorm<float> copy = layer;
  layer.forward(random_matrix(4, 5, 6));
  const Matrix dx = copy.backward(x, dy);
  BatchNorm<float> fresh = trained();
  CHECK(bits(dx) == bits(Matrix(fresh.backward(x, dy))));
  CHECK(bits(copy.scale.grad) == bits(fresh.scale.grad));
  CHECK_THROWS_AS(layer.backward(x, dy), std::invalid_argument);
}

TEST_CASE("backward may run twice, and takes the scale of that moment") {
  BatchNorm<float> layer = trained();
  const Matrix x = random_matrix(8, 5, 1), dy = random_matrix(8, 5, 5);
  layer.forward(x);
  layer.zero_grad();
  const Matrix dx = layer.backward(x, dy);
  const Vector<float> once = layer.scale.grad;
  CHECK(bits(Matrix(layer.backward(x, dy))) == bits(dx));
  CHECK(layer.scale.grad.isApprox(2 * once, 1e-6F));
  layer.scale.value *= 2;
  CHECK(Matrix(layer.backward(x, dy)).isApprox(2 * dx, 1e-6F));
}

TEST_CASE("evaluate leaves nothing behind: backward still belongs to the last forward") {
  BatchNorm<float> layer = trained(), undisturbed = trained();
  const Matrix x = random_matrix(8, 5, 1), dy = random_matrix(8, 5, 5);
  const auto before = bits(layer);
  layer.evaluate(random_matrix(3, 5, 6));
  CHECK(bits(layer) == before);
  CHECK(bits(Matrix(layer.backward(x, dy))) == bits(Matrix(undisturbed.backward(x, dy))));
  LayerNorm<float> own_statistics(5);
  CHECK_NOTHROW(own_statistics.evaluate(x));
  CHECK_THROWS_AS(own_statistics.backward(x, dy), std::invalid_argument);
}

TEST_CASE("a moved layer is the same one: no value is copied") {
  BatchNorm<float> layer = trained();
  const auto before = bits(layer);
  const float* scale = layer.scale.value.data();
  const float* running = layer.running->mean.data();
  BatchNorm<float> moved = std::move(layer);
  CHECK(bits(moved) == before);
  CHECK(moved.scale.value.data() == scale);
  CHECK(moved.running->mean.data() == running);
  BatchNorm<float> assigned(1);
  assigned = std::move(moved);
  CHECK(bits(assigned) == before);
  CHECK(assigned.scale.value.data() == scale);
  // What was moved from is empty: using it is an error, and it can be given a new value.
  const Matrix x = random_matrix(8, 5, 1);
  CHECK_THROWS_AS(moved.forward(x), std::invalid_argument);
  CHECK_THROWS_AS(moved.backward(x, x), std::invalid_argument);
  moved = trained();
  CHECK(bits(moved) == bits(trained()));
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<Normalization<float>>);
  STATIC_REQUIRE(std::is_nothrow_move_assignable_v<Normalization<float>>);
}

TEST_CASE("a vector holds any layers") {
  std::vector<Normalization<float>> layers;
  layers.push_back(BatchNorm<float>(5));
  layers.push_back(LayerNorm<float>(5));
  layers.push_back(MeanOnlyBatchNorm<float>(5));
  layers.push_back(RMSNorm<float>(5));
  layers.push_back(WeightNorm<float>(5, outputs_on(1)));
  layers.push_back(Normalization<float>(over(0, 1), no_axes, Extents{}, Statistic::mean_variance, 1e-5));
  const Matrix x = random_matrix(8, 5, 11), dy = random_matrix(8, 5, 12);

  std::vector<Matrix> alone;
  BatchNorm<float> batch_norm(5);
  LayerNorm<float> layer_norm(5);
  MeanOnlyBatchNorm<float> mean_only(5);
  RMSNorm<float> rms(5);
  WeightNorm<float> weight_norm(5, outputs_on(1));
  alone.emplace_back(batch_norm.forward(x));
  alone.emplace_back(layer_norm.forward(x));
  alone.emplace_back(mean_only.forward(x));
  alone.emplace_back(rms.forward(x));
  alone.emplace_back(weight_norm.forward(x));
  for (std::size_t i = 0; i < alone.size(); ++i) CHECK(bits(Matrix(layers[i].forward(x))) == bits(alone[i]));
  const Matrix everything = layers.back().forward(x);
  CHECK(everything.mean() == Approx(0).margin(1e-6));
  CHECK(everything.squaredNorm() == Approx(40).epsilon(1e-4));

  // Growing the vector moves them, moments and all.
  layers.reserve(100);
  for (std::size_t i = 0; i < 30; ++i) layers.push_back(layers[i]);
  CHECK(bits(Matrix(layers[0].backward(x, dy))) == bits(Matrix(batch_norm.backward(x, dy))));
  CHECK(bits(Matrix(layers[30].backward(x, dy))) == bits(Matrix(layers[0].backward(x, dy))));
  layers.erase(layers.begin());
  CHECK(bits(Matrix(layers[0].backward(x, dy))) == bits(Matrix(layer_norm.backward(x, dy))));
}

TEST_CASE("a derived layer has no data of its own") {
  STATIC_REQUIRE(sizeof(BatchNorm<float>) == sizeof(Normalization<float>));
  STATIC_REQUIRE(sizeof(WeightNorm<double>) == sizeof(Normalization<double>));
  const BatchNorm<float> layer = trained();
  const Normalization<float> base = layer;
  CHECK(bits(base) == bits(layer));
  const Matrix x = random_matrix(3, 5, 13);
  CHECK(bits(Matrix(base.evaluate(x))) == bits(Matrix(layer.evaluate(x))));
}

TEST_CASE("one layer used many times before going back") {
  // As in a recurrent net: forward through the steps, backward in reverse.
  constexpr std::size_t steps = 4;
  LayerNorm<float> layer(5), reference(5);
  test::Random numbers(21);
  test::randomize(layer, numbers);
  reference = layer;
  std::vector<Moments<float>> moments(steps);
  std::vector<Matrix> x, dy;
  for (std::size_t step = 0; step < steps; ++step) {
    const auto rows = static_cast<Eigen::Index>(3 + step);
    x.push_back(random_matrix(rows, 5, 30 + step));
    dy.push_back(random_matrix(rows, 5, 40 + step));
    CHECK(moments[step].empty());
    Matrix y(rows, 5);
    layer.forward(x[step], y, {{}, &moments[step]});
    CHECK_FALSE(moments[step].empty());
    CHECK(bits(y) == bits(Matrix(reference.evaluate(x[step]))));
  }
  for (std::size_t step = steps; step-- > 0;) {
    const auto before = bits(moments[step]);
    const Matrix dx = layer.backward(x[step], dy[step], {{}, &moments[step]});
    CHECK(bits(moments[step]) == before);
    reference.forward(x[step]);
    CHECK(bits(dx) == bits(Matrix(reference.backward(x[step], dy[step]))));
  }
  CHECK(bits(layer.scale.grad) == bits(reference.scale.grad));
  CHECK(bits(layer.shift.grad) == bits(reference.shift.grad));
}

TEST_CASE("moments of the caller take the place of the layer's, and can be used again") {
  BatchNorm<float> layer(5);
  const Matrix x = random_matrix(8, 5, 51), dy = random_matrix(8, 5, 52);
  layer.forward(x);
  CHECK_FALSE(layer.moments().empty());
  Moments<float> own;
  Matrix y(8, 5);
  layer.forward(x, y, {{}, &own});
  // The layer's last forward left nothing in the layer.
  CHECK_THROWS_AS(layer.moments(), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(x, dy), std::invalid_argument);
  const Matrix dx = layer.backward(x, dy, {{}, &own});
  const Matrix shorter = random_matrix(4, 5, 53);
  layer.forward(shorter, Matrix(4, 5), {{}, &own});
  CHECK(own.count() == 4);
  CHECK_THROWS_AS(layer.backward(x, dy, {{}, &own}), std::invalid_argument);
  layer.forward(x);
  CHECK(bits(Matrix(layer.backward(x, dy))) == bits(dx));
}

TEST_CASE("what moments tell") {
  using Tensor = Eigen::Tensor<double, 3, Eigen::RowMajor>;
  test::Random numbers(61);
  Tensor x(2, 3, 4);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = numbers.normal() + static_cast<double>(i);
  LayerNorm<double> layer(4, over(2), 0.25);
  layer.forward(x);
  const Moments<double>& moments = layer.moments();
  CHECK(moments.groups() == 6);
  CHECK(moments.count() == 4);
  CHECK_FALSE(moments.frozen());
  // Numbered over the kept axes, the last one fastest.
  for (Eigen::Index group = 0; group < 6; ++group) {
    const Eigen::Map<const Eigen::Array4d> values(x.data() + 4 * group);
    CHECK(moments.mean()(group) == Approx(values.mean()).epsilon(1e-15));
    CHECK(moments.rstd()(group) ==
          Approx(1 / std::sqrt((values - values.mean()).square().mean() + 0.25)).epsilon(1e-14));
  }

  InstanceNorm<double> instance(3);
  instance.forward(x);
  CHECK(instance.moments().groups() == 6);
  CHECK(instance.moments().variance().size() == 6);
  GroupNorm<double> group_norm(1, 3);
  group_norm.forward(x);
  CHECK(group_norm.moments().groups() == 2);
  CHECK(group_norm.moments().count() == 12);

  // The same numbers in a column-major tensor.
  Eigen::Tensor<double, 3> columns(2, 3, 4);
  for (int n = 0; n < 2; ++n) {
    for (int c = 0; c < 3; ++c) {
      for (int i = 0; i < 4; ++i) columns(n, c, i) = x(n, c, i);
    }
  }
  LayerNorm<double> again(4, over(2), 0.25);
  again.forward(columns);
  CHECK(again.moments().mean().isApprox(layer.moments().mean(), 1e-15));
}

TEST_CASE("moments know a mean that is no float") {
  Matrix x(4, 1);
  x << 10000001, 10000002, 10000004, 10000006;
  BatchNorm<float> layer(1);
  const Matrix y = layer.forward(x);
  CHECK(layer.moments().mean()(0) == 10000003.25);
  CHECK(layer.moments().variance()(0) == 3.6875);
  CHECK(y(0, 0) == Approx(-2.25 / std::sqrt(3.6875 + 1e-5)).epsilon(1e-6));
}

TEST_CASE("use_scale and use_shift size value and gradient, or empty both") {
  LayerNorm<float> layer(3);
  CHECK((layer.scale.value == 1).all());
  CHECK((layer.shift.value == 0).all());
  layer.scale.value.setConstant(3);
  layer.use_scale(true);
  CHECK((layer.scale.value == 3).all());
  layer.use_scale(false);
  CHECK(layer.scale.value.size() == 0);
  CHECK(layer.scale.grad.size() == 0);
  layer.use_scale(true);
  CHECK((layer.scale.value == 1).all());
  CHECK(layer.scale.value.size() == 3);
  CHECK((layer.scale.grad == 0).all());
  RMSNorm<float> rms(3);
  CHECK(rms.shift.value.size() == 0);
  rms.use_shift(true);
  CHECK((rms.shift.value == 0).all());
  rms.shift.value.setConstant(2);
  const Matrix x = random_matrix(4, 3, 71), y = rms.forward(x);
  rms.use_shift(false);
  CHECK(Matrix(y.array() - 2).isApprox(Matrix(rms.forward(x)), 1e-6F));
  // Absent and neutral are the same, to the bit.
  LayerNorm<float> neutral(3), absent(3);
  absent.use_scale(false);
  absent.use_shift(false);
  CHECK(bits(Matrix(neutral.forward(x))) == bits(Matrix(absent.forward(x))));
  CHECK(bits(Matrix(neutral.backward(x, x))) == bits(Matrix(absent.backward(x, x))));
}

TEST_CASE("layers of long double") {
  using Long = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;
  const Long x = random_matrix(6, 5, 81).cast<long double>();
  LayerNorm<long double> layer(5, 0.0);
  const Long y = layer.forward(x);
  for (Eigen::Index r = 0; r < 6; ++r) {
    CHECK(std::abs(y.row(r).sum()) < 1e-17L);
    CHECK(std::abs(y.row(r).squaredNorm() - 5) < 1e-16L);
  }
}

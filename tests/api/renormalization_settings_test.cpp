#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "batches.hpp"
#include "catch.hpp"
#include "members.hpp"
#include "support.hpp"
#include "watch.hpp"

// Batch Renormalization as a setting: when it is used, what it leaves alone, and which limits are none.

using namespace eigennorm;
using test::batch;
using test::Matrix;
using test::special_layer;
using watch::bits;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity(), none = std::numeric_limits<double>::quiet_NaN();

BatchNorm<double> renormalized(double r_max, double d_max) {
  BatchNorm<double> layer = special_layer();
  layer.running->renormalize = Renormalization{r_max, d_max};
  return layer;
}

/// A forward whose moments are the layer's and its backward.
struct Step {
  Step(Normalization<double>& layer, const Matrix& x)
      : y(layer.forward(x)), dx(layer.backward(x, batch(x.rows(), x.cols(), 9))) {}
  Matrix y, dx;
};

}  // namespace

TEST_CASE("a new layer is not renormalized, and limits are at first those of BatchNorm") {
  BatchNorm<float> layer(3);
  CHECK_FALSE(layer.running->renormalize);
  const Renormalization limits = layer.running->renormalize.emplace();
  CHECK(limits.r_max == 1);
  CHECK(limits.d_max == 0);
}

TEST_CASE("without limits that matter y is that of evaluate by the statistics before") {
  BatchNorm<double> layer = renormalized(1e6, 1e6);
  const Matrix x = batch(6, 3, 1), expected = layer.evaluate(x);
  const Matrix y = layer.forward(x);
  CHECK((y - expected).cwiseAbs().maxCoeff() < 1e-13);
  // They have moved since.
  CHECK((layer.evaluate(x) - expected).cwiseAbs().maxCoeff() > 1e-3);
}

TEST_CASE("each channel is clipped by itself") {
  BatchNorm<double> layer = renormalized(1.5, 0.5);
  const Matrix x = batch(50, 3, 1);
  layer.running->mean << 1000, -1000, x.col(2).mean() - 0.01;
  layer.running->variance << 1e4, 1e-4, 10;
  const Matrix y = layer.forward(x);
  const Vector<double> r = layer.moments().r(), d = layer.moments().d();
  CHECK(r[0] == 1 / 1.5);
  CHECK(r[1] == 1.5);
  CHECK(std::abs(r[2] * layer.moments().rstd()[2] * std::sqrt(10 + 1e-5) - 1) < 1e-15);
  CHECK(r[2] != 1);
  CHECK(d[0] == -0.5);
  CHECK(d[1] == 0.5);
  CHECK(std::abs(d[2] - 0.01 / std::sqrt(10 + 1e-5)) < 1e-14);
  // The mean of y is what d makes of it.
  const Eigen::Array3d means = y.colwise().mean().transpose().array();
  CHECK(((means - (layer.shift.value + layer.scale.value * d)).abs() < 1e-13).all());
  const Matrix dy = batch(50, 3, 2);
  layer.backward(x, dy);
  for (Eigen::Index c = 0; c < 3; ++c) {
    const auto by_scale = (y.col(c).array() - layer.shift.value[c]) / layer.scale.value[c];
    CHECK(std::abs((dy.col(c).array() * by_scale).sum() - layer.scale.grad[c]) < 1e-11);
  }
}

TEST_CASE("limits change between steps: each step is that of a layer made with them") {
  BatchNorm<double> changing = special_layer(), twin = special_layer();
  for (const Renormalization limits : {Renormalization{1, 0}, {1.5, 0.5}, {3, 5}, {1, 5}, {3, 0}, {1, 0}}) {
    CAPTURE(limits.r_max, limits.d_max);
    const Matrix x = batch(5, 3, static_cast<std::uint64_t>(10 * limits.r_max + limits.d_max));
    changing.running->renormalize = limits;
    BatchNorm<double> fresh = renormalized(limits.r_max, limits.d_max);
    fresh.running->assign({changing.running->mean, changing.running->variance});
    changing.zero_grad();
    const Step step(changing, x), other(fresh, x), plain(twin, x);
    CHECK(test::same_bits(step.y, other.y));
    CHECK(test::same_bits(step.dx, other.dx));
    CHECK(test::same_bits(changing.scale.grad, fresh.scale.grad));
    CHECK(test::same_bits(changing.running->mean, twin.running->mean));
    CHECK(test::same_bits(changing.running->variance, twin.running->variance));
  }
  changing.running->renormalize.reset();
  const Matrix x = batch(5, 3, 77);
  CHECK(test::same_bits(changing.forward(x), twin.forward(x)));
  CHECK(changing.moments().r().size() == 0);
}

TEST_CASE("backward takes r and d of its forward, and the scale as it is then") {
  BatchNorm<double> layer = renormalized(1.5, 0.5);
  layer.running->update = false;
  const Matrix x1 = batch(5, 3, 1), x2 = batch(8, 3, 2), dy1 = batch(5, 3, 3), dy2 = batch(8, 3, 4);
  Matrix y(5, 3), z(8, 3);
  Moments<double> first, second;
  layer.forward(x1, y, {{}, &first});
  const Matrix dx1 = layer.backward(x1, dy1, {{}, &first});
  const Vector<double> dscale1 = layer.scale.grad;
  layer.running->renormalize = Renormalization{3, 5};
  layer.forward(x2, z, {{}, &second});
  layer.running->mean += 7;
  layer.running->variance *= 3;
  layer.running->renormalize = Renormalization{1, 0};
  const Matrix dx2 = layer.backward(x2, dy2, {{}, &second});
  layer.running->renormalize.reset();
  layer.zero_grad();
  CHECK(test::same_bits(layer.backward(x1, dy1, {{}, &first}), dx1));
  CHECK(test::same_bits(layer.scale.grad, dscale1));
  CHECK(test::same_bits(layer.backward(x2, dy2, {{}, &second}), dx2));
  layer.scale.value *= 2;  // exactly
  CHECK(test::same_bits(layer.backward(x1, dy1, {{}, &first}), Matrix(2 * dx1)));
  layer.freeze();
  CHECK(test::same_bits(layer.backward(x2, dy2, {{}, &second}), Matrix(2 * dx2)));
}

TEST_CASE("frozen layers, evaluate and prepared calls know nothing of it") {
  const Matrix x = batch(6, 3, 1);
  for (const bool update : {false, true}) {
    BatchNorm<double> layer = renormalized(1.5, 0.5), plain = special_layer();
    for (BatchNorm<double>* each : {&layer, &plain}) {
      each->running->use_in_forward = true;
      each->running->update = update;
    }
    const Step step(layer, x), other(plain, x);
    CHECK(test::same_bits(step.y, other.y));
    CHECK(test::same_bits(step.dx, other.dx));
    CHECK(bits(layer) == bits(plain));
    CHECK(test::same_bits(layer.evaluate(x), plain.evaluate(x)));
    Matrix y(6, 3), z(6, 3);
    layer.prepare(x, y)(x.data(), y.data());
    plain.prepare(x, z)(x.data(), z.data());
    CHECK(test::same_bits(y, z));
  }
}

TEST_CASE("it is no state, and what a population observes is the batch's own") {
  BatchNorm<double> layer = renormalized(1.5, 0.5), plain = special_layer();
  CHECK(watch::state_sizes(layer) == watch::state_sizes(plain));
  PopulationStatistics<double> population, other;
  for (std::uint64_t seed : {1U, 2U, 3U}) {
    layer.forward(batch(6, 3, seed));
    plain.forward(batch(6, 3, seed));
    population.observe(layer.moments());
    other.observe(plain.moments());
  }
  CHECK(test::same_bits(population.algorithm2().mean, other.algorithm2().mean));
  CHECK(test::same_bits(population.algorithm2().variance, other.algorithm2().variance));
}

TEST_CASE("limits that are none, and layers that have none") {
  const Matrix x = batch(6, 3, 1);
  const auto check = [&](double r_max, double d_max, std::initializer_list<std::string> words) {
    CAPTURE(r_max, d_max);
    BatchNorm<double> layer = renormalized(1.5, 0.5);
    Matrix y = layer.forward(x), dx = x;
    layer.running->renormalize = Renormalization{r_max, d_max};
    CHECK(watch::refused(
              "BatchNorm", words, [&] { layer.forward(x, y); }, layer, y) == "");
    CHECK(watch::refused(
              "BatchNorm", words, [&] { layer.backward(x, x, dx); }, layer, dx) == "");
    CHECK(watch::refused(
              "BatchNorm", words, [&] { layer.evaluate(x, y); }, layer, y) == "");
    CHECK(watch::refused(
              "BatchNorm", words, [&] { layer.check(); }, layer) == "");
    // And the next right call is as if nothing had been.
    layer.running->renormalize = Renormalization{1.5, 0.5};
    BatchNorm<double> undisturbed = renormalized(1.5, 0.5);
    undisturbed.forward(x);
    CHECK(test::same_bits(layer.backward(x, x), undisturbed.backward(x, x)));
  };
  check(0.5, 0, {"finite r_max of at least 1", "0.5"});
  check(-2, 0, {"finite r_max of at least 1", "-2"});
  check(none, 0, {"finite r_max", "nan"});
  check(infinity, 0, {"finite r_max", "inf"});
  check(1, -0.25, {"finite d_max of at least 0", "-0.25"});
  check(1, none, {"finite d_max", "nan"});
  check(1, infinity, {"finite d_max", "inf"});

  InstanceNorm<double> several(3);
  several.running.emplace(3);
  several.running->renormalize.emplace();
  const Eigen::Tensor<double, 3> images = Eigen::Tensor<double, 3>(1, 3, 4).setRandom();
  Eigen::Tensor<double, 3> z = images;
  CHECK(watch::refused(
            "InstanceNorm", {"no renormalization", "channels", "several groups", "[1, 3, 4]"},
            [&] { several.forward(images, z); }, several, z) == "");
  several.freeze();
  several.forward(images, z);
}

TEST_CASE("an empty batch, and constant channels") {
  BatchNorm<double> layer = renormalized(1.5, 0.5);
  const Matrix empty(0, 3);
  const auto before = bits(*layer.running);
  CHECK(layer.forward(empty).rows() == 0);
  CHECK(layer.backward(empty, empty).rows() == 0);
  CHECK(bits(*layer.running) == before);
  CHECK((layer.scale.grad == 0).all());

  // sigma_B is 0: r is as small as it may be, and xhat is d.
  layer.eps = 0;
  const Matrix constant = Matrix::Constant(4, 3, 5);
  const Matrix y = layer.forward(constant);
  CHECK((layer.moments().r() == 1 / 1.5).all());
  CHECK((layer.moments().d() == 0.5).all());
  for (Eigen::Index c = 0; c < 3; ++c)
    CHECK((y.col(c).array() == layer.shift.value[c] + layer.scale.value[c] * 0.5).all());
  CHECK((layer.backward(constant, batch(4, 3, 2)).array() == 0).all());

  // sigma is 0: r is as large as it may be, and where sigma_B is 0 too, 1.
  layer.running->variance.setZero();
  layer.running->mean << 5, 5, -5;
  layer.running->update = false;
  Matrix mixed = constant;
  mixed.col(0) = batch(4, 1, 3);
  layer.forward(mixed);
  CHECK(test::same_bits(Vector<double>(layer.moments().r()), Vector<double>(Eigen::Array3d(1.5, 1, 1))));
  CHECK(std::abs(layer.moments().d()[0]) == 0.5);
  CHECK(layer.moments().d()[1] == 0);
  CHECK(layer.moments().d()[2] == 0.5);
}

TEST_CASE("NaN stays in its channel, and moves nothing") {
  BatchNorm<double> layer = renormalized(1.5, 0.5), clean = renormalized(1.5, 0.5);
  Matrix x = batch(6, 3, 1);
  const Matrix expected = clean.forward(x);
  x(2, 1) = none;
  const Matrix y = layer.forward(x);
  CHECK(test::same_bits(Matrix(y.col(0)), Matrix(expected.col(0))));
  CHECK(test::same_bits(Matrix(y.col(2)), Matrix(expected.col(2))));
  CHECK(y.col(1).array().isNaN().all());
  CHECK(layer.running->rejected_batches == 1);
  CHECK(layer.running->batches == 0);
}

TEST_CASE("MeanOnlyBatchNorm has d alone, in units of x") {
  MeanOnlyBatchNorm<double> layer(3);
  layer.running->mean << 0, 1, 100;
  layer.running->renormalize = Renormalization{3, 2};
  Matrix x = Matrix::Zero(2, 3);
  x.row(0) << 1, 2, 3;
  const Matrix y = layer.forward(x);
  // Means 0.5, 1, 1.5, so that d is 0.5, 0, -2.
  Matrix expected(2, 3);
  expected << 1, 1, -0.5, 0, -1, -3.5;
  CHECK(y == expected);
  CHECK((layer.moments().r() == 1).all());
}

TEST_CASE("two members have what one has, each its part of it") {
  const Matrix x = batch(8, 3, 1), dy = batch(8, 3, 2);
  BatchNorm<double> whole = renormalized(1.5, 0.5);
  whole.running->variance << 100, 0.1, 10;
  const BatchNorm<double> before = whole;
  const Matrix y = whole.forward(x), dx = whole.backward(x, dy);
  Vector<double> dscale = Vector<double>::Zero(3);
  test::Post post(2);
  Matrix parts_y = y, parts_dx = dx;
  std::vector<BatchNorm<double>> layers(2, before);
  const auto failures = test::on_members(post, [&](test::Peers& peers) {
    BatchNorm<double>& layer = layers[static_cast<std::size_t>(peers.member())];
    Context<double> context;
    context.peers = &peers;
    const Eigen::Index first = peers.member() == 0 ? 0 : 3, n = peers.member() == 0 ? 3 : 5;
    layer.forward(x.middleRows(first, n), parts_y.middleRows(first, n), context);
    layer.backward(x.middleRows(first, n), dy.middleRows(first, n), parts_dx.middleRows(first, n), context);
  });
  for (const std::string& failure : failures) CHECK(failure == "");
  for (const BatchNorm<double>& layer : layers) {
    dscale += layer.scale.grad;
    CHECK(test::same_bits(layer.moments().r(), layers[0].moments().r()));
    CHECK(((layer.moments().d() - whole.moments().d()).abs() < 1e-14).all());
    CHECK(((layer.running->mean - whole.running->mean).abs() < 1e-14).all());
  }
  CHECK((parts_y - y).cwiseAbs().maxCoeff() < 1e-13);
  CHECK((parts_dx - dx).cwiseAbs().maxCoeff() < 1e-13);
  CHECK(((dscale - whole.scale.grad).abs() < 1e-12).all());
  CHECK((whole.moments().r() != 1).all());
}

TEST_CASE("members of a spread batch have the same limits") {
  for (const Renormalization& other : {Renormalization{1.5, 2}, Renormalization{2, 0.5}}) {
    test::Post post(2);
    const auto failures = test::on_members(post, [&](test::Peers& peers) {
      BatchNorm<double> layer = renormalized(1.5, 0.5);
      if (peers.member() == 1) layer.running->renormalize = other;
      Context<double> context;
      context.peers = &peers;
      const Matrix x = batch(6, 3, 1);
      Matrix y(6, 3);
      layer.forward(x, y, context);
    });
    for (const std::string& failure : failures) {
      CAPTURE(failure);
      CHECK(failure.find("renormalized by r_max 1.5 and d_max 0.5") != std::string::npos);
      CHECK(failure.find(other.d_max == 2 ? "r_max 1.5 and d_max 2" : "r_max 2 and d_max 0.5") != std::string::npos);
    }
  }
}

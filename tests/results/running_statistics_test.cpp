#include <cmath>
#include <cstdint>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "batches.hpp"
#include "catch.hpp"
#include "watch.hpp"

// What training leaves for evaluation: how it is averaged, which variance enters, and the two switches. What does not
// enter at all: rejected_batches_test.cpp.

using namespace eigennorm;
using test::batch;
using test::images;
using test::Matrix;
using test::special_layer;
using test::Tensor;
using watch::bits;

namespace {

struct Moment {
  double mean, biased, unbiased;
};

// Two passes in long double over given values.
Moment moment(const std::vector<double>& values) {
  const auto count = static_cast<long double>(values.size());
  long double mean = 0, square = 0;
  for (const double value : values) mean += value / count;
  for (const double value : values) square += (value - mean) * (value - mean);
  return {static_cast<double>(mean), static_cast<double>(square / count), static_cast<double>(square / (count - 1))};
}

Moment moment_of_channel(const Matrix& x, Eigen::Index channel) {
  return moment(std::vector<double>(x.col(channel).data(), x.col(channel).data() + x.rows()));
}

template <typename A, typename B>
bool near(const A& a, const B& b, double relative = 1e-13) {
  return a.size() == b.size() && ((a - b).abs() <= relative * (1 + b.abs())).all();
}

// What `steps` batches leave in each channel, with weight(step) for the new one.
template <typename Weight>
Estimate<double> expected(const std::vector<Matrix>& batches, Estimator estimator, Weight weight) {
  const Eigen::Index channels = batches[0].cols();
  Estimate<double> running{Vector<double>::Zero(channels), Vector<double>::Ones(channels)};
  for (std::size_t step = 0; step < batches.size(); ++step) {
    for (Eigen::Index c = 0; c < channels; ++c) {
      const Moment m = moment_of_channel(batches[step], c);
      const double w = weight(static_cast<double>(step + 1));
      running.mean(c) = (1 - w) * running.mean(c) + w * m.mean;
      running.variance(c) =
          (1 - w) * running.variance(c) + w * (estimator == Estimator::biased ? m.biased : m.unbiased);
    }
  }
  return running;
}

std::vector<Matrix> five_batches() {
  std::vector<Matrix> batches;
  for (std::uint64_t i = 0; i < 5; ++i) batches.push_back(batch(6 + static_cast<Eigen::Index>(i), 3, 100 + i));
  return batches;
}

BatchNorm<double> trained(const std::vector<Matrix>& batches, Averaging averaging, Estimator estimator) {
  BatchNorm<double> layer(3);
  layer.running->averaging = averaging;
  layer.running->estimator = estimator;
  for (const Matrix& x : batches) layer.forward(x);
  return layer;
}

}  // namespace

TEST_CASE("a new layer has mean 0 and variance 1, averages by momentum_of_new(0.1), unbiased") {
  const BatchNorm<float> layer(3);
  CHECK((layer.running->mean == 0).all());
  CHECK((layer.running->variance == 1).all());
  CHECK(layer.running->mean.size() == 3);
  CHECK(layer.running->variance.size() == 3);
  CHECK(layer.running->batches == 0);
  CHECK(layer.running->rejected_batches == 0);
  CHECK(layer.running->update);
  CHECK_FALSE(layer.running->use_in_forward);
  CHECK(layer.running->estimator == Estimator::unbiased);
  CHECK(layer.running->averaging.weight_of_new(0) == 0.1);
  CHECK(layer.running->averaging.weight_of_new(1000) == 0.1);
}

TEST_CASE("momentum_of_new, with either estimator") {
  const auto batches = five_batches();
  for (const Estimator estimator : {Estimator::unbiased, Estimator::biased}) {
    const auto layer = trained(batches, momentum_of_new(0.3), estimator);
    const auto truth = expected(batches, estimator, [](double) { return 0.3; });
    CHECK(near(layer.running->mean, truth.mean));
    CHECK(near(layer.running->variance, truth.variance));
    CHECK(layer.running->batches == 5);
  }
}

TEST_CASE("momentum_kept is its complement") {
  const auto batches = five_batches();
  // 0.25 and 0.75 are exact, so that nothing may differ.
  CHECK(bits(*trained(batches, momentum_of_new(0.25), Estimator::unbiased).running) ==
        bits(*trained(batches, momentum_kept(0.75), Estimator::unbiased).running));
  const auto layer = trained(batches, momentum_kept(0.9), Estimator::biased);
  const auto truth = expected(batches, Estimator::biased, [](double) { return 0.1; });
  CHECK(near(layer.running->mean, truth.mean));
  CHECK(near(layer.running->variance, truth.variance));
  // It is not the weight of the new value.
  CHECK_FALSE(near(layer.running->mean, trained(batches, momentum_of_new(0.9), Estimator::biased).running->mean, 1e-3));
}

TEST_CASE("cumulative weighs all batches alike and forgets the initial values") {
  const auto batches = five_batches();
  for (const Estimator estimator : {Estimator::unbiased, Estimator::biased}) {
    const auto layer = trained(batches, cumulative(), estimator);
    Vector<double> mean = Vector<double>::Zero(3), variance = mean;
    for (const Matrix& x : batches) {
      for (Eigen::Index c = 0; c < 3; ++c) {
        const Moment m = moment_of_channel(x, c);
        mean(c) += m.mean / 5;
        variance(c) += (estimator == Estimator::biased ? m.biased : m.unbiased) / 5;
      }
    }
    CHECK(near(layer.running->mean, mean));
    CHECK(near(layer.running->variance, variance));
  }
}

TEST_CASE("the limits of the momentum") {
  const auto batches = five_batches();
  const auto still = trained(batches, momentum_of_new(0), Estimator::unbiased);
  CHECK((still.running->mean == 0).all());
  CHECK((still.running->variance == 1).all());
  CHECK(still.running->batches == 5);
  const auto last = trained(batches, momentum_of_new(1), Estimator::unbiased);
  for (Eigen::Index c = 0; c < 3; ++c) {
    CHECK(last.running->mean(c) == Approx(moment_of_channel(batches.back(), c).mean).epsilon(1e-14));
    CHECK(last.running->variance(c) == Approx(moment_of_channel(batches.back(), c).unbiased).epsilon(1e-14));
  }
}

TEST_CASE("the estimators differ by m / (m - 1), whichever way forward divides") {
  const Matrix x = batch(4, 3, 1);
  BatchNorm<double> unbiased(3), biased(3);
  unbiased.running->averaging = biased.running->averaging = momentum_of_new(1);
  biased.running->estimator = Estimator::biased;
  const Matrix y = unbiased.forward(x);
  CHECK(bits(Matrix(biased.forward(x))) == bits(y));
  CHECK(near(unbiased.running->variance, (biased.running->variance * (4.0 / 3.0)).eval(), 1e-15));
  for (Eigen::Index c = 0; c < 3; ++c) {
    const Moment m = moment_of_channel(x, c);
    CHECK(y(1, c) == Approx((x(1, c) - m.mean) / std::sqrt(m.biased + 1e-5)).epsilon(1e-12));
  }
}

TEST_CASE("running statistics in float, from data of sixteen bits") {
  using Halves = Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic>;
  const Halves x = batch(20, 3, 5).cast<Eigen::half>();
  BatchNorm<float> layer(3);
  layer.running->averaging = momentum_of_new(1);
  layer.forward(x);
  const Matrix exact = x.cast<double>();
  for (Eigen::Index c = 0; c < 3; ++c) {
    const Moment m = moment_of_channel(exact, c);
    CHECK(layer.running->mean(c) == Approx(m.mean).epsilon(1e-6));
    CHECK(layer.running->variance(c) == Approx(m.unbiased).epsilon(1e-6));
  }
}

TEST_CASE("the two switches make four states") {
  const Matrix x = batch(8, 3, 21);
  for (const bool update : {false, true}) {
    for (const bool use_in_forward : {false, true}) {
      CAPTURE(update, use_in_forward);
      BatchNorm<double> layer = special_layer();
      const BatchNorm<double> before = layer;
      layer.running->update = update;
      layer.running->use_in_forward = use_in_forward;
      const Matrix y = layer.forward(x);

      // Which statistics normalized x: with both switches on, the running ones as they were before they
      // moved.
      BatchNorm<double> batch_only = before;
      const Matrix by_batch = batch_only.forward(x), by_running = before.evaluate(x);
      CHECK(bits(y) == bits(use_in_forward ? by_running : by_batch));

      // What is left in the running ones: the batch's own statistics move them, whatever normalized x.
      if (update) {
        CHECK(bits(layer.running->mean) == bits(batch_only.running->mean));
        CHECK(bits(layer.running->variance) == bits(batch_only.running->variance));
        CHECK_FALSE(bits(layer.running->mean) == bits(before.running->mean));
        CHECK(layer.running->batches == 1);
      } else {
        CHECK(bits(layer.running->mean) == bits(before.running->mean));
        CHECK(bits(layer.running->variance) == bits(before.running->variance));
        CHECK(layer.running->batches == 0);
      }

      // Backward goes by what forward used, also where that has moved since.
      const Matrix dy = batch(8, 3, 22);
      const Matrix dx = layer.backward(x, dy);
      BatchNorm<double> reference = before;
      if (use_in_forward) reference.freeze();
      reference.forward(x);
      CHECK(bits(dx) == bits(Matrix(reference.backward(x, dy))));
      CHECK(bits(layer.scale.grad) == bits(reference.scale.grad));
      CHECK(bits(layer.shift.grad) == bits(reference.shift.grad));
    }
  }
}

TEST_CASE("freeze and unfreeze set the switches") {
  BatchNorm<double> layer(3);
  layer.freeze();
  CHECK_FALSE(layer.running->update);
  CHECK(layer.running->use_in_forward);
  layer.unfreeze();
  CHECK(layer.running->update);
  CHECK_FALSE(layer.running->use_in_forward);
}

TEST_CASE("a frozen layer: the bits of evaluate, and the gradients of fixed statistics") {
  const Matrix x = batch(9, 3, 31), dy = batch(9, 3, 32);
  BatchNorm<double> layer = special_layer();
  layer.freeze();
  const auto before = bits(*layer.running);
  const Matrix y = layer.forward(x);
  CHECK(bits(y) == bits(Matrix(layer.evaluate(x))));
  CHECK(layer.moments().frozen());
  const Matrix dx = layer.backward(x, dy);
  CHECK(bits(*layer.running) == before);
  for (Eigen::Index c = 0; c < 3; ++c) {
    const double r = 1 / std::sqrt(layer.running->variance(c) + layer.eps);
    const Eigen::ArrayXd xhat = (x.col(c).array() - layer.running->mean(c)) * r;
    const Eigen::ArrayXd d = dy.col(c).array();
    CHECK(near(y.col(c).array(), (xhat * layer.scale.value(c) + layer.shift.value(c)).eval()));
    CHECK(near(dx.col(c).array(), (d * (r * layer.scale.value(c))).eval()));
    CHECK(layer.scale.grad(c) == Approx((d * xhat).sum()).epsilon(1e-12));
    CHECK(layer.shift.grad(c) == Approx(d.sum()).epsilon(1e-12));
  }
  // Which is not the gradient of training.
  layer.unfreeze();
  layer.forward(x);
  CHECK_FALSE(near(Matrix(layer.backward(x, dy)).array(), dx.array(), 1e-3));
}

TEST_CASE("a frozen batch of one value, and of one row among many, has the same bits") {
  const Matrix x = batch(9, 3, 41);
  BatchNorm<double> layer = special_layer();
  layer.freeze();
  const Matrix whole = layer.forward(x);
  for (Eigen::Index r = 0; r < 9; ++r) {
    const Matrix row = x.row(r);
    CHECK(bits(Matrix(layer.forward(row))) == bits(Matrix(whole.row(r))));
  }
}

TEST_CASE("evaluate takes the running statistics and moves nothing") {
  const Matrix x = batch(9, 3, 51);
  const BatchNorm<double> layer = special_layer();
  const auto before = bits(layer);
  const Matrix y = layer.evaluate(x);
  CHECK(bits(layer) == before);
  for (Eigen::Index c = 0; c < 3; ++c) {
    const double r = 1 / std::sqrt(layer.running->variance(c) + layer.eps);
    CHECK(near(y.col(c).array(),
               ((x.col(c).array() - layer.running->mean(c)) * r * layer.scale.value(c) + layer.shift.value(c)).eval()));
  }
}

TEST_CASE("without running statistics a layer evaluates on the statistics of x") {
  const Matrix x = batch(9, 3, 61);
  BatchNorm<double> layer = special_layer();
  const Matrix by_running = layer.evaluate(x);
  layer.running.reset();
  const Matrix y = layer.evaluate(x);
  CHECK_FALSE(near(y.array(), by_running.array(), 1e-3));
  CHECK(bits(y) == bits(Matrix(layer.forward(x))));
  // And a batch of one value is no error where no variance is kept.
  const Matrix one = batch(1, 3, 62);
  const Matrix shift = layer.shift.value.matrix().transpose();
  CHECK(bits(Matrix(layer.forward(one))) == bits(shift));
  CHECK(bits(Matrix(layer.evaluate(one))) == bits(shift));
}

TEST_CASE("a batch of one value is fine where the running variance does not move") {
  const Matrix one = batch(1, 3, 71);
  BatchNorm<double> layer = special_layer();
  layer.running->update = false;
  const auto before = bits(*layer.running);
  CHECK(bits(Matrix(layer.forward(one))) == bits(Matrix(layer.shift.value.matrix().transpose())));
  CHECK(bits(*layer.running) == before);
  CHECK((layer.backward(one, one).array() == 0).all());
}

TEST_CASE("MeanOnlyBatchNorm keeps a running mean alone") {
  const Matrix x = batch(9, 3, 81), dy = batch(9, 3, 82);
  MeanOnlyBatchNorm<double> layer(3);
  CHECK(layer.running->variance.size() == 0);
  CHECK(layer.scale.value.size() == 0);
  layer.shift.value << 1, 2, 3;
  layer.running->averaging = momentum_of_new(0.5);
  const Matrix y = layer.forward(x);
  const Matrix dx = layer.backward(x, dy);
  const Matrix evaluated = layer.evaluate(x);
  CHECK(layer.running->variance.size() == 0);
  CHECK(layer.running->batches == 1);
  for (Eigen::Index c = 0; c < 3; ++c) {
    const Moment m = moment_of_channel(x, c);
    const auto number = static_cast<double>(c + 1);
    CHECK(layer.running->mean(c) == Approx(m.mean / 2).epsilon(1e-14));
    CHECK(near(y.col(c).array(), (x.col(c).array() - m.mean + number).eval()));
    CHECK(near(evaluated.col(c).array(), (x.col(c).array() - m.mean / 2 + number).eval()));
    CHECK(near(dx.col(c).array(), (dy.col(c).array() - dy.col(c).mean()).eval()));
    CHECK(layer.shift.grad(c) == Approx(dy.col(c).sum()));
  }
  // One value has a mean.
  const Matrix one = batch(1, 3, 83);
  CHECK(bits(Matrix(layer.forward(one))) == bits(Matrix(layer.shift.value.matrix().transpose())));
  CHECK(layer.running->batches == 2);
  layer.freeze();
  CHECK(bits(Matrix(layer.forward(x))) == bits(Matrix(layer.evaluate(x))));
  CHECK(near(Matrix(layer.backward(x, dy)).array(), dy.array()));
}

namespace {

Moment moment_of_instance(const Tensor& x, Eigen::Index sample, Eigen::Index channel) {
  const double* begin = x.data() + (sample * 3 + channel) * 10;
  return moment(std::vector<double>(begin, begin + 10));
}

}  // namespace

TEST_CASE("InstanceNorm keeps, on request, the mean over the samples") {
  const Tensor x = images(91);
  for (const Estimator estimator : {Estimator::unbiased, Estimator::biased}) {
    InstanceNorm<double> layer(3);
    CHECK_FALSE(layer.running.has_value());
    layer.running.emplace(3);
    layer.running->averaging = momentum_of_new(0.25);
    layer.running->estimator = estimator;
    const Tensor y = layer.forward(x);
    for (Eigen::Index c = 0; c < 3; ++c) {
      double mean = 0, variance = 0;
      for (Eigen::Index n = 0; n < 4; ++n) {
        const Moment m = moment_of_instance(x, n, c);
        mean += m.mean / 4;
        variance += (estimator == Estimator::biased ? m.biased : m.unbiased) / 4;
        // Training normalizes each sample by its own.
        CHECK(y(n, c, 1, 2) == Approx((x(n, c, 1, 2) - m.mean) / std::sqrt(m.biased + 1e-5)).epsilon(1e-12));
      }
      CHECK(layer.running->mean(c) == Approx(0.25 * mean).epsilon(1e-13));
      CHECK(layer.running->variance(c) == Approx(0.75 + 0.25 * variance).epsilon(1e-13));
    }
    CHECK(layer.running->batches == 1);
    const Tensor evaluated = layer.evaluate(x);
    for (Eigen::Index n = 0; n < 4; ++n) {
      const double r = 1 / std::sqrt(layer.running->variance(2) + 1e-5);
      CHECK(evaluated(n, 2, 0, 3) == Approx((x(n, 2, 0, 3) - layer.running->mean(2)) * r).epsilon(1e-12));
    }
  }
}

TEST_CASE("a frozen InstanceNorm") {
  const Tensor x = images(101), dy = images(102);
  InstanceNorm<double> layer(3);
  layer.running.emplace(3);
  test::Random random(103);
  test::randomize(layer, random);
  layer.freeze();
  CHECK(bits(Tensor(layer.forward(x))) == bits(Tensor(layer.evaluate(x))));
  const Tensor dx = layer.backward(x, dy);
  for (Eigen::Index c = 0; c < 3; ++c) {
    const double r = 1 / std::sqrt(layer.running->variance(c) + layer.eps);
    double dscale = 0, dshift = 0;
    for (Eigen::Index n = 0; n < 4; ++n) {
      for (Eigen::Index i = 0; i < 10; ++i) {
        const Eigen::Index at = (n * 3 + c) * 10 + i;
        CHECK(dx.data()[at] == Approx(dy.data()[at] * r * layer.scale.value(c)).epsilon(1e-13));
        dscale += dy.data()[at] * (x.data()[at] - layer.running->mean(c)) * r;
        dshift += dy.data()[at];
      }
    }
    CHECK(layer.scale.grad(c) == Approx(dscale).epsilon(1e-12));
    CHECK(layer.shift.grad(c) == Approx(dshift).epsilon(1e-12));
  }
}

TEST_CASE("statistics that are refined by small steps keep their precision in float") {
  // A running value near 1000 moved 10,000 times towards 1001 by a thousandth of the difference.
  BatchNorm<float> layer(1);
  layer.running->mean(0) = 1000;
  layer.running->averaging = momentum_of_new(1e-3);
  Eigen::MatrixXf x(2, 1);
  x << 1000.5F, 1001.5F;
  for (int step = 0; step < 10000; ++step) layer.forward(x);
  CHECK(layer.running->mean(0) == Approx(1001).epsilon(1e-4));
  CHECK(layer.running->variance(0) == Approx(0.5).epsilon(1e-3));
}

TEST_CASE("the drift of a long cumulative average in float") {
  // Each batch rounds the value once, by at most half a unit in the last place, and later batches weigh that less and
  // less: after n of them the error is below n / 2 u of the largest value, and by chance about sqrt(n) / 3. (u =
  // 2^-24.)
  constexpr int batches = 100000;
  constexpr double u = 1.0 / (1 << 24);
  BatchNorm<float> layer(2);
  layer.running->averaging = cumulative();
  PopulationStatistics<double> population(2);
  test::Random random(5);
  long double mean[2] = {}, variance[2] = {};
  Eigen::MatrixXf x(4, 2);
  for (int step = 0; step < batches; ++step) {
    for (Eigen::Index i = 0; i < 4; ++i) {
      x(i, 0) = static_cast<float>(random.normal() + 3);
      x(i, 1) = static_cast<float>(10 * random.normal() - 100);
    }
    layer.forward(x);
    population.observe(Eigen::MatrixXd(x.cast<double>()), channels_on(1));
    for (Eigen::Index c = 0; c < 2; ++c) {
      const Moment m = moment({x(0, c), x(1, c), x(2, c), x(3, c)});
      mean[c] += m.mean;
      variance[c] += m.unbiased;
    }
  }
  const Estimate<double> exact = population.algorithm2();
  for (Eigen::Index c = 0; c < 2; ++c) {
    const double true_mean = static_cast<double>(mean[c] / batches);
    const double true_variance = static_cast<double>(variance[c] / batches);
    const double mean_error = std::abs(layer.running->mean(c) - true_mean) / std::abs(true_mean) / u;
    const double variance_error = std::abs(layer.running->variance(c) - true_variance) / true_variance / u;
    CAPTURE(c, mean_error, variance_error);
    CHECK(mean_error < batches / 2);
    CHECK(variance_error < batches / 2);
    // Three times what chance makes of it.
    CHECK(mean_error < std::sqrt(batches));
    CHECK(variance_error < std::sqrt(batches));
    // What is kept in double does not drift.
    CHECK(exact.mean(c) == Approx(true_mean).epsilon(1e-12));
    CHECK(exact.variance(c) == Approx(true_variance).epsilon(1e-12));
  }
}

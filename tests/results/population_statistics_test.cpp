#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "watch.hpp"

// Statistics of a whole population from its batches. All samples of a given size from a small population,
// with replacement, are enumerated: over them the expectation of an estimator is its plain average, so that
// a true value is hit to rounding or missed for good, and no luck is involved.

using namespace eigennorm;
using watch::bits;
using watch::refused;

namespace {

using Matrix = Eigen::MatrixXd;

constexpr double population[3] = {-1, 0.5, 4};
constexpr double true_mean = 3.5 / 3;
constexpr double true_variance = (1 + 0.25 + 16) / 3 - true_mean * true_mean;

// Channel 1 is another population: twice the first, plus 10.
Matrix channels_of(const Matrix& first) {
  Matrix x(first.rows(), 2);
  x.col(0) = first;
  x.col(1) = 2 * first.array() + 10;
  return x;
}

// All 3^size samples of `size` values.
std::vector<Matrix> all_samples(int size) {
  std::vector<Matrix> samples;
  int count = 1;
  for (int i = 0; i < size; ++i) count *= 3;
  for (int number = 0; number < count; ++number) {
    Matrix values(size, 1);
    for (int i = 0, rest = number; i < size; ++i, rest /= 3) values(i, 0) = population[rest % 3];
    samples.push_back(channels_of(values));
  }
  return samples;
}

std::vector<Matrix> unequal_samples() {
  std::vector<Matrix> samples = all_samples(4);
  for (const int size : {1, 2, 5}) {
    const std::vector<Matrix> more = all_samples(size);
    samples.insert(samples.end(), more.begin(), more.end());
  }
  return samples;
}

// The recipe: the layer runs by batch statistics, and nothing in it moves.
template <typename Layer>
void observe(PopulationStatistics<double>& statistics, Layer& layer, const Matrix& x) {
  layer.forward(x);
  statistics.observe(layer.moments());
}

BatchNorm<double> still_layer() {
  BatchNorm<double> layer(2);
  layer.running->update = false;
  return layer;
}

PopulationStatistics<double> observed(const std::vector<Matrix>& batches) {
  PopulationStatistics<double> statistics;
  BatchNorm<double> layer = still_layer();
  for (const Matrix& x : batches) observe(statistics, layer, x);
  return statistics;
}

void check_near(const Estimate<double>& estimate, double mean, double variance, double relative = 1e-13) {
  CHECK(estimate.mean(0) == Approx(mean).epsilon(relative));
  CHECK(estimate.mean(1) == Approx(2 * mean + 10).epsilon(relative));
  CHECK(estimate.variance(0) == Approx(variance).epsilon(relative));
  CHECK(estimate.variance(1) == Approx(4 * variance).epsilon(relative));
}

double average_biased_variance(const std::vector<Matrix>& batches) {
  double sum = 0;
  for (const Matrix& x : batches) sum += (x.col(0).array() - x.col(0).mean()).square().mean();
  return sum / static_cast<double>(batches.size());
}

}  // namespace

TEST_CASE("Algorithm 2 recovers mean and variance from batches of 4") {
  const auto batches = all_samples(4);
  check_near(observed(batches).algorithm2(), true_mean, true_variance);
  // The average of the batches' own variances does not: it is short by a quarter.
  CHECK(average_biased_variance(batches) == Approx(0.75 * true_variance));
}

TEST_CASE("Algorithm 2 recovers mean and variance from unequal batches, batches of one value among them") {
  const auto batches = unequal_samples();
  check_near(observed(batches).algorithm2(), true_mean, true_variance);
  CHECK(average_biased_variance(batches) < 0.8 * true_variance);
}

TEST_CASE("the last-epoch recipe in the words of the paper, for equal batches") {
  // Var[x] = m / (m - 1) E_B[sigma_B^2], computed here from the batches.
  const auto batches = all_samples(3);
  const double paper = 3.0 / 2.0 * average_biased_variance(batches);
  CHECK(observed(batches).algorithm2().variance(0) == Approx(paper).epsilon(1e-13));
}

TEST_CASE("pooled takes all batches as one") {
  for (const auto& batches : {all_samples(4), unequal_samples()}) {
    Eigen::Index count = 0;
    for (const Matrix& x : batches) count += x.rows();
    const auto n = static_cast<double>(count);
    // Among all samples every member of the population is equally frequent.
    check_near(observed(batches).pooled(Estimator::biased), true_mean, true_variance);
    check_near(observed(batches).pooled(), true_mean, true_variance * n / (n - 1));
    check_near(observed(batches).pooled(Estimator::unbiased), true_mean, true_variance * n / (n - 1));
  }
}

TEST_CASE("batches that differ: pooled counts it as variance, Algorithm 2 takes it for chance") {
  // Two batches, far apart, each of variance 1.
  std::vector<Matrix> batches(2, Matrix(2, 2));
  batches[0] << -1, -1, 1, 1;
  batches[1] = batches[0].array() + 100;
  const auto statistics = observed(batches);
  CHECK(statistics.algorithm2().variance(0) == Approx(2));  // sum of squares 2 + 2, over 1 + 1
  CHECK(statistics.pooled(Estimator::biased).variance(0) == Approx(1 + 50 * 50));
  CHECK(statistics.pooled().variance(0) == Approx((4 + 4 * 2500.0) / 3));
  CHECK(statistics.algorithm2().mean(0) == Approx(50));
}

TEST_CASE("the result does not depend on how the batches were split between two objects") {
  std::vector<Matrix> batches = unequal_samples();
  std::shuffle(batches.begin(), batches.end(), std::mt19937(5));
  const auto whole = observed(batches);
  for (const std::size_t cut :
       {std::size_t{0}, std::size_t{1}, batches.size() / 3, batches.size() - 1, batches.size()}) {
    CAPTURE(cut);
    const auto middle = batches.begin() + static_cast<std::ptrdiff_t>(cut);
    auto first = observed({batches.begin(), middle});
    const auto second = observed({middle, batches.end()});
    auto reversed = second;
    reversed.merge(first);
    first.merge(second);
    for (const auto* merged : {&first, &reversed}) {
      CHECK(merged->batches() == whole.batches());
      CHECK(merged->algorithm2().mean.isApprox(whole.algorithm2().mean, 1e-13));
      CHECK(merged->algorithm2().variance.isApprox(whole.algorithm2().variance, 1e-13));
      CHECK(merged->pooled().variance.isApprox(whole.pooled().variance, 1e-13));
      CHECK(merged->pooled(Estimator::biased).variance.isApprox(whole.pooled(Estimator::biased).variance, 1e-13));
    }
  }
}

TEST_CASE("odd and even batches, merged, and an object merged with itself") {
  const auto batches = all_samples(4);
  std::vector<Matrix> odd, even;
  for (std::size_t i = 0; i < batches.size(); ++i) (i % 2 == 0 ? even : odd).push_back(batches[i]);
  auto merged = observed(odd);
  merged.merge(observed(even));
  check_near(merged.algorithm2(), true_mean, true_variance);
  merged.merge(merged);
  CHECK(merged.batches() == 2 * static_cast<std::int64_t>(batches.size()));
  check_near(merged.algorithm2(), true_mean, true_variance);
  check_near(merged.pooled(Estimator::biased), true_mean, true_variance);
}

TEST_CASE("a mean a million times the deviation costs no digits") {
  // The values are exact in float; the mean is not.
  PopulationStatistics<float> statistics;
  BatchNorm<float> layer(1);
  layer.running->update = false;
  for (int batch = 0; batch < 100; ++batch) {
    Eigen::MatrixXf x(4, 1);
    x << 1000001.0F, 1000002.0F, 1000004.0F, 1000005.0F;
    x.array() += static_cast<float>(batch % 2);
    layer.forward(x);
    statistics.observe(layer.moments());
  }
  CHECK(statistics.algorithm2().variance(0) == Approx(10.0 / 3).epsilon(1e-6));
  CHECK(statistics.pooled(Estimator::biased).variance(0) == Approx(2.5 + 0.25).epsilon(1e-6));
  CHECK(statistics.algorithm2().mean(0) == 1000003.5F);
}

TEST_CASE("observing changes nothing in a layer whose update is off") {
  BatchNorm<double> layer = still_layer();
  const auto before = bits(*layer.running);
  PopulationStatistics<double> statistics;
  for (const Matrix& x : all_samples(3)) observe(statistics, layer, x);
  CHECK(bits(*layer.running) == before);
  CHECK(statistics.batches() == 27);
}

TEST_CASE("assign, then evaluate") {
  BatchNorm<double> layer = still_layer();
  layer.running->averaging = cumulative();
  layer.running->estimator = Estimator::biased;
  layer.running->batches = 17;
  const auto estimate = observed(all_samples(4)).algorithm2();
  layer.running->assign(estimate);
  CHECK(bits(layer.running->mean) == bits(estimate.mean));
  CHECK(bits(layer.running->variance) == bits(estimate.variance));
  // Settings and counters stay.
  CHECK_FALSE(layer.running->update);
  CHECK(layer.running->estimator == Estimator::biased);
  CHECK(layer.running->averaging.weight_of_new(1) == 0.5);
  CHECK(layer.running->batches == 17);
  Matrix x(1, 2);
  x << 3, 4;
  const Matrix y = layer.evaluate(x);
  CHECK(y(0, 0) == Approx((3 - true_mean) / std::sqrt(true_variance + 1e-5)).epsilon(1e-13));
  CHECK(y(0, 1) == Approx((4 - (2 * true_mean + 10)) / std::sqrt(4 * true_variance + 1e-5)).epsilon(1e-13));
}

TEST_CASE("MeanOnlyBatchNorm has a population mean alone") {
  MeanOnlyBatchNorm<double> layer(2);
  layer.running->update = false;
  PopulationStatistics<double> statistics;
  for (const Matrix& x : unequal_samples()) observe(statistics, layer, x);
  for (const auto& estimate : {statistics.algorithm2(), statistics.pooled()}) {
    CHECK(estimate.variance.size() == 0);
    CHECK(estimate.mean(0) == Approx(true_mean).epsilon(1e-13));
    CHECK(estimate.mean(1) == Approx(2 * true_mean + 10).epsilon(1e-13));
  }
  layer.running->assign(statistics.algorithm2());
  CHECK(layer.evaluate(Matrix(Matrix::Zero(1, 2)))(0, 0) == Approx(-true_mean));
  // One batch of one value is enough for a mean.
  PopulationStatistics<double> one;
  observe(one, layer, Matrix(Matrix::Ones(1, 2)));
  CHECK(one.algorithm2().mean(0) == 1);
}

TEST_CASE("of InstanceNorm every sample is a batch") {
  using Tensor = Eigen::Tensor<double, 3, Eigen::RowMajor>;
  const auto samples = all_samples(3);
  const auto count = static_cast<Eigen::Index>(samples.size());
  Tensor x(count, 2, 3);
  for (Eigen::Index n = 0; n < count; ++n) {
    for (Eigen::Index c = 0; c < 2; ++c) {
      for (Eigen::Index i = 0; i < 3; ++i) x(n, c, i) = samples[static_cast<std::size_t>(n)](i, c);
    }
  }
  InstanceNorm<double> layer(2);
  layer.forward(x);
  PopulationStatistics<double> statistics;
  statistics.observe(layer.moments());
  CHECK(statistics.batches() == 27);
  check_near(statistics.algorithm2(), true_mean, true_variance);
  check_near(statistics.pooled(Estimator::biased), true_mean, true_variance);
}

TEST_CASE("an empty batch adds nothing") {
  auto statistics = observed(all_samples(4));
  const auto before = statistics.batches();
  BatchNorm<double> layer = still_layer();
  observe(statistics, layer, Matrix(0, 2));
  CHECK(statistics.batches() == before);
  check_near(statistics.algorithm2(), true_mean, true_variance);
}

TEST_CASE("what cannot be observed or estimated is refused and changes nothing") {
  auto statistics = observed(all_samples(4));
  const auto unchanged = [&] {
    CHECK(statistics.batches() == 81);
    check_near(statistics.algorithm2(), true_mean, true_variance);
    check_near(statistics.pooled(Estimator::biased), true_mean, true_variance);
  };

  const PopulationStatistics<double> nothing;
  CHECK(refused("PopulationStatistics::algorithm2", {"none"}, [&] { nothing.algorithm2(); }) == "");
  CHECK(refused("PopulationStatistics::pooled", {"none"}, [&] { nothing.pooled(); }) == "");

  const Moments<double> none;
  CHECK(refused("PopulationStatistics::observe", {"none"}, [&] { statistics.observe(none); }) == "");
  unchanged();

  BatchNorm<double> frozen(2);
  frozen.freeze();
  frozen.forward(all_samples(4)[5]);
  CHECK(refused("PopulationStatistics::observe", {"frozen"}, [&] { statistics.observe(frozen.moments()); }) == "");
  unchanged();

  BatchNorm<double> wider(3);
  wider.forward(Matrix(Matrix::Random(4, 3)));
  CHECK(refused("PopulationStatistics::observe", {"2", "3"}, [&] { statistics.observe(wider.moments()); }) == "");
  unchanged();

  MeanOnlyBatchNorm<double> mean_only(2);
  mean_only.forward(Matrix(Matrix::Random(4, 2)));
  CHECK(refused("PopulationStatistics::observe", {"variance"}, [&] { statistics.observe(mean_only.moments()); }) == "");
  unchanged();

  LayerNorm<double> layer_norm(2);
  layer_norm.forward(Matrix(Matrix::Random(4, 2)));
  CHECK(refused("PopulationStatistics::observe", {"BatchNorm"}, [&] { statistics.observe(layer_norm.moments()); }) ==
        "");
  unchanged();

  BatchNorm<double> spoiled = still_layer();
  Matrix x = Matrix::Random(4, 2);
  x(0, 0) = std::numeric_limits<double>::quiet_NaN();
  spoiled.forward(x);
  CHECK(refused("PopulationStatistics::observe", {"NaN"}, [&] { statistics.observe(spoiled.moments()); }) == "");
  unchanged();

  PopulationStatistics<double> other;
  other.observe(wider.moments());
  CHECK(refused("PopulationStatistics::merge", {"2", "3"}, [&] { statistics.merge(other); }) == "");
  unchanged();

  // No variance of single values.
  PopulationStatistics<double> single;
  BatchNorm<double> layer = still_layer();
  observe(single, layer, Matrix(Matrix::Random(1, 2)));
  CHECK(refused("PopulationStatistics::algorithm2", {"two"}, [&] { single.algorithm2(); }) == "");
  CHECK(refused("PopulationStatistics::pooled", {"two"}, [&] { single.pooled(); }) == "");
  CHECK((single.pooled(Estimator::biased).variance == 0).all());

  RunningStatistics<double> running(3);
  const auto before = bits(running);
  CHECK(refused("RunningStatistics::assign", {"3", "2"}, [&] { running.assign(statistics.algorithm2()); }) == "");
  CHECK(bits(running) == before);
}

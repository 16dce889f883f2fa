// The statistics that BatchNorm evaluates with: running, population, frozen.
//
// Training normalizes by the batch. In use there may be no batch, so the layer needs the mean and the
// variance of the whole training set. Small batches show best what each way of getting them does: here they
// have 4 samples.

#include <cmath>
#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <random>
#include <string_view>

using namespace eigennorm;

constexpr int feature_count = 50;
constexpr double true_mean = 3;
constexpr double true_variance = 4;

class Data {
 public:
  Eigen::MatrixXf batch(Eigen::Index samples) {
    return Eigen::MatrixXf::NullaryExpr(samples, feature_count, [this] { return normal_(generator_); });
  }

 private:
  std::mt19937 generator_{7};
  std::normal_distribution<float> normal_{static_cast<float>(true_mean), static_cast<float>(std::sqrt(true_variance))};
};

/// Prints a way's mean and variance over all features, and how much they scatter between features, which are
/// all alike.
double report(const char* way, const Vector<float>& mean, const Vector<float>& variance) {
  const float scatter = std::sqrt((variance - variance.mean()).square().mean());
  std::printf("%-44s %6.3f %10.3f %10.3f\n", way, mean.mean(), variance.mean(), scatter);
  return variance.mean();
}

/// Running statistics after 1000 batches of 4.
RunningStatistics<float> run(Averaging averaging, Estimator estimator) {
  BatchNorm<float> layer(feature_count);
  layer.running->averaging = averaging;
  layer.running->estimator = estimator;
  Data data;
  for (int step = 0; step < 1000; ++step) layer.forward(data.batch(4));
  return *layer.running;
}

bool close(double value, double expected) { return std::abs(value - expected) < 0.05 * expected; }

int main() {
  bool good = true;
  std::printf("The data: mean %.0f, variance %.0f; 1000 batches of 4, %d features\n\n", true_mean, true_variance,
              feature_count);
  std::printf("%-44s %6s %10s %10s\n", "", "mean", "variance", "scatter");

  // 1. Running statistics: averages that forward moves along. The unbiased estimator allows for the smallness
  // of the batches; the biased one (Keras, Flax, ONNX) finds (m - 1) / m of the variance: 3 of 4.
  const RunningStatistics<float> recent = run(momentum_of_new(0.1), Estimator::unbiased);
  const RunningStatistics<float> all = run(cumulative(), Estimator::unbiased);
  const RunningStatistics<float> biased = run(cumulative(), Estimator::biased);
  report("running, momentum_of_new(0.1): recent batches", recent.mean, recent.variance);
  good = close(report("running, cumulative()", all.mean, all.variance), true_variance) && good;
  good = close(report("running, cumulative(), biased", biased.mean, biased.variance), 0.75 * true_variance) && good;

  // 2. Population statistics: the weights stand still, the training batches pass once more, nothing moves
  // meanwhile.
  BatchNorm<float> layer(feature_count);
  layer.running->update = false;
  PopulationStatistics<float> population;
  Data data;
  for (int step = 0; step < 1000; ++step) {
    layer.forward(data.batch(4));
    population.observe(layer.moments());
  }
  const Estimate<float> algorithm2 = population.algorithm2();  // the paper's Algorithm 2
  const Estimate<float> pooled = population.pooled();          // as if all batches were one
  good = close(report("population, algorithm2()", algorithm2.mean, algorithm2.variance), true_variance) && good;
  good = close(report("population, pooled()", pooled.mean, pooled.variance), true_variance) && good;
  layer.running->assign(algorithm2);

  // 3. Frozen: the statistics stay, scale and shift go on learning, and forward computes what evaluate will.
  layer.freeze();
  const Vector<float> mean_before = layer.running->mean;
  float loss = 0;
  for (int step = 0; step < 200; ++step) {
    const Eigen::MatrixXf x = data.batch(4);
    const Eigen::MatrixXf y = layer.forward(x);
    const Eigen::MatrixXf dy = (y - x) / 4;  // the task: to undo the normalization
    loss = 2 * dy.squaredNorm() / feature_count;
    layer.backward(x, dy);  // by fixed statistics: dx = scale / sigma * dy
    layer.for_each_parameter(
        [](std::string_view, Parameter<float>& parameter) { parameter.value -= 0.3F * parameter.grad; });
    layer.zero_grad();
  }
  const Eigen::MatrixXf x = data.batch(4);
  const bool same_bits = layer.forward(x) == layer.evaluate(x);
  const bool same_mean = (layer.running->mean == mean_before).all();
  std::printf("\nFrozen fine-tuning: loss %.1e, scale %.3f (sigma is 2), shift %.3f (the mean is 3)\n", loss,
              layer.scale.value.mean(), layer.shift.value.mean());
  std::printf("forward has the bits of evaluate: %s; the running mean has not moved: %s\n", same_bits ? "yes" : "NO",
              same_mean ? "yes" : "NO");
  good = good && same_bits && same_mean && loss < 1e-6F && close(layer.scale.value.mean(), 2) &&
         close(layer.shift.value.mean(), 3);
  return good ? 0 : 1;
}

// Observations one at a time: the statistics of a stream that never makes a batch.
//
// A robot reads its seventeen sensors at every step and wants them normalized. A row alone has no variance, so
// BatchNorm refuses it in training. Rows put together by fours would do, but running statistics average the variances
// *within* batches: where the sensors drift slowly, four readings in a row are alike, and the variance between
// batches is lost. PopulationStatistics takes row after row, counts all of it, and can be saved and restored.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <eigennorm/eigennorm.hpp>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>

using namespace eigennorm;

constexpr int sensors = 17;
using Reading = Eigen::Matrix<float, 1, sensors>;  // a row: the channels are on axis 1

/// Sensor i stays near i and wanders about it, by 1 in the long run, but by little from one step to the next.
class Stream {
 public:
  Reading next() {
    for (int i = 0; i < sensors; ++i) {
      wander_[i] = 0.995F * wander_[i] + 0.0999F * normal_(generator_);
      reading_[i] = static_cast<float>(i) + wander_[i];
    }
    return reading_;
  }

 private:
  std::mt19937 generator_{5};
  std::normal_distribution<float> normal_;
  Reading wander_ = Reading::Zero(), reading_;
};

/// Everything that the next start has to know.
void save(const PopulationStatistics<float>& population, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  population.for_each_state([&](std::string_view, const auto& values) {
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(sizeof(values[0])) * values.size());
  });
  if (!file.flush()) {
    std::fprintf(stderr, "cannot write %s\n", path.c_str());
    std::exit(1);
  }
}

/// Fills an object made for as many sensors. What is wrong in a file is found when the object is used.
void load(PopulationStatistics<float>& population, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  population.for_each_state([&](std::string_view, auto& values) {
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(sizeof(values[0])) * values.size());
  });
  if (!file) {
    std::fprintf(stderr, "%s ends too early\n", path.c_str());
    std::exit(1);
  }
}

/// Prints the mean over the sensors of their variances.
double report(const char* way, double variance) {
  std::printf("%-52s %6.3f\n", way, variance);
  return variance;
}

int main() {
  const std::string path = "08_single_observations.state";
  bool good = true;
  constexpr int steps = 40000;

  // What does not work.
  BatchNorm<float> layer(sensors);
  Stream first;
  try {
    layer.forward(first.next());
    good = false;
  } catch (const std::invalid_argument& error) {
    std::printf("%s\n\n", error.what());
  }
  BatchNorm<float> by_fours(sensors);
  by_fours.running->averaging = cumulative();
  Stream again;
  for (int step = 0; step < steps; step += 4) {
    Eigen::Matrix<float, 4, sensors> batch;
    for (Eigen::Index i = 0; i < 4; ++i) batch.row(i) = again.next();
    by_fours.forward(batch);
  }
  std::printf("%-52s %6s\n", "", "variance");
  good = report("cumulative(), four readings a batch", by_fours.running->variance.mean()) < 0.1 && good;

  // What does: row after row. Each takes no more than a few additions for each sensor.
  PopulationStatistics<float> population(sensors);
  Stream stream;
  for (int step = 0; step < steps / 2; ++step) population.observe(stream.next(), channels_on(1));

  // The robot is switched off, and on again.
  save(population, path);
  PopulationStatistics<float> restored(sensors);
  load(restored, path);
  std::remove(path.c_str());
  for (int step = steps / 2; step < steps; ++step) {
    const Reading x = stream.next();
    population.observe(x, channels_on(1));
    restored.observe(x, channels_on(1));
  }
  const Estimate<float> all = restored.pooled();  // as if all readings were one batch
  const double variance = report("pooled(), one reading at a time", all.variance.mean());
  good = std::abs(variance - 1) < 0.1 && restored.count() == steps && good;
  const Estimate<float> undisturbed = population.pooled();
  const bool same = (all.mean == undisturbed.mean).all() && (all.variance == undisturbed.variance).all();
  std::printf("\n%ld readings, the first half of them before the restart; as without it, to the bit: %s\n",
              long(restored.count()), same ? "yes" : "NO");

  // In use: the statistics are the layer's, and each reading is evaluated as it comes.
  layer.running->assign(all);
  double mean = 0, square = 0;
  for (int step = 0; step < steps; ++step) {
    const Reading y = layer.evaluate(stream.next());
    mean += static_cast<double>(y.mean()) / steps;
    square += static_cast<double>(y.squaredNorm()) / sensors / steps;
  }
  std::printf("new readings, evaluated one by one: mean %.2f, mean square %.2f\n", mean, square);
  good = good && same && std::abs(mean) < 0.1 && std::abs(square - 1) < 0.15;
  return good ? 0 : 1;
}

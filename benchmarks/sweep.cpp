// Looks for cliffs: LayerNorm for every row length, BatchNorm for every plane. A size is reported whose time for a byte
// is more than 1.3 times the median of its ten neighbours.

#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <eigennorm/eigennorm.hpp>
#include <functional>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <vector>

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

/// The smallest time of each size, from its repetitions.
class Times : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Aggregate) continue;
      const auto size = std::stoll(run.run_name.function_name);
      const double time = run.GetAdjustedRealTime();
      const auto found = seconds.emplace(size, time).first;
      found->second = std::min(found->second, time);
    }
  }
  std::map<std::int64_t, double> seconds;
};

/// How a family of sizes is timed: `run(size)` makes the work, which moves `values(size)` values.
void sweep(const char* name, std::int64_t last, const std::function<std::function<void()>(std::int64_t)>& make,
           const std::function<double(std::int64_t)>& values) {
  benchmark::ClearRegisteredBenchmarks();
  for (std::int64_t size = 1; size <= last; ++size) {
    benchmark::RegisterBenchmark(std::to_string(size).c_str(), [make, size](benchmark::State& state) {
      const auto work = make(size);
      work();
      for (auto _ : state) work();
    })->UseRealTime();
  }
  Times times;
  benchmark::RunSpecifiedBenchmarks(&times);
  int cliffs = 0;
  double worst = 0;
  std::int64_t worst_size = 0;
  for (std::int64_t size = 1; size <= last; ++size) {
    std::vector<double> neighbours;
    for (std::int64_t other = std::max<std::int64_t>(size - 5, 1); other <= std::min(size + 5, last); ++other) {
      if (other != size) neighbours.push_back(times.seconds[other] / values(other));
    }
    std::nth_element(neighbours.begin(), neighbours.begin() + static_cast<std::ptrdiff_t>(neighbours.size() / 2),
                     neighbours.end());
    const double ratio = times.seconds[size] / values(size) / neighbours[neighbours.size() / 2];
    if (ratio > worst) {
      worst = ratio;
      worst_size = size;
    }
    if (ratio <= 1.3) continue;
    ++cliffs;
    std::cout << name << ", " << size << ": " << std::setprecision(3) << ratio << " times its neighbours\n";
  }
  std::cout << name << ", 1 to " << last << ": " << cliffs << " sizes above 1.3 times their neighbours; worst "
            << std::setprecision(3) << worst << " at " << worst_size << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace eigennorm;
  CLI::App app{"Looks for sizes that are slower than their neighbours."};
  std::int64_t last = 4100, side = 64;
  std::string seconds = "0.004", repetitions = "5";
  app.add_option("--last", last, "longest row");
  app.add_option("--side", side, "largest plane, as the length of a side");
  app.add_option("--seconds", seconds, "time for each size");
  app.add_option("--repetitions", repetitions, "of which the fastest counts");
  CLI11_PARSE(app, argc, argv);
  std::string options[] = {argv[0], "--benchmark_enable_random_interleaving=true",
                           "--benchmark_repetitions=" + repetitions,
                           "--benchmark_min_time=" + seconds + EIGENNORM_SECONDS};
  std::vector<char*> pointers;
  for (std::string& option : options) pointers.push_back(option.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());

  // 64 KB of values: in L2, where nothing hides what a size costs. Short rows, of which that would be many, fewer.
  const auto rows = [](std::int64_t n) { return std::max<std::int64_t>(16384 / n, 4); };
  for (const bool backward : {false, true}) {
    sweep(
        backward ? "LayerNorm backward" : "LayerNorm forward", last,
        [&](std::int64_t n) -> std::function<void()> {
          const auto layer = std::make_shared<LayerNorm<float>>(n);
          const auto x = std::make_shared<Matrix>(Matrix::Random(rows(n), n)), y = std::make_shared<Matrix>(*x),
                     dx = std::make_shared<Matrix>(*x);
          layer->forward(*x, *y);
          if (!backward) return [=] { layer->forward(*x, *y); };
          return [=] { layer->backward(*x, *y, *dx); };
        },
        [&](std::int64_t n) { return static_cast<double>(rows(n) * n); });
    const auto samples = [](std::int64_t s) { return std::max<std::int64_t>(2048 / (s * s), 1); };
    sweep(
        backward ? "BatchNorm backward, side of the plane" : "BatchNorm forward, side of the plane", side,
        [&](std::int64_t s) -> std::function<void()> {
          const auto layer = std::make_shared<BatchNorm<float>>(16);
          const auto x = std::make_shared<Tensor>(samples(s) + 1, 16, s, s);
          x->setRandom();
          const auto y = std::make_shared<Tensor>(*x), dx = std::make_shared<Tensor>(*x);
          layer->forward(*x, *y);
          if (!backward) return [=] { layer->forward(*x, *y); };
          return [=] { layer->backward(*x, *y, *dx); };
        },
        [&](std::int64_t s) { return static_cast<double>((samples(s) + 1) * 16 * s * s); });
  }
}

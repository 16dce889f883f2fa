/// One training run, and many of them side by side.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "data.hpp"
#include "network.hpp"
#include "progress.hpp"
#include "side_by_side.hpp"

namespace digits {

struct Settings {
  Eigen::Index batch_size = 60;
  int steps = 1200;
  int evaluate_every = 20;
  int threads = 1;
};

struct Job {
  Method method = Method::none;
  float rate = 0;
  unsigned seed = 0;
};

struct Point {
  int step = 0;
  double training_loss = 0;  // mean over the batches since the point before
  Score score;
};

struct Run {
  Job job;
  std::vector<Point> curve;
  std::optional<Score> with_population;  // the last point once more, with population instead of running statistics
  double seconds = 0;                    // training steps only: neither evaluation nor dealing out batches
  double normalization_seconds = 0;      // the part of them spent in the library

  /// Infinite where no point of the curve gets there.
  double steps_to(double accuracy) const {
    for (const Point& point : curve) {
      if (point.score.accuracy >= accuracy) return point.step;
    }
    return std::numeric_limits<double>::infinity();
  }
};

/// The seed alone decides initial weights and batches: runs that differ in method or rate start and proceed
/// alike.
inline Run train(const Job& job, const Dataset& training, const Dataset& evaluated, const Settings& settings,
                 Progress& progress) {
  Generator generator(job.seed);
  Network network(job.method, training.inputs.cols(), generator);
  Batches batches(training, settings.batch_size, generator);
  Stopwatch watch;
  Run run{job, {}, {}, 0, 0};
  double loss = 0;
  int summed = 0;
  for (int step = 1; step <= settings.steps; ++step) {
    const Dataset batch = batches.next();
    watch.time([&] { loss += network.train(batch, job.rate); });
    ++summed;
    if (step % settings.evaluate_every != 0 && step != settings.steps) continue;
    run.curve.push_back({step, loss / summed, network.evaluate(evaluated)});
    progress.show(std::string(name(job.method)) + ", rate " + short_text(job.rate) + ", seed " +
                  std::to_string(job.seed) + ", step " + std::to_string(step) + ": " +
                  fixed_text(100 * run.curve.back().score.accuracy, 1) + " %");
    loss = 0;
    summed = 0;
  }
  run.seconds = watch.seconds();
  run.normalization_seconds = network.normalization_seconds();
  // A net that was lost to NaN has no population statistics: there the library refuses.
  if (std::isfinite(run.curve.back().score.loss) && network.take_population_statistics(training, settings.batch_size)) {
    run.with_population = network.evaluate(evaluated);
  }
  return run;
}

/// Each run on one thread, so that the times of a run are those of one core.
inline std::vector<Run> train_all(const std::string& title, const std::vector<Job>& jobs, const Dataset& training,
                                  const Dataset& evaluated, const Settings& settings) {
  Progress progress(title, jobs.size());
  std::vector<Run> runs(jobs.size());
  side_by_side(jobs.size(), settings.threads, progress,
               [&](std::size_t i) { runs[i] = train(jobs[i], training, evaluated, settings, progress); });
  return runs;
}

}  // namespace digits

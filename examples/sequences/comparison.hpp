/// Nets that differ in what they do about padding, trained on batches that differ in how much of it there is.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "data.hpp"
#include "network.hpp"
#include "padding.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "sequence_network.hpp"
#include "side_by_side.hpp"

namespace digits::sequences {

constexpr std::array<double, 3> shares{0.1, 0.4, 0.7};

struct Settings {
  Eigen::Index batch_size = 60;
  Eigen::Index long_padding = 60;  // that tests are padded to
  int steps = 400;
  int seeds = 5;
  int threads = 1;
  float rate = 0.3F;
};

struct Job {
  bool different = false;  // batches are padded to different lengths
  double share = 0;
  Masking masking = Masking::none;
  unsigned seed = 0;

  Padding padding() const { return different ? different_padding(share) : same_padding(share); }
  std::string batches() const { return different ? "different" : "same"; }
};

/// All of the test sequences are evaluated three times, and only padding differs.
struct Run {
  Job job;
  double first_loss = 0;
  double training_loss = 0;  // mean over the last tenth of the steps
  Score alone;               // each for itself, without padding
  Score alike;               // padded as in training
  Score longer;              // padded to `long_padding`
  double changed = 0;        // share of the answers that differ between `alone` and `longer`
};

inline Matrix each_alone(const SequenceNetwork& network, const Dataset& images, const Eigen::VectorXi& lengths) {
  Matrix probability(images.size(), classes);
  for (Eigen::Index n = 0; n < images.size(); ++n) {
    const Dataset one{images.inputs.row(n), images.labels.segment(n, 1)};
    probability.row(n) = network.probabilities(padded(one, lengths.segment(n, 1), lengths(n)));
  }
  return probability;
}

/// In batches, each padded to its own length.
inline Matrix in_batches(const SequenceNetwork& network, const Dataset& images, const Eigen::VectorXi& lengths,
                         const Padding& padding, Eigen::Index batch_size) {
  Generator generator(2);
  Matrix probability(images.size(), classes);
  for (Eigen::Index first = 0; first < images.size(); first += batch_size) {
    const Eigen::Index count = std::min(batch_size, images.size() - first);
    const Dataset batch{images.inputs.middleRows(first, count), images.labels.segment(first, count)};
    const Eigen::Index positions = draw(padding.smallest, padding.largest, generator);
    probability.middleRows(first, count) =
        network.probabilities(padded(batch, lengths.segment(first, count), positions));
  }
  return probability;
}

inline double share_that_differs(const Matrix& one, const Matrix& other) {
  double differing = 0;
  for (Eigen::Index n = 0; n < one.rows(); ++n) {
    Eigen::Index answer = 0, other_answer = 0;
    one.row(n).maxCoeff(&answer);
    other.row(n).maxCoeff(&other_answer);
    differing += answer == other_answer ? 0 : 1;
  }
  return differing / static_cast<double>(one.rows());
}

inline void evaluate(Run& run, const SequenceNetwork& network, const Dataset& test, const Settings& settings) {
  Generator generator(1);
  const Eigen::VectorXi lengths = draw_lengths(test.size(), generator);
  const Matrix alone = each_alone(network, test, lengths);
  const Matrix alike = in_batches(network, test, lengths, run.job.padding(), settings.batch_size);
  const Padding to_long{settings.long_padding, settings.long_padding};
  const Matrix longer = in_batches(network, test, lengths, to_long, settings.batch_size);
  run.alone = score_of(alone, test.labels);
  run.alike = score_of(alike, test.labels);
  run.longer = score_of(longer, test.labels);
  run.changed = share_that_differs(alone, longer);
}

/// The seed alone decides weights, batches and lengths; padding comes from numbers of its own.
inline Run train(const Job& job, const Data& data, const Settings& settings) {
  Generator generator(job.seed), for_padding(1000 + job.seed);
  SequenceNetwork network(job.masking, generator);
  Batches batches(data.training, settings.batch_size, generator);
  const Padding padding = job.padding();
  Run run;
  run.job = job;
  const int last = std::max(1, settings.steps / 10);
  for (int step = 0; step < settings.steps; ++step) {
    const Dataset images = batches.next();
    const Eigen::VectorXi lengths = draw_lengths(images.size(), generator);
    const Eigen::Index positions = draw(padding.smallest, padding.largest, for_padding);
    const double loss = network.train(padded(images, lengths, positions), settings.rate);
    if (step == 0) run.first_loss = loss;
    if (step >= settings.steps - last) run.training_loss += loss / last;
  }
  evaluate(run, network, data.test, settings);
  return run;
}

/// All combinations, the seeds of each side by side.
inline std::vector<Run> compare(const Data& data, const Settings& settings) {
  std::vector<Run> runs;
  for (const bool different : {false, true}) {
    for (const double share : shares) {
      for (const Masking masking : maskings) {
        for (int seed = 1; seed <= settings.seeds; ++seed) {
          Run run;
          run.job = {different, share, masking, static_cast<unsigned>(seed)};
          runs.push_back(run);
        }
      }
    }
  }
  Progress progress("sequences", runs.size());
  side_by_side(runs.size(), settings.threads, progress, [&](std::size_t i) {
    runs[i] = train(runs[i].job, data, settings);
    const Job& job = runs[i].job;
    progress.show(job.batches() + " padding, " + fixed_text(100 * job.share, 0) + " %, " + name(job.masking) + ": " +
                  fixed_text(100 * runs[i].alone.accuracy, 1) + " %");
  });
  return runs;
}

/// The runs of one combination, one for each seed.
inline std::vector<Run> runs_of(const std::vector<Run>& runs, bool different, double share, Masking masking) {
  std::vector<Run> chosen;
  for (const Run& run : runs) {
    if (run.job.different == different && run.job.share == share && run.job.masking == masking) chosen.push_back(run);
  }
  return chosen;
}

template <typename Value>
Spread spread_over_seeds(const std::vector<Run>& runs, Value value) {
  std::vector<double> values;
  for (const Run& run : runs) values.push_back(value(run));
  return spread(std::move(values));
}

}  // namespace digits::sequences

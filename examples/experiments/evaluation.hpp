/// Which statistics to evaluate with, where the truth is known: one BatchNorm behind weights that move.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <eigennorm/eigennorm.hpp>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "experiment.hpp"
#include "side_by_side.hpp"

namespace digits::experiments {

/// A case of the picture: batches of `batch` samples, `steps` of training.
struct EvaluationCase {
  bool sorted = false;
  int steps = 0;
  Eigen::Index batch = 0;
};

constexpr std::array<const char*, 6> estimate_names{"running, 0.1", "running, 0.01", "running, all",
                                                    "last epoch",   "Algorithm 2",   "pooled"};

/// 1,200 samples of 20 features from ten classes with means of their own, in the order of classes.
inline Eigen::MatrixXd class_samples(unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  const Eigen::MatrixXd means = Eigen::MatrixXd::NullaryExpr(10, 20, [&] { return normal(generator); });
  return Eigen::MatrixXd::NullaryExpr(
      1200, 20, [&](Eigen::Index row, Eigen::Index column) { return means(row / 120, column) + normal(generator); });
}

/// What the layer gets after `step` steps: weights that come to rest, as at the end of a training.
inline Eigen::MatrixXd by_weights(const Eigen::MatrixXd& samples, int step) {
  const double moving = std::exp(-step / 100.0);
  return (1 + moving) * samples.array() + 2 * (1 - moving);
}

/// Batches in the order of classes, or in a new random order every epoch.
class Deal {
 public:
  Deal(const Eigen::MatrixXd& samples, const EvaluationCase& which, unsigned seed)
      : samples_(samples), which_(which), generator_(seed) {}

  Eigen::MatrixXd next() {
    if (at_ + which_.batch > static_cast<Eigen::Index>(order_.size())) {
      order_ = shuffled(samples_.rows(), generator_);
      if (which_.sorted) std::sort(order_.begin(), order_.end());
      at_ = 0;
    }
    Eigen::MatrixXd batch(which_.batch, samples_.cols());
    for (Eigen::Index i = 0; i < which_.batch; ++i)
      batch.row(i) = samples_.row(order_[static_cast<std::size_t>(at_++)]);
    return batch;
  }
  int batches_of_an_epoch() const { return static_cast<int>(samples_.rows() / which_.batch); }

 private:
  const Eigen::MatrixXd& samples_;
  EvaluationCase which_;
  Generator generator_;
  std::vector<Eigen::Index> order_;
  Eigen::Index at_ = 0;
};

/// By how much outputs by these statistics differ from those by the true ones, which have variance 1: root mean square.
inline double error_of(const eigennorm::Vector<double>& mean, const eigennorm::Vector<double>& variance,
                       const Eigen::MatrixXd& x) {
  const Eigen::ArrayXd true_mean = x.colwise().mean().transpose();
  const Eigen::ArrayXd true_sigma =
      (x.array().rowwise() - true_mean.transpose()).square().colwise().mean().sqrt().transpose();
  const Eigen::ArrayXd sigma = variance.sqrt();
  return std::sqrt((((true_mean - mean) / sigma).square() + (true_sigma / sigma - 1).square()).mean());
}

/// The errors of all estimates, in the order of their names.
inline std::vector<double> errors_of(const EvaluationCase& which, unsigned seed) {
  using Layer = eigennorm::BatchNorm<double>;
  const Eigen::MatrixXd samples = class_samples(seed);
  Deal deal(samples, which, seed);
  std::array<Layer, 3> running{Layer(20, 0.0), Layer(20, 0.0), Layer(20, 0.0)};
  running[1].running->averaging = eigennorm::momentum_of_new(0.01);
  running[2].running->averaging = eigennorm::cumulative();
  eigennorm::PopulationStatistics<double> last_epoch, population;
  for (int step = 1; step <= which.steps; ++step) {
    const Eigen::MatrixXd x = by_weights(deal.next(), step);
    for (Layer& layer : running) layer.forward(x);
    if (step > which.steps - deal.batches_of_an_epoch()) last_epoch.observe(running[0].moments());
  }
  // The weights stand still, and all samples pass once more.
  Deal again(samples, which, seed + 1000);
  Layer observed(20, 0.0);
  observed.running->update = false;
  for (int batch = 0; batch < again.batches_of_an_epoch(); ++batch) {
    observed.forward(by_weights(again.next(), which.steps));
    population.observe(observed.moments());
  }
  const Eigen::MatrixXd x = by_weights(samples, which.steps);
  std::vector<double> errors;
  for (const Layer& layer : running) errors.push_back(error_of(layer.running->mean, layer.running->variance, x));
  for (const auto& estimate : {last_epoch.algorithm2(), population.algorithm2(), population.pooled()})
    errors.push_back(error_of(estimate.mean, estimate.variance, x));
  return errors;
}

/// Errors of a case: a row an estimate, a column a seed.
struct EvaluationErrors {
  EvaluationCase which;
  std::array<std::vector<double>, estimate_names.size()> errors;
};

inline std::vector<EvaluationErrors> measure_evaluation(const Options& options) {
  std::vector<EvaluationErrors> all;
  for (const bool sorted : {false, true}) {
    for (const int steps : {50, 1000}) {
      for (const Eigen::Index batch : {4, 16, 60}) all.push_back({{sorted, steps, batch}, {}});
    }
  }
  Progress progress("evaluation", all.size());
  side_by_side(all.size(), options.threads, progress, [&](std::size_t i) {
    for (const unsigned seed : options.seed_numbers()) {
      const std::vector<double> errors = errors_of(all[i].which, seed);
      for (std::size_t estimate = 0; estimate < errors.size(); ++estimate)
        all[i].errors[estimate].push_back(errors[estimate]);
    }
  });
  return all;
}

/// The largest median error of an estimate in the cases that `chosen` wants.
template <typename Chosen>
double worst_error(const std::vector<EvaluationErrors>& all, std::size_t estimate, Chosen&& chosen) {
  double worst = 0;
  for (const EvaluationErrors& each : all) {
    if (chosen(each.which)) worst = std::max(worst, median(each.errors[estimate]));
  }
  return worst;
}

inline std::vector<Claim> evaluation_claims(const std::vector<EvaluationErrors>& all) {
  const auto percent = [](double error) { return fixed_text(100 * error, 1) + " %"; };
  const auto early = [](const EvaluationCase& which) {
    return !which.sorted && which.steps == 50 && which.batch == 60;
  };
  const auto late = [](const EvaluationCase& which) {
    return !which.sorted && which.steps == 1000 && which.batch == 60;
  };
  const auto shuffled_data = [](const EvaluationCase& which) { return !which.sorted; };
  const auto sorted_data = [](const EvaluationCase& which) { return which.sorted; };
  const double early_epoch = worst_error(all, 3, early), late_epoch = worst_error(all, 3, late);
  const double algorithm2 = worst_error(all, 4, shuffled_data), in_order = worst_error(all, 4, sorted_data);
  const double pooled = worst_error(all, 5, sorted_data);
  const double slow = worst_error(all, 1, early), fast = worst_error(all, 0, late);
  return {
      {"Algorithm 2 is right on shuffled data, also in small batches", "error at most " + percent(algorithm2),
       algorithm2 < 0.03 ? Verdict::reproduced : Verdict::not_reproduced, true},
      {"on sorted data Algorithm 2 is wrong, pooled is right", percent(in_order) + " and " + percent(pooled),
       in_order > 0.1 && pooled < 0.03 ? Verdict::reproduced : Verdict::not_reproduced, true},
      {"the last epoch is right when the weights stand still, not before",
       percent(late_epoch) + " after 1,000 steps, " + percent(early_epoch) + " after 50 (batches of 60)",
       late_epoch < 0.03 && early_epoch > 2 * late_epoch ? Verdict::reproduced : Verdict::not_reproduced, true},
      {"running averages lag behind, or scatter",
       percent(slow) + " (0.01, after 50 steps), " + percent(fast) + " (0.1, after 1,000)",
       slow > 0.1 && fast > worst_error(all, 4, late) ? Verdict::reproduced : Verdict::not_reproduced, true},
  };
}

inline Panel evaluation_panel(const std::vector<EvaluationErrors>& all, bool sorted, int steps) {
  Panel panel{std::string(sorted ? "Sorted" : "Shuffled") + ", after " + std::to_string(steps) + " steps",
              "batch size",
              "error of y, % of its deviation",
              {},
              "set logscale xy\nset xrange [3.5:70]\nset xtics (4, 16, 60)\nset yrange [0.03:100]\n"};
  for (std::size_t estimate = 0; estimate < estimate_names.size(); ++estimate) {
    Curve curve{estimate_names[estimate], {}};
    for (const EvaluationErrors& each : all) {
      if (each.which.sorted != sorted || each.which.steps != steps) continue;
      Mark mark{static_cast<double>(each.which.batch), each.errors[estimate], false};
      for (double& value : mark.values) value *= 100;
      curve.marks.push_back(mark);
    }
    panel.curves.push_back(curve);
  }
  return panel;
}

/// Everything here is decided in a second: --quick is the same.
inline Result evaluation(const Options& options, const Data&) {
  const std::vector<EvaluationErrors> all = measure_evaluation(options);
  Figure figure{with_seeds("Statistics for evaluation", options), 2, {}};
  Table table{"Root mean square error of the outputs, which have deviation 1, in %:",
              {{"data", "steps", "batch", "running, 0.1", "0.01", "all", "last epoch", "Algorithm 2", "pooled"}}};
  for (const bool sorted : {false, true}) {
    for (const int steps : {50, 1000}) figure.panels.push_back(evaluation_panel(all, sorted, steps));
  }
  for (const EvaluationErrors& each : all) {
    Row row{each.which.sorted ? "sorted" : "shuffled", std::to_string(each.which.steps),
            std::to_string(each.which.batch)};
    for (const std::vector<double>& errors : each.errors) row.push_back(short_text(100 * median(errors)));
    table.rows.push_back(row);
  }
  write_figure(options, "evaluation", figure);
  return {{table}, evaluation_claims(all)};
}

}  // namespace digits::experiments

/// Runs over learning rates and seeds, side by side.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "experiment.hpp"
#include "side_by_side.hpp"
#include "training.hpp"

namespace digits::experiments {

/// A curve of a picture: how a net is normalized and how it starts.
struct Variant {
  std::string label;
  Method method = Method::none;
  bool initialize = false;
};

/// Every variant at every rate with every seed.
class Sweep {
 public:
  Sweep(std::vector<Variant> variants, std::vector<float> rates, const Options& options, const NetShape& shape = {})
      : variants_(std::move(variants)), rates_(std::move(rates)), seeds_(options.seed_numbers()) {
    for (const Variant& variant : variants_) {
      for (const float rate : rates_) {
        for (const unsigned seed : seeds_) jobs_.push_back({variant.method, rate, seed, shape, variant.initialize});
      }
    }
    runs_.resize(jobs_.size());
  }

  /// Calls `after_step(run's number, network, step)`, of different runs at the same time.
  template <typename AfterStep>
  void run(const std::string& title, const Sets& sets, const Settings& settings, AfterStep&& after_step) {
    Progress progress(title, jobs_.size());
    side_by_side(jobs_.size(), settings.threads, progress, [&](std::size_t i) {
      runs_[i] = train(jobs_[i], sets, settings, progress,
                       [&](const Network& network, const Dataset&, int step) { after_step(i, network, step); });
    });
  }

  const std::vector<Job>& jobs() const { return jobs_; }
  const std::vector<Variant>& variants() const { return variants_; }
  const std::vector<float>& rates() const { return rates_; }

  std::size_t number(std::size_t variant, std::size_t rate, std::size_t seed) const {
    return (variant * rates_.size() + rate) * seeds_.size() + seed;
  }
  const Run& at(std::size_t variant, std::size_t rate, std::size_t seed) const {
    return runs_[number(variant, rate, seed)];
  }

  /// `value(run's number)` of all seeds.
  template <typename Value>
  std::vector<double> values(std::size_t variant, std::size_t rate, Value&& value) const {
    std::vector<double> of_seeds;
    for (std::size_t seed = 0; seed < seeds_.size(); ++seed) of_seeds.push_back(value(number(variant, rate, seed)));
    return of_seeds;
  }

  bool has_diverged(std::size_t run) const { return !std::isfinite(runs_[run].curve.back().score.loss); }
  double training_loss(std::size_t run) const { return runs_[run].curve.back().training_loss; }
  double steps_to(std::size_t run, double accuracy) const { return runs_[run].steps_to(accuracy); }
  double accuracy(std::size_t run) const { return runs_[run].curve.back().score.accuracy; }
  std::vector<double> accuracies(std::size_t variant, std::size_t rate) const {
    return values(variant, rate, [this](std::size_t run) { return accuracy(run); });
  }

  /// A curve for each variant over the rates.
  template <typename Value>
  std::vector<Curve> curves(Value&& value) const {
    std::vector<Curve> curves;
    for (std::size_t variant = 0; variant < variants_.size(); ++variant) {
      Curve curve{variants_[variant].label, {}};
      for (std::size_t rate = 0; rate < rates_.size(); ++rate) {
        Mark mark{rates_[rate], values(variant, rate, value), false};
        for (std::size_t seed = 0; seed < seeds_.size(); ++seed)
          mark.diverged = mark.diverged || has_diverged(number(variant, rate, seed));
        curve.marks.push_back(std::move(mark));
      }
      curves.push_back(std::move(curve));
    }
    return curves;
  }

  /// The rate of the best median accuracy.
  std::size_t best_rate(std::size_t variant) const {
    std::size_t best = 0;
    for (std::size_t rate = 1; rate < rates_.size(); ++rate) {
      if (median(accuracies(variant, rate)) > median(accuracies(variant, best))) best = rate;
    }
    return best;
  }
  /// The rates whose median accuracy is within `margin` of the best one.
  std::vector<float> good_rates(std::size_t variant, double margin) const {
    const double best = median(accuracies(variant, best_rate(variant)));
    std::vector<float> good;
    for (std::size_t rate = 0; rate < rates_.size(); ++rate) {
      if (median(accuracies(variant, rate)) >= best - margin) good.push_back(rates_[rate]);
    }
    return good;
  }

 private:
  std::vector<Variant> variants_;
  std::vector<float> rates_;
  std::vector<unsigned> seeds_;
  std::vector<Job> jobs_;
  std::vector<Run> runs_;
};

/// gnuplot's for an axis of rates.
inline std::string rate_axis(double first, double last) {
  return "set logscale x\nset xrange [" + short_text(first) + ":" + short_text(last) +
         "]\nset xtics (0.001, 0.01, 0.1, 1, 10)\n";
}

inline std::string list_text(const std::vector<float>& rates) {
  std::string text;
  for (const float rate : rates) text += (text.empty() ? "" : ", ") + short_text(rate);
  return text;
}

/// For a run of so many steps.
inline Settings settings_of(const Options& options, int steps, int points) {
  Settings settings;
  settings.steps = steps;
  settings.evaluate_every = std::max(options.quick ? 10 : 1, steps / points);
  settings.threads = options.threads;
  settings.with_population = false;
  return settings;
}

}  // namespace digits::experiments

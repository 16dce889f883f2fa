/// How WeightNorm's v grows, what that does to the step, and what the paper's start and mean-only BatchNorm add.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <eigennorm/eigennorm.hpp>
#include <random>
#include <string>
#include <vector>

#include "experiment.hpp"
#include "sweep.hpp"

namespace digits::experiments {

struct Growth {
  double error = 0;     // the most by which |v'|^2 - |v|^2 - |step|^2 differs from 0, over |v'|^2
  double smallest = 0;  // of all steps, how much longer a v became, over |v'|^2; below 0 if one became shorter
  double factor = 0;    // the longest v at the end, over its start
};

/// A linear layer learns another one's weight, in double: each step and each output is looked at.
inline Growth growth_of(unsigned seed) {
  using Weights = Eigen::MatrixXd;
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  const auto random = [&](Eigen::Index rows, Eigen::Index columns) {
    return Weights(Weights::NullaryExpr(rows, columns, [&] { return normal(generator); }));
  };
  const Weights x = random(200, 6), target = x * random(4, 6).transpose();
  Weights v = random(4, 6);
  eigennorm::WeightNorm<double> norm(4);
  norm.scale_from(v);
  const Eigen::VectorXd start = v.rowwise().norm();
  Growth growth;
  growth.smallest = 1;
  for (int step = 0; step < 500; ++step) {
    const Weights dw = (x * norm.forward(v).transpose() - target).transpose() * x / 200;
    const Weights change = -0.3 * norm.backward(v, dw), longer = v + change;
    const Eigen::VectorXd grown = longer.rowwise().squaredNorm() - v.rowwise().squaredNorm();
    const Eigen::VectorXd square = longer.rowwise().squaredNorm();
    const Eigen::VectorXd error = (grown - change.rowwise().squaredNorm()).cwiseAbs();
    growth.error = std::max(growth.error, error.cwiseQuotient(square).maxCoeff());
    growth.smallest = std::min(growth.smallest, grown.cwiseQuotient(square).minCoeff());
    v = longer;
    norm.scale.value -= 0.3 * norm.scale.grad;
    norm.zero_grad();
  }
  growth.factor = v.rowwise().norm().cwiseQuotient(start).maxCoeff();
  return growth;
}

inline Claim growth_claim(const Options& options) {
  Growth worst;
  worst.smallest = 1;
  for (const unsigned seed : options.seed_numbers()) {
    const Growth growth = growth_of(seed);
    worst.error = std::max(worst.error, growth.error);
    worst.smallest = std::min(worst.smallest, growth.smallest);
    worst.factor = std::max(worst.factor, growth.factor);
  }
  const bool holds = worst.error < 1e-14 && worst.smallest > -1e-14 && worst.factor > 1.01;
  return {"a step adds exactly its own square to the square of the length of v",
          "relative error " + short_text(worst.error, 2) + " in double; v up to " + short_text(worst.factor) +
              " times as long",
          holds ? Verdict::reproduced : Verdict::not_reproduced, true};
}

/// The mean length of the rows of all hidden layers' v.
inline double mean_length(const Network& network) {
  double sum = 0, rows = 0;
  for (const HiddenLayer& layer : network.hidden()) {
    sum += static_cast<double>(layer.weight().rowwise().norm().sum());
    rows += static_cast<double>(layer.weight().rows());
  }
  return sum / rows;
}

inline const std::vector<Variant>& length_variants() {
  static const std::vector<Variant> variants{
      {"none", Method::none},
      {"WeightNorm", Method::weight_norm},
      {"WN, start from data", Method::weight_norm, true},
      {"WN, mean-only BN", Method::weight_norm_centred},
      {"WN, both", Method::weight_norm_centred, true},
      {"BatchNorm", Method::batch_norm},
  };
  return variants;
}

/// Lengths of the plain WeightNorm over the steps, a curve for each rate, by `value(length, rate)`.
template <typename Value>
std::vector<Curve> length_curves(const Sweep& sweep, const std::vector<std::vector<double>>& lengths, int every,
                                 Value&& value) {
  std::vector<Curve> curves;
  for (std::size_t rate = 0; rate < sweep.rates().size(); ++rate) {
    Curve curve{"rate " + short_text(sweep.rates()[rate]), {}};
    for (std::size_t point = 0; point < lengths[sweep.number(1, rate, 0)].size(); ++point) {
      const auto of = [&](std::size_t run) { return value(lengths[run][point], sweep.rates()[rate]); };
      curve.marks.push_back(
          {static_cast<double>(every) * static_cast<double>(point), sweep.values(1, rate, of), false});
    }
    curves.push_back(curve);
  }
  return curves;
}

inline Table length_table(const Sweep& sweep) {
  Table table{"Test accuracy in % after the last step; good rates: within two points of the best:",
              {{"net", "best rate", "accuracy %", "good rates", "steps to 90 %"}}};
  for (std::size_t variant = 0; variant < sweep.variants().size(); ++variant) {
    const std::size_t best = sweep.best_rate(variant);
    std::vector<double> steps;
    for (std::size_t seed = 0; seed < sweep
                                          .values(
                                              variant, best, [](std::size_t) { return 0.0; })
                                          .size();
         ++seed)
      steps.push_back(sweep.at(variant, best, seed).steps_to(0.9));
    table.rows.push_back({sweep.variants()[variant].label, short_text(sweep.rates()[best]),
                          percent_spread(sweep.accuracies(variant, best)), list_text(sweep.good_rates(variant, 0.02)),
                          steps_text(spread(steps))});
  }
  return table;
}

inline std::vector<Claim> length_claims(const Sweep& sweep, const std::vector<Curve>& effective) {
  const double nominal = sweep.rates().back() / sweep.rates().front();
  std::vector<double> ends;
  for (const Curve& curve : effective) ends.push_back(median(curve.marks.back().values));
  const double measured = *std::max_element(ends.begin(), ends.end()) / *std::min_element(ends.begin(), ends.end());
  const auto good = [&](std::size_t variant) { return sweep.good_rates(variant, 0.02); };
  const auto best = [&](std::size_t variant) { return median(sweep.accuracies(variant, sweep.best_rate(variant))); };
  const auto points = [](double difference) { return fixed_text(100 * difference, 1) + " points"; };
  const double start = best(2) - best(1), centred = best(3) - best(1);
  return {
      {"too large a rate makes v long, and so the step small",
       "rates are up to " + short_text(nominal) + " apart, effective ones at the end " + short_text(measured),
       measured < nominal / 3 ? Verdict::reproduced : Verdict::not_reproduced},
      {"WeightNorm is robust to the rate",
       "good rates: " + list_text(good(1)) + "; without " + list_text(good(0)) + "; with start and centring " +
           list_text(good(4)),
       verdict_of({good(1).size() > good(0).size(), good(4).size() > good(0).size()})},
      {"the start from data helps WeightNorm", points(start) + " at each one's best rate",
       start > 0.005 ? Verdict::reproduced : Verdict::not_reproduced},
      {"mean-only BatchNorm helps WeightNorm", points(centred) + " at each one's best rate",
       centred > 0.005 ? Verdict::reproduced : Verdict::not_reproduced},
  };
}

inline Result lengths(const Options& options, const Data& data) {
  Result result;
  result.claims.push_back(growth_claim(options));
  Sweep sweep(length_variants(), {0.1F, 0.3F, 1.0F, 3.0F, 10.0F, 30.0F}, options);
  const Settings settings = settings_of(options, options.steps(1200), 20);
  std::vector<std::vector<double>> lengths(sweep.jobs().size());
  sweep.run("lengths", {data.training, data.test}, settings, [&](std::size_t run, const Network& network, int step) {
    if (step == 1 || step % settings.evaluate_every == 0) lengths[run].push_back(mean_length(network));
  });
  const int every = settings.evaluate_every;
  const auto length = length_curves(sweep, lengths, every, [](double value, double) { return value; });
  const auto effective =
      length_curves(sweep, lengths, every, [](double value, double rate) { return rate / (value * value); });
  const auto accuracy = sweep.curves([&](std::size_t run) { return 100 * sweep.accuracy(run); });
  write_figure(
      options, "lengths",
      {with_seeds("WeightNorm: lengths of v", options),
       2,
       {{"Length of v, mean of the rows", "training steps", "|v|", length, "set logscale y\nset key width 0\n"},
        {"Effective rate", "training steps", "rate / |v|^2", effective, "set logscale y\nset key width 0\n"},
        {"Without start and centring",
         "learning rate",
         "test accuracy, %",
         {accuracy[0], accuracy[1], accuracy[5]},
         rate_axis(0.1, 30) + "set yrange [0:100]\n"},
        {"With start, with centring",
         "learning rate",
         "test accuracy, %",
         {accuracy[1], accuracy[2], accuracy[3], accuracy[4]},
         rate_axis(0.1, 30) + "set yrange [0:100]\n"}}});
  result.tables.push_back(length_table(sweep));
  for (const Claim& claim : length_claims(sweep, effective)) result.claims.push_back(claim);
  return result;
}

}  // namespace digits::experiments

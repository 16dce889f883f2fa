/// What learning rates a net of ReLUs bears, without and with BatchNorm: figures 1 and 2 of Bjorck et al. 2018 in
/// small.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "experiment.hpp"
#include "sweep.hpp"

namespace digits::experiments {

/// The largest of a run, over all layers and steps.
struct Extremes {
  double gradient = 0, activation = 0;

  void see(const Network& network) {
    for (const HiddenLayer& layer : network.hidden()) {
      grow(gradient, layer.weight_gradient());
      grow(activation, layer.activation());
    }
  }

 private:
  static void grow(double& largest, const Matrix& values) {
    const auto size = static_cast<double>(values.cwiseAbs().maxCoeff());
    largest = values.allFinite() ? std::max(largest, size) : std::numeric_limits<double>::infinity();
  }
};

inline Table rate_table(const Sweep& sweep, const std::vector<Extremes>& extremes) {
  Table table{"Test accuracy in % after the last step, the largest gradient and activation of a run, diverged seeds:",
              {{"rate", "accuracy %: none", "BatchNorm", "gradient: none", "BatchNorm", "activation: none", "BatchNorm",
                "diverged"}}};
  for (std::size_t rate = 0; rate < sweep.rates().size(); ++rate) {
    const auto largest = [&](std::size_t variant, double Extremes::*which) {
      return short_text(median(sweep.values(variant, rate, [&](std::size_t run) { return extremes[run].*which; })), 2);
    };
    const auto diverged = [&](std::size_t variant) {
      double count = 0;
      for (const double lost : sweep.values(variant, rate, [&](std::size_t run) { return sweep.has_diverged(run); }))
        count += lost;
      return short_text(count);
    };
    table.rows.push_back({short_text(sweep.rates()[rate]), percent_spread(sweep.accuracies(0, rate)),
                          percent_spread(sweep.accuracies(1, rate)), largest(0, &Extremes::gradient),
                          largest(1, &Extremes::gradient), largest(0, &Extremes::activation),
                          largest(1, &Extremes::activation), diverged(0) + ", " + diverged(1)});
  }
  return table;
}

/// The fewest steps to 95 % of all rates, as a median over the seeds, and at which rate.
struct Fastest {
  std::size_t rate = 0;
  double steps = std::numeric_limits<double>::infinity();
};
inline double median_steps(const Sweep& sweep, std::size_t variant, std::size_t rate) {
  return median(sweep.values(variant, rate, [&](std::size_t run) { return sweep.steps_to(run, 0.95); }));
}
inline Fastest fastest(const Sweep& sweep, std::size_t variant) {
  Fastest best;
  for (std::size_t rate = 0; rate < sweep.rates().size(); ++rate) {
    const double steps = median_steps(sweep, variant, rate);
    if (steps < best.steps) best = {rate, steps};
  }
  return best;
}

inline Claim gain_claim(const Sweep& sweep) {
  const Fastest plain = fastest(sweep, 0), normalized = fastest(sweep, 1);
  const double same_rate = median_steps(sweep, 1, plain.rate);
  const auto text = [&](double steps, std::size_t rate) {
    return std::isinf(steps) ? "never" : fixed_text(steps, 0) + " at rate " + short_text(sweep.rates()[rate]);
  };
  return {"BatchNorm's gain in speed comes from the larger rate",
          "steps to 95 %: without " + text(plain.steps, plain.rate) + ", with " + text(same_rate, plain.rate) +
              ", at best " + text(normalized.steps, normalized.rate),
          same_rate - normalized.steps > plain.steps - same_rate ? Verdict::reproduced : Verdict::not_reproduced};
}

inline std::vector<Claim> rate_claims(const Sweep& sweep, const std::vector<Extremes>& extremes) {
  const float plain = sweep.good_rates(0, 0.02).back(), normalized = sweep.good_rates(1, 0.02).back();
  const std::size_t best = sweep.best_rate(0);
  const double gap = 100 * (median(sweep.accuracies(1, best)) - median(sweep.accuracies(0, best)));
  // The first rate at which most plain nets diverge.
  const auto diverges = [&](std::size_t run) { return sweep.has_diverged(run) ? 1.0 : 0.0; };
  std::size_t lost = 0;
  while (lost + 1 < sweep.rates().size() && median(sweep.values(0, lost, diverges)) == 0) ++lost;
  const auto largest = [&](std::size_t variant) {
    return median(sweep.values(variant, lost, [&](std::size_t run) { return extremes[run].activation; }));
  };
  const auto size = [](double value) { return std::isinf(value) ? "beyond all floats" : short_text(value, 2); };
  return {
      {"BatchNorm allows larger rates",
       "largest good rate " + short_text(normalized) + ", without " + short_text(plain),
       normalized > 2 * plain ? Verdict::reproduced : Verdict::not_reproduced},
      {"at the rate that is best without, BatchNorm gains little in accuracy",
       fixed_text(gap, 1) + " points at rate " + short_text(sweep.rates()[best]),
       std::abs(gap) < 1 ? Verdict::reproduced : Verdict::not_reproduced},
      gain_claim(sweep),
      {"activations explode where a rate is too large without BatchNorm",
       "at rate " + short_text(sweep.rates()[lost]) + " " + size(largest(0)) + ", with " + size(largest(1)),
       largest(0) > 100 * largest(1) ? Verdict::reproduced : Verdict::not_reproduced},
  };
}

inline Result rates(const Options& options, const Data& data) {
  Sweep sweep({{"none", Method::none}, {"BatchNorm", Method::batch_norm}},
              {0.001F, 0.003F, 0.01F, 0.03F, 0.1F, 0.3F, 1.0F, 3.0F, 10.0F, 30.0F}, options,
              {5, 100, Nonlinearity::relu});
  std::vector<Extremes> extremes(sweep.jobs().size());
  sweep.run("rates", {data.training, data.test}, settings_of(options, options.steps(1200), 40),
            [&](std::size_t run, const Network& network, int) { extremes[run].see(network); });
  const std::string axis = rate_axis(0.001, 30);
  const auto accuracy = sweep.curves([&](std::size_t run) { return 100 * sweep.accuracy(run); });
  const auto loss = sweep.curves([&](std::size_t run) { return sweep.training_loss(run); });
  const auto gradient = sweep.curves([&](std::size_t run) { return extremes[run].gradient; });
  const auto activation = sweep.curves([&](std::size_t run) { return extremes[run].activation; });
  const std::string log = axis + "set logscale y\nset format y '10^{%L}'\n";
  write_figure(options, "rates",
               {with_seeds("Learning rates; cross: diverged", options),
                2,
                {{"Test accuracy", "learning rate", "%", accuracy, axis + "set yrange [0:100]\n"},
                 {"Training loss at the end", "learning rate", "cross-entropy", loss, log, 1e2},
                 {"Largest gradient", "learning rate", "of a weight", gradient, log, 1e4},
                 {"Largest activation", "learning rate", "of a unit", activation, log, 1e4}}});
  return {{rate_table(sweep, extremes)}, rate_claims(sweep, extremes)};
}

}  // namespace digits::experiments

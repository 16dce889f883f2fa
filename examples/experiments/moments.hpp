/// Three consequences that the BatchNorm paper draws from moving inputs: upper layers chase, units saturate, and steps
/// must be careful. Each as a number, over training.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "experiment.hpp"
#include "side_by_side.hpp"
#include "sweep.hpp"

namespace digits::experiments {

constexpr std::array<Method, 2> moment_methods{Method::none, Method::batch_norm};
constexpr float moment_rate = 1;

/// What is looked at at one step. Layers are counted from the input.
struct Look {
  int step = 0;
  std::array<double, 3> shift{};      // of layer's outputs, which are the inputs of the next, by one step
  std::array<double, 3> saturated{};  // share of the layer's units and samples
  double largest_rate = 0;            // with which a step still lowers the loss of its own batch
};

/// How far one step moves the means of a layer's outputs, over their deviation: root mean squares over the units.
inline double shift_of(const Matrix& before, const Matrix& after) {
  const Eigen::RowVectorXf mean = before.colwise().mean();
  const double moved = static_cast<double>((after.colwise().mean() - mean).squaredNorm());
  const double variance =
      static_cast<double>((before.rowwise() - mean).colwise().squaredNorm().sum()) / static_cast<double>(before.rows());
  return std::sqrt(moved / variance);
}

/// A sigmoid below 0.02 or above 0.98 passes on less than a twelfth of the gradient that it passes in its middle.
inline double saturated_share(const Matrix& activation) {
  return static_cast<double>((activation.array() < 0.02F || activation.array() > 0.98F).count()) /
         static_cast<double>(activation.size());
}

/// Rates are tried by factors of two, on copies.
inline double largest_good_rate(const Network& network, const Dataset& batch) {
  double largest = 0;
  for (float rate = 1.0F / 64; rate <= 1024; rate *= 2) {
    Network copy = network;
    const double before = copy.train(batch, rate);
    if (copy.backward(batch, batch.size()) < before) largest = static_cast<double>(rate);
  }
  return largest;
}

inline Look look_at(const Network& network, const Dataset& batch, const Matrix& probe, int step) {
  Network before = network, after = network;
  before.forward(probe);
  after.train(batch, moment_rate);
  after.forward(probe);
  Look look;
  look.step = step;
  for (std::size_t layer = 0; layer < look.shift.size(); ++layer) {
    look.shift[layer] = shift_of(before.hidden()[layer].activation(), after.hidden()[layer].activation());
    look.saturated[layer] = saturated_share(before.hidden()[layer].activation());
  }
  look.largest_rate = largest_good_rate(network, batch);
  return look;
}

inline std::vector<Look> look_over_training(Method method, unsigned seed, int steps, const Data& data) {
  Generator generator(seed);
  Network network(method, data.training.inputs.cols(), generator);
  Batches batches(data.training, 60, generator);
  const int every = std::max(20, steps / 30);
  std::vector<Look> looks;
  for (int step = 1; step <= steps; ++step) {
    const Dataset batch = batches.next();
    if (step == 1 || step % every == 0) looks.push_back(look_at(network, batch, data.validation.inputs, step));
    network.train(batch, moment_rate);
  }
  return looks;
}

/// The looks of every seed, for one method.
using Looks = std::vector<std::vector<Look>>;

template <typename Value>
Curve look_curve(const std::string& label, const Looks& looks, Value&& value) {
  Curve curve{label, {}};
  for (std::size_t at = 0; at < looks.front().size(); ++at) {
    Mark mark{static_cast<double>(looks.front()[at].step), {}, false};
    for (const std::vector<Look>& of_seed : looks) mark.values.push_back(value(of_seed[at]));
    curve.marks.push_back(mark);
  }
  return curve;
}

/// For each seed the mean over training and over the hidden layers.
template <typename Value>
std::vector<double> look_means(const Looks& looks, Value&& value) {
  std::vector<double> means;
  for (const std::vector<Look>& of_seed : looks) {
    double sum = 0;
    for (const Look& look : of_seed) sum += value(look);
    means.push_back(sum / static_cast<double>(of_seed.size()));
  }
  return means;
}

inline double mean_of(const std::array<double, 3>& layers) { return (layers[0] + layers[1] + layers[2]) / 3; }

inline Result moment_result(const std::array<Looks, 2>& looks) {
  const auto shift = [](const Look& look) { return mean_of(look.shift); };
  const auto saturated = [](const Look& look) { return mean_of(look.saturated); };
  const auto rate = [](const Look& look) { return std::log2(std::max(look.largest_rate, 1.0 / 128)); };
  Table table{"Means over training and the three hidden layers; the largest rate as a geometric mean:",
              {{"net", "shift by one step", "saturated %", "largest rate"}}};
  std::array<std::array<double, 3>, 2> medians{};
  for (std::size_t method = 0; method < 2; ++method) {
    std::vector<double> largest = look_means(looks[method], rate);
    for (double& value : largest) value = std::exp2(value);
    const auto shifts = look_means(looks[method], shift), shares = look_means(looks[method], saturated);
    table.rows.push_back(
        {name(moment_methods[method]), short_spread(shifts), percent_spread(shares), short_spread(largest)});
    medians[method] = {median(shifts), median(shares), median(largest)};
  }
  const auto both = [&](std::size_t i, double factor) {
    return short_text(factor * medians[0][i]) + " without, " + short_text(factor * medians[1][i]) + " with";
  };
  const auto verdict = [](bool holds) { return holds ? Verdict::reproduced : Verdict::not_reproduced; };
  return {
      {table},
      {{"with BatchNorm a step below moves the inputs of upper layers less",
        "means move by " + both(0, 1) + " deviations", verdict(medians[1][0] < medians[0][0])},
       {"with BatchNorm fewer units saturate", both(1, 100) + ", % of outputs", verdict(medians[1][1] < medians[0][1])},
       {"without BatchNorm steps must be careful", "largest rate that lowers the loss " + both(2, 1),
        verdict(medians[1][2] > 2 * medians[0][2])}}};
}

inline Result moments(const Options& options, const Data& data) {
  const std::vector<unsigned> seeds = options.seed_numbers();
  std::array<Looks, 2> looks{Looks(seeds.size()), Looks(seeds.size())};
  Progress progress("moments", 2 * seeds.size());
  side_by_side(2 * seeds.size(), options.threads, progress, [&](std::size_t i) {
    looks[i % 2][i / 2] = look_over_training(moment_methods[i % 2], seeds[i / 2], options.steps(1200), data);
  });
  const std::array<std::string, 2> titles{"without BatchNorm", "with BatchNorm"};
  Figure figure{with_seeds("One step and its consequences", options), 2, {}};
  for (std::size_t method = 0; method < 2; ++method) {
    Panel panel{"Shift " + titles[method],
                "training steps",
                "moved means / deviation",
                {},
                "set logscale y\nset yrange [0.0001:10]\nset format y '10^{%L}'\n"};
    for (std::size_t layer = 0; layer < 3; ++layer)
      panel.curves.push_back(
          look_curve(layer < 2 ? "inputs of layer " + std::to_string(layer + 2) : "inputs of the output", looks[method],
                     [layer](const Look& look) { return look.shift[layer]; }));
    figure.panels.push_back(panel);
  }
  for (std::size_t method = 0; method < 2; ++method) {
    Panel panel{
        "Saturated " + titles[method], "training steps", "% of outputs", {}, "set yrange [0:15]\nset key width 0\n"};
    for (std::size_t layer = 0; layer < 3; ++layer)
      panel.curves.push_back(look_curve("hidden layer " + std::to_string(layer + 1), looks[method],
                                        [layer](const Look& look) { return 100 * look.saturated[layer]; }));
    figure.panels.push_back(panel);
  }
  Panel panel{"Careful steps", "training steps", "largest rate that lowers the loss", {}, "set logscale y\n"};
  for (std::size_t method = 0; method < 2; ++method)
    panel.curves.push_back(
        look_curve(titles[method], looks[method], [](const Look& look) { return look.largest_rate; }));
  figure.panels.push_back(panel);
  write_figure(options, "moments", figure);
  return moment_result(looks);
}

}  // namespace digits::experiments

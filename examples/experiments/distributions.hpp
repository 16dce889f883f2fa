/// What one sigmoid is given over training, without and with BatchNorm: figure 1 of Ioffe & Szegedy 2015.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "experiment.hpp"
#include "sweep.hpp"

namespace digits::experiments {

/// The 15th, 50th and 85th percentile of each unit's inputs, over the batches of one point of the curve.
using Percentiles = std::array<Eigen::RowVectorXf, 3>;
constexpr std::array<double, 3> percents{0.15, 0.5, 0.85};

/// Gathers what the last hidden layer's sigmoids were given in training.
class SigmoidInputs {
 public:
  void see(const Network& network, bool point) {
    const Matrix& batch = network.hidden().back().normalized_sums();
    Matrix more(seen_.rows() + batch.rows(), batch.cols());
    more << seen_, batch;
    seen_ = std::move(more);
    if (!point) return;
    Percentiles percentiles;
    percentiles.fill(Eigen::RowVectorXf(seen_.cols()));
    for (Eigen::Index unit = 0; unit < seen_.cols(); ++unit) {
      std::vector<float> values(static_cast<std::size_t>(seen_.rows()));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = seen_(static_cast<Eigen::Index>(i), unit);
      std::sort(values.begin(), values.end());
      for (std::size_t p = 0; p < percents.size(); ++p)
        percentiles[p](unit) = values[static_cast<std::size_t>(percents[p] * static_cast<double>(values.size() - 1))];
    }
    points_.push_back(percentiles);
    seen_.resize(0, seen_.cols());
  }

  const std::vector<Percentiles>& points() const { return points_; }

  /// The mean way that the percentiles of a unit go from point to point, all of them together.
  double drift() const {
    double way = 0;
    for (std::size_t at = 1; at < points_.size(); ++at) {
      for (std::size_t p = 0; p < percents.size(); ++p)
        way += static_cast<double>((points_[at][p] - points_[at - 1][p]).cwiseAbs().mean()) / 3;
    }
    return way;
  }
  /// How far the median of a unit ends from 0, the sigmoid's middle, and how wide its inputs are: means over units.
  double offset() const { return static_cast<double>(points_.back()[1].cwiseAbs().mean()); }
  double width() const { return static_cast<double>((points_.back()[2] - points_.back()[0]).mean()); }

 private:
  Matrix seen_ = Matrix(0, 100);
  std::vector<Percentiles> points_;
};

/// The unit of the picture is the first of the last hidden layer, as the paper shows "one typical" one.
inline std::vector<Curve> percentile_curves(const Sweep& sweep, const std::vector<SigmoidInputs>& inputs,
                                            std::size_t variant, int every) {
  std::vector<Curve> curves;
  for (std::size_t p = percents.size(); p-- > 0;) {
    Curve curve{fixed_text(100 * percents[p], 0) + "th percentile", {}};
    for (std::size_t at = 0; at < inputs.front().points().size(); ++at) {
      const auto of = [&](std::size_t run) { return static_cast<double>(inputs[run].points()[at][p](0)); };
      curve.marks.push_back(
          {static_cast<double>(every) * static_cast<double>(at + 1), {of(sweep.number(variant, 0, 0))}, false});
    }
    curves.push_back(curve);
  }
  return curves;
}

/// Test accuracy over the steps, a curve a variant, at one of the rates.
inline std::vector<Curve> accuracy_curves(const Sweep& sweep, std::size_t rate, std::size_t seeds) {
  std::vector<Curve> curves;
  for (std::size_t variant = 0; variant < sweep.variants().size(); ++variant) {
    Curve curve{sweep.variants()[variant].label, {}};
    for (std::size_t at = 0; at < sweep.at(variant, rate, 0).curve.size(); ++at) {
      Mark mark{static_cast<double>(sweep.at(variant, rate, 0).curve[at].step), {}, false};
      for (std::size_t seed = 0; seed < seeds; ++seed)
        mark.values.push_back(100 * sweep.at(variant, rate, seed).curve[at].score.accuracy);
      curve.marks.push_back(mark);
    }
    curves.push_back(curve);
  }
  return curves;
}

inline Result distribution_result(const Sweep& sweep, const std::vector<SigmoidInputs>& inputs) {
  const auto values = [&](std::size_t variant, double (SigmoidInputs::*number)() const) {
    return sweep.values(variant, 0, [&](std::size_t run) { return (inputs[run].*number)(); });
  };
  Table table{"All 100 units of the last hidden layer; drift: the way of a percentile over all of training:",
              {{"net", "test accuracy %", "drift", "median from 0, at the end", "85th - 15th, at the end"}}};
  for (std::size_t variant = 0; variant < 2; ++variant)
    table.rows.push_back({sweep.variants()[variant].label, percent_spread(sweep.accuracies(variant, 0)),
                          short_spread(values(variant, &SigmoidInputs::drift)),
                          short_spread(values(variant, &SigmoidInputs::offset)),
                          short_spread(values(variant, &SigmoidInputs::width))});
  const auto both = [&](double (SigmoidInputs::*number)() const) {
    return short_text(median(values(0, number))) + " without, " + short_text(median(values(1, number))) + " with";
  };
  const auto less = [&](double (SigmoidInputs::*number)() const) {
    return median(values(1, number)) < median(values(0, number)) ? Verdict::reproduced : Verdict::not_reproduced;
  };
  const double plain = median(sweep.accuracies(0, 0)), normalized = median(sweep.accuracies(1, 0));
  return {{table},
          {{"with BatchNorm the inputs of a sigmoid drift less", "way of a percentile " + both(&SigmoidInputs::drift),
            less(&SigmoidInputs::drift)},
           {"with BatchNorm they stay in the middle",
            "distance of the median from 0 at the end " + both(&SigmoidInputs::offset), less(&SigmoidInputs::offset)},
           {"BatchNorm trains to a higher accuracy",
            fixed_text(100 * normalized, 1) + " %, without " + fixed_text(100 * plain, 1) + " %",
            normalized > plain ? Verdict::reproduced : Verdict::not_reproduced}}};
}

inline Result distributions(const Options& options, const Data& data) {
  Sweep sweep({{"without BatchNorm", Method::none}, {"with BatchNorm", Method::batch_norm}}, {1.0F}, options);
  const Settings settings = settings_of(options, options.steps(2400), 60);
  std::vector<SigmoidInputs> inputs(sweep.jobs().size());
  sweep.run("distributions", {data.training, data.test}, settings,
            [&](std::size_t run, const Network& network, int step) {
              inputs[run].see(network, step % settings.evaluate_every == 0 || step == settings.steps);
            });
  const auto accuracy = accuracy_curves(sweep, 0, options.seed_numbers().size());
  const std::string range = "set yrange [-4:4]\n";
  write_figure(options, "distributions",
               {"One sigmoid over training: (a) n = " + std::to_string(options.seeds) + " seeds, (b, c) seed 1",
                1,
                {{"(a) Test accuracy", "training steps", "%", accuracy, "set yrange [0:100]\n"},
                 {"(b) Input without BatchNorm", "training steps", "sigmoid input",
                  percentile_curves(sweep, inputs, 0, settings.evaluate_every), range},
                 {"(c) Input with BatchNorm", "training steps", "sigmoid input",
                  percentile_curves(sweep, inputs, 1, settings.evaluate_every), range}}});
  return distribution_result(sweep, inputs);
}

}  // namespace digits::experiments

/// What leaves the outputs of a normalized linear layer as they are: table 1 of Ba et al. 2016, measured.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <eigennorm/eigennorm.hpp>
#include <filesystem>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "experiment.hpp"
#include "svg.hpp"

namespace digits::experiments {

using Real = Eigen::MatrixXd;

/// y = norm(x W^T), for WeightNorm x norm(W)^T, in double and with eps = 0: what is invariant is so to rounding.
class Invariant {
 public:
  Invariant(Method method, Eigen::Index outputs, std::mt19937& generator)
      : on_weight_(method == Method::weight_norm), norm_(layer(method, outputs)) {
    std::normal_distribution<double> normal;
    for (double& scale : norm_.scale.value) scale = 1 + 0.2 * normal(generator);
    for (double& shift : norm_.shift.value) shift = normal(generator);
  }

  Real forward(const Real& x, const Real& weight) {
    if (!on_weight_) return norm_.forward(Real(x * weight.transpose()));
    return x * norm_.forward(weight).transpose();
  }

  struct Gradients {
    Real weight, x;
  };
  /// Of sum(dy * y).
  Gradients gradients(const Real& x, const Real& weight, const Real& dy) {
    forward(x, weight);
    if (on_weight_) return {norm_.backward(weight, Real(dy.transpose() * x)), dy * norm_.evaluate(weight)};
    const Real by_sums = norm_.backward(Real(x * weight.transpose()), dy);
    return {by_sums.transpose() * x, by_sums * weight};
  }

 private:
  static eigennorm::Normalization<double> layer(Method method, Eigen::Index outputs) {
    if (method == Method::weight_norm) return eigennorm::WeightNorm<double>(outputs);
    if (method == Method::layer_norm) return eigennorm::LayerNorm<double>(outputs, 0.0);
    return eigennorm::BatchNorm<double>(outputs, 0.0);
  }

  bool on_weight_;
  eigennorm::Normalization<double> norm_;
};

constexpr double change_factor = 3.7;  // k
constexpr std::array<const char*, 6> change_names{"weights times k",  "weights + constant", "one row times k",
                                                  "data set times k", "data + constant",    "one case times k"};
constexpr std::array<Method, 3> table_methods{Method::batch_norm, Method::weight_norm, Method::layer_norm};
/// Table 1 of the paper, a row a change, a column a method.
constexpr std::array<std::array<bool, 3>, 6> table_of_paper{{{true, true, true},
                                                             {false, false, true},
                                                             {true, true, false},
                                                             {true, false, true},
                                                             {true, false, false},
                                                             {false, false, true}}};

inline Real random_matrix(Eigen::Index rows, Eigen::Index columns, std::mt19937& generator) {
  std::normal_distribution<double> normal;
  return Real::NullaryExpr(rows, columns, [&] { return normal(generator); });
}

inline double relative(const Real& other, const Real& one) {
  return (other - one).cwiseAbs().maxCoeff() / one.cwiseAbs().maxCoeff();
}

/// What one change of weights or data does to the outputs: the largest difference over the largest output.
inline double effect_of(std::size_t change, Invariant& layer, Real x, Real weight, std::mt19937& generator) {
  const Real before = layer.forward(x, weight);
  const Eigen::RowVectorXd constant = random_matrix(1, x.cols(), generator);
  if (change == 0) weight *= change_factor;
  if (change == 1) weight.rowwise() += constant;
  if (change == 2) weight.row(3) *= change_factor;
  if (change == 3) x *= change_factor;
  if (change == 4) x.rowwise() += constant;
  if (change == 5) x.row(5) *= change_factor;
  return relative(layer.forward(x, weight), before);
}

/// By how much the gradient of weights k times as long is not 1 / k of the gradient, and that of the data not the same.
inline double error_of_gradient_law(Invariant& layer, const Real& x, const Real& weight, const Real& dy) {
  const auto before = layer.gradients(x, weight, dy);
  const auto after = layer.gradients(x, change_factor * weight, dy);
  return std::max(relative(change_factor * after.weight, before.weight), relative(after.x, before.x));
}

struct Invariances {
  /// The last row is the law of gradients.
  std::array<std::array<std::vector<double>, 3>, 7> effects;
};

inline Invariances measure_invariances(const Options& options) {
  Invariances measured;
  for (const unsigned seed : options.seed_numbers()) {
    for (std::size_t method = 0; method < table_methods.size(); ++method) {
      std::mt19937 generator(seed);
      const Real x = random_matrix(64, 12, generator), weight = random_matrix(10, 12, generator);
      const Real dy = random_matrix(64, 10, generator);
      Invariant layer(table_methods[method], 10, generator);
      for (std::size_t change = 0; change < change_names.size(); ++change)
        measured.effects[change][method].push_back(effect_of(change, layer, x, weight, generator));
      measured.effects.back()[method].push_back(error_of_gradient_law(layer, x, weight, dy));
    }
  }
  return measured;
}

/// Below this a difference is rounding, above that it is not; nothing lies between.
constexpr double rounding = 1e-12, visible = 1e-2;

/// The most of what shall not change, the least of what shall.
inline double worst_of(const std::vector<double>& effects, bool invariant) {
  return invariant ? *std::max_element(effects.begin(), effects.end())
                   : *std::min_element(effects.begin(), effects.end());
}

inline bool is_expected(std::size_t change, std::size_t method) {
  return change == change_names.size() || table_of_paper[change][method];
}

inline void draw_invariances(std::ostream& out, const Invariances& measured, const Options& options) {
  Svg svg(620, 590);
  const double left = 220, top = 150, width = 126, height = 52;
  svg.write(20, 32, "Does y stay the same? (Ba et al. 2016, table 1)", "font-size=\"20\"");
  svg.write(20, 58, "largest change of y / largest y, in double, eps = 0, k = 3.7;", "font-size=\"16\"");
  svg.write(20, 80, "the worst of n = " + std::to_string(options.seeds) + " seeds; blue: invariant, orange: not",
            "font-size=\"16\"");
  for (std::size_t method = 0; method < table_methods.size(); ++method)
    svg.write(left + (static_cast<double>(method) + 0.5) * width, top - 14, name(table_methods[method]),
              "font-size=\"17\" font-weight=\"bold\" text-anchor=\"middle\"");
  for (std::size_t change = 0; change < measured.effects.size(); ++change) {
    const double y = top + static_cast<double>(change) * height + (change == 6 ? 36 : 0);
    svg.write(20, y + 32, change == 6 ? "gradient law: 1 / k" : change_names[change], "font-size=\"18\"");
    for (std::size_t method = 0; method < table_methods.size(); ++method) {
      const double effect = worst_of(measured.effects[change][method], is_expected(change, method));
      const bool same = effect < rounding;
      const double x = left + static_cast<double>(method) * width;
      svg.rectangle(x, y, width - 4, height - 4, same ? "fill=\"#0072B2\"" : "fill=\"#E69F00\"");
      svg.write(x + width / 2 - 2, y + 31, (same ? "yes: " : "no: ") + short_text(effect, 2),
                std::string("font-size=\"17\" text-anchor=\"middle\" fill=\"") + (same ? "#ffffff\"" : "#000000\""));
    }
  }
  svg.write(20, top + 7 * height + 62, "last row: error of dW(kW) = dW(W) / k, dx unchanged", "font-size=\"16\"");
  svg.write_to(out);
}

inline void write_invariances(std::ostream& out, const Invariances& measured, const Options& options) {
  out << "change,layer,seed,relative_difference,invariant_in_paper\n";
  for (std::size_t change = 0; change < measured.effects.size(); ++change) {
    for (std::size_t method = 0; method < table_methods.size(); ++method) {
      for (std::size_t i = 0; i < options.seed_numbers().size(); ++i) {
        out << (change == 6 ? "gradient law" : change_names[change]) << ',' << name(table_methods[method]) << ','
            << options.seed_numbers()[i] << ',' << measured.effects[change][method][i] << ','
            << (is_expected(change, method) ? "yes" : "no") << '\n';
      }
    }
  }
}

inline Result invariance(const Options& options, const Data&) {
  const Invariances measured = measure_invariances(options);
  const std::filesystem::path folder = options.out;
  write_file(folder / "invariance.svg", [&](std::ostream& out) { draw_invariances(out, measured, options); });
  write_file(folder / "invariance.csv", [&](std::ostream& out) { write_invariances(out, measured, options); });
  Table table{"Largest change of y over the largest y; \"same\" is what table 1 of the paper says:",
              {{"change", "BatchNorm", "WeightNorm", "LayerNorm"}}};
  int right = 0;
  double law = 0;
  for (std::size_t change = 0; change < measured.effects.size(); ++change) {
    Row row{change == 6 ? "gradient law" : change_names[change]};
    for (std::size_t method = 0; method < table_methods.size(); ++method) {
      const bool expected = is_expected(change, method);
      const double effect = worst_of(measured.effects[change][method], expected);
      row.push_back(short_text(effect, 2) + (change < 6 && expected ? " (same)" : ""));
      if (change == 6) {
        law = std::max(law, effect);
      } else if (expected ? effect < rounding : effect > visible) {
        ++right;
      }
    }
    table.rows.push_back(row);
  }
  return {{table},
          {{"table 1 of Ba et al.: what each method is invariant to", std::to_string(right) + " of 18 cells",
            right == 18 ? Verdict::reproduced : Verdict::in_part, true},
           {"weights k times as long get 1 / k of the gradient", "largest relative error " + short_text(law, 2),
            law < rounding ? Verdict::reproduced : Verdict::not_reproduced, true}}};
}

}  // namespace digits::experiments

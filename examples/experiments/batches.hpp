/// BatchNorm against LayerNorm at several batch sizes: figure 6 of Ba et al. 2016 on a small net.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "experiment.hpp"
#include "side_by_side.hpp"
#include "sweep.hpp"

namespace digits::experiments {

constexpr std::array<Eigen::Index, 4> batch_sizes{128, 16, 4, 2};
constexpr std::array<Method, 2> batch_methods{Method::batch_norm, Method::layer_norm};
constexpr int batch_epochs = 60;  // as many as the paper's

/// A combination of the picture, and its runs.
struct BatchCase {
  Method method = Method::none;
  Eigen::Index size = 0;
  float rate = 0;
  std::vector<Run> runs;

  std::vector<double> last_errors() const {
    std::vector<double> errors;
    for (const Run& run : runs) errors.push_back(1 - run.curve.back().score.accuracy);
    return errors;
  }
};

inline Settings batch_settings(const Options& options, const Dataset& training, Eigen::Index size) {
  const auto epoch = static_cast<int>(training.size() / size);
  Settings settings = settings_of(options, options.quick ? std::min(epoch, 20) : batch_epochs * epoch, 30);
  settings.batch_size = size;
  return settings;
}

/// All seeds of all cases, side by side; the largest batches last, because their runs are short.
inline void run_cases(const std::string& title, std::vector<BatchCase>& cases, const std::vector<unsigned>& seeds,
                      const Options& options, const Sets& sets) {
  Progress progress(title, cases.size() * seeds.size());
  for (BatchCase& each : cases) each.runs.resize(seeds.size());
  side_by_side(cases.size() * seeds.size(), options.threads, progress, [&](std::size_t i) {
    BatchCase& each = cases[cases.size() - 1 - i / seeds.size()];
    const Job job{each.method, each.rate, seeds[i % seeds.size()]};
    each.runs[i % seeds.size()] = train(job, sets, batch_settings(options, sets.training, each.size), progress,
                                        [](const Network&, const Dataset&, int) {});
  });
}

/// For each method and size the rate of the least loss on the validation images, over two seeds that are not among
/// those of the comparison.
inline std::vector<BatchCase> chosen_cases(const Options& options, const Data& data) {
  const std::vector<float> grid =
      options.quick ? std::vector<float>{0.1F} : std::vector<float>{0.01F, 0.03F, 0.1F, 0.3F, 1.0F, 3.0F};
  std::vector<BatchCase> tried;
  for (const Eigen::Index size : batch_sizes) {
    for (const Method method : batch_methods) {
      for (const float rate : grid) tried.push_back({method, size, rate, {}});
    }
  }
  run_cases("batches: learning rates", tried, {101, 102}, options, {data.training, data.validation});
  std::vector<BatchCase> chosen;
  for (std::size_t first = 0; first < tried.size(); first += grid.size()) {
    double least = std::numeric_limits<double>::infinity();
    std::size_t best = first;
    for (std::size_t i = first; i < first + grid.size(); ++i) {
      double loss = 0;
      for (const Run& run : tried[i].runs) loss += run.curve.back().score.loss;
      if (loss < least) {
        least = loss;
        best = i;
      }
    }
    chosen.push_back({tried[best].method, tried[best].size, tried[best].rate, {}});
  }
  return chosen;
}

/// A curve for each size, over epochs, by `value(point)`.
template <typename Value>
std::vector<Curve> batch_curves(const std::vector<BatchCase>& cases, Method method, const Data& data, Value&& value) {
  std::vector<Curve> curves;
  for (const BatchCase& each : cases) {
    if (each.method != method) continue;
    Curve curve{"batch " + std::to_string(each.size), {}};
    for (std::size_t at = 0; at < each.runs.front().curve.size(); ++at) {
      const double samples = static_cast<double>(each.runs.front().curve[at].step) * static_cast<double>(each.size);
      Mark mark{samples / static_cast<double>(data.training.size()), {}, false};
      for (const Run& run : each.runs) mark.values.push_back(value(run.curve[at]));
      curve.marks.push_back(mark);
    }
    curves.push_back(curve);
  }
  return curves;
}

inline Table batch_table(const std::vector<BatchCase>& cases) {
  Table table{"After the last epoch, each at the best of the rates by the loss on the validation images:",
              {{"batch", "method", "rate", "test error %", "test loss", "training loss"}}};
  for (const BatchCase& each : cases) {
    table.rows.push_back({std::to_string(each.size), name(each.method), short_text(each.rate),
                          percent_spread(each.last_errors()),
                          loss_text(spread(each.runs, [](const Run& run) { return run.curve.back().score.loss; })),
                          loss_text(spread(each.runs, [](const Run& run) { return run.curve.back().training_loss; }))});
  }
  return table;
}

inline std::vector<Claim> batch_claims(const std::vector<BatchCase>& cases) {
  const auto error = [&](Method method, Eigen::Index size) {
    for (const BatchCase& each : cases) {
      if (each.method == method && each.size == size) return 100 * median(each.last_errors());
    }
    return 100.0;
  };
  const auto described = [&](Method method) {
    return "test error " + fixed_text(error(method, 128), 1) + " % at 128, " + fixed_text(error(method, 2), 1) +
           " % at 2";
  };
  const auto loss = [&](Method method, Eigen::Index size) {
    for (const BatchCase& each : cases) {
      if (each.method == method && each.size == size)
        return spread(each.runs, [](const Run& run) { return run.curve.back().training_loss; }).median;
    }
    return std::numeric_limits<double>::infinity();
  };
  const auto losses = [&](Eigen::Index size) {
    return short_text(loss(Method::layer_norm, size), 2) + " and " + short_text(loss(Method::batch_norm, size), 2);
  };
  const double batch = error(Method::batch_norm, 2) - error(Method::batch_norm, 128);
  const double layer = error(Method::layer_norm, 2) - error(Method::layer_norm, 128);
  return {
      {"LayerNorm's test error does not rise in small batches, and does not depend on the batch",
       described(Method::layer_norm), verdict_of({layer < 1, std::abs(layer) < 1})},
      {"BatchNorm suffers in small batches", described(Method::batch_norm),
       batch > std::max(1.0, 2 * layer) ? Verdict::reproduced : Verdict::not_reproduced},
      {"LayerNorm trains faster than BatchNorm, in batches of 128 and of 4",
       "training loss " + losses(128) + "; " + losses(4),
       verdict_of({loss(Method::layer_norm, 128) < loss(Method::batch_norm, 128),
                   loss(Method::layer_norm, 4) < loss(Method::batch_norm, 4)})},
  };
}

inline Result batches(const Options& options, const Data& data) {
  std::vector<BatchCase> cases = chosen_cases(options, data);
  run_cases("batches", cases, options.seed_numbers(), options, {data.training, data.test});
  const auto loss = [](const Point& point) { return point.training_loss; };
  const auto error = [](const Point& point) { return 100 * (1 - point.score.accuracy); };
  const std::string losses = "set logscale y\nset yrange [0.0003:3]\nset format y '10^{%L}'\nset key width 0\n";
  const std::string errors = "set logscale y\nset yrange [1:100]\nset key width 0\n";
  Figure figure{with_seeds("Batch sizes", options), 2, {}};
  for (const Method method : batch_methods)
    figure.panels.push_back({std::string(name(method)) + ": training loss", "epochs", "cross-entropy",
                             batch_curves(cases, method, data, loss), losses});
  for (const Method method : batch_methods)
    figure.panels.push_back(
        {std::string(name(method)) + ": test error", "epochs", "%", batch_curves(cases, method, data, error), errors});
  write_figure(options, "batches", figure);
  return {{batch_table(cases)}, batch_claims(cases)};
}

}  // namespace digits::experiments

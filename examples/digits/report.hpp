/// What the runs gave, as tables and as a CSV file.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "progress.hpp"
#include "training.hpp"

namespace digits {

constexpr std::array<Method, 4> methods{Method::none, Method::batch_norm, Method::layer_norm, Method::weight_norm};

/// The runs of one experiment: every method with every seed.
struct Experiment {
  std::string name;   // one word, for the CSV
  std::string title;  // for people
  std::vector<Run> runs;

  std::vector<Run> of(Method method) const {
    std::vector<Run> chosen;
    std::copy_if(runs.begin(), runs.end(), std::back_inserter(chosen),
                 [method](const Run& run) { return run.job.method == method; });
    return chosen;
  }
};

struct Spread {
  double median, smallest, largest;
};

/// NaN counts as infinite.
inline Spread spread(std::vector<double> values) {
  for (double& value : values) {
    if (std::isnan(value)) value = std::numeric_limits<double>::infinity();
  }
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

/// `value(run)` over the runs.
template <typename Value>
Spread spread(const std::vector<Run>& runs, Value value) {
  std::vector<double> values;
  for (const Run& run : runs) values.push_back(value(run));
  return spread(std::move(values));
}

/// "median [smallest, largest]"
template <typename Text>
std::string spread_text(const Spread& values, Text text) {
  return text(values.median) + " [" + text(values.smallest) + ", " + text(values.largest) + "]";
}

inline std::string percent_text(const Spread& values) {
  return spread_text(values, [](double value) { return fixed_text(100 * value, 1); });
}

inline std::string loss_text(const Spread& values) {
  return spread_text(values, [](double value) { return short_text(value, 2); });
}

inline std::string steps_text(const Spread& values) {
  if (std::isinf(values.smallest)) return "never";
  return spread_text(values, [](double value) { return std::isinf(value) ? "never" : fixed_text(value, 0); });
}

using Row = std::vector<std::string>;

/// A Markdown table, aligned so that it reads well on a terminal too: no table here is wider than a hundred columns.
inline void write_table(std::ostream& out, const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      out << "| " << rows[r][i] << std::string(widths[i] - rows[r][i].size() + 1, ' ');
    }
    out << "|\n";
    if (r > 0) continue;
    for (const std::size_t width : widths) out << "|" << std::string(width + 2, '-');
    out << "|\n";
  }
}

inline void write_results(std::ostream& out, const Experiment& experiment) {
  std::vector<Row> learning{{"method", "rate", "test accuracy %", "steps to 90 %", "steps to 95 %"}};
  std::vector<Row> losses{{"method", "training loss", "test loss", "seconds", "in normalization %"}};
  for (const Method method : methods) {
    const std::vector<Run> runs = experiment.of(method);
    const auto last_accuracy = [](const Run& run) { return run.curve.back().score.accuracy; };
    learning.push_back({
        name(method),
        short_text(runs.front().job.rate),
        percent_text(spread(runs, last_accuracy)),
        steps_text(spread(runs, [](const Run& run) { return run.steps_to(0.90); })),
        steps_text(spread(runs, [](const Run& run) { return run.steps_to(0.95); })),
    });
    const auto share = [](const Run& run) { return 100 * run.normalization_seconds / run.seconds; };
    losses.push_back({
        name(method),
        loss_text(spread(runs, [](const Run& run) { return run.curve.back().training_loss; })),
        loss_text(spread(runs, [](const Run& run) { return run.curve.back().score.loss; })),
        fixed_text(spread(runs, [](const Run& run) { return run.seconds; }).median, 2),
        fixed_text(spread(runs, share).median, 0),
    });
  }
  out << '\n' << experiment.title << ":\n\n";
  write_table(out, learning);
  out << '\n';
  write_table(out, losses);
}

/// BatchNorm's test score with the running statistics of its training and with those of the training set, at each rate.
inline void write_statistics(std::ostream& out, const std::vector<Experiment>& experiments) {
  const auto running = [](const Run& run) { return run.curve.back().score; };
  const auto population = [](const Run& run) {
    const double none = std::numeric_limits<double>::infinity();
    return run.with_population.value_or(Score{none, none});
  };
  std::vector<Row> rows{{"rate", "accuracy %: running", "population", "loss: running", "population"}};
  for (const Experiment& experiment : experiments) {
    const std::vector<Run> runs = experiment.of(Method::batch_norm);
    const std::string rate = short_text(runs.front().job.rate);
    if (rate == rows.back().front()) continue;  // the best is the common one
    rows.push_back({
        rate,
        percent_text(spread(runs, [&](const Run& run) { return running(run).accuracy; })),
        percent_text(spread(runs, [&](const Run& run) { return population(run).accuracy; })),
        loss_text(spread(runs, [&](const Run& run) { return running(run).loss; })),
        loss_text(spread(runs, [&](const Run& run) { return population(run).loss; })),
    });
  }
  out << "\nBatchNorm on the test images, with running and with population statistics (Algorithm 2):\n\n";
  write_table(out, rows);
}

/// Opens the file, lets `write(stream)` fill it, and fails unless all of it was written.
template <typename Write>
void write_file(const std::filesystem::path& path, Write write) {
  std::ofstream stream(path);
  write(stream);
  if (!stream.flush()) throw std::runtime_error(path.string() + ": cannot be written");
}

inline void write_csv(std::ostream& out, const std::vector<Experiment>& experiments) {
  out << "experiment,method,statistics,rate,seed,step,training_loss,accuracy,loss\n";
  for (const Experiment& experiment : experiments) {
    for (const Run& run : experiment.runs) {
      const auto write = [&](const char* statistics, const Point& point, const Score& score) {
        out << experiment.name << ',' << name(run.job.method) << ',' << statistics << ',' << run.job.rate << ','
            << run.job.seed << ',' << point.step << ',' << point.training_loss << ',' << score.accuracy << ','
            << score.loss << '\n';
      };
      for (const Point& point : run.curve) write(run.with_population ? "running" : "own", point, point.score);
      if (run.with_population) write("population", run.curve.back(), *run.with_population);
    }
  }
}

}  // namespace digits

/// Statistics of the whole batch against those of each process's part, over numbers of processes and sizes of parts.
#pragma once

#include <mpi.h>

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <iostream>
#include <ostream>
#include <string>
#include <vector>

#include "job.hpp"
#include "plot.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "spread_training.hpp"

namespace digits {

struct ComparisonSettings {
  std::vector<int> local_batches{60, 15, 8, 2};
  int steps = 600;
  int evaluate_every = 10;
  int seeds = 8;
  float rate = 1;
};

/// What one combination gave, over the seeds.
struct Outcome {
  int local_batch = 0, processes = 0;
  bool synchronized = false;
  std::vector<double> accuracies, steps_to_95;
};

/// Trains with every seed: as many at a time as there are groups of so many processes.
inline Outcome measure(const Data& data, const ComparisonSettings& settings, Outcome outcome) {
  const auto seeds = static_cast<std::size_t>(settings.seeds);
  // Each number is 0 on all processes but the one that has it, so that a sum collects them.
  std::vector<double> numbers(2 * seeds);
  const Group group(outcome.processes);
  const int groups = size_of(MPI_COMM_WORLD) / outcome.processes;
  for (int seed = group.number(); seed < settings.seeds; seed += groups) {
    SpreadTraining training(data,
                            {outcome.local_batch, outcome.synchronized, settings.rate, static_cast<unsigned>(seed) + 1},
                            group.communicator());
    Run run;
    while (training.steps() < settings.steps) {
      const double loss = training.step();
      if (rank_in(group.communicator()) == 0 && training.steps() % settings.evaluate_every == 0)
        run.curve.push_back({training.steps(), loss, training.network().evaluate(data.test)});
    }
    if (rank_in(group.communicator()) != 0) continue;
    numbers[static_cast<std::size_t>(seed)] = run.curve.back().score.accuracy;
    numbers[seeds + static_cast<std::size_t>(seed)] = run.steps_to(0.95);
  }
  MPI_Allreduce(MPI_IN_PLACE, numbers.data(), static_cast<int>(numbers.size()), MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  const auto middle = numbers.begin() + settings.seeds;
  outcome.accuracies.assign(numbers.begin(), middle);
  outcome.steps_to_95.assign(middle, numbers.end());
  return outcome;
}

/// All combinations for 1, 2, 4, ... processes, up to all that the job has.
inline std::vector<Outcome> compare(const Data& data, const ComparisonSettings& settings) {
  std::vector<Outcome> asked;
  for (const int local_batch : settings.local_batches) {
    for (int processes = 1; processes <= size_of(MPI_COMM_WORLD); processes *= 2) {
      for (const bool synchronized : {true, false}) asked.push_back({local_batch, processes, synchronized, {}, {}});
    }
  }
  std::vector<Outcome> outcomes;
  for (const Outcome& one : asked) {
    outcomes.push_back(measure(data, settings, one));
    if (rank_in(MPI_COMM_WORLD) == 0) {
      std::cerr << "digits_mpi: " << outcomes.size() << " of " << asked.size() << " combinations\n";
    }
  }
  return outcomes;
}

inline void write_comparison(std::ostream& out, const std::vector<Outcome>& outcomes) {
  std::vector<Row> rows{{"images each", "processes", "accuracy %: whole", "own", "steps to 95 %: whole", "own"}};
  for (std::size_t i = 0; i + 1 < outcomes.size(); i += 2) {
    const Outcome &whole = outcomes[i], &own = outcomes[i + 1];
    rows.push_back({std::to_string(whole.local_batch), std::to_string(whole.processes),
                    percent_text(spread(whole.accuracies)), percent_text(spread(own.accuracies)),
                    steps_text(spread(whole.steps_to_95)), steps_text(spread(own.steps_to_95))});
  }
  write_table(out, rows);
}

/// One panel of the picture: one size of parts, over the number of processes.
template <typename Value>
void write_panel(std::ostream& out, const std::vector<Outcome>& outcomes, int local_batch, const std::string& name,
                 const Value& values) {
  const std::array<std::string, 2> colours{"#D55E00", "#0072B2"}, titles{"own", "whole"};
  std::string curves;
  for (const bool synchronized : {false, true}) {
    const std::string block = "$" + name + std::to_string(local_batch) + (synchronized ? "whole" : "own");
    out << block << " << END\n";
    for (const Outcome& outcome : outcomes) {
      if (outcome.local_batch != local_batch || outcome.synchronized != synchronized) continue;
      const Spread shown = spread(values(outcome));
      out << outcome.processes << ' ' << shown.median << ' ' << shown.smallest << ' ' << shown.largest << '\n';
    }
    out << "END\n";
    const std::string &colour = colours[synchronized ? 1 : 0], &title = titles[synchronized ? 1 : 0];
    curves += (curves.empty() ? "" : ", ") + band(block, colour) + ", " + line(block, colour, title);
  }
  out << "plot " << curves << '\n';
}

/// A gnuplot script: accuracy above, steps to 95 % below.
inline void write_plot(std::ostream& out, const std::string& picture, const std::string& title,
                       const std::vector<Outcome>& outcomes, const ComparisonSettings& settings) {
  begin_plot(out, picture, title, "1000,600", "2," + std::to_string(settings.local_batches.size()));
  const auto write_row = [&](const std::string& label, const std::string& name, const auto& values) {
    out << "set ylabel '" << label << "'\nset key\n";  // in the first panel only: the others are alike
    for (const int local_batch : settings.local_batches) {
      out << "set title '" << local_batch << " images each'\n";
      write_panel(out, outcomes, local_batch, name, values);
      out << "unset ylabel\nunset key\n";
    }
  };
  out << "set logscale x 2\nset xlabel 'processes'\nset key center right\nset yrange [*:100]\n";
  write_row("test accuracy, %", "accuracy", [](Outcome outcome) {
    for (double& accuracy : outcome.accuracies) accuracy *= 100;
    return outcome.accuracies;
  });
  out << "set yrange [0:" << settings.steps << "]\n";
  write_row("steps to 95 %, at the top: never", "steps", [&](Outcome outcome) {
    for (double& steps : outcome.steps_to_95) steps = std::min(steps, static_cast<double>(settings.steps));
    return outcome.steps_to_95;
  });
  out << "unset multiplot\n";
}

}  // namespace digits

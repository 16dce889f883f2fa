/// What the runs gave: tables, a CSV file, a picture, and a check.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "comparison.hpp"
#include "plot.hpp"
#include "progress.hpp"
#include "report.hpp"

namespace digits::sequences {

inline void write_tables(std::ostream& out, const std::vector<Run>& runs, const Settings& settings) {
  for (const bool different : {false, true}) {
    std::vector<Row> rows{{"pad %", "positions", "masking", "accuracy %: alone",
                           "padded to " + std::to_string(settings.long_padding), "changed %", "training loss"}};
    for (const double share : shares) {
      for (const Masking masking : maskings) {
        const std::vector<Run> chosen = runs_of(runs, different, share, masking);
        const Padding padding = chosen.front().job.padding();
        const std::string positions = std::to_string(padding.smallest);
        const auto percent = [&](auto value) { return percent_text(spread_over_seeds(chosen, value)); };
        rows.push_back({fixed_text(100 * padding.share(), 0),
                        different ? positions + " to " + std::to_string(padding.largest) : positions, name(masking),
                        percent([](const Run& run) { return run.alone.accuracy; }),
                        percent([](const Run& run) { return run.longer.accuracy; }),
                        percent([](const Run& run) { return run.changed; }),
                        loss_text(spread_over_seeds(chosen, [](const Run& run) { return run.training_loss; }))});
      }
    }
    out << '\n' << (different ? "Training batches of different lengths:" : "Training batches of one length:") << "\n\n";
    write_table(out, rows);
  }
}

inline void write_csv(std::ostream& out, const std::vector<Run>& runs) {
  out << "batches,padding,masking,seed,first_loss,training_loss,alone,as_in_training,longer,changed\n";
  for (const Run& run : runs) {
    out << run.job.batches() << ',' << run.job.padding().share() << ',' << name(run.job.masking) << ',' << run.job.seed
        << ',' << run.first_loss << ',' << run.training_loss << ',' << run.alone.accuracy << ',' << run.alike.accuracy
        << ',' << run.longer.accuracy << ',' << run.changed << '\n';
  }
}

/// One panel of the picture: `value(run)` in percent over the share of padding, a curve for each masking.
template <typename Value>
void write_panel(std::ostream& out, const std::string& prefix, const std::vector<Run>& runs, bool different,
                 Value value) {
  const std::array<std::string, maskings.size()> colours{"#D55E00", "#555555", "#0072B2"};
  const std::array<std::string, maskings.size()> titles{"no mask", "zeroed afterwards", "Context::valid"};
  std::string bands, lines;
  for (std::size_t i = 0; i < maskings.size(); ++i) {
    const std::string block = "$" + prefix + (different ? "different" : "same") + std::to_string(i);
    out << block << " << END\n";
    for (const double share : shares) {
      const std::vector<Run> chosen = runs_of(runs, different, share, maskings[i]);
      const Spread shown = spread_over_seeds(chosen, [&](const Run& run) { return 100 * value(run); });
      out << 100 * chosen.front().job.padding().share() << ' ' << shown.median << ' ' << shown.smallest << ' '
          << shown.largest << '\n';
    }
    out << "END\n";
    bands += band(block, colours[i]) + ", ";
    lines += (lines.empty() ? "" : ", ") + line(block, colours[i], titles[i], static_cast<int>(maskings.size() - i));
  }
  out << "plot " << bands << lines << '\n';
}

/// A row of panels: batches of one length and of different ones beside each other.
template <typename Value>
void write_panels(std::ostream& out, const std::string& prefix, const std::string& label, const std::vector<Run>& runs,
                  Value value) {
  for (const bool different : {false, true}) {
    out << "set ylabel '" << (different ? "" : label) << "'\n"
        << "set title 'training batches of " << (different ? "different lengths" : "one length") << "'\n";
    write_panel(out, prefix, runs, different, value);
    out << "unset key\n";  // in the first panel only: the others are alike
  }
}

/// A gnuplot script: errors above, answers that padding changes below.
inline void write_plot(std::ostream& out, const std::string& picture, const std::vector<Run>& runs,
                       const Settings& settings) {
  double most_changed = 0;
  for (const Run& run : runs) most_changed = std::max(most_changed, run.changed);
  begin_plot(out, picture, "Padded sequences, median and range (seeds: " + std::to_string(settings.seeds) + ")",
             "1000,800", "2,2");
  out << "set xlabel 'padding in training, %'\nset xrange [5:75]\nset xtics (10, 40, 70)\nset key top left\n"
      << "set logscale y\nset yrange [2:100]\nset ytics (2, 5, 10, 20, 50, 100)\n";
  write_panels(out, "error", "error, tested alone, %", runs, [](const Run& run) { return 1 - run.alone.accuracy; });
  out << "unset logscale y\nset ytics autofreq\nset yrange [0:" << std::ceil(100 * most_changed) + 1 << "]\n";
  write_panels(out, "changed", "answers changed by padding to " + std::to_string(settings.long_padding) + ", %", runs,
               [](const Run& run) { return run.changed; });
  out << "unset multiplot\n";
}

/// With `valid` padding changes no answer, and no training: the loss of the first batch, before any step, is that of
/// the least padding but for rounding in sums. Without, it does. No number of steps is too small for that.
inline bool padding_shows_where_it_should(const std::vector<Run>& runs, std::ostream& errors) {
  bool right = true;
  for (const Masking masking : maskings) {
    double difference = 0, changed = 0;
    for (const Run& run : runs) {
      if (run.job.masking != masking) continue;
      for (const Run& other : runs_of(runs, false, shares.front(), masking)) {
        if (other.job.seed != run.job.seed) continue;
        difference = std::max(difference, std::abs(run.first_loss / other.first_loss - 1));
      }
      changed = std::max(changed, run.changed);
    }
    const bool expected = masking == Masking::valid ? difference < 1e-5 && changed == 0 : difference > 1e-2;
    if (expected) continue;
    errors << "sequences: masking " << name(masking) << ": padding moved the first loss by "
           << short_text(100 * difference) << " %, and " << short_text(100 * changed) << " % of the answers\n";
    right = false;
  }
  return right;
}

}  // namespace digits::sequences

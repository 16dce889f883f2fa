#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <ostream>
#include <sstream>

namespace benchmarks {
namespace {

/// Somebody is ahead where our time is more than this times theirs, for sure.
constexpr double clearly = 1.03;

/// Time of a system on a row, relative to ours; none: infinity.
double relative(const Row& row, const std::string& system) {
  const auto found = row.ratios.find(system);
  return found == row.ratios.end() ? INFINITY : found->second / row.ratios.at(ours);
}

std::string best_peer(const Row& row) {
  return *std::min_element(peers.begin(), peers.end(), [&](const std::string& a, const std::string& b) {
    return relative(row, a) < relative(row, b);
  });
}

double best(const Row& row) { return relative(row, best_peer(row)); }

std::string fixed(double value, int decimals) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(decimals) << value;
  return text.str();
}

/// Three digits also of what is below one.
std::string microseconds(double value) {
  return value < 0.0995 ? fixed(value, 4) : value < 0.995 ? fixed(value, 3) : rounded(value);
}

/// Those that some peer runs, beginning where it is furthest ahead.
std::vector<Row> compared(const std::vector<Row>& rows) {
  std::vector<Row> result;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(result),
               [](const Row& row) { return std::isfinite(best(row)); });
  std::stable_sort(result.begin(), result.end(), [](const Row& a, const Row& b) { return best(a) < best(b); });
  return result;
}

double geometric_mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return std::exp(sum / static_cast<double>(values.size()));
}

/// What is said of the relative times of one system, or of the best.
void write_counts(std::ostream& out, const std::string& name, const std::vector<double>& times) {
  const auto below = [&](double limit) {
    return std::count_if(times.begin(), times.end(), [=](double time) { return time < limit; });
  };
  if (times.empty()) return;
  out << "| " << name << " | " << times.size() << " | " << below(1) << " | " << below(1 / clearly) << " | "
      << rounded(geometric_mean(times)) << " |\n";
}

std::vector<double> relative_times(const std::vector<Row>& rows, const std::string& system) {
  std::vector<double> times;
  for (const Row& row : rows) {
    if (row.ratios.count(system) != 0) times.push_back(relative(row, system));
  }
  return times;
}

}  // namespace

const std::vector<std::string> peers = {"Eigen loop", "libtorch", "oneDNN"};

std::string rounded(double value) { return fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0); }

void write_table(std::ostream& out, const std::string& unit, const std::vector<std::string>& systems,
                 const std::vector<Row>& rows) {
  out << "| | pass | " << unit << " |";
  for (const std::string& system : systems) out << ' ' << system << " |";
  out << "\n|---|---|---|";
  for (std::size_t i = 0; i < systems.size(); ++i) out << "---|";
  out << '\n';
  for (const Row& row : rows) {
    out << "| " << row.name << " | " << row.pass << " | " << microseconds(row.microseconds) << " |";
    for (const std::string& system : systems) {
      const auto found = row.ratios.find(system);
      const std::string mark = system == ours ? "**" : "";
      out << ' ' << (found == row.ratios.end() ? "" : mark + rounded(found->second) + mark) << " |";
    }
    out << '\n';
  }
}

void write_comparison(std::ostream& out, const std::vector<Row>& rows) {
  const std::vector<Row> sorted = compared(rows);
  if (sorted.empty()) return;
  std::vector<double> times;
  for (const Row& row : sorted) times.push_back(best(row));
  out << "| | rows | ahead of EigenNorm on | by more than 3 % on | its time / EigenNorm's, geometric mean |\n"
      << "|---|---|---|---|---|\n";
  for (const std::string& peer : peers) write_counts(out, peer, relative_times(rows, peer));
  write_counts(out, "the best of them", times);

  if (best(sorted.front()) * clearly >= 1) return;
  out << "\nWhere one is ahead by more than 3 %, the widest first:\n\n"
      << "| | pass | ahead | EigenNorm's time / its |\n|---|---|---|---|\n";
  for (const Row& row : sorted) {
    if (best(row) * clearly >= 1) break;
    out << "| " << row.name << " | " << row.pass << " | " << best_peer(row) << " | " << rounded(1 / best(row))
        << " |\n";
  }
}

void write_values(std::ostream& out, const std::vector<Row>& rows) {
  if (rows.empty()) return;
  std::vector<double> times;
  for (const Row& row : rows) times.push_back(row.ratios.at(ours));
  const auto most = std::max_element(times.begin(), times.end());
  const Row& slowest = rows[static_cast<std::size_t>(most - times.begin())];
  const auto slow = std::count_if(times.begin(), times.end(), [](double time) { return time > 1.3; });
  out << "On other values than random ones EigenNorm takes " << rounded(geometric_mean(times))
      << " times as long (geometric mean), more than 1.3 times on " << slow << " of " << rows.size()
      << " rows, at most " << rounded(*most) << " times (" << slowest.name << ", " << slowest.pass << ").\n";
}

void write_data(std::ostream& out, const std::vector<Row>& rows) {
  const std::vector<Row> sorted = compared(rows);
  std::vector<std::string> panels;
  for (const Row& row : rows) {
    const auto is_there = [&](const Row& other) { return other.panel == row.panel; };
    if (std::none_of(sorted.begin(), sorted.end(), is_there)) continue;
    if (std::find(panels.begin(), panels.end(), row.panel) == panels.end()) panels.push_back(row.panel);
  }
  const auto column = [&](double value) { out << '\t' << (std::isfinite(value) ? std::to_string(value) : "NaN"); };
  for (const std::string& panel : panels) {
    if (panel != panels.front()) out << "\n\n";
    for (const Row& row : sorted) {
      if (row.panel != panel) continue;
      out << row.panel << '\t' << row.label;
      column(best(row));
      column(1 / row.ratios.at(ours));
      for (const std::string& peer : peers) column(relative(row, peer));
      out << '\n';
    }
  }
}

}  // namespace benchmarks

/// What a subcommand is given, and what it gives.
#pragma once

#include <cmath>
#include <filesystem>
#include <iostream>
#include <ostream>
#include <string>
#include <vector>

#include "data.hpp"
#include "draw.hpp"
#include "figure.hpp"
#include "report.hpp"
#include "training.hpp"

namespace digits::experiments {

struct Options {
  std::string data, mnist;
  std::string out = ".";
  int seeds = 5;
  int threads = 1;
  bool quick = false;  // few steps: files are made, and statements that need no training are decided

  /// 1, 2, 3, ...: the same for all methods.
  std::vector<unsigned> seed_numbers() const {
    std::vector<unsigned> numbers;
    for (int seed = 1; seed <= seeds; ++seed) numbers.push_back(static_cast<unsigned>(seed));
    return numbers;
  }
  int steps(int full) const { return quick ? full / 20 : full; }
};

enum class Verdict { reproduced, in_part, not_reproduced };

inline const char* text(Verdict verdict) {
  switch (verdict) {
    case Verdict::reproduced:
      return "reproduced";
    case Verdict::in_part:
      return "in part";
    case Verdict::not_reproduced:
      break;
  }
  return "not reproduced";
}

/// `all` of these hold, or some, or none.
inline Verdict verdict_of(const std::vector<bool>& parts) {
  std::size_t held = 0;
  for (const bool part : parts) held += part ? 1 : 0;
  if (held == parts.size()) return Verdict::reproduced;
  return held > 0 ? Verdict::in_part : Verdict::not_reproduced;
}

struct Claim {
  std::string statement;
  std::string figure;  // the number that decides
  Verdict verdict = Verdict::not_reproduced;
  bool decided_quickly = false;  // few steps are enough: then it must hold
};

struct Table {
  std::string title;
  std::vector<Row> rows;
};

struct Result {
  std::vector<Table> tables;
  std::vector<Claim> claims;
};

/// "median [smallest, largest]", with so many significant digits.
inline std::string short_spread(const std::vector<double>& values, int digits = 3) {
  return spread_text(spread(values), [digits](double value) { return short_text(value, digits); });
}
inline std::string percent_spread(const std::vector<double>& values) { return percent_text(spread(values)); }
inline double median(const std::vector<double>& values) { return spread(values).median; }

inline std::string with_seeds(const std::string& title, const Options& options) {
  return title + " (median and range, n = " + std::to_string(options.seeds) + " seeds)";
}

/// Draws NAME.svg of NAME.gnuplot, and writes the numbers behind it to NAME.csv.
inline void write_figure(const Options& options, const std::string& name, const Figure& figure) {
  const std::filesystem::path folder = options.out;
  const std::string script = name + ".gnuplot", picture = name + ".svg";
  write_file(folder / (name + ".csv"), [&](std::ostream& out) { write_csv(out, figure, options.seed_numbers()); });
  write_file(folder / script, [&](std::ostream& out) { write_script(out, figure, picture); });
  if (!draw(folder, script, picture)) {
    std::cerr << "experiments: gnuplot is missing or failed, so there is no " << picture
              << "; install it (Debian, Ubuntu: gnuplot-nox) and run \"gnuplot " << script << "\" in "
              << std::filesystem::absolute(folder).string() << '\n';
  }
}

}  // namespace digits::experiments

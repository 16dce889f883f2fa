/// A picture of curves as data: what a subcommand gives, and what becomes an SVG and a CSV file.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "report.hpp"

namespace digits::experiments {

/// One place on the x axis, with one value for each seed.
struct Mark {
  double x = 0;
  std::vector<double> values;
  bool diverged = false;  // of at least one seed: marked by a cross
};

struct Curve {
  std::string label;
  std::vector<Mark> marks;
};

struct Panel {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
  std::string settings;  // gnuplot's, for axes
  /// What is above, or not finite, is drawn here, with a cross.
  double ceiling = std::numeric_limits<double>::infinity();
};

/// `columns` panels stand side by side.
struct Figure {
  std::string title;
  int columns = 1;
  std::vector<Panel> panels;
};

/// One line for each value that a run of one seed gave.
inline void write_csv(std::ostream& out, const Figure& figure, const std::vector<unsigned>& seeds) {
  out << "panel,curve,x,seed,value\n";
  out.precision(9);
  const auto quoted = [](const std::string& text) { return '"' + text + '"'; };
  for (const Panel& panel : figure.panels) {
    for (const Curve& curve : panel.curves) {
      for (const Mark& mark : curve.marks) {
        for (std::size_t i = 0; i < mark.values.size(); ++i) {
          out << quoted(panel.title) << ',' << quoted(curve.label) << ',' << mark.x << ',' << seeds.at(i) << ','
              << mark.values[i] << '\n';
        }
      }
    }
  }
}

}  // namespace digits::experiments

/// A figure as a script of gnuplot's that holds its data.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <ostream>
#include <string>

#include "figure.hpp"
#include "plot.hpp"

namespace digits::experiments {

/// Okabe and Ito's, which the colour-blind tell apart; no panel has more curves.
constexpr std::array<const char*, 6> colours{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555", "#E69F00"};

inline bool is_marked(const Mark& mark, double ceiling) {
  return mark.diverged || spread(mark.values).largest > ceiling;
}

/// x, median, smallest, largest; in the fifth column whether a cross marks it.
inline void write_block(std::ostream& out, const std::string& name, const Curve& curve, double ceiling) {
  out << name << " << END\n";
  for (const Mark& mark : curve.marks) {
    const Spread values = spread(mark.values);
    const auto shown = [ceiling](double value) { return std::isfinite(value) ? std::min(value, ceiling) : ceiling; };
    if (!std::isfinite(shown(values.median))) continue;
    out << mark.x << ' ' << shown(values.median) << ' ' << shown(values.smallest) << ' ' << shown(values.largest)
        << (is_marked(mark, ceiling) ? " 1" : " NaN") << '\n';
  }
  out << "END\n";
}

inline void write_panel(std::ostream& out, const Panel& panel, const std::string& block) {
  std::string bands, lines, crosses;
  for (std::size_t i = 0; i < panel.curves.size(); ++i) {
    const Curve& curve = panel.curves[i];
    const std::string name = block + std::to_string(i), colour = colours.at(i);
    write_block(out, name, curve, panel.ceiling);
    bands += band(name, colour) + ", ";
    // In print, the dashes tell them apart.
    lines += (i == 0 ? "" : ", ") + line(name, colour, curve.label, static_cast<int>(i % 3) + 1);
    const auto marked = [&](const Mark& mark) { return is_marked(mark, panel.ceiling); };
    if (std::any_of(curve.marks.begin(), curve.marks.end(), marked))
      crosses += ", " + name + " using 1:($2*$5) with points pointtype 2 pointsize 0.9 linewidth 2 linecolor rgb '" +
                 colour + "' notitle";
  }
  out << "set title '" << panel.title << "'\nset xlabel '" << panel.x_label << "' offset 0,0.6\nset ylabel '"
      << panel.y_label << "'\n"
      << "unset logscale\nset format '%g'\nset xrange [*:*]\nset yrange [*:*]\nset xtics autofreq\nset key width -3\n"
      << panel.settings << "\nplot " << bands << lines << crosses << '\n';
}

inline void write_script(std::ostream& out, const Figure& figure, const std::string& picture) {
  const auto panels = static_cast<int>(figure.panels.size());
  const int rows = (panels + figure.columns - 1) / figure.columns;
  const std::string size =
      std::to_string(figure.columns == 1 ? 560 : 460 * figure.columns) + ',' + std::to_string(60 + 440 * rows);
  begin_plot(out, picture, figure.title, size, std::to_string(rows) + ',' + std::to_string(figure.columns), 18);
  out << "set key below Left reverse samplen 1.5 maxcols 2 font ',16'\nset rmargin 3\n";
  for (std::size_t i = 0; i < figure.panels.size(); ++i)
    write_panel(out, figure.panels[i], "$panel" + std::to_string(i) + "_");
  out << "unset multiplot\n";
}

}  // namespace digits::experiments

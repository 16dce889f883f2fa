/// The curves as a picture, drawn by gnuplot.
#pragma once

#include <array>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "progress.hpp"
#include "report.hpp"
#include "training.hpp"

namespace digits {

/// How all pictures begin: `size` in pixels, `layout` in rows and columns.
inline void begin_plot(std::ostream& out, const std::string& picture, const std::string& title, const std::string& size,
                       const std::string& layout) {
  out << "set terminal svg size " << size << " font 'Helvetica,14' background '#ffffff'\n"
      << "set output '" << picture << "'\n"
      << "set multiplot layout " << layout << " title '" << title << "'\n"
      << "set grid ytics linecolor rgb '#dddddd'\n"
      << "set border 3\nset tics nomirror\n"
      << "set key Left reverse samplen 2 font ',13'\n";
}

/// A curve in a block of data whose columns are x, median, smallest and largest: its range, and its median.
inline std::string band(const std::string& block, const std::string& colour) {
  return block + " using 1:3:4 with filledcurves fillcolor rgb '" + colour +
         "' fillstyle transparent solid 0.2 noborder notitle";
}
inline std::string line(const std::string& block, const std::string& colour, const std::string& title, int dashes = 1) {
  return block + " using 1:2 with lines linewidth 2 dashtype " + std::to_string(dashes) + " linecolor rgb '" + colour +
         "' title '" + title + "'";
}

/// A gnuplot script that holds its data: median and range of the test accuracy, a panel for each experiment.
inline void write_plot(std::ostream& out, const std::string& picture, const std::string& title,
                       const std::vector<Experiment>& experiments) {
  const std::array<std::string, methods.size()> colours{"#555555", "#0072B2", "#D55E00", "#009E73"};
  begin_plot(out, picture, title, "1000,460", "1,2");
  out << "set bmargin 6\n"
      << "set key at graph 0.5, graph -0.24 center top horizontal maxcols 2 maxrows 2\n"
      << "set xlabel 'training steps'\nset ylabel 'test accuracy, %'\n"
      << "set xrange [0:" << experiments.front().runs.front().curve.back().step << "]\n"
      << "set yrange [70:100]\n";  // below, nothing but the climb from chance
  for (const Experiment& experiment : experiments) {
    std::string bands;
    std::string lines;
    for (std::size_t i = 0; i < methods.size(); ++i) {
      const std::vector<Run> runs = experiment.of(methods[i]);
      const std::string block = "$" + experiment.name + std::to_string(i);
      out << block << " << END\n";
      for (std::size_t at = 0; at < runs.front().curve.size(); ++at) {
        const Spread accuracy = spread(runs, [at](const Run& run) { return 100 * run.curve[at].score.accuracy; });
        out << runs.front().curve[at].step << ' ' << accuracy.median << ' ' << accuracy.smallest << ' '
            << accuracy.largest << '\n';
      }
      out << "END\n";
      bands += band(block, colours[i]) + ", ";
      lines +=
          line(block, colours[i], std::string(name(methods[i])) + ", rate " + short_text(runs.front().job.rate)) + ", ";
    }
    lines.resize(lines.size() - 2);
    out << "set title '" << experiment.title << "'\n"
        << "plot " << bands << lines << '\n';
  }
  out << "unset multiplot\n";
}

/// True where gnuplot is there and drew the picture.
inline bool draw(const std::filesystem::path& folder, const std::string& script, const std::string& picture) {
  // A picture that an earlier run left must not pass for this one's.
  std::filesystem::remove(folder / picture);
  // From inside the folder the command is free of the folder's name, and of what a shell would make of it.
  const std::filesystem::path here = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  const int status = std::system(("gnuplot " + script).c_str());
  std::filesystem::current_path(here);
  return status == 0;
}

}  // namespace digits

#pragma once

#include <iosfwd>
#include <map>
#include <string>
#include <vector>

/// \file
/// What is written of the times: tables, a summary, and the columns of the picture.

namespace benchmarks {

/// One line of a table.
struct Row {
  std::string name, pass;
  std::map<std::string, double> ratios;  ///< by system
  double microseconds;                   ///< of what has ratio 1
  std::string panel, label;              ///< where the picture shows it, and how it is called there
};

/// What somebody might use instead, in the order of the tables.
extern const std::vector<std::string> peers;
constexpr const char* ours = "EigenNorm";

/// Three digits, or two decimals of what is below one.
std::string rounded(double value);

/// As Markdown: `unit` heads the column of microseconds.
void write_table(std::ostream& out, const std::string& unit, const std::vector<std::string>& systems,
                 const std::vector<Row>& rows);

/// On how many rows which peer is ahead, how far on average, and on which rows by more than 3 %.
void write_comparison(std::ostream& out, const std::vector<Row>& rows);

/// One sentence on how far our time depends on values.
void write_values(std::ostream& out, const std::vector<Row>& rows);

/// A block for each panel, of rows that some peer runs, beginning where it is furthest ahead: panel, label, then times
/// relative to ours of the best peer, the better copy and each peer, "NaN" where there is none.
void write_data(std::ostream& out, const std::vector<Row>& rows);

}  // namespace benchmarks

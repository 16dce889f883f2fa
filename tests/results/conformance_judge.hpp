#pragma once

// Compares answers with the truth and keeps the account: the worst error of every layer and type, and what
// failed. The unit of error is u * scale (data/pytorch/README.md).

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "conformance_scales.hpp"
#include "vectors.hpp"

namespace conformance {

// What a case asks for.
struct Rule {
  double unit = 0;        // of the compute type
  double kappa = 1;       // how much more is allowed where a mean is large
  double limit = 0;       // in units
  double half_unit = 0;   // sixteen bits: the relative error of one rounding of the result ...
  double half_tiny = 0;   // ... and half the spacing of the smallest numbers
  bool relative = false;  // judged at |truth|, whatever the summands
};

inline Rule rule_for(const vectors::Case& c) {
  Rule rule;
  const bool is_double = c.dtype == "f64";
  rule.unit = std::ldexp(1.0, is_double ? -53 : -24);
  rule.limit = is_double ? 8 : 4;
  // With a mean of ten million deviations the truth itself, in long double, is not known to a unit of double.
  if (is_double) rule.kappa = c.number("kappa", 1);
  if (c.dtype == "f16") {
    rule.half_unit = 1.01 * std::ldexp(1.0, -11);
    rule.half_tiny = 1.01 * std::ldexp(1.0, -25);
  } else if (c.dtype == "bf16") {
    rule.half_unit = 1.01 * std::ldexp(1.0, -8);
  }
  if (c.op == "mlp_bn") rule.limit = 64;
  if (c.source.compare(0, 4, "onnx") == 0) {
    // These answers were computed in single precision, so half of the error may be theirs.
    rule.kappa = 2;
    rule.limit = 8;
    if (c.op == "mvn" || c.op == "lpnorm") {
      // One part in a million. Of |y| itself only where y is no difference: the answer stored for mvn is off
      // by more where the mean takes nearly all of x away.
      rule.kappa = 1;
      rule.limit = 1e-6 / rule.unit;
      rule.relative = c.op == "lpnorm";
    }
  }
  return rule;
}

// Only tensors of data are rounded to sixteen bits; gradients of parameters and statistics are not.
inline bool is_data(const std::string& name) {
  return name == "y" || name == "dx" || name == "y3" || name == "y_eval" || name == "w" || name == "dv";
}

inline double error_in_units(const Rule& rule, bool data, double got, double truth, double scale) {
  if (std::isnan(got) || std::isnan(truth)) {
    return std::isnan(got) && std::isnan(truth) ? 0 : std::numeric_limits<double>::infinity();
  }
  if (got == truth) return 0;
  const double rounding = data ? std::max(rule.half_unit * std::fabs(truth), rule.half_tiny) : 0;
  const double error = std::max(0.0, std::fabs(got - truth) - rounding);
  return error == 0 ? 0 : error / (rule.unit * rule.kappa * scale);
}

class Judge {
 public:
  // `answers` by name; every tensor the case has an answer for must be among them.
  void judge(const vectors::Case& c, const Named& answers) {
    const Rule rule = rule_for(c);
    // Variances beyond the largest double: reported, not counted.
    const bool counted = !(c.has_tag("huge") && c.dtype == "f64");
    const NamedScales scales = scales_of(c);
    const bool has_truth = std::any_of(c.tensors.begin(), c.tensors.end(),
                                       [](const vectors::Tensor& tensor) { return tensor.role == "ref"; });
    Row& row = rows_[{c.op, c.dtype}];
    row.limit = std::max(row.limit, rule.limit);
    row.cases.insert(c.id);
    for (const vectors::Tensor& truth : c.tensors) {
      if (truth.role != (has_truth ? "ref" : "out")) continue;
      const auto answer = answers.find(truth.name);
      if (answer == answers.end() || answer->second.size() != truth.data.size()) {
        failures_.push_back(c.id + " " + truth.name + ": no answer of the right size");
        continue;
      }
      const auto named = scales.find(truth.name);
      const Numbers scale = rule.relative           ? reference::magnitudes(numbers(truth.data))
                            : named == scales.end() ? reference::own_scale(numbers(truth.data))
                                                    : named->second;
      const double units = worst(rule, truth, answer->second, scale);
      row.values += truth.data.size();
      if (const vectors::Tensor* theirs = has_truth ? c.find("out", truth.name) : nullptr) {
        row.has_source = true;
        if (!c.has_tag("stress")) {
          row.source_worst = std::max(row.source_worst, worst(rule, truth, theirs->data, scale));
        }
      }
      note(c, truth.name, units, rule.limit, counted, row);
    }
  }

  void fail(const std::string& text) { failures_.push_back(text); }
  void not_expressible(const std::string& id, const std::string& why) { unexpressed_.push_back(id + ": " + why); }

  // Prints the account; true where every case was met and there was one.
  bool report() const {
    std::printf("%-17s %-5s %5s %7s %6s %6s  %-52s %8s\n", "layer", "type", "cases", "values", "worst", "limit",
                "where", "source");
    for (const auto& [key, row] : rows_) {
      std::printf("%-17s %-5s %5zu %7zu %6.2f %6.4g  %-52s %8s\n", key.first.c_str(), key.second.c_str(),
                  row.cases.size(), row.values, row.worst, row.limit, row.where.c_str(),
                  row.has_source ? decimal(row.source_worst).c_str() : "-");
    }
    std::printf(
        "Errors in units of u * scale, of f64 u * kappa * scale; source: the worst of the system that the "
        "cases "
        "come from, stress cases apart.\n");
    print("not of this family, not judged", unexpressed_);
    print("reported, not counted", reported_);
    print("FAILED", failures_);
    return failures_.empty() && !rows_.empty();
  }

 private:
  struct Row {
    std::set<std::string> cases;
    std::size_t values = 0;
    double worst = 0, source_worst = 0, limit = 0;
    bool has_source = false;
    std::string where;
  };

  static std::string decimal(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", value);
    return text;
  }

  static double worst(const Rule& rule, const vectors::Tensor& truth, const Values& got, const Numbers& scale) {
    double most = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      most = std::max(most,
                      error_in_units(rule, is_data(truth.name), got[i], truth.data[i], static_cast<double>(scale[i])));
    }
    return most;
  }

  void note(const vectors::Case& c, const std::string& name, double units, double limit, bool counted, Row& row) {
    char text[64];
    std::snprintf(text, sizeof text, ": %.3g units, limit %.3g", units, limit);
    const std::string where = c.id + " " + name;
    if (!counted) {
      reported_.push_back(where + text);
      return;
    }
    if (!(units <= limit)) failures_.push_back(where + text);
    if (row.where.empty() || !(units <= row.worst)) {
      row.worst = units;
      row.where = where;
    }
  }

  static void print(const char* title, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    std::printf("%s (%zu):\n", title, lines.size());
    for (const auto& line : lines) std::printf("  %s\n", line.c_str());
  }

  std::map<std::pair<std::string, std::string>, Row> rows_;
  std::vector<std::string> failures_, unexpressed_, reported_;
};

}  // namespace conformance

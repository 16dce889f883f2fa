#pragma once

// Which normalization a stored case is, and the natural scales of its answers (natural_scales.hpp).

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "natural_scales.hpp"
#include "vectors.hpp"

namespace conformance {

using reference::Formula;
using reference::Kind;
using reference::Numbers;
using reference::Roles;
using reference::Statistics;
using Values = std::vector<double>;
using Named = std::map<std::string, Values>;
using NamedScales = std::map<std::string, Numbers>;

inline std::size_t size(std::int64_t number) { return static_cast<std::size_t>(number); }

inline Numbers numbers(const Values& values) { return {values.begin(), values.end()}; }

inline reference::Axes axis_range(int first, int end) {
  reference::Axes axes;
  for (int axis = first; axis < end; ++axis) axes.push_back(axis);
  return axes;
}

inline reference::Axes all_but(int rank, const reference::Axes& kept) {
  reference::Axes axes;
  for (int axis = 0; axis < rank; ++axis) {
    if (!reference::contains(kept, axis)) axes.push_back(axis);
  }
  return axes;
}

inline int rank_of(const vectors::Shape& shape) { return static_cast<int>(shape.size()); }

inline int first_axis(const vectors::Case& c, const vectors::Shape& shape) {
  return rank_of(shape) - c.integer("naxes");
}

inline Formula formula_of(const vectors::Case& c, const vectors::Shape& shape) {
  const int rank = rank_of(shape);
  Formula formula;
  if (c.op == "weightnorm" || c.op == "weightnorm_linear") {
    formula.kind = Kind::sum_square;
    if (c.op == "weightnorm_linear") {
      formula.features = {0};
    } else if (c.text("eff_dim") != "none") {
      formula.features = {c.integer("eff_dim")};
    }
    formula.averaged = all_but(rank, formula.features);
    return formula;
  }
  formula.epsilon = c.number("epsilon");
  if (c.op == "layernorm" || c.op == "rmsnorm") {
    if (c.op == "rmsnorm") formula.kind = Kind::mean_square;
    formula.averaged = formula.features = axis_range(first_axis(c, shape), rank);
    return formula;
  }
  const int channel = c.integer("channel_axis", 1);
  formula.features = {channel};
  if (c.op == "batchnorm") formula.averaged = all_but(rank, {channel});
  if (c.op == "instancenorm") formula.averaged = all_but(rank, {0, channel});
  if (c.op == "groupnorm") {
    formula.averaged = all_but(rank, {0});
    formula.groups = c.integer("groups");
  }
  return formula;
}

inline Values value_or(const vectors::Case& c, const char* name, std::size_t count, double otherwise) {
  const vectors::Tensor* tensor = c.find("in", name);
  return tensor ? tensor->data : Values(count, otherwise);
}

inline Values initial_running_mean(const vectors::Case& c, std::size_t count) {
  return value_or(c, "running_mean", count, c.number("init_running_mean", 0));
}

inline reference::Parameters parameters_of(const vectors::Case& c, const Roles& roles) {
  return {numbers(value_or(c, "gamma", roles.features, 1)), numbers(value_or(c, "beta", roles.features, 0))};
}

inline Numbers initial_mean_scale(const vectors::Case& c, const Roles& roles) {
  return reference::magnitudes(numbers(initial_running_mean(c, roles.features)));
}

// How much the batch of a step weighs.
inline double momentum_of(const vectors::Case& c, int step) {
  if (c.text("momentum") == "cumulative") return 1.0 / step;
  return c.text("momentum_of") == "old" ? 1 - c.number("momentum") : c.number("momentum");
}

inline NamedScales scales_of_steps(const vectors::Case& c) {
  NamedScales scales;
  const vectors::Tensor& last = c.in("x3");
  const Formula formula = formula_of(c, last.shape);
  const Roles roles(formula, {last.shape.begin(), last.shape.end()});
  const Numbers x = numbers(last.data), x_eval = numbers(c.in("x_eval").data);
  // The running mean is a rounded one, too.
  const auto of_y = [&](const Numbers& data, const Statistics& given) {
    return reference::natural_scales(formula, roles, given, parameters_of(c, roles), data, {}, false,
                                     reference::of_stored_answers)
        .y;
  };
  scales["y3"] = of_y(x, reference::statistics(formula, roles, x));
  Numbers running = initial_mean_scale(c, roles);
  for (int step = 1; step <= c.integer("steps"); ++step) {
    const std::string number = std::to_string(step);
    running = reference::running_mean_scale(roles, numbers(c.in("x" + number).data), running, momentum_of(c, step));
    scales["running_mean_" + number] = running;
  }
  const std::string steps = c.text("steps");
  const reference::Running settled{numbers(c.find("ref", "running_mean_" + steps)->data),
                                   numbers(c.find("ref", "running_var_" + steps)->data)};
  scales["y_eval"] = of_y(x_eval, reference::from_running(formula, roles, settled));
  return scales;
}

inline NamedScales scales_of_layer(const vectors::Case& c) {
  if (c.has_tag("running")) return scales_of_steps(c);
  NamedScales scales;
  const vectors::Tensor& tensor = c.in("x");
  const Formula formula = formula_of(c, tensor.shape);
  const Roles roles(formula, {tensor.shape.begin(), tensor.shape.end()});
  const Numbers x = numbers(tensor.data);
  const bool fixed = c.op == "batchnorm" && c.integer("training") == 0;
  const Statistics given =
      fixed ? reference::from_running(formula, roles,
                                      {numbers(c.in("running_mean").data), numbers(c.in("running_var").data)})
            : reference::statistics(formula, roles, x);
  const vectors::Tensor* dy = c.find("in", "dy");
  reference::Scales natural =
      reference::natural_scales(formula, roles, given, parameters_of(c, roles), x, dy ? numbers(dy->data) : Numbers(),
                                fixed, reference::of_stored_answers);
  scales["mean"] = reference::mean_scale(roles.group, roles.groups, x);
  scales["y"] = std::move(natural.y);
  if (dy) {
    // Stored dx of layers are judged without what comes through xhat.
    scales["dx"] = std::move(natural.direct);
    scales["dgamma"] = std::move(natural.scale);
    scales["dbeta"] = std::move(natural.shift);
  }
  if (c.op == "batchnorm" && !fixed) {
    scales["new_running_mean"] =
        reference::running_mean_scale(roles, x, initial_mean_scale(c, roles), momentum_of(c, 1));
  }
  return scales;
}

inline NamedScales scales_of_weight(const vectors::Case& c, const Numbers& dw) {
  const vectors::Tensor& v = c.in("v");
  const Formula formula = formula_of(c, v.shape);
  const Roles roles(formula, {v.shape.begin(), v.shape.end()});
  const Numbers values = numbers(v.data);
  reference::Scales natural = reference::natural_scales(formula, roles, reference::statistics(formula, roles, values),
                                                        {numbers(c.in("g").data), {}}, values, dw, false);
  return {{"w", std::move(natural.y)}, {"dv", std::move(natural.dx)}, {"dg", std::move(natural.scale)}};
}

// The gradient of the weights is itself a rounded sum, dw = dy^T x: its summands count, not what is left of
// them.
inline NamedScales scales_of_weight_linear(const vectors::Case& c) {
  const vectors::Tensor &x = c.in("x"), &v = c.in("v"), &dy = c.in("dy");
  const std::size_t rows = size(x.shape[0]), inputs = size(x.shape[1]), outputs = size(v.shape[0]);
  Numbers dw(v.data.size(), 0);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t i = 0; i < inputs; ++i) {
        dw[o * inputs + i] += std::abs(dy.data[r * outputs + o] * x.data[r * inputs + i]);
      }
    }
  }
  NamedScales scales = scales_of_weight(c, dw);
  scales.erase("w");
  return scales;
}

// Answers that are not named here are judged at their own scale.
inline NamedScales scales_of(const vectors::Case& c) {
  if (c.op == "weightnorm") return scales_of_weight(c, numbers(c.in("dw").data));
  if (c.op == "weightnorm_linear") return scales_of_weight_linear(c);
  if (c.op == "mlp_bn" || c.op == "lpnorm" || c.op == "mvn") return {};
  return scales_of_layer(c);
}

}  // namespace conformance

#pragma once

// The natural scale of each value of each answer: the size of the summands it is made of, which is what a
// rounding error is proportional to. A result that happens to cancel to nearly zero is not asked to be
// better than its summands.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "vectors.hpp"

namespace conformance {

using Values = std::vector<double>;
using Named = std::map<std::string, Values>;

inline std::size_t size(std::int64_t number) { return static_cast<std::size_t>(number); }

// Which statistic and which parameter each value of x belongs to.
struct Grouping {
  std::vector<std::size_t> group, feature;
  std::size_t groups = 1, features = 1;
};

// Numbers every value of a row-major tensor by its coordinates along `axes`, last fastest. Along `cut_axis`
// `width` neighbours count as one.
inline std::vector<std::size_t> number_along(const vectors::Shape& shape, const std::vector<int>& axes,
                                             std::size_t& count, int cut_axis = -1, std::int64_t width = 1) {
  std::int64_t total = 1;
  for (const auto extent : shape) total *= extent;
  std::vector<std::size_t> numbers(size(total), 0);
  count = 1;
  for (const int axis : axes) {
    std::int64_t inner = 1;
    for (std::size_t later = size(axis) + 1; later < shape.size(); ++later) inner *= shape[later];
    const std::int64_t extent = shape[size(axis)], step = axis == cut_axis ? width : 1;
    for (std::int64_t i = 0; i < total; ++i) {
      auto& number = numbers[size(i)];
      number = number * size(extent / step) + size(i / inner % extent / step);
    }
    count *= size(extent / step);
  }
  return numbers;
}

inline std::vector<int> axis_range(int first, int end) {
  std::vector<int> axes;
  for (int axis = first; axis < end; ++axis) axes.push_back(axis);
  return axes;
}

inline int rank_of(const vectors::Shape& shape) { return static_cast<int>(shape.size()); }

inline int first_axis(const vectors::Case& c, const vectors::Shape& shape) {
  return rank_of(shape) - c.integer("naxes");
}

inline Grouping grouping(const vectors::Case& c, const vectors::Shape& shape) {
  std::vector<int> kept, features;
  int cut_axis = -1;
  std::int64_t width = 1;
  if (c.op == "layernorm" || c.op == "rmsnorm") {
    kept = axis_range(0, first_axis(c, shape));
    features = axis_range(first_axis(c, shape), rank_of(shape));
  } else if (c.op == "weightnorm") {
    if (c.text("eff_dim") != "none") kept = features = {c.integer("eff_dim")};
  } else {
    const int channel = c.integer("channel_axis", 1);
    features = {channel};
    kept = c.op == "batchnorm" ? features : std::vector<int>{0, channel};
    if (c.op == "groupnorm") {
      cut_axis = channel;
      width = shape[size(channel)] / c.integer("groups");
    }
  }
  Grouping result;
  result.group = number_along(shape, kept, result.groups, cut_axis, width);
  result.feature = number_along(shape, features, result.features);
  return result;
}

struct Moments {
  Values mean, rstd;
};

// A plain evaluation of the formula in long double: only the size of the result matters here.
inline Moments moments_of(const vectors::Case& c, const Values& x, const Grouping& by) {
  std::vector<long double> mean(by.groups, 0), square(by.groups, 0), count(by.groups, 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    mean[by.group[i]] += x[i];
    count[by.group[i]] += 1;
  }
  for (std::size_t k = 0; k < by.groups; ++k) mean[k] = c.op == "rmsnorm" ? 0 : mean[k] / count[k];
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double centred = x[i] - mean[by.group[i]];
    square[by.group[i]] += centred * centred;
  }
  Moments result;
  for (std::size_t k = 0; k < by.groups; ++k) {
    result.mean.push_back(static_cast<double>(mean[k]));
    result.rstd.push_back(static_cast<double>(1 / std::sqrt(square[k] / count[k] + c.number("epsilon"))));
  }
  return result;
}

inline Values value_or(const vectors::Case& c, const char* name, std::size_t count, double otherwise) {
  const vectors::Tensor* tensor = c.find("in", name);
  return tensor ? tensor->data : Values(count, otherwise);
}

// y = (|xhat| + rounding) |gamma| + |beta|, where rounding is 1 if the mean itself was rounded and 0 if it
// was given.
inline Values scale_of_y(const vectors::Case& c, const Values& x, const Grouping& by, const Moments& moments,
                         double rounding) {
  const Values gamma = value_or(c, "gamma", by.features, 1), beta = value_or(c, "beta", by.features, 0);
  Values scale(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t g = by.group[i], f = by.feature[i];
    const double xhat = std::fabs(x[i] - moments.mean[g]) * moments.rstd[g];
    scale[i] = (xhat + rounding) * std::fabs(gamma[f]) + std::fabs(beta[f]);
  }
  return scale;
}

inline void add_gradient_scales(const vectors::Case& c, const Values& x, const Grouping& by,
                                const Moments& moments, double rounding, bool fixed, Named& scales) {
  const Values& dy = c.in("dy").data;
  const Values gamma = value_or(c, "gamma", by.features, 1);
  Values largest(by.groups, 0), dx(x.size()), dgamma(by.features, 0), dbeta(by.features, 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t g = by.group[i], f = by.feature[i];
    const double xhat = std::fabs(x[i] - moments.mean[g]) * moments.rstd[g];
    dx[i] = std::fabs(dy[i] * gamma[f]);
    largest[g] = std::max(largest[g], dx[i]);
    dgamma[f] += std::fabs(dy[i]) * (xhat + rounding);
    dbeta[f] += std::fabs(dy[i]);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    dx[i] = moments.rstd[by.group[i]] * (fixed ? dx[i] : largest[by.group[i]]);
  }
  scales["dx"] = dx;
  scales["dgamma"] = dgamma;
  scales["dbeta"] = dbeta;
}

inline Moments given_moments(const vectors::Case& c, const Values& mean, const Values& variance) {
  Moments result{mean, {}};
  for (const double value : variance) result.rstd.push_back(1 / std::sqrt(value + c.number("epsilon")));
  return result;
}

// One channel of a running statistic is fed by all groups of that channel.
inline Grouping by_channel(Grouping by) {
  by.group = by.feature;
  by.groups = by.features;
  return by;
}

// The rounding of an update is proportional to (1-m)|old| + m mean|x|; that of earlier ones is carried
// along.
inline void move_running_scale(const vectors::Case& c, const Values& x, const Grouping& by, int step,
                               Values& scale) {
  const double m = c.text("momentum") == "cumulative" ? 1.0 / step
                   : c.text("momentum_of") == "old"   ? 1 - c.number("momentum")
                                                      : c.number("momentum");
  Values sum(by.features, 0), count(by.features, 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    sum[by.feature[i]] += std::fabs(x[i]);
    count[by.feature[i]] += 1;
  }
  for (std::size_t k = 0; k < by.features; ++k) scale[k] = (1 - m) * scale[k] + m * sum[k] / count[k];
}

// A mean is a sum of values that may cancel.
inline Values mean_magnitude(const Values& x, const Grouping& by) {
  Values sum(by.groups, 0);
  for (std::size_t i = 0; i < x.size(); ++i) sum[by.group[i]] += std::fabs(x[i]);
  for (double& value : sum) value *= static_cast<double>(by.groups) / static_cast<double>(x.size());
  return sum;
}

inline Values initial_running_mean(const vectors::Case& c, std::size_t count) {
  return value_or(c, "running_mean", count, c.number("init_running_mean", 0));
}

inline Values magnitude(Values values) {
  for (double& value : values) value = std::fabs(value);
  return values;
}

inline Named scales_of_layer(const vectors::Case& c) {
  Named scales;
  if (c.has_tag("running")) {
    const vectors::Tensor& last = c.in("x3");
    const Grouping by = grouping(c, last.shape);
    const double rounding = 1;
    scales["y3"] = scale_of_y(c, last.data, by, moments_of(c, last.data, by), rounding);
    Values running = magnitude(initial_running_mean(c, by.features));
    for (int step = 1; step <= c.integer("steps"); ++step) {
      const std::string number = std::to_string(step);
      move_running_scale(c, c.in("x" + number).data, by, step, running);
      scales["running_mean_" + number] = running;
    }
    const std::string steps = c.text("steps");
    const Moments settled = given_moments(c, c.find("ref", "running_mean_" + steps)->data,
                                          c.find("ref", "running_var_" + steps)->data);
    scales["y_eval"] = scale_of_y(c, c.in("x_eval").data, by_channel(by), settled, rounding);
    return scales;
  }
  const vectors::Tensor& x = c.in("x");
  const Grouping by = grouping(c, x.shape);
  const bool fixed = c.op == "batchnorm" && c.integer("training") == 0;
  const double rounding = fixed || c.op == "rmsnorm" ? 0 : 1;
  scales["mean"] = mean_magnitude(x.data, by);
  const Moments moments = fixed ? given_moments(c, c.in("running_mean").data, c.in("running_var").data)
                                : moments_of(c, x.data, by);
  scales["y"] = scale_of_y(c, x.data, by, moments, rounding);
  if (c.find("in", "dy")) add_gradient_scales(c, x.data, by, moments, rounding, fixed, scales);
  if (c.op == "batchnorm" && !fixed) {
    Values running = magnitude(initial_running_mean(c, by.features));
    move_running_scale(c, x.data, by, 1, running);
    scales["new_running_mean"] = running;
  }
  return scales;
}

// w: |w|. dg: sum |dw v| / norm. dv: |g| / norm * (|dw| + |v| * sum |dw v| / norm^2).
inline Named scales_of_weight(const Values& v, const Values& g, const Values& dw, const Grouping& by) {
  Values square(by.groups, 0), product(by.groups, 0);
  for (std::size_t i = 0; i < v.size(); ++i) {
    square[by.group[i]] += v[i] * v[i];
    product[by.group[i]] += std::fabs(dw[i] * v[i]);
  }
  Named scales;
  Values &w = scales["w"], &dv = scales["dv"], &dg = scales["dg"];
  for (std::size_t i = 0; i < v.size(); ++i) {
    const std::size_t k = by.group[i];
    const double gain = std::fabs(g[k]) / std::sqrt(square[k]);
    w.push_back(gain * std::fabs(v[i]));
    dv.push_back(gain * (std::fabs(dw[i]) + std::fabs(v[i]) * product[k] / square[k]));
  }
  for (std::size_t k = 0; k < by.groups; ++k) dg.push_back(product[k] / std::sqrt(square[k]));
  return scales;
}

// The gradient of the weights is itself a rounded sum, dw = dy^T x: its summands count, not what is left of
// them.
inline Named scales_of_weight_linear(const vectors::Case& c) {
  const vectors::Tensor &x = c.in("x"), &v = c.in("v"), &dy = c.in("dy");
  const std::size_t rows = size(x.shape[0]), inputs = size(x.shape[1]), outputs = size(v.shape[0]);
  Values dw(v.data.size(), 0);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t i = 0; i < inputs; ++i) {
        dw[o * inputs + i] += std::fabs(dy.data[r * outputs + o] * x.data[r * inputs + i]);
      }
    }
  }
  Grouping by;
  by.group = by.feature = number_along(v.shape, {0}, by.groups);
  by.features = by.groups;
  Named scales = scales_of_weight(v.data, c.in("g").data, dw, by);
  scales.erase("w");
  return scales;
}

// Answers that are not named here are judged at max(|answer|, root mean square of the answers).
inline Named natural_scales(const vectors::Case& c) {
  if (c.op == "weightnorm") {
    const vectors::Tensor& v = c.in("v");
    return scales_of_weight(v.data, c.in("g").data, c.in("dw").data, grouping(c, v.shape));
  }
  if (c.op == "weightnorm_linear") return scales_of_weight_linear(c);
  if (c.op == "mlp_bn" || c.op == "lpnorm" || c.op == "mvn") return {};
  return scales_of_layer(c);
}

inline Values usual_scale(const Values& truth) {
  double square = 0;
  for (const double value : truth) square += value * value;
  const double root_mean_square = std::sqrt(square / static_cast<double>(truth.size()));
  Values scale;
  for (const double value : truth) scale.push_back(std::max(std::fabs(value), root_mean_square));
  return scale;
}

}  // namespace conformance

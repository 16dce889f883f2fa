#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

// The formula itself, y = scale * (x - mu) / sigma + shift, term by term over logical multi-indices, in long
// double, with statistics in two passes. It is slow and has no cleverness and no code of the library: where
// the two disagree, the library is suspected first. Sums carry what their additions lose (Neumaier 1974): ten
// thousand equal numbers, added up plainly, are off by several units of double even in long double.

namespace reference {

using Real = long double;
using Numbers = std::vector<Real>;          // the values of a tensor in logical order, last axis fastest
using Sizes = std::vector<std::ptrdiff_t>;  // how many there are along each axis
using Axes = std::vector<int>;
using Indices = std::vector<std::size_t>;

enum class Kind { mean_variance, mean, mean_square, sum_square };

/// A normalization: which axes are averaged over, along which scale and shift vary, what is divided by. Where
/// the one feature axis is averaged over too, `groups` may cut it.
struct Formula {
  Axes averaged;
  Axes features;
  Kind kind = Kind::mean_variance;
  Real epsilon = 0;
  std::ptrdiff_t groups = 1;

  bool centred() const { return kind == Kind::mean_variance || kind == Kind::mean; }
};

struct Sum {
  Real value = 0, lost = 0;

  void add(Real next) {
    const Real sum = value + next;
    lost += std::abs(value) >= std::abs(next) ? (value - sum) + next : (next - sum) + value;
    value = sum;
  }
  Real total() const { return value + lost; }
};
using Sums = std::vector<Sum>;

inline std::size_t size_of(const Sizes& shape) {
  std::size_t size = 1;
  for (const std::ptrdiff_t extent : shape) size *= static_cast<std::size_t>(extent);
  return size;
}

template <typename Integer>
bool contains(const Axes& axes, Integer axis) {
  return std::find(axes.begin(), axes.end(), static_cast<int>(axis)) != axes.end();
}

/// The part each element plays: `group[i]` numbers the statistic that element i shares, over the kept axes in
/// logical order, and `feature[i]` its scale and shift, over the feature axes in logical order; the last axis
/// runs fastest.
struct Roles {
  Indices group, feature;
  std::size_t groups = 1, features = 1, count = 0;  // count: values that share one statistic
  Indices counts;                                   // by group, of some elements alone

  Roles(const Formula& formula, const Sizes& shape) {
    const std::size_t size = size_of(shape);
    const std::size_t rank = shape.size();
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const auto extent = static_cast<std::size_t>(shape[axis]);
      if (contains(formula.features, axis)) features *= extent;
      if (!contains(formula.averaged, axis)) {
        groups *= extent;
      } else if (contains(formula.features, axis)) {
        groups *= static_cast<std::size_t>(formula.groups);
      }
    }
    count = groups == 0 ? 0 : size / groups;
    Indices index(rank);
    for (std::size_t element = 0; element < size; ++element) {
      std::size_t rest = element;
      for (std::size_t axis = rank; axis-- > 0;) {
        index[axis] = rest % static_cast<std::size_t>(shape[axis]);
        rest /= static_cast<std::size_t>(shape[axis]);
      }
      std::size_t group_number = 0;
      std::size_t feature_number = 0;
      for (std::size_t axis = 0; axis < rank; ++axis) {
        const auto extent = static_cast<std::size_t>(shape[axis]);
        if (contains(formula.features, axis)) feature_number = feature_number * extent + index[axis];
        if (!contains(formula.averaged, axis)) {
          group_number = group_number * extent + index[axis];
        } else if (contains(formula.features, axis)) {
          const auto cut = static_cast<std::size_t>(formula.groups);
          group_number = group_number * cut + index[axis] / (extent / cut);
        }
      }
      group.push_back(group_number);
      feature.push_back(feature_number);
    }
  }

  std::size_t size() const { return group.size(); }
  std::size_t count_of(std::size_t number) const { return counts.empty() ? count : counts[number]; }

  /// Of some elements alone, which are numbered anew, as are the groups that have any of them.
  Roles only(const Indices& elements) const {
    Roles result = *this;
    result.group.clear();
    result.feature.clear();
    Indices all(groups, 0), number(groups, 0);
    for (const std::size_t element : elements) ++all[group[element]];
    for (std::size_t old = 0; old < groups; ++old) {
      number[old] = result.counts.size();
      if (all[old] > 0) result.counts.push_back(all[old]);
    }
    result.groups = result.counts.size();
    for (const std::size_t element : elements) {
      result.group.push_back(number[group[element]]);
      result.feature.push_back(feature[element]);
    }
    return result;
  }
};

/// Per group. The mean is kept as the sum of one value of the group and the mean distance from it: both are
/// as good as exact, where a mean that is a million times the spread would itself be rounded too coarsely.
/// `variance` is the square of what is divided by, before epsilon: variance, mean square or sum of squares.
struct Statistics {
  Numbers origin, distance, variance, rstd;

  explicit Statistics(std::size_t groups)
      : origin(groups, 0), distance(groups, 0), variance(groups, 1), rstd(groups, 1) {}

  Real mean(std::size_t group) const { return origin[group] + distance[group]; }
  Real deviation(Real x, std::size_t group) const { return (x - origin[group]) - distance[group]; }
};

/// 1/sigma, and 0 where sigma is 0: a constant group, or an all-zero weight, has xhat = 0.
inline Real reciprocal_root(Real variance, Real epsilon) {
  const Real sigma = std::sqrt(variance + epsilon);
  return sigma == 0 ? 0 : 1 / sigma;
}

/// In two passes: the mean, then the deviations from it.
inline Statistics statistics(const Formula& formula, const Roles& roles, const Numbers& x) {
  Statistics result(roles.groups);
  if (formula.centred()) {
    for (std::size_t i = 0; i < x.size(); ++i) result.origin[roles.group[i]] = x[i];
    Sums distances(roles.groups);
    for (std::size_t i = 0; i < x.size(); ++i) {
      distances[roles.group[i]].add(x[i] - result.origin[roles.group[i]]);
    }
    for (std::size_t group = 0; group < roles.groups; ++group) {
      result.distance[group] = distances[group].total() / static_cast<Real>(roles.count_of(group));
    }
  }
  Sums squares(roles.groups);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Real deviation = result.deviation(x[i], roles.group[i]);
    squares[roles.group[i]].add(deviation * deviation);
  }
  for (std::size_t group = 0; group < roles.groups; ++group) {
    const Real sum = squares[group].total();
    result.variance[group] = formula.kind == Kind::sum_square ? sum : sum / static_cast<Real>(roles.count_of(group));
    if (formula.kind == Kind::mean) continue;
    result.rstd[group] = reciprocal_root(result.variance[group], formula.epsilon);
  }
  return result;
}

/// One value per feature, or nothing where a layer has no scale or no shift.
struct Parameters {
  Numbers scale, shift;

  Real scale_of(std::size_t feature) const { return scale.empty() ? 1 : scale[feature]; }
  Real shift_of(std::size_t feature) const { return shift.empty() ? 0 : shift[feature]; }
};

inline Numbers normalized(const Roles& roles, const Statistics& given, const Numbers& x) {
  Numbers xhat(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    xhat[i] = given.deviation(x[i], roles.group[i]) * given.rstd[roles.group[i]];
  }
  return xhat;
}

inline Numbers forward(const Roles& roles, const Statistics& given, const Parameters& parameters, const Numbers& x) {
  Numbers y = normalized(roles, given, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    y[i] = y[i] * parameters.scale_of(roles.feature[i]) + parameters.shift_of(roles.feature[i]);
  }
  return y;
}

struct Gradients {
  Numbers x, scale, shift;
};

/// The chain rule through y. `fixed`: the statistics are constants, not functions of x.
inline Gradients backward(const Formula& formula, const Roles& roles, const Statistics& given,
                          const Parameters& parameters, const Numbers& x, const Numbers& dy, bool fixed) {
  const Numbers xhat = normalized(roles, given, x);
  Sums scale(roles.features), shift(roles.features);
  Sums through_mean(roles.groups), through_sigma(roles.groups);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t group = roles.group[i];
    const std::size_t feature = roles.feature[i];
    const Real gradient = dy[i] * parameters.scale_of(feature);
    scale[feature].add(dy[i] * xhat[i]);
    shift[feature].add(dy[i]);
    through_mean[group].add(gradient);
    through_sigma[group].add(gradient * xhat[i]);
  }
  Gradients result{Numbers(x.size()), {}, {}};
  for (const Sum& sum : scale) result.scale.push_back(sum.total());
  for (const Sum& sum : shift) result.shift.push_back(sum.total());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t group = roles.group[i];
    const auto count = static_cast<Real>(roles.count_of(group));
    Real gradient = dy[i] * parameters.scale_of(roles.feature[i]);
    if (!fixed) {
      if (formula.centred()) gradient -= through_mean[group].total() / count;
      const Real share = formula.kind == Kind::sum_square ? 1 : count;
      if (formula.kind != Kind::mean) gradient -= xhat[i] * through_sigma[group].total() / share;
    }
    result.x[i] = given.rstd[group] * gradient;
  }
  return result;
}

/// Running statistics, one per feature.
struct Running {
  Numbers mean, variance;
};

/// The group's statistics where the running ones are used. Every group has one feature.
inline Statistics from_running(const Formula& formula, const Roles& roles, const Running& running) {
  Statistics result(roles.groups);
  for (std::size_t i = 0; i < roles.size(); ++i) {
    const std::size_t feature = roles.feature[i];
    result.origin[roles.group[i]] = running.mean[feature];
    if (formula.kind == Kind::mean) continue;
    result.variance[roles.group[i]] = running.variance[feature];
    result.rstd[roles.group[i]] = reciprocal_root(running.variance[feature], formula.epsilon);
  }
  return result;
}

/// The running statistics after a batch that weighs `momentum`: unbiased variances, and the mean over the
/// groups of a feature where there are several (InstanceNorm: over the samples).
inline Running moved(const Formula& formula, const Roles& roles, const Statistics& batch, const Running& old,
                     Real momentum) {
  Running value{Numbers(roles.features, 0), Numbers(roles.features, 0)};
  const auto sharing = static_cast<Real>(roles.size()) / static_cast<Real>(roles.features);
  const auto count = static_cast<Real>(roles.count);
  for (std::size_t i = 0; i < roles.size(); ++i) {
    value.mean[roles.feature[i]] += batch.mean(roles.group[i]) / sharing;
    value.variance[roles.feature[i]] += batch.variance[roles.group[i]] * count / (count - 1) / sharing;
  }
  Running result = old;
  for (std::size_t feature = 0; feature < roles.features; ++feature) {
    result.mean[feature] += momentum * (value.mean[feature] - old.mean[feature]);
    if (formula.kind == Kind::mean_variance) {
      result.variance[feature] += momentum * (value.variance[feature] - old.variance[feature]);
    }
  }
  return result;
}

}  // namespace reference

#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "judge.hpp"
#include "natural_scales.hpp"

// How far each result may be from the truth: its natural scale (natural_scales.hpp), and what more is allowed, or not
// judged.
//
// Which sums are unbalanced matters (judge.hpp) for dscale and dshift themselves; the sum of squares of a group for all
// that its sigma goes into; and for dx also the sums of d and of d * xhat.
//
// Four things are not judged, because the type of the arithmetic cannot hold what it must, although it holds the data.
// The report counts them.

namespace fuzz {

using reference::Formula;
using reference::Kind;
using reference::Parameters;
using reference::Roles;
using reference::Statistics;

/// How many groups, or for the last one features, are not judged.
struct Excuses {
  std::size_t deviation = 0;  // a value is farther from the mean than the largest number
  std::size_t sigma = 0;      // 1 / sigma is more than that: eps is 0, and the deviation below 1e-38 (float)
  std::size_t gradient = 0;   // a summand of dx is
  std::size_t product = 0;    // the sum of |dy * xhat| is: sigma is 1, or given

  bool any() const { return deviation + sigma + gradient + product > 0; }

  void add(const Excuses& other) {
    deviation += other.deviation;
    sigma += other.sigma;
    gradient += other.gradient;
    product += other.product;
  }
};

class Allowances {
 public:
  Scales y, dx, scale, shift;  // the latter two by feature
  std::vector<bool> group_is_unbalanced;
  Excuses excuses;

  Allowances(const Formula& formula, const Roles& roles, const Statistics& given, const Parameters& parameters,
             const Numbers& x, const Numbers& dy, bool fixed, const Range& range)
      : y(x.size()),
        dx(x.size()),
        scale(roles.features),
        shift(roles.features),
        group_is_unbalanced(roles.groups, false),
        formula_(formula),
        roles_(roles),
        given_(given),
        fixed_(fixed),
        range_(range),
        groups_(roles.groups) {
    const reference::Scales natural =
        reference::natural_scales(formula, roles, given, parameters, x, dy, fixed, reference::of_random_problems);
    for (std::size_t i = 0; i < x.size(); ++i) collect(i, at(i, x, dy, parameters));
    for (std::size_t group = 0; group < roles.groups; ++group) {
      group_is_unbalanced[group] = !fixed && groups_[group].squares.lone();
    }
    excuse_groups();
    for (std::size_t i = 0; i < x.size(); ++i) {
      y[i].size = natural.y[i];
      dx[i].size = natural.dx[i];
    }
    for (std::size_t f = 0; f < roles.features; ++f) {
      scale[f].size = natural.scale[f];
      shift[f].size = natural.shift[f];
    }
    std::vector<Summands> for_scale(roles.features), for_shift(roles.features);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Value value = at(i, x, dy, parameters);
      set_data(i, value);
      for_scale[roles.feature[i]].add(value.gradient * value.spread);
      for_shift[roles.feature[i]].add(value.gradient);
      Scale& of_scale = scale[roles.feature[i]];
      of_scale.slack += value.gradient * value.coarse + range.tiny;
      of_scale.unbalanced = of_scale.unbalanced || y[i].unbalanced;
      of_scale.excused = of_scale.excused || y[i].excused;
    }
    for (std::size_t f = 0; f < roles.features; ++f) set_feature(f, for_scale[f], for_shift[f]);
  }

 private:
  /// Magnitudes.
  struct Value {
    Real factor, rstd, deviation, xhat, gradient;  // factor: scale; gradient: dy
    Real spread;                                   // (|x - mu| + s) / sigma
    Real coarse;                                   // what it loses where numbers on its way are subnormal
  };

  struct Group {
    Summands squares;              // of the deviations
    Summands gradients, products;  // d, and d * xhat
    Real farthest = 0;             // value from the mean
    Real steepest = 0;             // |d|, or |dy|, / sigma
    bool excused = false, dx_excused = false;
  };

  Value at(std::size_t i, const Numbers& x, const Numbers& dy, const Parameters& parameters) const {
    const std::size_t group = roles_.group[i];
    Value value{};
    value.factor = std::abs(parameters.scale_of(roles_.feature[i]));
    value.rstd = given_.rstd[group];
    value.deviation = std::abs(given_.deviation(x[i], group));
    value.xhat = value.deviation * value.rstd;
    value.gradient = std::abs(dy[i]);
    const bool by_own_mean = formula_.centred() && !fixed_;
    value.spread = value.xhat + (by_own_mean ? std::sqrt(given_.variance[group]) * value.rstd : 0);
    value.coarse = range_.tiny * (1 + 2 * value.rstd) + value.spread * lost_by_subnormal(value.rstd);
    return value;
  }

  /// Relative error of a 1 / sigma that has not all its digits.
  Real lost_by_subnormal(Real rstd) const { return rstd > 0 && rstd < range_.smallest ? range_.tiny / rstd : 0; }

  void collect(std::size_t i, const Value& value) {
    Group& group = groups_[roles_.group[i]];
    const Real gradient = value.gradient * value.factor;
    group.squares.add(value.deviation * value.deviation);
    group.gradients.add(gradient);
    group.products.add(gradient * value.xhat);
    group.farthest = std::max(group.farthest, value.deviation);
    group.steepest = std::max(group.steepest, value.gradient * std::max(value.factor, Real(1)) * value.rstd);
  }

  void excuse_groups() {
    for (std::size_t number = 0; number < groups_.size(); ++number) {
      Group& group = groups_[number];
      const bool far = group.farthest >= range_.largest, narrow = given_.rstd[number] >= range_.largest;
      // The difference of three summands may be in range where they are not.
      const bool steep = group.steepest >= range_.largest / 4;
      group.excused = far || narrow;
      group.dx_excused = group.excused || steep;
      excuses.deviation += far ? 1 : 0;
      excuses.sigma += narrow ? 1 : 0;
      excuses.gradient += steep && !group.excused ? 1 : 0;
    }
  }

  void set_data(std::size_t i, const Value& value) {
    const Group& group = groups_[roles_.group[i]];
    y[i].slack = value.coarse * value.factor + range_.tiny;
    y[i].unbalanced = group_is_unbalanced[roles_.group[i]];
    y[i].excused = group.excused;

    const bool has_slope = !fixed_ && formula_.kind != Kind::mean;
    dx[i].slack =
        range_.tiny * (1 + value.factor) * (1 + 4 * value.rstd) + 3 * dx[i].size * lost_by_subnormal(value.rstd);
    dx[i].unbalanced = y[i].unbalanced || (!fixed_ && group.gradients.lone()) || (has_slope && group.products.lone());
    dx[i].excused = group.dx_excused;
  }

  void set_feature(std::size_t feature, const Summands& for_scale, const Summands& for_shift) {
    scale[feature].unbalanced = scale[feature].unbalanced || for_scale.lone() || for_scale.alike();
    if (!scale[feature].excused && for_scale.sum >= range_.largest) {
      scale[feature].excused = true;
      ++excuses.product;
    }
    shift[feature].unbalanced = for_shift.lone() || for_shift.alike();
  }

  const Formula& formula_;
  const Roles& roles_;
  const Statistics& given_;
  bool fixed_;
  Range range_;
  std::vector<Group> groups_;
};

}  // namespace fuzz

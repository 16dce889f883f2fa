#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../reference.hpp"
#include "../support.hpp"

// How far a result may be from the truth: 4 units of roundoff of float, 8 of double, times its natural scale, after
// one rounding of the result itself where it is stored in 16 bits (test::tolerance).
//
// The natural scale is the size of the summands that a result is made of: a rounding error is proportional to those,
// not to what they leave of each other. With d = dy * scale, s the root mean square of x - mu, and means, sums and the
// largest taken over the group:
//
//     y           (|x - mu| + s) / sigma * |scale| + |shift|       s: the mean is known to its share of the deviations
//     dx          (largest |d| + |xhat| * mean of |d * xhat|) / sigma
//     dscale      sum of |dy| * (|x - mu| + s) / sigma             over the feature
//     dshift      sum of |dy|
//     running     weight of the old * |old| + weight of the new * (|mean| + s), or * variance
//
// s is 0 where there is no mean to subtract, or a given one; by given statistics dx has the scale of |d| / sigma. A
// value that is its mean has xhat = 0, and its y is exactly the shift. Nothing here grows with the number of values or
// with mu / sigma: an error that does is found.
//
// One exception: **lone summands**. Rounding errors of many summands of one size all but cancel. Where one is more than
// half of a sum, every addition that follows it rounds at its size, and nothing cancels: up to 15 units in a tree. So
// twice the limit is allowed
//
// - to dscale and dshift, where one summand is more than half of the sum of magnitudes;
// - to what depends on the deviation of a group in which one square is more than half of the sum of squares.
//
// And four things are not judged, because the type of the arithmetic cannot hold what it must, although it holds the
// data; the report counts them (`Excuses`).

namespace fuzz {

using reference::Formula;
using reference::Kind;
using reference::Numbers;
using reference::Parameters;
using reference::Real;
using reference::Roles;
using reference::Statistics;

/// How one number is judged.
struct Scale {
  Real size = 0;      // the natural scale
  Real slack = 0;     // an error that the range of the type allows beside: a number on the way is subnormal
  Real largest = 0;   // summand, of a sum
  bool lone = false;  // twice the limit
  bool excused = false;  // not at all

  void add(Real summand, Real with_slack) {
    size += summand;
    slack += with_slack;
    largest = std::max(largest, summand);
  }
};
using Scales = std::vector<Scale>;

/// What a type can hold.
struct Range {
  Real largest;
  Real smallest;  // with all its digits
  Real tiny;      // half the distance of those below
};

template <typename T>
Range range_of() {
  using Limits = std::numeric_limits<T>;
  return {test::widened(Limits::max()), test::widened(Limits::min()),
          test::widened(Limits::denorm_min()) / 2};
}

/// Groups, and for the last one features, of numbers out of range.
struct Excuses {
  std::size_t deviation = 0;  // a value is farther from the mean than the largest number
  std::size_t sigma = 0;      // 1 / sigma is more than that: eps is 0, and the deviation below 1e-38 (float)
  std::size_t gradient = 0;   // a summand of dx is
  std::size_t product = 0;    // the sum of |dy * xhat| is: sigma is 1, or given

  void add(const Excuses& other) {
    deviation += other.deviation;
    sigma += other.sigma;
    gradient += other.gradient;
    product += other.product;
  }
};

/// What is known of each group.
struct Group {
  Real largest_square = 0, squares = 0;    // of the deviations
  Real largest_gradient = 0, product = 0;  // |d|, and the sum of |d * xhat|
  Real farthest = 0;                       // value from the mean
  Real steepest = 0;                       // |d|, or |dy|, / sigma

  bool lone() const { return largest_square > squares / 2; }
};

class Judge {
 public:
  Scales y, dx, scale, shift;
  Excuses excuses;

  Judge(const Formula& formula, const Roles& roles, const Statistics& given, const Parameters& parameters,
        const Numbers& x, const Numbers& dy, bool fixed, const Range& range)
      : y(x.size()), dx(x.size()), scale(roles.features), shift(roles.features), groups_(roles.groups) {
    const Numbers xhat = reference::normalized(roles, given, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      Group& group = groups_[roles.group[i]];
      const Real rstd = given.rstd[roles.group[i]];
      const Real factor = std::abs(parameters.scale_of(roles.feature[i]));
      const Real deviation = std::abs(given.deviation(x[i], roles.group[i]));
      const Real gradient = std::abs(dy[i]) * factor;
      group.squares += deviation * deviation;
      group.largest_square = std::max(group.largest_square, deviation * deviation);
      group.farthest = std::max(group.farthest, deviation);
      group.largest_gradient = std::max(group.largest_gradient, gradient);
      group.product += gradient * std::abs(xhat[i]);
      group.steepest = std::max(group.steepest, std::abs(dy[i]) * std::max(factor, Real(1)) * rstd);
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Group& group = groups_[roles.group[i]];
      const Real rstd = given.rstd[roles.group[i]];
      const Real factor = std::abs(parameters.scale_of(roles.feature[i]));
      const bool by_mean = formula.centred() && !fixed;
      const Real spread =
          std::abs(xhat[i]) + (by_mean ? std::sqrt(given.variance[roles.group[i]]) * rstd : 0);
      // A product, the low part of a mean, or 1 / sigma may be subnormal: then they are multiples of 2 * tiny.
      const bool subnormal = rstd > 0 && rstd < range.smallest;
      const Real coarse = range.tiny * (1 + 2 * rstd) + (subnormal ? spread * range.tiny / rstd : 0);
      const Real share = formula.kind == Kind::sum_square ? 1 : static_cast<Real>(roles.count);
      const bool has_slope = !fixed && formula.kind != Kind::mean;
      const Real summands = (fixed ? std::abs(dy[i]) * factor : group.largest_gradient) +
                            (has_slope ? std::abs(xhat[i]) * group.product / share : 0);

      // Where there is nothing to round, y is the shift and not something near it.
      if (spread * factor > 0) y[i].size = spread * factor + std::abs(parameters.shift_of(roles.feature[i]));
      y[i].slack = coarse * factor + range.tiny;
      dx[i].size = summands * rstd;
      dx[i].slack = range.tiny * (1 + factor) * (1 + 4 * rstd) + (subnormal ? 3 * summands * range.tiny : 0);
      scale[roles.feature[i]].add(std::abs(dy[i]) * spread, std::abs(dy[i]) * coarse + range.tiny);
      shift[roles.feature[i]].add(std::abs(dy[i]), 0);
      y[i].lone = dx[i].lone = !fixed && group.lone();
      if (y[i].lone) scale[roles.feature[i]].lone = true;
    }
    excuse(roles, given, range);
  }

  const Group& group(std::size_t number) const { return groups_[number]; }

 private:
  void excuse(const Roles& roles, const Statistics& given, const Range& range) {
    std::vector<bool> excused(roles.groups), excused_dx(roles.groups);
    for (std::size_t group = 0; group < roles.groups; ++group) {
      const bool far = groups_[group].farthest >= range.largest, narrow = given.rstd[group] >= range.largest;
      const bool steep = groups_[group].steepest >= range.largest / 4;
      excuses.deviation += far ? 1 : 0;
      excuses.sigma += narrow ? 1 : 0;
      excuses.gradient += steep && !far && !narrow ? 1 : 0;
      excused[group] = far || narrow;
      excused_dx[group] = excused[group] || steep;
    }
    for (std::size_t i = 0; i < roles.size(); ++i) {
      y[i].excused = excused[roles.group[i]];
      dx[i].excused = excused_dx[roles.group[i]];
      if (y[i].excused) scale[roles.feature[i]].excused = true;
    }
    for (Scale& each : scale) {
      if (each.excused || each.size < range.largest) continue;
      each.excused = true;
      ++excuses.product;
    }
  }

  std::vector<Group> groups_;
};

/// The largest error found, and where.
struct Worst {
  Real units = 0;
  std::size_t place = 0;
  Real got = 0, truth = 0;
};

/// Of ordinary numbers, and of lone summands.
struct Verdict {
  Worst ordinary, lone;
};

/// Errors in units of roundoff of the scale; infinite where a result is not the number it has to be.
template <typename T>
Verdict judge(const Numbers& got, const Numbers& truth, const Scales& scales) {
  const Real infinity = std::numeric_limits<Real>::infinity(), largest = range_of<T>().largest;
  const test::Tolerance tolerance = test::tolerance<T>();
  Verdict verdict;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const Scale& scale = scales[i];
    if (scale.excused || got[i] == truth[i]) continue;
    const Real rounding = 1.01L * std::max(tolerance.rounding * std::abs(truth[i]), tolerance.smallest);
    const Real allowed = rounding + scale.slack, unit = tolerance.unit * scale.size;
    // What is too large for the type becomes infinite; where the truth is not too large, that is as far off as the
    // type's largest number.
    const bool too_large = std::abs(truth[i]) + allowed > largest;
    if (too_large && std::isinf(got[i]) && std::signbit(got[i]) == std::signbit(truth[i])) continue;
    const Real held = std::isinf(got[i]) ? std::copysign(largest, got[i]) : got[i];
    const Real error = std::abs(held - truth[i]);
    if (error <= allowed) continue;
    const Real units = unit > 0 && !std::isnan(error) ? (error - allowed) / unit : infinity;
    const bool lone = scale.lone || scale.largest > scale.size / 2;
    Worst& worst = lone ? verdict.lone : verdict.ordinary;
    if (units > worst.units) worst = {units, i, got[i], truth[i]};
  }
  return verdict;
}

}  // namespace fuzz

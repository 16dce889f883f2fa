#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "reference.hpp"
#include "support.hpp"

// How far a result may be from the truth: 4 units of roundoff of float, 8 of double, times its natural scale
// (natural_scales.hpp), after one rounding of the result itself where it is stored in 16 bits.
//
// One exception: **unbalanced sums**. Rounding errors of many different summands all but cancel. They do not where
// one summand is more than a quarter of the sum, because every addition after it rounds at its size, nor where
// summands repeat each other (constant data, plateaus), because each is rounded in the same way. What is allowed then
// is what a tree promises, 15 units, and one for the result (docs/arithmetic.md).

namespace fuzz {

using reference::Numbers;
using reference::Real;

/// In units, for unbalanced sums.
constexpr Real tree_limit = 16;

/// The magnitudes of the summands of a sum.
struct Summands {
  Real sum = 0, largest = 0, count = 0;

  void add(Real summand) {
    sum += summand;
    largest = std::max(largest, summand);
    count += 1;
  }
  bool lone() const { return largest > sum / 4; }
  bool alike() const { return largest * count < 1.001L * sum; }
};

/// How one number is judged.
struct Scale {
  Real size = 0;            // the natural scale
  Real slack = 0;           // an error that the range of the type allows beside: a number on the way is subnormal
  bool unbalanced = false;  // by tree_limit
  bool excused = false;     // not at all
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
  return {test::widened(Limits::max()), test::widened(Limits::min()), test::widened(Limits::denorm_min()) / 2};
}

/// The largest error found, and where.
struct Worst {
  Real units = 0;
  std::size_t place = 0;
  Real got = 0, truth = 0;
};

/// Of ordinary numbers, and of those that come from unbalanced sums.
struct Verdict {
  Worst ordinary, unbalanced;
};

/// Errors in units of roundoff of the scale; infinite where a result is not the number it has to be.
template <typename T>
Verdict judge(const Numbers& got, const Numbers& truth, const Scales& scales) {
  const Real infinity = std::numeric_limits<Real>::infinity(), largest = range_of<T>().largest;
  const test::Tolerance tolerance = test::tolerance<T>();
  Verdict verdict;
  if (got.size() != truth.size()) verdict.ordinary.units = infinity;
  for (std::size_t i = 0; i < std::min(got.size(), truth.size()); ++i) {
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
    Worst& worst = scale.unbalanced ? verdict.unbalanced : verdict.ordinary;
    if (units > worst.units) worst = {units, i, got[i], truth[i]};
  }
  return verdict;
}

}  // namespace fuzz

#pragma once

#include <limits>
#include <string>
#include <vector>

#include "draw.hpp"
#include "judge.hpp"
#include "reference.hpp"

// Data of the kinds on which normalizations fail.

namespace fuzz {

using reference::Numbers;
using reference::Real;
using reference::Roles;

enum class Values { normal, shifted, decades, constant, outlier, steps, limits, like_x };

inline const std::vector<std::string> value_names = {"normal",  "shifted", "decades", "constant",
                                                     "outlier", "steps",   "limits",  "like x"};

inline const char* name_of(Values kind) { return value_names[static_cast<std::size_t>(kind)].c_str(); }

/// The largest power of ten of ordinary data: 65504 is all that half can hold.
inline double highest(const Range& range) { return range.largest < 1e6L ? 4.5 : 6; }

/// Normal data about 10^3 to 10^6, with a spread of 1 or of thousandths of the distance.
inline Numbers shifted(std::size_t size, const Range& range, Random& random) {
  const double offset = magnitude(random, 3, highest(range)) * (chance(random, 0.5) ? 1 : -1);
  const double deviation = chance(random, 0.5) ? 1 : std::abs(offset) * magnitude(random, -4, -2);
  return random.normals(size, offset, deviation);
}

/// Nine decades, either within each group or from group to group.
inline Numbers decades(const Roles& roles, Random& random) {
  Numbers result = random.normals(roles.size());
  if (chance(random, 0.5)) {
    for (Real& value : result) value *= magnitude(random, -4.5, 4.5);
    return result;
  }
  std::vector<double> factor(roles.groups);
  for (double& each : factor) each = magnitude(random, -4.5, 4.5);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] *= factor[roles.group[i]];
  return result;
}

/// Each group of one value.
inline Numbers constant(const Roles& roles, const Range& range, Random& random) {
  Numbers of_group(roles.groups);
  const double size = magnitude(random, -highest(range), highest(range));
  for (Real& value : of_group) value = chance(random, 0.1) ? 0 : size * random.normal();
  Numbers result(roles.size());
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = of_group[roles.group[i]];
  return result;
}

/// One value of a group, at any place, is a hundred to a million times as large as the others.
inline Numbers outlier(const Roles& roles, const Range& range, Random& random) {
  Numbers result = random.normals(roles.size());
  const double size = magnitude(random, 2, highest(range));
  std::vector<std::size_t> before(roles.groups);
  for (std::size_t& each : before) each = below(random, std::max<std::size_t>(roles.count, 1));
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (before[roles.group[i]]-- == 0) result[i] = chance(random, 0.5) ? size : -size;
  }
  return result;
}

/// Each group goes from plateau to plateau, with noise or without.
inline Numbers steps(const Roles& roles, const Range& range, Random& random) {
  const double height = magnitude(random, 0, highest(range)), noise = chance(random, 0.5) ? 0 : 1;
  const double length = magnitude(random, 0, 3.5);
  Numbers level(roles.groups);
  for (Real& each : level) each = chance(random, 0.5) ? 0 : height * random.normal();
  Numbers result(roles.size());
  for (std::size_t i = 0; i < result.size(); ++i) {
    Real& at = level[roles.group[i]];
    if (chance(random, 1 / length)) at = height * random.normal();
    result[i] = at + noise * random.normal();
  }
  return result;
}

/// Near the largest numbers, of one sign or of both, or near the smallest, subnormal ones included.
inline Numbers near_limits(std::size_t size, const Range& range, Random& random) {
  const Real edge = chance(random, 0.5)
                        ? pick(random, std::vector<Real>{range.largest, range.largest / 2, range.largest / 64})
                        : pick(random, std::vector<Real>{range.smallest, range.smallest * 64, range.smallest / 64});
  const bool both_signs = chance(random, 0.5);
  Numbers result(size);
  for (Real& value : result) {
    value = edge * (0.5 + 0.499 * random.uniform());
    if (both_signs && chance(random, 0.5)) value = -value;
  }
  return result;
}

inline Numbers draw_values(Values kind, const Roles& roles, const Range& range, Random& random) {
  switch (kind) {
    case Values::normal:
      return random.normals(roles.size(), 0, magnitude(random, -1, 1));
    case Values::shifted:
      return shifted(roles.size(), range, random);
    case Values::decades:
      return decades(roles, random);
    case Values::constant:
      return constant(roles, range, random);
    case Values::outlier:
      return outlier(roles, range, random);
    case Values::steps:
      return steps(roles, range, random);
    case Values::limits:
      return near_limits(roles.size(), range, random);
    case Values::like_x:
      break;  // no kind of x
  }
  return {};
}

/// The numbers as a tensor of `Data` holds them; what is too large for it becomes its largest.
template <typename Data>
void round_to(Numbers& numbers) {
  const Real largest = test::widened(std::numeric_limits<Data>::max());
  for (Real& number : numbers) {
    number = test::widened(test::rounded<Data>(std::clamp(number, -largest, largest)));
  }
}

/// x and dy, each of some kind.
struct DrawnData {
  Values kind, gradient_kind;
  Numbers x, dy;
};

/// dy is not drawn near the limits, where a sum of two would be out of range, but may be x, made smaller.
template <typename Data>
DrawnData draw_data(const Roles& roles, Random& random) {
  const std::vector<Values> kinds = {Values::normal,  Values::shifted, Values::decades, Values::constant,
                                     Values::outlier, Values::steps,   Values::limits};
  DrawnData drawn{pick(random, kinds), pick(random, kinds), {}, {}};
  const Range range = range_of<Data>();
  drawn.x = draw_values(drawn.kind, roles, range, random);
  round_to<Data>(drawn.x);
  if (drawn.gradient_kind == Values::limits) drawn.gradient_kind = Values::like_x;
  if (drawn.gradient_kind == Values::like_x) {
    Real largest = range.smallest;
    for (const Real value : drawn.x) largest = std::max(largest, std::abs(value));
    for (const Real value : drawn.x) drawn.dy.push_back(value / largest);
  } else {
    drawn.dy = draw_values(drawn.gradient_kind, roles, range, random);
  }
  const double size = chance(random, 0.5) ? 1 : magnitude(random, -3, 3);
  for (Real& value : drawn.dy) value *= size;
  round_to<Data>(drawn.dy);
  return drawn;
}

}  // namespace fuzz

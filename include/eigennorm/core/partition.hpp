#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "eigennorm/core/axes.hpp"
#include "eigennorm/core/loop.hpp"
#include "eigennorm/core/view.hpp"

/// \file
/// From axis sets to loops: which values share a statistic, which share a scale and a shift, and in which order
/// memory holds them. Pure functions of shapes and strides.

namespace eigennorm {

/// What makes one normalization different from another, its statistic apart: the axes averaged over, the axes along
/// which scale and shift vary, and how many features those are.
struct Geometry {
  AxisSet averaged;
  AxisSet features;
  Extents extents{1};       ///< of the feature axes; one number stands for their product
  std::int64_t groups = 0;  ///< where positive: the feature axis, one of the averaged, is cut into so many groups
  const char* name = "Normalization";  ///< begins every error text
  const char* noun = "features";       ///< what the features are called in error texts
  /// Whether samples are kept apart whatever the axes say, because no axis need be theirs: with peers, too, each call
  /// stays by itself.
  bool apart = false;
};

namespace core {

/// Neighbouring reductions that one task handles together: several along the fastest of the kept axes.
struct Tile {
  Offsets base;
  std::int64_t lanes = 1;
  Axis lane = no_axis();  ///< over those lanes
};

/// A reduction: for every position of `kept`, the positions of `reduced`. Used twice: groups over the values
/// that share a statistic, and features over the values that share a scale.
struct Reduction {
  Loop kept, reduced;
  bool interleaved =
      false;  ///< the axis that is fastest in memory is kept, so neighbours in memory are in different reductions

  std::int64_t tiles(std::int64_t width) const {
    const std::int64_t extent = kept.fastest().extent;
    // (Divisions are what a tile of few values costs.)
    const std::int64_t chunks = extent <= width ? 1 : (extent + width - 1) / width;
    return kept.rank <= 1 ? chunks : kept.size / extent * chunks;
  }

  /// Tile number `id` of those with at most `width` lanes.
  Tile tile(std::int64_t id, std::int64_t width) const {
    const Axis lane = kept.fastest();
    const std::int64_t chunks = kept.rank <= 1 ? 0 : (lane.extent + width - 1) / width;
    const std::int64_t start = (kept.rank <= 1 ? id : id % chunks) * width;
    Tile tile{kept.at(kept.rank <= 1 ? start : id / chunks * lane.extent + start), 0, lane};
    tile.lane.extent = tile.lanes = (std::min)(width, lane.extent - start);
    return tile;
  }
};

/// Whether groups and features are the same, of the same numbers, in order.
inline bool are_features(const Reduction& groups) {
  const Axis next = groups.kept.fastest();
  return groups.kept.rank <= 1 && next.group == 1 && next.feature == 1;
}

/// The loops of one call.
struct Partition {
  Reduction groups;        ///< kept: the groups; reduced: the values that share a statistic, in memory order
  Reduction features;      ///< kept: the features; reduced: the positions of each
  Loop values;             ///< groups.reduced, its neighbours merged whatever their features
  std::int64_t count = 1;  ///< values in a group
  /// Positions of one feature that follow each other in memory, by role, not by stride; 1 where features are fastest.
  std::int64_t run = 1;
  /// Values of a group that follow each other in its own order with one feature, by role; 1 where features are fastest.
  std::int64_t group_run = 1;
  bool features_kept = true;  ///< no averaged axis is a feature axis: one scale for a whole group
  std::int64_t size = 1;
  std::int64_t whole = 1;           ///< `size` of the call of which this is a part
  bool is_part = false;             ///< positions are left out: `features` are not those of `groups`
  std::uint32_t averaged_axes = 0;  ///< as bits, by logical number
  std::uint32_t feature_axes = 0;

  /// The groups of one feature, and the features, where every feature axis is kept.
  Loop kept_features, kept_samples;

  /// Adds the next axis, slowest in memory first.
  void append(const Axis& axis, bool averaged, bool is_feature) {
    size *= axis.extent;
    if (averaged) {
      groups.reduced.append(axis);
      values.append(axis, true, false);
    } else {
      groups.kept.append(axis);
      (is_feature ? kept_features : kept_samples).append(axis);
    }
    (is_feature ? features.kept : features.reduced).append(axis);
    if (axis.extent == 1) return;
    if (averaged && is_feature) features_kept = false;
    if (averaged) group_run = is_feature ? 1 : group_run * axis.extent;
    groups.interleaved = !averaged;
    features.interleaved = is_feature;
    run = is_feature ? 1 : run * axis.extent;
  }

  /// Whether a group's values follow each other in memory, in the first `tensors` tensors.
  bool rows(std::size_t tensors) const {
    return !groups.interleaved && values.rank <= 1 && steps_by(values.fastest(), 1, 0, tensors);
  }
  /// Whether a step along `axis` is one of `stride` in tensors [first, last).
  static bool steps_by(const Axis& axis, std::int64_t stride, std::size_t first, std::size_t last) {
    for (std::size_t t = first; t < last; ++t) {
      if (axis.extent > 1 && axis.stride[t] != stride) return false;
    }
    return true;
  }
};

/// The axes of a geometry in a tensor of this shape, after every check of one against the other.
struct Roles {
  std::uint32_t averaged = 0;
  std::uint32_t features = 0;

  bool is_averaged(int axis) const { return (averaged >> axis & 1U) != 0; }
  bool is_feature(int axis) const { return (features >> axis & 1U) != 0; }
};

/// Whether groups reach across the samples of a batch, so that they are one with those of its other members
/// (Context::peers): samples are on axis 0, or, where that is the features', on all other axes. Known of any rank, also
/// one that does not fit, because the others wait.
inline bool reaches_across(const Geometry& geometry, int rank) {
  if (geometry.apart) return false;
  if (!geometry.features.has(0, rank)) return geometry.averaged.has(0, rank);
  for (int axis = 0; axis < rank; ++axis) {
    if (geometry.features.has(axis, rank) == geometry.averaged.has(axis, rank)) return false;
  }
  return true;
}

/// How a layer of this geometry, which met a matrix, is told that its features are on axis 0.
inline const char* axis_zero(const Geometry& geometry, const Roles& roles) {
  const std::string_view noun = geometry.noun;
  if (noun == "outputs") return "outputs_on(0)";
  if (noun != "channels") return "over(0)";
  // InstanceNorm and GroupNorm may have their samples there.
  const bool samples = !roles.is_averaged(0) && (geometry.groups > 0 || roles.averaged == 0);
  return samples ? "channels_on(0), samples_on(1)" : "channels_on(0)";
}

/// Resolves the axes of a geometry; fails where it does not fit the shape.
inline Roles roles(const Geometry& geometry, const Shape& shape) {
  const std::uint32_t averaged = geometry.averaged.mask(shape.rank, shape.text(), geometry.name);
  const std::uint32_t features = geometry.features.mask(shape.rank, shape.text(), geometry.name);
  int axes = 0;
  bool fits = true;
  std::int64_t product = 1;
  for (int axis = 0; axis < shape.rank; ++axis) {
    if (!Roles{averaged, features}.is_feature(axis)) continue;
    if (axes < geometry.extents.size()) fits = fits && geometry.extents.begin()[axes] == shape[axis];
    product *= shape[axis];
    ++axes;
  }
  fits = geometry.extents.size() == axes ? fits : geometry.extents.size() <= 1 && geometry.extents.product() == product;
  if (!fits) {
    const bool vector = shape.rank == 2 && shape[1] == 1 && geometry.extents.product() == shape[0];
    fail_with({geometry.name, ": made for ", geometry.extents.text(), " ", geometry.noun, " on ",
               geometry.features.text()[0], geometry.features.text()[1], ", got an input of shape ", shape.text(),
               vector ? " (a vector is a matrix of one column here: use " : "",
               vector ? axis_zero(geometry, {averaged, features}) : "", vector ? ")" : ""});
  }
  if (geometry.groups > 0 && (axes != 1 || (averaged & features) != features)) {
    fail_with({geometry.name, ": expected one channel axis beside the sample axes, got ", geometry.features.text()[0],
               geometry.features.text()[1], " as the channels of an input of shape ", shape.text()});
  }
  return {averaged, features};
}

/// Calls `f(axis, averaged, is_feature, number)` for each axis of a call, slowest in memory first, with its number in
/// the shape; a grouped channel axis is two. `strides` has one entry a tensor; all tensors have the same shape and
/// storage order.
template <typename F>
void for_each_axis(const Geometry& geometry, const Roles& roles, const Shape& shape, Order order,
                   const std::array<Strides, max_tensors>& strides, const F& f) {
  // Numbers of groups and features are in logical order, from the last axis on.
  std::array<std::int64_t, max_rank> group_steps, feature_steps;
  std::int64_t groups = 1;
  std::int64_t features = 1;
  for (int axis = shape.rank - 1; axis >= 0; --axis) {
    const auto i = static_cast<std::size_t>(axis);
    group_steps[i] = groups;
    feature_steps[i] = features;
    if (roles.is_feature(axis)) features *= shape[axis];
    if (!roles.is_averaged(axis)) groups *= shape[axis];
    if (roles.is_feature(axis) && geometry.groups > 0) groups *= geometry.groups;
  }
  for (int i = 0; i < shape.rank; ++i) {
    const int axis = order == Order::column_major ? shape.rank - 1 - i : i;
    const auto at = static_cast<std::size_t>(axis);
    const bool averaged = roles.is_averaged(axis);
    const bool is_feature = roles.is_feature(axis);
    Axis whole{shape[axis], {}, averaged ? 0 : group_steps[at], is_feature ? feature_steps[at] : 0};
    for (std::size_t t = 0; t < max_tensors; ++t) whole.stride[t] = strides[t][at];
    if (!is_feature || geometry.groups == 0) {
      f(whole, averaged, is_feature, axis);
      continue;
    }
    // A grouped channel axis: the groups, kept, and the channels of each, averaged.
    Axis outer = whole, inner = whole;
    inner.extent = whole.extent / geometry.groups;
    outer.extent = geometry.groups;
    outer.group = group_steps[at];
    outer.feature = whole.feature * inner.extent;
    for (std::size_t t = 0; t < max_tensors; ++t) outer.stride[t] = whole.stride[t] * inner.extent;
    f(outer, false, true, axis);
    f(inner, true, true, axis);
  }
}

/// Cuts a call into loops.
inline Partition partition(const Geometry& geometry, const Shape& shape, Order order,
                           const std::array<Strides, max_tensors>& strides) {
  const Roles roles = core::roles(geometry, shape);
  Partition result;
  result.averaged_axes = roles.averaged;
  result.feature_axes = roles.features;
  for_each_axis(geometry, roles, shape, order, strides, [&](const Axis& axis, bool averaged, bool is_feature, int) {
    result.append(axis, averaged, is_feature);
  });
  result.count = result.groups.reduced.size;
  result.whole = result.size;
  return result;
}

}  // namespace core
}  // namespace eigennorm

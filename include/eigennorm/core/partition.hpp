#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "eigennorm/core/axes.hpp"
#include "eigennorm/core/view.hpp"

/// \file
/// From axis sets to loops: which values share a statistic, which share a scale and a shift, and in which order memory
/// holds them. Pure functions of shapes and strides.

namespace eigennorm {

/// What makes one normalization different from another, its statistic apart: the axes averaged over, the axes along
/// which scale and shift vary, and how many features those are.
struct Geometry {
  AxisSet averaged;
  AxisSet features;
  Extents extents{1};        ///< of the feature axes; one number stands for their product
  std::int64_t groups = 0;   ///< where positive: the feature axis, one of the averaged, is cut into so many groups
  const char* name = "Normalization";  ///< begins every error text
  const char* noun = "features";       ///< what the features are called in error texts
};

namespace core {

/// The tensors of one call: x and y, or x, dy and dx.
constexpr int max_tensors = 3;

/// One axis of a loop, with what a step along it adds to the offset in each tensor, the number of the group and the
/// number of the feature. A grouped channel axis is two of these.
struct Axis {
  std::int64_t extent = 1;
  std::array<std::int64_t, max_tensors> stride{};
  std::int64_t group = 0;
  std::int64_t feature = 0;
  bool averaged = false;
  bool is_feature = false;
};

/// A position: its offset in each tensor, its group and its feature. All three are sums over the axes.
struct Offsets {
  std::array<std::int64_t, max_tensors> tensor{};
  std::int64_t group = 0;
  std::int64_t feature = 0;

  void step(const Axis& axis, std::int64_t times) {
    for (std::size_t t = 0; t < max_tensors; ++t) tensor[t] += axis.stride[t] * times;
    group += axis.group * times;
    feature += axis.feature * times;
  }
};

/// A walk over some of the axes, slowest in memory first. Neighbours of which the inner continues where the outer steps
/// are merged, in all that a step adds; so a contiguous tensor is one axis, and numbering does not depend on strides.
struct Loop {
  int rank = 0;
  std::array<Axis, max_rank + 1> axes{};
  std::int64_t size = 1;

  void append(const Axis& axis) {
    size *= axis.extent;
    if (axis.extent == 1) return;
    if (rank > 0) {
      Axis& last = axes[static_cast<std::size_t>(rank - 1)];
      bool merges = last.group == axis.group * axis.extent && last.feature == axis.feature * axis.extent;
      for (std::size_t t = 0; t < max_tensors; ++t) merges = merges && last.stride[t] == axis.stride[t] * axis.extent;
      if (merges) {
        const std::int64_t extent = last.extent * axis.extent;
        last = axis;
        last.extent = extent;
        return;
      }
    }
    axes[static_cast<std::size_t>(rank++)] = axis;
  }

  /// The fastest axis; one of extent 1 where there is none.
  Axis fastest() const { return rank == 0 ? Axis{} : axes[static_cast<std::size_t>(rank - 1)]; }

  Offsets at(std::int64_t position) const {
    Offsets offsets;
    for (int i = rank - 1; i >= 0; --i) {
      const Axis& axis = axes[static_cast<std::size_t>(i)];
      offsets.step(axis, position % axis.extent);
      position /= axis.extent;
    }
    return offsets;
  }

  /// Calls `f(offsets, position, length)` for each run along the fastest axis that covers positions [first, last).
  template <typename F>
  void for_each_run(std::int64_t first, std::int64_t last, F&& f) const {
    const std::int64_t extent = fastest().extent;
    std::int64_t inside = first % extent;
    for (std::int64_t position = first; position < last;) {
      const std::int64_t length = std::min(extent - inside, last - position);
      f(at(position), position, length);
      position += length;
      inside = 0;
    }
  }
};

/// Neighbouring reductions that one task handles together: where the fastest axis is kept, several that lie side by side.
struct Tile {
  Offsets base;
  std::int64_t lanes = 1;
  Axis lane;  ///< what a step to the next lane adds
};

/// A reduction: for every position of `kept`, the positions of `reduced`. Used twice: groups over the values that share
/// a statistic, and features over the values that share a scale.
struct Reduction {
  Loop kept, reduced;
  bool interleaved = false;  ///< the axis that is fastest in memory is kept, so neighbours in memory are in different reductions

  std::int64_t tiles(std::int64_t width) const {
    if (!interleaved) return kept.size;
    const std::int64_t extent = kept.fastest().extent;
    return kept.size / extent * ((extent + width - 1) / width);
  }

  /// Tile number `id` of those with at most `width` lanes.
  Tile tile(std::int64_t id, std::int64_t width) const {
    if (!interleaved) return {kept.at(id), 1, Axis{}};
    const Axis lane = kept.fastest();
    const std::int64_t chunks = (lane.extent + width - 1) / width;
    const std::int64_t start = id % chunks * width;
    return {kept.at(id / chunks * lane.extent + start), std::min(width, lane.extent - start), lane};
  }
};

/// The loops of one call.
struct Partition {
  Reduction groups;    ///< kept: the groups; reduced: the values that share a statistic, numbered in memory order
  Reduction features;  ///< kept: the features; reduced: the positions of each
  std::int64_t count = 1;  ///< values in a group
  std::int64_t run = 1;    ///< positions of one feature that follow each other in memory, by role, not by stride; 1 where features are fastest
  bool features_kept = true;  ///< no averaged axis is a feature axis: one scale for a whole group
  std::int64_t size = 1;

  /// The groups of one feature, and the features, where every feature axis is kept.
  Loop kept_features, kept_samples;
};

/// The axes of a geometry in a tensor of this shape, after every check of one against the other.
struct Roles {
  std::uint32_t averaged = 0;
  std::uint32_t features = 0;

  bool is_averaged(int axis) const { return (averaged >> axis & 1U) != 0; }
  bool is_feature(int axis) const { return (features >> axis & 1U) != 0; }
};

inline std::string made_for(const Geometry& geometry) {
  return std::string(geometry.name) + ": made for " + geometry.extents.text() + " " + geometry.noun + " on " +
         geometry.features.text();
}

inline Roles roles(const Geometry& geometry, const Shape& shape) {
  const std::string name = std::string(geometry.name) + ", input of shape " + shape.text();
  Roles roles;
  roles.averaged = geometry.averaged.mask(shape.rank, name);
  roles.features = geometry.features.mask(shape.rank, name);
  int axes = 0;
  bool fits = true;
  std::int64_t product = 1;
  for (int axis = 0; axis < shape.rank; ++axis) {
    if (!roles.is_feature(axis)) continue;
    if (axes < geometry.extents.size()) fits = fits && geometry.extents.begin()[axes] == shape[axis];
    product *= shape[axis];
    ++axes;
  }
  fits = geometry.extents.size() == axes ? fits : geometry.extents.size() <= 1 && geometry.extents.product() == product;
  if (!fits) {
    const bool vector = shape.rank == 2 && shape[1] == 1 && geometry.extents.product() == shape[0];
    fail(made_for(geometry) + ", got an input of shape " + shape.text() +
         (vector ? " (a vector is a matrix of one column here: use over(0))" : ""));
  }
  if (geometry.groups > 0 && (axes != 1 || (roles.averaged & roles.features) != roles.features)) {
    fail(std::string(geometry.name) + ": expected one channel axis beside the sample axes, got " +
         geometry.features.text() + " as the channels of an input of shape " + shape.text());
  }
  return roles;
}

/// Cuts a call into loops. `strides` has one entry a tensor; all tensors have the same shape and storage order.
inline Partition partition(const Geometry& geometry, const Shape& shape, Order order,
                           const std::array<Strides, max_tensors>& strides) {
  const Roles roles = core::roles(geometry, shape);
  // Each axis, and behind a grouped one its inner half: logical order, numbers from the last on.
  std::array<std::array<Axis, 2>, max_rank> halves{};
  std::array<int, max_rank> parts{};
  std::int64_t groups = 1;
  std::int64_t features = 1;
  for (int axis = shape.rank - 1; axis >= 0; --axis) {
    const auto i = static_cast<std::size_t>(axis);
    Axis whole;
    whole.extent = shape[axis];
    for (std::size_t t = 0; t < max_tensors; ++t) whole.stride[t] = strides[t][i];
    whole.averaged = roles.is_averaged(axis);
    whole.is_feature = roles.is_feature(axis);
    if (whole.is_feature) whole.feature = features;
    parts[i] = 1;
    halves[i][0] = whole;
    if (whole.is_feature && geometry.groups > 0) {
      Axis& outer = halves[i][0];
      Axis& inner = halves[i][1];
      parts[i] = 2;
      inner = whole;
      inner.extent = whole.extent / geometry.groups;
      outer.extent = geometry.groups;
      outer.averaged = false;
      outer.feature = whole.feature * inner.extent;
      for (std::size_t t = 0; t < max_tensors; ++t) outer.stride[t] = whole.stride[t] * inner.extent;
    }
    if (!halves[i][0].averaged) {
      halves[i][0].group = groups;
      groups *= halves[i][0].extent;
    }
    if (whole.is_feature) features *= shape[axis];
  }

  Partition result;
  bool fastest_kept = false;
  bool fastest_feature = false;
  for (int i = 0; i < shape.rank; ++i) {
    const auto axis = static_cast<std::size_t>(order == Order::column_major ? shape.rank - 1 - i : i);
    for (int part = 0; part < parts[axis]; ++part) {
      const Axis& each = halves[axis][static_cast<std::size_t>(part)];
      result.size *= each.extent;
      (each.averaged ? result.groups.reduced : result.groups.kept).append(each);
      (each.is_feature ? result.features.kept : result.features.reduced).append(each);
      if (!each.averaged) (each.is_feature ? result.kept_features : result.kept_samples).append(each);
      if (each.averaged && each.is_feature && each.extent > 1) result.features_kept = false;
      if (each.extent == 1) continue;
      fastest_kept = !each.averaged;
      fastest_feature = each.is_feature;
      result.run = each.is_feature ? 1 : result.run * each.extent;
    }
  }
  result.count = result.groups.reduced.size;
  result.groups.interleaved = fastest_kept;
  result.features.interleaved = fastest_feature;
  return result;
}

}  // namespace core
}  // namespace eigennorm

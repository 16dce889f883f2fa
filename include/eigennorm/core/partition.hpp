#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "eigennorm/core/axes.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/kernels/walk.hpp"

/// \file
/// From axis sets to loops: which values share a statistic, which share a scale and a shift, and in which
/// order memory
/// holds them. Pure functions of shapes and strides.

namespace eigennorm {

/// What makes one normalization different from another, its statistic apart: the axes averaged over, the
/// axes along
/// which scale and shift vary, and how many features those are.
struct Geometry {
  AxisSet averaged;
  AxisSet features;
  Extents extents{1};  ///< of the feature axes; one number stands for their product
  std::int64_t groups =
      0;  ///< where positive: the feature axis, one of the averaged, is cut into so many groups
  const char* name = "Normalization";  ///< begins every error text
  const char* noun = "features";       ///< what the features are called in error texts
};

namespace core {

using kernels::Axis;
using kernels::Loop;
using kernels::max_tensors;
using kernels::Offsets;
using kernels::Partition;
using kernels::Reduction;
using kernels::Tile;

/// The axes of a geometry in a tensor of this shape, after every check of one against the other.
struct Roles {
  std::uint32_t averaged = 0;
  std::uint32_t features = 0;

  bool is_averaged(int axis) const { return (averaged >> axis & 1U) != 0; }
  bool is_feature(int axis) const { return (features >> axis & 1U) != 0; }
};

/// Resolves the axes of a geometry; fails where it does not fit the shape.
inline Roles roles(const Geometry& geometry, const Shape& shape) {
  Roles roles;
  roles.averaged = geometry.averaged.mask(shape.rank, geometry.name);
  roles.features = geometry.features.mask(shape.rank, geometry.name);
  int axes = 0;
  bool fits = true;
  std::int64_t product = 1;
  for (int axis = 0; axis < shape.rank; ++axis) {
    if (!roles.is_feature(axis)) continue;
    if (axes < geometry.extents.size()) fits = fits && geometry.extents.begin()[axes] == shape[axis];
    product *= shape[axis];
    ++axes;
  }
  fits = geometry.extents.size() == axes
             ? fits
             : geometry.extents.size() <= 1 && geometry.extents.product() == product;
  if (!fits) {
    const bool vector = shape.rank == 2 && shape[1] == 1 && geometry.extents.product() == shape[0];
    fail_with({geometry.name, ": made for ", geometry.extents.text(), " ", geometry.noun, " on ",
               geometry.features.text()[0], geometry.features.text()[1], ", got an input of shape ",
               shape.text(), vector ? " (a vector is a matrix of one column here: use over(0))" : ""});
  }
  if (geometry.groups > 0 && (axes != 1 || (roles.averaged & roles.features) != roles.features)) {
    fail_with({geometry.name, ": expected one channel axis beside the sample axes, got ",
               geometry.features.text()[0], geometry.features.text()[1],
               " as the channels of an input of shape ", shape.text()});
  }
  return roles;
}

/// Cuts a call into loops. `strides` has one entry a tensor; all tensors have the same shape and storage
/// order.
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
  result.averaged_axes = roles.averaged;
  result.feature_axes = roles.features;
  bool fastest_kept = false;
  bool fastest_feature = false;
  for (int i = 0; i < shape.rank; ++i) {
    const auto axis = static_cast<std::size_t>(order == Order::column_major ? shape.rank - 1 - i : i);
    for (int part = 0; part < parts[axis]; ++part) {
      const Axis& each = halves[axis][static_cast<std::size_t>(part)];
      result.size *= each.extent;
      (each.averaged ? result.groups.reduced : result.groups.kept).append(each);
      if (each.averaged) result.values.append(each, true, false);
      result.memory.append(each, false, true);
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

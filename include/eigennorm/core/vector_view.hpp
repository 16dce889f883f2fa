#pragma once

#include <cstdint>
#include <type_traits>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/overlap.hpp"
#include "eigennorm/core/view.hpp"

/// \file
/// Vectors of the caller, such as a bias: where their values are, and numbers to put there.

namespace eigennorm::core {

/// A wide number as an element; one of 16 bits by way of float.
template <typename T, typename W>
T narrowed(W value) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else {
    return static_cast<T>(static_cast<float>(value));
  }
}

/// The step from one element of a vector to the next. Fails unless it is one, of `size` elements.
template <typename T>
std::int64_t vector_step(const View<T>& vector, std::int64_t size, const char* owner, const char* role) {
  std::int64_t step = 1;
  int axes = 0;
  for (int axis = 0; axis < vector.shape.rank; ++axis) {
    if (vector.shape[axis] == 1) continue;
    step = vector.strides[static_cast<std::size_t>(axis)];
    ++axes;
  }
  if (axes > 1 || vector.shape.size() != size)
    fail_with({owner, ": expected ", role, " of ", size, " values on one axis, got shape ", vector.shape.text()});
  check_strides(vector.shape, vector.strides, owner, role);
  return step;
}

}  // namespace eigennorm::core

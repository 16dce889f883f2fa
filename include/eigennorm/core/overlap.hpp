#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/view.hpp"

/// \file
/// Which tensors of a call may share memory, and which strides a tensor may have.

namespace eigennorm::core {

/// The axes that move at all, widest stride first.
struct Spread {
  struct Step {
    std::int64_t stride, reach;  // reach: the stride times the last index
  };
  int rank = 0;
  std::array<Step, max_rank> steps{};
  std::int64_t reach = 0;  // of all axes together

  Spread(const Shape& shape, const Strides& strides) {
    for (int axis = 0; axis < shape.rank; ++axis) {
      if (shape[axis] < 2) continue;
      const std::int64_t stride = strides[static_cast<std::size_t>(axis)];
      steps[static_cast<std::size_t>(rank++)] = {stride, stride * (shape[axis] - 1)};
      reach += stride * (shape[axis] - 1);
    }
    std::sort(steps.begin(), steps.begin() + rank, [](Step a, Step b) { return a.stride > b.stride; });
  }
};

/// Fails, in the name of `owner`, where a stride is negative. One of 0 repeats a value, which is all right where it is
/// only read. Those of an empty tensor do not matter.
inline void check_strides(const Shape& shape, const Strides& strides, const char* owner, const char* role) {
  if (shape.size() == 0) return;
  for (int axis = 0; axis < shape.rank; ++axis) {
    const std::int64_t stride = strides[static_cast<std::size_t>(axis)];
    if (shape[axis] > 1 && stride < 0) {
      fail_with({owner, ": expected strides of at least 0, got ", stride, " on axis ", axis, " of ", role});
    }
  }
}

/// Whether the elements follow each other without gaps, in either order of the axes.
inline bool is_packed(const Shape& shape, const Strides& strides) {
  std::int64_t forwards = 1, backwards = 1;
  bool row_major = true, column_major = true;
  for (int i = 0; i < shape.rank; ++i) {
    const int last = shape.rank - 1 - i;
    row_major = row_major && (shape[last] == 1 || strides[static_cast<std::size_t>(last)] == backwards);
    column_major = column_major && (shape[i] == 1 || strides[static_cast<std::size_t>(i)] == forwards);
    backwards *= shape[last];
    forwards *= shape[i];
  }
  return row_major || column_major;
}

/// The offset of the last element.
inline std::int64_t reach(const Shape& shape, const Strides& strides) {
  std::int64_t reach = 0;
  for (int axis = 0; axis < shape.rank; ++axis) reach += strides[static_cast<std::size_t>(axis)] * (shape[axis] - 1);
  return reach;
}

/// As check_strides, and fails unless every element of a tensor that is written has its own place. Strides that nest
/// are asked for (each wider than all narrower axes together reach), which every Block, Map or Tensor of distinct
/// elements in practice has. None of them is 0.
inline void check_distinct(const Shape& shape, const Strides& strides, const char* owner, const char* role) {
  check_strides(shape, strides, owner, role);
  if (shape.size() == 0 || is_packed(shape, strides)) return;
  const Spread spread(shape, strides);
  std::int64_t reach = 0;
  for (int i = spread.rank - 1; i >= 0; --i) {
    const Spread::Step step = spread.steps[static_cast<std::size_t>(i)];
    if (step.stride <= reach) {
      fail_with({owner, ": expected an output whose elements do not overlap each other, got ", role, " of shape ",
                 shape.text(), " with strides ", TextPart(strides.data(), shape.rank)});
    }
    reach += step.reach;
  }
}

enum class Overlap { none, same, partial };

/// Whether `offset` is a sum of the strides from `i` on, none of them 0, each taken fewer times, either way, than its
/// extent.
inline bool is_difference(const Spread& spread, int i, std::int64_t offset, std::int64_t reach) {
  if (i == spread.rank) return offset == 0;
  const auto [stride, step_reach] = spread.steps[static_cast<std::size_t>(i)];
  const std::int64_t rest = reach - step_reach;  // what the narrower axes reach
  const std::int64_t last = step_reach / stride;
  const std::int64_t nearest = offset / stride;
  const std::int64_t slack = rest / stride + 1;
  for (std::int64_t times = (std::max)(-last, nearest - slack); times <= (std::min)(last, nearest + slack); ++times) {
    const std::int64_t left = offset - times * stride;
    if (left >= -rest && left <= rest && is_difference(spread, i + 1, left, rest)) return true;
  }
  return false;
}

/// How the elements of two views of one shape, `a` with distinct elements, share memory. Exact where
/// the strides are equal (two blocks of one matrix); `partial` where they differ and the address ranges meet.
template <typename A, typename B>
Overlap overlap(const View<A>& a, const View<B>& b) {
  static_assert(sizeof(A) == sizeof(B));
  if (a.shape.size() == 0) return Overlap::none;
  const auto first_a = reinterpret_cast<std::uintptr_t>(a.data);
  const auto first_b = reinterpret_cast<std::uintptr_t>(b.data);
  const auto bytes_a = static_cast<std::uintptr_t>(reach(a.shape, a.strides) + 1) * sizeof(A);
  const auto bytes_b = static_cast<std::uintptr_t>(reach(b.shape, b.strides) + 1) * sizeof(B);
  if (first_a + bytes_a <= first_b || first_b + bytes_b <= first_a) return Overlap::none;
  for (int axis = 0; axis < a.shape.rank; ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    if (a.shape[axis] > 1 && a.strides[i] != b.strides[i]) return Overlap::partial;
  }
  if (first_a == first_b) return Overlap::same;
  const std::uintptr_t bytes = first_a < first_b ? first_b - first_a : first_a - first_b;
  if (bytes % sizeof(A) != 0) return Overlap::partial;
  const auto offset = static_cast<std::int64_t>(bytes / sizeof(A));
  const Spread spread(a.shape, a.strides);
  return is_difference(spread, 0, offset, spread.reach) ? Overlap::partial : Overlap::none;
}

}  // namespace eigennorm::core

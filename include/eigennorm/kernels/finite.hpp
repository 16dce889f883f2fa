#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

/// \file
/// Which numbers are numbers.

namespace eigennorm::kernels {

#include "eigennorm/kernels/strict_begin.inl"

/// Of types whose bits are not the same everywhere.
template <typename T>
bool is_finite_by_difference(T value) {
  return value - value == T(0);
}

#include "eigennorm/kernels/strict_end.inl"

/// Whether a value is neither NaN nor infinite: by its bits, because std::isfinite and Eigen's allFinite say of all
/// values that they are where a unit was told so. (Outside of the strict region, whose functions g++ inlines nowhere
/// else.)
template <typename T>
bool is_finite(T value) {
  if constexpr (std::numeric_limits<T>::digits == 24) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000U) != 0x7f800000U;
  } else if constexpr (std::numeric_limits<T>::digits == 53) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7ff0000000000000U) != 0x7ff0000000000000U;
  } else {
    return is_finite_by_difference(value);
  }
}

}  // namespace eigennorm::kernels

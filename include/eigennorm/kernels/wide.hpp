#pragma once

#include <cstdint>
#include <type_traits>

/// \file
/// The type in which sums of blocks are kept.

namespace eigennorm {

/// The type in which a layer of `Scalar` merges its block sums: double for float, otherwise Scalar itself.
template <typename Scalar>
using Wide = std::conditional_t<std::is_same_v<Scalar, float>, double, Scalar>;

namespace kernels {

#include "eigennorm/kernels/strict_begin.inl"

/// a + b, and in `error` what that lost (Knuth 1969).
template <typename T>
T two_sum(T a, T b, T& error) {
  const T sum = a + b;
  const T part = sum - a;
  error = (a - (sum - part)) + (b - part);
  return sum;
}

/// A long sum in Wide. Where Wide is no wider than Scalar, what each addition loses is summed beside it.
template <typename Scalar>
struct WideSum {
  static constexpr bool compensated = std::is_same_v<Scalar, Wide<Scalar>>;

  Wide<Scalar> value = 0, lost = 0;

  void add(Wide<Scalar> next) {
    if constexpr (compensated) {
      Wide<Scalar> error;
      value = two_sum(value, next, error);
      lost = lost + error;
    } else {
      value = value + next;
    }
  }
  void add(const WideSum& next) {
    add(next.value);
    if constexpr (compensated) lost = lost + next.lost;
  }
  Wide<Scalar> total() const {
    if constexpr (compensated) {
      return value + lost;
    } else {
      return value;
    }
  }
};

/// 2^exponent, where that is at most 1.
template <typename T>
constexpr T power_of_two(int exponent) {
  T power = 1;
  for (; exponent < 0; ++exponent) power /= 2;
  return power;
}

/// 1 / divisor, of a whole number, where that is exact: of powers of two. A product by it then is the quotient, in a
/// quarter of the time. Otherwise 0.
template <typename T>
T exact_inverse(T divisor) {
  const auto number = static_cast<std::int64_t>(divisor);
  return number > 0 && (number & (number - 1)) == 0 ? 1 / divisor : T(0);
}

#include "eigennorm/kernels/strict_end.inl"

}  // namespace kernels
}  // namespace eigennorm

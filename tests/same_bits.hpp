#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

// Whether two things have the same bits: signs of zeros and payloads of NaNs count. (Bits of a whole layer: watch.hpp.)

namespace test {

/// How many bytes of a T have a meaning: of the sixteen of a long double with 64 digits, ten.
template <typename T>
constexpr std::size_t value_bytes = std::is_same_v<T, long double>&& std::numeric_limits<long double>::digits == 64
                                        ? 10
                                        : sizeof(T);

template <typename T, typename Size>
bool same_bits(const T* a, const T* b, Size count) {
  const auto size = static_cast<std::size_t>(count);
  if (value_bytes<T> == sizeof(T)) return size == 0 || std::memcmp(a, b, size * sizeof(T)) == 0;
  for (std::size_t i = 0; i < size; ++i) {
    if (std::memcmp(a + i, b + i, value_bytes<T>) != 0) return false;
  }
  return true;
}

template <typename T, typename = void>
constexpr bool is_matrix = false;
template <typename T>
constexpr bool is_matrix<T, std::void_t<decltype(std::declval<const T&>().coeff(0, 0), T::RowsAtCompileTime)>> = true;

template <typename T, typename = void>
constexpr bool has_data = false;
template <typename T>
constexpr bool has_data<T, std::void_t<decltype(std::declval<const T&>().data(), std::declval<const T&>().size())>> =
    true;

template <typename T, typename = void>
constexpr bool has_shape = false;
template <typename T>
constexpr bool has_shape<T, std::void_t<decltype(std::declval<const T&>().shape())>> = true;

/// Of matrices and arrays of Eigen, whatever their strides; of what has values side by side, as a vector or a tensor,
/// and maybe a shape; of single values.
template <typename A, typename B>
bool same_bits(const A& a, const B& b) {
  if constexpr (is_matrix<A> && is_matrix<B>) {
    if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
    for (std::ptrdiff_t row = 0; row < a.rows(); ++row) {
      for (std::ptrdiff_t column = 0; column < a.cols(); ++column) {
        const auto left = a.coeff(row, column);
        const auto right = b.coeff(row, column);
        if (!same_bits(&left, &right, 1)) return false;
      }
    }
    return true;
  } else if constexpr (has_data<A> && has_data<B>) {
    if constexpr (has_shape<A> && has_shape<B>) {
      if (a.shape() != b.shape()) return false;
    }
    return static_cast<std::size_t>(a.size()) == static_cast<std::size_t>(b.size()) &&
           same_bits(a.data(), b.data(), a.size());
  } else {
    static_assert(std::is_same_v<A, B> && std::is_trivially_copyable_v<A>, "no object with memory of its own");
    return same_bits(&a, &b, 1);
  }
}

}  // namespace test

#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "eigennorm/core/view.hpp"
#include "eigennorm/kernels/finite.hpp"
#include "eigennorm/safetensors/stored_tensor.hpp"
#include "eigennorm/safetensors/text.hpp"

/// \file
/// Between the bytes of a file and the elements of Eigen's objects.

namespace eigennorm::core {

template <typename T>
constexpr bool is_sixteen_bits = std::is_same_v<T, Eigen::half> || std::is_same_v<T, Eigen::bfloat16>;
template <typename T>
constexpr bool is_real = std::is_floating_point_v<T> || is_sixteen_bits<T>;

template <typename T>
constexpr bool is_number = std::is_arithmetic_v<T> || is_sixteen_bits<T>;

/// Whether X is an Eigen object of numbers.
template <typename X, typename = void>
constexpr bool holds_numbers = false;
template <typename X>
constexpr bool holds_numbers<X, std::void_t<typename X::Scalar>> = is_number<typename X::Scalar>;

/// What the format calls T; a long double, for which it has no type, is written as a double.
template <typename T>
constexpr std::string_view type_name() {
  static_assert(is_number<T>,
                "A safetensors file holds numbers: integers, bool, float, double, Eigen::half and Eigen::bfloat16.");
  if constexpr (std::is_same_v<T, bool>) return "BOOL";
  if constexpr (std::is_same_v<T, Eigen::half>) return "F16";
  if constexpr (std::is_same_v<T, Eigen::bfloat16>) return "BF16";
  if constexpr (std::is_floating_point_v<T>) return sizeof(T) == 4 ? "F32" : "F64";
  constexpr std::string_view integers[2][4] = {{"U8", "U16", "U32", "U64"}, {"I8", "I16", "I32", "I64"}};
  return integers[std::is_signed_v<T>][sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3];
}

/// The type in which an element of type T is stored.
template <typename T>
using Stored = std::conditional_t<std::is_same_v<T, long double>, double, T>;

template <std::size_t Size>
using Bits = std::conditional_t<
    Size == 1, std::uint8_t,
    std::conditional_t<Size == 2, std::uint16_t, std::conditional_t<Size == 4, std::uint32_t, std::uint64_t>>>;

template <typename T>
T element_at(const unsigned char* bytes) {
  if constexpr (std::is_same_v<T, bool>) {
    return *bytes != 0;
  } else {
    Bits<sizeof(T)> bits = 0;
    for (std::size_t k = sizeof(T); k-- > 0;) bits = static_cast<Bits<sizeof(T)>>(std::uint64_t{bits} << 8U | bytes[k]);
    return Eigen::numext::bit_cast<T>(bits);
  }
}

template <typename T>
void append_element(T value, std::vector<unsigned char>& bytes) {
  const auto bits = Eigen::numext::bit_cast<Bits<sizeof(T)>>(value);
  for (std::size_t k = 0; k < sizeof(T); ++k) bytes.push_back(static_cast<unsigned char>(bits >> 8U * k & 0xFFU));
}

/// One value as another type; false where that cannot hold it. (16 bits come and go by way of float.)
template <typename To, typename From>
bool convert(From from, To& to) {
  if constexpr (std::is_same_v<To, From>) {
    to = from;
    return true;
  } else if constexpr (is_sixteen_bits<From>) {
    return convert(static_cast<float>(from), to);
  } else if constexpr (is_sixteen_bits<To>) {
    float near = 0;
    const bool fits = convert(from, near);
    to = static_cast<To>(near);
    return fits && kernels::is_finite(static_cast<float>(to)) == kernels::is_finite(near);
  } else if constexpr (std::is_floating_point_v<To>) {
    to = static_cast<To>(from);
    return kernels::is_finite(to) || !kernels::is_finite(from);
  } else {
    to = static_cast<To>(from);  // NOLINT(bugprone-signed-char-misuse): they are numbers
    return static_cast<From>(to) == from && (to < To(0)) == (from < From(0));
  }
}

/// Calls f with a value of the type that is called so, and says whether that is one which T is made from: of numbers
/// with a point such numbers, of integers integers, of bool bool.
template <typename T, typename F>
bool with_source_type(std::string_view type, const F& f) {
  const auto one_of = [&](auto... samples) {
    return ((type == type_name<decltype(samples)>() && (f(samples), true)) || ...);
  };
  if constexpr (is_real<T>) {
    return one_of(double(), float(), Eigen::half(), Eigen::bfloat16());
  } else if constexpr (std::is_same_v<T, bool>) {
    return one_of(bool());
  } else {
    return one_of(std::int8_t(), std::int16_t(), std::int32_t(), std::int64_t(), std::uint8_t(), std::uint16_t(),
                  std::uint32_t(), std::uint64_t());
  }
}

template <typename T>
const char* types_for() {
  return is_real<T> ? "F64, F32, F16 or BF16" : std::is_same_v<T, bool> ? "BOOL" : "integers";
}

/// For errors: a value that is none of the type which the format has for T.
template <typename T>
std::string beyond(std::int64_t index) {
  return "expected values in the range of " + std::string(type_name<T>()) + ", got one beyond it at index " +
         std::to_string(index);
}

/// Calls `put(value)` with each value as a T, in order. What was wrong, or an empty text: another kind of type, or a
/// value beyond T.
template <typename T, typename Put>
std::string decode(const StoredTensor& from, Put&& put) {
  std::string problem;
  const bool known = with_source_type<T>(from.type, [&](auto sample) {
    using Source = decltype(sample);
    const std::int64_t count = from.size / static_cast<std::int64_t>(sizeof(Source));
    for (std::int64_t i = 0; i < count; ++i) {
      T value{};
      if (!convert(element_at<Source>(from.bytes + i * static_cast<std::int64_t>(sizeof(Source))), value)) {
        problem = beyond<T>(i);
        return;
      }
      put(value);
    }
  });
  if (!known) problem = std::string("expected ") + types_for<T>() + ", got " + std::string(from.type);
  return problem;
}

/// Goes through the elements of a view in row-major order, whatever lies where.
template <typename T>
class Elements {
 public:
  explicit Elements(const View<T>& view) : view_(view) {}

  T& next() {
    T& element = view_.data[offset_];
    for (int axis = view_.shape.rank; axis-- > 0;) {
      const auto i = static_cast<std::size_t>(axis);
      offset_ += view_.strides[i];
      if (++at_[i] < view_.shape[axis]) break;
      offset_ -= view_.strides[i] * view_.shape[axis];
      at_[i] = 0;
    }
    return element;
  }

 private:
  View<T> view_;
  std::array<std::int64_t, max_rank> at_{};
  std::int64_t offset_ = 0;
};

inline bool is_little_endian() {
  const std::uint16_t one = 1;
  unsigned char first = 0;
  std::memcpy(&first, &one, 1);
  return first == 1;
}

/// Whether the elements of a view lie in memory as those of a file do, so that they can be copied at once.
template <typename T>
bool lies_as_stored(const View<T>& view) {
  using Value = std::remove_const_t<T>;
  if (std::is_same_v<Value, bool> || !std::is_same_v<Value, Stored<Value>>) return false;
  std::int64_t stride = 1;
  for (int axis = view.shape.rank; axis-- > 0;) {
    if (view.shape[axis] != 1 && view.strides[static_cast<std::size_t>(axis)] != stride) return false;
    stride *= view.shape[axis];
  }
  return is_little_endian();
}

/// Fills a view of as many elements. What was wrong, or an empty text.
template <typename T>
std::string decode(const StoredTensor& from, const View<T>& to) {
  if (from.type == type_name<T>() && lies_as_stored(to)) {
    if (from.size > 0) std::memcpy(to.data, from.bytes, static_cast<std::size_t>(from.size));
    return {};
  }
  Elements<T> elements(to);
  return decode<T>(from, [&](T value) { elements.next() = value; });
}

/// Appends the elements of a view. What was wrong, or an empty text: a long double beyond double, say.
template <typename T>
std::string encode(const View<const T>& view, std::vector<unsigned char>& bytes) {
  const std::int64_t count = view.shape.size();
  const std::size_t size = static_cast<std::size_t>(count) * sizeof(Stored<T>);
  if (size > 0 && lies_as_stored(view)) {
    const auto* const begin = reinterpret_cast<const unsigned char*>(view.data);
    bytes.insert(bytes.end(), begin, begin + size);
    return {};
  }
  bytes.reserve(bytes.size() + size);
  Elements<const T> elements(view);
  for (std::int64_t i = 0; i < count; ++i) {
    Stored<T> value{};
    if (!convert(elements.next(), value)) return beyond<T>(i);
    append_element(value, bytes);
  }
  return {};
}

inline std::vector<std::int64_t> list_of(const Shape& shape) {
  return {shape.extents.begin(), shape.extents.begin() + shape.rank};
}

/// Without the extents of 1: shapes that agree in these have the same elements in the same order.
inline std::vector<std::int64_t> essential(std::vector<std::int64_t> shape) {
  shape.erase(std::remove(shape.begin(), shape.end(), 1), shape.end());
  return shape;
}

/// Whether numbers of type Index can count the elements of a shape, and its extents, of which one may be 0.
template <typename Index>
bool can_count(const std::vector<std::int64_t>& shape) {
  std::int64_t left = (std::numeric_limits<Index>::max)();
  for (const std::int64_t extent : shape) left /= (std::max)(extent, std::int64_t{1});
  return left > 0;
}

/// Makes Eigen objects of a stored shape. `fits` is false where X has another rank, fixed sizes that are others, or
/// indices that are too short.
template <typename X>
class Maker {
 public:
  explicit Maker(const std::vector<std::int64_t>& shape) {
    if constexpr (is_dense) {
      make_dense(shape);
    } else {
      constexpr std::size_t rank = X::NumDimensions;
      if (shape.size() != rank || !can_count<typename X::Index>(shape)) return;
      using Extents = typename X::Dimensions;
      if constexpr (std::is_constructible_v<X, Extents>) {
        Extents extents;
        for (std::size_t axis = 0; axis < rank; ++axis) extents[axis] = static_cast<typename X::Index>(shape[axis]);
        result = X(extents);
        fits = true;
      } else {
        fits = list_of(DoorOf<X>::shape(result)) == shape;
      }
    }
  }

  X result;
  bool fits = false;

 private:
  static constexpr bool is_dense = decltype(derives_from_dense(static_cast<X*>(nullptr)))::value;

  /// A vector has one axis in a file; a matrix two.
  void make_dense(const std::vector<std::int64_t>& shape) {
    constexpr Eigen::Index fixed_rows = X::RowsAtCompileTime, fixed_columns = X::ColsAtCompileTime;
    std::int64_t rows = 1, columns = 1;
    if (shape.size() == 2) {
      rows = shape[0];
      columns = shape[1];
    } else if (X::IsVectorAtCompileTime && shape.size() <= 1) {
      (fixed_columns == 1 ? rows : columns) = shape.empty() ? 1 : shape[0];
    } else {
      return;
    }
    fits = can_count<Eigen::Index>(shape) && (fixed_rows == Eigen::Dynamic || fixed_rows == rows) &&
           (fixed_columns == Eigen::Dynamic || fixed_columns == columns);
    if (fits) result.resize(rows, columns);
  }
};

}  // namespace eigennorm::core

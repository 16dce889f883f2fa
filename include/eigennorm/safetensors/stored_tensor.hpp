#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// \file
/// One tensor of a safetensors file, and the types that the format has.

namespace eigennorm {

namespace core {

/// How many values a shape has.
inline std::int64_t count_of(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

}  // namespace core

/// A tensor of a file. Its bytes are where they were read from, and stay there as long as this or a copy of it does
/// (those of SafeTensors::from_memory: as long as their owner keeps them). They are little-endian, in row-major order,
/// and aligned in no way.
struct StoredTensor {
  std::string name;
  std::string_view type;            ///< as the format names it: "F32", "BF16", "I64", ...
  std::vector<std::int64_t> shape;  ///< empty: one value
  const unsigned char* bytes = nullptr;
  std::int64_t size = 0;                   ///< of the bytes
  std::shared_ptr<const void> owner = {};  ///< keeps the bytes

  /// How many values it has.
  std::int64_t count() const { return core::count_of(shape); }
};

namespace core {

/// A tensor that keeps its bytes itself.
inline StoredTensor stored(std::string name, std::string_view type, std::vector<std::int64_t> shape,
                           std::vector<unsigned char> bytes) {
  const auto owner = std::make_shared<const std::vector<unsigned char>>(std::move(bytes));
  return {std::move(name), type, std::move(shape), owner->data(), static_cast<std::int64_t>(owner->size()), owner};
}

/// More axes than anyone has. (The format names no limit; a header could claim millions.)
inline constexpr std::size_t most_axes = 64;

struct ElementType {
  std::string_view name;
  int bits;
};

inline constexpr ElementType element_types[] = {
    {"F64", 64},        {"I64", 64},    {"U64", 64},    {"C64", 64},    {"F32", 32},    {"I32", 32},
    {"U32", 32},        {"F16", 16},    {"BF16", 16},   {"I16", 16},    {"U16", 16},    {"I8", 8},
    {"U8", 8},          {"BOOL", 8},    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},
};

/// The type of that name, or null.
inline const ElementType* element_type(std::string_view name) {
  for (const ElementType& type : element_types) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

/// How many bytes a tensor of that shape takes; -1 where that is no whole number, or beyond 64 bits. An extent of 0
/// makes the others no smaller: strides are products of them.
inline std::int64_t bytes_of(const std::vector<std::int64_t>& shape, int bits) {
  constexpr std::int64_t last = (std::numeric_limits<std::int64_t>::max)();
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t extent : shape) {
    empty = empty || extent == 0;
    if (extent == 0) continue;
    if (extent < 0 || product > last / extent) return -1;
    product *= extent;
  }
  if (product > last / bits) return -1;
  if (empty) return 0;
  return product * bits % 8 == 0 ? product * bits / 8 : -1;
}

}  // namespace core
}  // namespace eigennorm

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "eigennorm/kernels/block.hpp"

/// \file
/// Masks as bits, sixty-four at a time.

namespace eigennorm::core {

using kernels::MaskWord;

/// Bit i is mask[i * step], for at most sixty-four.
inline std::uint64_t mask_bits(const bool* mask, std::int64_t step, std::int64_t count) {
  std::uint64_t bits = 0;
  std::int64_t i = 0;
  if (step == 1) {
    for (; i + 8 <= count; i += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, mask + i, sizeof eight);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
      eight = __builtin_bswap64(eight);
#endif
      // The lowest bit of byte k moves to bit 56 + k; no two meet on the way.
      bits |= (eight * 0x0102040810204080U >> 56) << i;
    }
  }
  for (; i < count; ++i) bits |= static_cast<std::uint64_t>(mask[i * step]) << i;
  return bits;
}

/// A row of a mask: what it leaves, from the first valid position to the last.
class MaskRow {
 public:
  std::int64_t first, last;  ///< of those positions, and behind it; equal where there is none

  MaskRow(const bool* mask, std::int64_t step, std::int64_t extent) : first(0), last(extent), mask_(mask), step_(step) {
    while (first < last && !mask[first * step]) ++first;
    while (first < last && !mask[(last - 1) * step]) --last;
  }

  /// Calls `f(bits, start, lanes)` for words of them; those of float begin with cache lines where rows do.
  template <typename F>
  void for_each_word(const F& f) const {
    for (std::int64_t start = first / 16 * 16; start < last; start += 64) {
      const std::int64_t lanes = (std::min)(std::int64_t{64}, last - start);
      f(mask_bits(mask_ + start * step_, step_, lanes), start, lanes);
    }
  }
  /// Adds how many positions are valid, and how many runs they are.
  void count(std::int64_t& valid, std::int64_t& runs) const {
    std::uint64_t before = 0;
    for_each_word([&](std::uint64_t bits, std::int64_t, std::int64_t) {
      valid += __builtin_popcountll(bits);
      // Where a position is valid and the one before is not.
      runs += __builtin_popcountll(bits & ~(bits << 1 | before));
      before = bits >> 63;
    });
  }

 private:
  const bool* mask_;
  std::int64_t step_;
};

}  // namespace eigennorm::core

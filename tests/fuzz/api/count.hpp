#pragma once

#include <cstdint>

namespace fuzz {

/// Of all programs that were run.
struct CallCount {
  std::uint64_t accepted = 0, refused = 0;
};
inline CallCount call_count;

}  // namespace fuzz

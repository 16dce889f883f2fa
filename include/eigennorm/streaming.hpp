#pragma once

#include <atomic>
#include <cstdint>

/// \file
/// Which results go past the caches.

namespace eigennorm {
namespace kernels {

/// (Visible, so that a program and a shared library of it have one limit.)
__attribute__((visibility("default"))) inline std::atomic<std::int64_t>& streaming_limit() {
  // Four megabytes of y come with four of x at least, more than a core's own caches hold.
  static std::atomic<std::int64_t> limit{4000000};
  return limit;
}

/// Whether a result of so many values is streamed.
template <typename Storage>
bool streams(std::int64_t size) {
  return size >= streaming_limit().load(std::memory_order_relaxed) / static_cast<std::int64_t>(sizeof(Storage));
}

}  // namespace kernels

/// Results (y, dx) of at least `bytes` are written past the caches, with non-temporal stores: memory is then not
/// read before it is written, which makes a call 1.3 to 1.5 times faster, and what was in the caches stays there.
/// The price: who reads the result next finds none of it in a cache. The default is 4 MB. Where your next step
/// reads results that your last-level cache would have held, raise it; the largest std::int64_t turns
/// streaming off. For all threads; no bit of any result depends on it.
inline void stream_results_from(std::int64_t bytes) {
  kernels::streaming_limit().store(bytes, std::memory_order_relaxed);
}

}  // namespace eigennorm

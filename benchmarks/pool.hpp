#pragma once

#include <cstdint>
#include <memory>

/// \file
/// Threads for the limits and the hand-written loops. (Without Eigen in this header: its callers are compiled with
/// flags of their own.)

namespace benchmarks {

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();

  /// Calls `f(first, last)` for one piece of [0, size) on each thread, cut at multiples of `unit`.
  template <typename F>
  void split(std::int64_t size, std::int64_t unit, const F& f) {
    run(
        size, unit,
        [](const void* function, std::int64_t first, std::int64_t last) {
          (*static_cast<const F*>(function))(first, last);
        },
        &f);
  }

 private:
  void run(std::int64_t size, std::int64_t unit, void (*call)(const void*, std::int64_t, std::int64_t),
           const void* function);

  struct Threads;
  std::unique_ptr<Threads> threads_;
};

}  // namespace benchmarks

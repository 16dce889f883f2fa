#pragma once

#include "eigennorm/core/requirements.hpp"

#include <Eigen/Core>
#include <cstdint>
#include <utility>

/// \file
/// Where the work runs.

namespace Eigen {
struct DefaultDevice;  // of the Tensor header, which matrices do without
}

namespace eigennorm {

/// The calling thread, or a pool of the caller's: anything with the `numThreads`, `parallelFor` and `currentThreadId`
/// of `Eigen::ThreadPoolDevice` (of the Tensor header, where `EIGEN_USE_THREADS` is defined). Converted from one, or
/// from `Eigen::DefaultDevice`, where it is passed; the pool is not owned. Results do not depend on the device, to
/// the bit. Called from inside a worker of the pool, work stays on it.
class Device {
 public:
  /// The calling thread.
  Device() = default;
  Device(const Eigen::DefaultDevice&) {}  // NOLINT(google-explicit-constructor)

  template <typename Pool, typename = decltype(std::declval<const Pool&>().numThreads(),
                                               std::declval<const Pool&>().currentThreadId())>
  Device(const Pool& pool)  // NOLINT(google-explicit-constructor)
      : pool_(&pool),
        threads_([](const void* p) {
          const auto& device = *static_cast<const Pool*>(p);
          return device.currentThreadId() >= 0 ? 1 : static_cast<int>(device.numThreads());
        }),
        run_([](const void* p, std::int64_t tasks, double cycles, Range range, const void* f) {
          static_cast<const Pool*>(p)->parallelFor(
              static_cast<Eigen::Index>(tasks), {0, 0, cycles},
              [range, f](Eigen::Index first, Eigen::Index last) { range(f, first, last); });
        }) {}

  /// How many threads a call from here can use.
  int threads() const { return pool_ == nullptr ? 1 : threads_(pool_); }
  /// How many are worth waking for so many values of a tensor: all, or only this one.
  int threads_for(std::int64_t values) const {
    // A megabyte of float: what takes less than some thirty microseconds is done before other threads are awake. (On
    // a machine of two cores LayerNorm of 128 x 512 took four times as long on both.)
    constexpr std::int64_t worth_sharing = 262144;
    return values < worth_sharing ? 1 : threads();
  }

  /// Calls `f(first, last)` for ranges that together are [0, tasks), at once where that pays. `values` is the size of
  /// one task in values of a tensor.
  template <typename F>
  void parallel_for(std::int64_t tasks, std::int64_t values, const F& f) const {
    // By a plain pointer: a std::function of each caller's own would cost a tenth of the time that a layer compiles.
    share(
        tasks, values,
        [](const void* body, std::int64_t first, std::int64_t last) { (*static_cast<const F*>(body))(first, last); },
        &f);
  }

 private:
  using Range = void (*)(const void* f, std::int64_t first, std::int64_t last);

  void share(std::int64_t tasks, std::int64_t values, Range range, const void* f) const {
    constexpr double cycles_per_value = 4;
    if (tasks <= 1 || threads_for(tasks * values) == 1) {
      range(f, 0, tasks);
    } else {
      run_(pool_, tasks, cycles_per_value * static_cast<double>(values), range, f);
    }
  }

  const void* pool_ = nullptr;
  int (*threads_)(const void*) = nullptr;
  void (*run_)(const void*, std::int64_t, double, Range, const void*) = nullptr;
};

}  // namespace eigennorm

#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>

/// \file
/// Where the work runs.

namespace eigennorm {

/// The calling thread, or a pool of the caller's: anything with the `numThreads`, `parallelFor` and
/// `currentThreadId` of
/// `Eigen::ThreadPoolDevice`. Converted from one, or from `Eigen::DefaultDevice`, where it is passed; the
/// pool is not
/// owned. Results do not depend on the device, to the bit. Called from inside a worker of the pool, work
/// stays on it.
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
        run_([](const void* p, std::int64_t tasks, double cycles, const Body& body) {
          static_cast<const Pool*>(p)->parallelFor(static_cast<Eigen::Index>(tasks),
                                                   Eigen::TensorOpCost(0, 0, cycles), body);
        }) {}

  /// How many threads a call from here can use.
  int threads() const { return pool_ == nullptr ? 1 : threads_(pool_); }

  /// Calls `f(first, last)` for ranges that together are [0, tasks), at once where that pays. `values` is
  /// the size of one
  /// task in values of a tensor.
  template <typename F>
  void parallel_for(std::int64_t tasks, std::int64_t values, F&& f) const {
    // A task switch costs about as much as normalizing some thousand values; below this much work it does
    // not pay.
    constexpr std::int64_t worth_sharing = 32768;
    constexpr double cycles_per_value = 4;
    if (tasks <= 1 || tasks * values < worth_sharing || threads() == 1) {
      f(std::int64_t{0}, tasks);
      return;
    }
    run_(pool_, tasks, cycles_per_value * static_cast<double>(values), std::ref(f));
  }

 private:
  using Body = std::function<void(Eigen::Index, Eigen::Index)>;

  const void* pool_ = nullptr;
  int (*threads_)(const void*) = nullptr;
  void (*run_)(const void*, std::int64_t, double, const Body&) = nullptr;
};

}  // namespace eigennorm

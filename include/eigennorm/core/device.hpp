#pragma once

#include "eigennorm/core/requirements.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <atomic>
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

  /// Tasks in pieces that threads take as they come: this one at once, and others when they are awake.
  class Pieces {
   public:
    Pieces(const Device& device, Range range, const void* f, std::int64_t tasks, std::int64_t pieces)
        : device_(device), range_(range), f_(f), tasks_(tasks), pieces_(pieces) {}

    void take() {
      std::int64_t piece;
      while ((piece = next_.fetch_add(1, std::memory_order_relaxed)) < pieces_) {
        range_(f_, piece * tasks_ / pieces_, (piece + 1) * tasks_ / pieces_);
        done_.fetch_add(1, std::memory_order_release);
      }
      if (device_.threads() > 1) wait();
    }

   private:
    /// The caller, for the last pieces of others: a while that is shorter than to fall asleep and be woken.
    void wait() const {
      constexpr int longest = 1000;
      for (int i = 0; i < longest && done_.load(std::memory_order_acquire) < pieces_; ++i) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
    }

    const Device& device_;
    Range range_;
    const void* f_;
    std::int64_t tasks_, pieces_;
    std::atomic<std::int64_t> next_{0}, done_{0};
  };

  void share(std::int64_t tasks, std::int64_t values, Range range, const void* f) const {
    constexpr double cycles_per_value = 4;
    const std::int64_t all = tasks * values, threads = threads_for(all);
    if (tasks <= 1 || threads == 1) return range(f, 0, tasks);
    // What takes about as long as to wake a thread must not wait for one: the pool of Eigen would put this thread to
    // sleep, and wake it again. (BatchNorm of 8 x 32 x 32 x 32 on two threads takes half as long so; with six times as
    // many values, 1.15 times, because the pool's idle thread looks for work.)
    constexpr std::int64_t few = 1024 * 1024, worth_waking = 65536, pieces_of_each = 8;
    if (all >= few) return run_(pool_, tasks, cycles_per_value * static_cast<double>(values), range, f);
    const std::int64_t takers = (std::min)({tasks, threads, all / worth_waking});
    Pieces pieces(*this, range, f, tasks, (std::min)(tasks, pieces_of_each * takers));
    // (Each taker is a task that seems long enough to any pool to be one by itself.)
    constexpr double long_enough = 1e9;
    run_(
        pool_, takers, long_enough,
        [](const void* of, std::int64_t first, std::int64_t last) {
          for (; first < last; ++first) static_cast<Pieces*>(const_cast<void*>(of))->take();
        },
        &pieces);
  }

  const void* pool_ = nullptr;
  int (*threads_)(const void*) = nullptr;
  void (*run_)(const void*, std::int64_t, double, Range, const void*) = nullptr;
};

}  // namespace eigennorm

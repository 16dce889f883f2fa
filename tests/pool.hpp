#pragma once

#include <eigennorm/eigennorm.hpp>

// Threads for calls. Where Eigen's Tensor header is included first, EIGEN_USE_THREADS has to be defined.

namespace test {

/// Threads, and the device by which calls have them.
template <typename Threads>
class BasicPool {
 public:
  explicit BasicPool(int number) : threads_(number), device_(&threads_, number) {}

  Threads& threads() { return threads_; }
  const Threads& threads() const { return threads_; }
  const Eigen::ThreadPoolDevice& device() const { return device_; }

 private:
  Threads threads_;
  Eigen::ThreadPoolDevice device_;
};

using Pool = BasicPool<Eigen::ThreadPool>;

}  // namespace test

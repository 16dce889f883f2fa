#define EIGEN_USE_THREADS
#include "pool.hpp"

#include <algorithm>
#include <unsupported/Eigen/CXX11/Tensor>

namespace benchmarks {

struct Pool::Threads {
  explicit Threads(int count) : pool(count) {}
  Eigen::ThreadPool pool;
};

Pool::Pool(int threads) : threads_(threads > 1 ? std::make_unique<Threads>(threads) : nullptr) {}
Pool::~Pool() = default;

void Pool::run(std::int64_t size, std::int64_t unit, void (*call)(const void*, std::int64_t, std::int64_t),
               const void* function) {
  const int pieces = threads_ == nullptr ? 1 : threads_->pool.NumThreads();
  const std::int64_t step = (size / unit + pieces - 1) / pieces * unit;
  if (pieces == 1 || step == 0) {
    call(function, 0, size);
    return;
  }
  Eigen::Barrier done(static_cast<unsigned>(pieces - 1));
  for (int piece = 1; piece < pieces; ++piece) {
    threads_->pool.Schedule([=, &done] {
      call(function, std::min(piece * step, size), piece + 1 == pieces ? size : std::min((piece + 1) * step, size));
      done.Notify();
    });
  }
  call(function, 0, std::min(step, size));
  done.Wait();
}

}  // namespace benchmarks

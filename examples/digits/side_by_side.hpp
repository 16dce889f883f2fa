/// Independent pieces of work on several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <future>
#include <vector>

#include "progress.hpp"

namespace digits {

/// Calls `work(i)` for all i < count, each on one thread and `threads` of them at a time.
template <typename Work>
void side_by_side(std::size_t count, int threads, Progress& progress, Work&& work) {
  std::atomic<std::size_t> next{0};
  const auto take = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      work(i);
      progress.finish_one();
    }
  };
  std::vector<std::future<void>> workers;
  for (int i = 0; i < threads; ++i) workers.push_back(std::async(std::launch::async, take));
  for (std::future<void>& worker : workers) worker.get();  // rethrows what the worker threw
}

}  // namespace digits

#include "ring.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <stdexcept>

namespace benchmarks {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t page = 1024;  // in values
/// Seventeen cache lines, so that no two buffers begin at the same place of every cache, and short ones share none.
constexpr std::size_t apart = 17 * 16;

/// Numbers in [-0.5, 0.5).
class Random {
 public:
  float next() {
    state_ = state_ * 1664525U + 1013904223U;
    return static_cast<float>(state_ >> 8) / 16777216.0F - 0.5F;
  }

 private:
  std::uint32_t state_ = 1;
};

/// From one buffer to the next.
std::size_t room(std::int64_t size) { return (static_cast<std::size_t>(size) + page - 1) / page * page + page + apart; }

/// How many buffers a workload has, and how far apart. In a page, those that set number s reads begin at s * read and
/// on, by times of `apart`, and those that it writes behind them.
struct Set {
  explicit Set(const Workload& workload)
      : read(workload.has_residual() ? 3 : 2),
        written(workload.has_residual() ? 2 : 1),
        buffer(room(workload.size())) {}

  /// From the results of one set to those of the next.
  std::size_t step() const { return written * buffer + (read - written) * apart; }

  std::size_t read, written;
  std::size_t buffer;  ///< from one buffer to the next
};

/// The number of the row or channel that value `i` belongs to.
std::int64_t group_of(const Workload& w, std::int64_t i) {
  switch (w.layer) {
    case Layer::batch_norm:
      return i / w.plane() % w.features();
    case Layer::batch_norm_last:
      return i % w.features();
    default:
      return i / w.features();
  }
}

}  // namespace

Ring::Ring(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for the buffers");
  const auto address = (reinterpret_cast<std::uintptr_t>(memory) + huge_page - 1) / huge_page * huge_page;
  input_ = reinterpret_cast<float*>(address);
  madvise(input_, bytes, MADV_HUGEPAGE);
  Random random;
  const std::size_t count = bytes / sizeof(float);
  for (std::size_t i = 0; i < count; ++i) input_[i] = random.next();
  results_ = count / 3;
  result_ = input_ + (count - results_) / page * page;
}

std::size_t Ring::sets(const Workload& workload) const {
  const Set set(workload);
  const std::size_t count = (results_ - set.read * apart) / set.step();
  if (count == 0) throw std::runtime_error("the memory for the buffers is too small (--ring)");
  return count;
}

Buffers Ring::at(std::size_t turn, const Workload& workload) const {
  const Set set(workload);
  const std::size_t number = turn % sets(workload);
  float* x = input_ + number * set.read * set.buffer;
  float* y = result_ + number * set.step() + set.read * apart;
  Buffers buffers{x, x + set.buffer, y, nullptr, nullptr};
  if (workload.has_residual()) {
    buffers.residual = x + 2 * set.buffer;
    buffers.second_result = y + set.buffer;
  }
  return buffers;
}

void Ring::fill(std::size_t turn, const Workload& workload, const Values& values) {
  const std::int64_t size = workload.size();
  if (turn >= sets(workload)) throw std::runtime_error("the memory for the buffers is too small (--ring)");
  float* x = input_ + (at(turn, workload).x - input_);
  Random random;
  for (std::int64_t i = 0; i < size; ++i) {
    const float value = values.centre + values.spread * random.next();
    x[i] = values.half_zero && group_of(workload, i) % 2 == 1 ? 0.0F : value;
  }
}

}  // namespace benchmarks

#include "mask.hpp"

#include <random>

namespace benchmarks {
namespace {

/// From half the positions to all. Every second one makes up for the one before it, so that their mean is 75 %.
std::vector<std::int64_t> lengths_of(std::int64_t samples, std::int64_t positions) {
  std::mt19937 random;
  std::vector<std::int64_t> lengths;
  for (std::int64_t n = 0; n < samples; ++n) {
    const std::int64_t shortened = static_cast<std::int64_t>(random() % (positions / 2 + 1));
    lengths.push_back(n % 2 == 0 ? positions - shortened : positions * 3 / 2 - lengths.back());
  }
  return lengths;
}

}  // namespace

std::shared_ptr<const Mask> mask_of(const Workload& workload) {
  if (!workload.has_mask()) return nullptr;
  const std::int64_t samples = workload.shape[0], positions = workload.size() / samples / workload.features();
  const auto mask = std::make_shared<Mask>();
  if (workload.extra == Extra::lengths) mask->lengths = lengths_of(samples, positions);
  mask->valid = std::make_unique<bool[]>(static_cast<std::size_t>(samples * positions));
  std::mt19937 random;
  for (std::int64_t place = 0; place < samples * positions; ++place) {
    const bool valid = mask->lengths.empty()
                           ? random() % 4 != 0
                           : place % positions < mask->lengths[static_cast<std::size_t>(place / positions)];
    mask->valid[static_cast<std::size_t>(place)] = valid;
    if (valid) mask->places.push_back(place);
  }
  return mask;
}

}  // namespace benchmarks

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "support.hpp"

// Random choices: of integers, of one among several, and of extents at which kernels tend to go wrong.

namespace fuzz {

using test::Random;

/// From 0 to `bound` - 1.
inline std::size_t below(Random& random, std::size_t bound) {
  return static_cast<std::size_t>(random.uniform() * static_cast<double>(bound));
}

inline bool chance(Random& random, double probability) { return random.uniform() < probability; }

template <typename T>
T pick(Random& random, const std::vector<T>& among) {
  return among[below(random, among.size())];
}

/// 10 to a power between two.
inline double magnitude(Random& random, double least, double most) {
  return std::pow(10.0, least + (most - least) * random.uniform());
}

/// All orders are equally likely.
template <typename T>
void shuffle(Random& random, std::vector<T>& values) {
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(random, i)]);
}

inline bool is_prime(std::ptrdiff_t number) {
  for (std::ptrdiff_t divisor = 2; divisor * divisor <= number; ++divisor) {
    if (number % divisor == 0) return false;
  }
  return number > 1;
}

inline std::vector<std::ptrdiff_t> divisors(std::ptrdiff_t number) {
  std::vector<std::ptrdiff_t> all;
  for (std::ptrdiff_t divisor = 1; divisor <= number; ++divisor) {
    if (number % divisor == 0) all.push_back(divisor);
  }
  return all;
}

/// From 1 to `most`; rather 1, a prime, or a power of two or its neighbour than others.
inline std::ptrdiff_t extent(Random& random, std::ptrdiff_t most) {
  const double kind = random.uniform();
  if (most < 2 || kind < 0.15) return 1;
  const double exponent = std::log2(static_cast<double>(most)) * random.uniform();
  const auto any = static_cast<std::ptrdiff_t>(std::exp2(exponent));
  if (kind < 0.4) {
    std::ptrdiff_t prime = std::max<std::ptrdiff_t>(any, 2);
    while (!is_prime(prime)) --prime;
    return prime;
  }
  if (kind < 0.7) {
    const std::ptrdiff_t power = std::ptrdiff_t{1} << std::lround(exponent);
    return std::clamp<std::ptrdiff_t>(power - 1 + static_cast<std::ptrdiff_t>(below(random, 3)), 1, most);
  }
  return std::clamp<std::ptrdiff_t>(any, 1, most);
}

/// One to five axes of at most 4096, and at most `most` values.
inline reference::Sizes shape(Random& random, std::ptrdiff_t most) {
  const std::size_t rank = 1 + below(random, 5);
  std::vector<std::size_t> axes(rank);
  for (std::size_t axis = 0; axis < rank; ++axis) axes[axis] = axis;
  shuffle(random, axes);
  reference::Sizes result(rank);
  std::ptrdiff_t left = most;
  for (const std::size_t axis : axes) {
    result[axis] = extent(random, std::min<std::ptrdiff_t>(left, 4096));
    left /= result[axis];
  }
  return result;
}

}  // namespace fuzz

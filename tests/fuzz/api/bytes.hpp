#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

// What the fuzzer gives and what it takes.

namespace fuzz {

/// Choices, one byte each; after the end all are 0.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}

  bool empty() const { return at_ == end_; }
  int next() { return at_ == end_ ? 0 : *at_++; }
  int below(int bound) { return next() % bound; }
  /// Rarely true, and never after the end.
  bool one_in(int times) { return below(times) == times - 1; }

  template <typename T>
  T pick(const std::vector<T>& among) {
    return among[static_cast<std::size_t>(below(static_cast<int>(among.size())))];
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

/// A crash, because that is what a fuzzer understands.
inline void require(bool condition, const char* rule) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", rule);
  std::abort();
}

}  // namespace fuzz

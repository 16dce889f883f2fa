#pragma once

#include <utility>

/// \file
/// How a layer knows that it was moved away.

namespace eigennorm::core {

/// Whether its owner was moved from. What is left of a layer then has no parameters, so it would compute without them.
class MovedFrom {
 public:
  MovedFrom() = default;
  MovedFrom(const MovedFrom&) = default;
  MovedFrom& operator=(const MovedFrom&) = default;
  MovedFrom(MovedFrom&& other) noexcept : yes_(std::exchange(other.yes_, true)) {}
  MovedFrom& operator=(MovedFrom&& other) noexcept {
    const bool yes = other.yes_;
    other.yes_ = true;  // first: a layer may be moved to itself
    yes_ = yes;
    return *this;
  }
  ~MovedFrom() = default;

  explicit operator bool() const { return yes_; }

 private:
  bool yes_ = false;
};

}  // namespace eigennorm::core

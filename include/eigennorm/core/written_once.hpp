#pragma once

#include <atomic>

/// \file
/// How calls that may run at once leave something for those that follow.

namespace eigennorm::core {

/// Whether something is there that many threads read and one of them wrote. Readers only read, and nobody waits: who
/// comes while it is written does without. It is written once, until whoever alone holds it forgets it.
class WrittenOnce {
 public:
  bool is_there() const { return state_.load(std::memory_order_acquire) == State::there; }

  /// Calls `write()` where nothing is there and nobody else writes; returns whether it did.
  template <typename Write>
  bool try_write(const Write& write) {
    // (First a look: to exchange takes the word from all others.)
    State none = state_.load(std::memory_order_relaxed);
    if (none != State::none || !state_.compare_exchange_strong(none, State::begun, std::memory_order_relaxed))
      return false;
    write();
    state_.store(State::there, std::memory_order_release);
    return true;
  }

  void forget() { state_.store(State::none, std::memory_order_relaxed); }

 private:
  enum class State { none, begun, there };
  std::atomic<State> state_{State::none};
};

}  // namespace eigennorm::core

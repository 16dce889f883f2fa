#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "eigennorm/core/found_places.hpp"
#include "eigennorm/core/loop.hpp"

/// \file
/// What a layer keeps for calls in which positions are left out.

namespace eigennorm::core {

/// Groups of such a call that have as many values each, in the same places.
struct ValidPart {
  Offsets base;         ///< what its offsets, groups and features begin with
  std::int64_t groups;  ///< that the axis has along which runs of groups step
  std::int64_t count;   ///< of values in each group
  Places values, featured;
  bool dense = false;  ///< what is valid is a block of the tensor
};

/// Runs of positions that are valid, and of those that are not. Kept, because fresh memory would cost more than to find
/// them: after the first call nothing is allocated.
struct ValidRoom {
  std::vector<Run> gaps, inner_gaps, groups;
  FoundPlaces values, featured, positions;
  std::vector<ValidPart> parts;

  ValidRoom() = default;
  /// (A copy of a layer finds its own.)
  ValidRoom(const ValidRoom&) {}
  ValidRoom& operator=(const ValidRoom&) { return *this; }
  ValidRoom(ValidRoom&&) = default;
  ValidRoom& operator=(ValidRoom&&) = default;
  ~ValidRoom() = default;

  void clear() {
    for (std::vector<Run>* each : {&gaps, &inner_gaps, &groups}) each->clear();
    for (FoundPlaces* each : {&values, &featured, &positions}) each->clear();
    parts.clear();
  }
};

/// The room of a call on a layer that is const: that of the thread. (Taken while it is in use, so that a call within
/// the call has another.)
class ThreadRoom {
 public:
  ThreadRoom() : room_(std::move(kept())) {}
  ThreadRoom(const ThreadRoom&) = delete;
  ThreadRoom& operator=(const ThreadRoom&) = delete;
  ~ThreadRoom() { kept() = std::move(room_); }

  ValidRoom& get() { return room_; }

 private:
  static ValidRoom& kept() {
    static thread_local ValidRoom room;
    return room;
  }

  ValidRoom room_;
};

}  // namespace eigennorm::core

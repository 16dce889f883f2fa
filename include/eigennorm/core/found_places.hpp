#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "eigennorm/core/loop.hpp"
#include "eigennorm/core/mask_bits.hpp"

/// \file
/// Where the places of parts are kept: their runs, and what stands for runs that are short.

namespace eigennorm::core {

struct FoundPlaces {
  std::vector<Run> runs;
  std::vector<std::int32_t> offsets;
  std::vector<MaskWord> words;

  void clear() {
    runs.clear();
    offsets.clear();
    words.clear();
  }

  std::int64_t number() const { return static_cast<std::int64_t>(runs.size()); }
  /// The numbers of the run and word that come next: where those of a part begin, until all are there and stay where
  /// they are.
  Places next() const { return {nullptr, number(), nullptr, nullptr, static_cast<std::int64_t>(words.size())}; }

  /// Adds what kernels want to find behind the last word. Then no further is found.
  void end_words() {
    if (!words.empty()) words.push_back({~std::uint64_t{0}, 64, 0, (std::numeric_limits<std::int64_t>::max)()});
  }
  /// All of them.
  Places all() const { return between({}, next()); }
  /// Those from `first` on, up to those of the next part.
  Places between(const Places& first, const Places& next) const {
    Places places{runs.data() + first.count, next.count - first.count};
    if (!words.empty()) {
      places.words = words.data() + first.word_count;
      places.word_count = next.word_count - first.word_count;
    }
    return places;
  }

  /// Lists where positions are, a step of one axis apart in a run. Returns false where that is beyond the range.
  bool append_offsets(const Places& places, const Axis& step) {
    const std::int64_t origin = places.runs[0].at.tensor[0];
    for (std::int64_t r = 0; r < places.count; ++r) {
      const Run& run = places.runs[r];
      const std::int64_t first = run.at.tensor[0] - origin, last = first + (run.length - 1) * step.stride[0];
      if (first < 0 || last > (std::numeric_limits<std::int32_t>::max)()) return false;
      for (std::int64_t i = 0; i < run.length; ++i)
        offsets.push_back(static_cast<std::int32_t>(first + i * step.stride[0]));
    }
    return true;
  }
};

}  // namespace eigennorm::core

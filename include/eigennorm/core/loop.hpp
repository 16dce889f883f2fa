#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/block.hpp"

/// \file
/// The loops of a call: which positions are walked, in the order of memory.

namespace eigennorm {

/// The largest rank that a layer accepts.
constexpr int max_rank = 8;

namespace core {

/// The tensors of one walk: x and y; x, dy and dx; with a residual one more.
constexpr int max_tensors = 4;

/// One axis of a loop, with what a step along it adds to the offset in each tensor, the number of the group
/// and the number of the feature. A grouped channel axis is two of these. Not initialized: a call makes dozens, and
/// on small tensors their number is what it costs.
struct Axis {
  std::int64_t extent;
  std::array<std::int64_t, max_tensors> stride;
  std::int64_t group;
  std::int64_t feature;
};

/// An axis that does not move.
inline Axis no_axis() { return {1, {}, 0, 0}; }

/// A position: its offset in each tensor, its group and its feature. All three are sums over the axes.
struct Offsets {
  std::array<std::int64_t, max_tensors> tensor{};
  std::int64_t group = 0;
  std::int64_t feature = 0;

  void step(const Axis& axis, std::int64_t times) {
    for (std::size_t t = 0; t < max_tensors; ++t) tensor[t] += axis.stride[t] * times;
    group += axis.group * times;
    feature += axis.feature * times;
  }
  void add(const Offsets& other) {
    for (std::size_t t = 0; t < max_tensors; ++t) tensor[t] += other.tensor[t];
    group += other.group;
    feature += other.feature;
  }
};

/// Positions that follow each other, a step of one axis apart: where the first is, which number it has, and how many
/// there are.
struct Run {
  Offsets at;
  std::int64_t position, length;
};

/// The positions of a loop of which some are left out: runs in order, which others hold. (Not inlined: most loops have
/// all of theirs.)
struct Places {
  const Run* runs;
  std::int64_t count;
  /// Where runs are short: how far each position is from the first, alike in all tensors; null: they are not.
  const std::int32_t* offsets = nullptr;
  /// Where they are neighbours in memory, too: words that leave them, alike in all tensors; null: no words. A run then
  /// is what is valid of a row, and `Loop::at` knows only where its first position is.
  const kernels::MaskWord* words = nullptr;
  std::int64_t word_count = 0;

  /// The run that has a position.
  [[gnu::noinline]] const Run& run_of(std::int64_t position) const {
    return *(std::upper_bound(runs, runs + count, position,
                              [](std::int64_t number, const Run& run) { return number < run.position; }) -
             1);
  }
  /// The word that has a position.
  const kernels::MaskWord* word_of(std::int64_t position) const {
    const auto before = [](std::int64_t number, const kernels::MaskWord& word) { return number < word.position; };
    return std::upper_bound(words, words + word_count, position, before) - 1;
  }
  /// The number of a position's lane, from the first of `word` on, whose row it is in.
  std::int64_t lane_of(std::int64_t position, const kernels::MaskWord& word) const {
    const kernels::MaskWord& own = *word_of(position);
    std::uint64_t bits = own.bits;
    for (std::int64_t i = own.position; i < position; ++i) bits &= bits - 1;
    return own.at - word.at + __builtin_ctzll(bits);
  }
  /// How many lanes there are from the first of `word` to the last of a run.
  std::int64_t lanes_to_end(const Run& run, const kernels::MaskWord& word) const {
    const kernels::MaskWord& last = *word_of(run.position + run.length - 1);
    return last.at - word.at + last.lanes;
  }
};

/// A walk over some of the axes, slowest in memory first. Neighbours of which the inner continues where the outer steps
/// are merged, in all that a step adds; so a contiguous tensor is one axis, and numbering does not depend on strides.
struct Loop {
  int rank;
  std::array<Axis, max_rank + 1> axes;  ///< the first `rank` of them
  std::int64_t size;
  /// Null: all positions are there. Otherwise the last of two axes is the one along which runs step, and the first,
  /// which does not move, says by its group and feature whether those change from run to run.
  const Places* places = nullptr;

  Loop() : rank(0), size(1) {}
  Loop(const Loop& other) noexcept : rank(other.rank), size(other.size), places(other.places) { copy_axes(other); }
  Loop& operator=(const Loop& other) noexcept {
    rank = other.rank;
    size = other.size;
    places = other.places;
    copy_axes(other);
    return *this;
  }

  /// Neighbours are merged whatever their groups or features where those do not matter.
  /// (Not inlined: it would be so six times.)
  [[gnu::noinline]] void append(const Axis& axis, bool groups_matter = true, bool features_matter = true) {
    size *= axis.extent;
    if (axis.extent == 1) return;
    if (rank > 0) {
      Axis& last = axes[static_cast<std::size_t>(rank - 1)];
      bool merges = (!groups_matter || last.group == axis.group * axis.extent) &&
                    (!features_matter || last.feature == axis.feature * axis.extent);
      for (std::size_t t = 0; t < max_tensors; ++t) merges = merges && last.stride[t] == axis.stride[t] * axis.extent;
      if (merges) {
        const std::int64_t extent = last.extent * axis.extent;
        last = axis;
        last.extent = extent;
        return;
      }
    }
    axes[static_cast<std::size_t>(rank++)] = axis;
  }

  /// The fastest axis; one of extent 1 where there is none.
  Axis fastest() const { return rank == 0 ? no_axis() : axes[static_cast<std::size_t>(rank - 1)]; }

  Offsets at(std::int64_t position) const {
    Offsets offsets;
    if (places != nullptr) {
      const Run& run = places->run_of(position);
      offsets = run.at;
      offsets.step(axes[1], position - run.position);
      return offsets;
    }
    for (int i = rank - 1; i > 0; --i) {
      const Axis& axis = axes[static_cast<std::size_t>(i)];
      offsets.step(axis, position % axis.extent);
      position /= axis.extent;
    }
    if (rank > 0) offsets.step(axes[0], position);
    return offsets;
  }

  /// The same of one tensor alone.
  std::int64_t offset(std::int64_t position, std::size_t tensor) const {
    if (places != nullptr) return at(position).tensor[tensor];
    std::int64_t offset = 0;
    for (int i = rank - 1; i > 0; --i) {
      const Axis& axis = axes[static_cast<std::size_t>(i)];
      offset += position % axis.extent * axis.stride[tensor];
      position /= axis.extent;
    }
    return rank > 0 ? offset + position * axes[0].stride[tensor] : offset;
  }

  /// Calls `f(offsets, position, length)` for each run along the fastest axis that covers positions [first, last).
  template <typename F>
  void for_each_run(std::int64_t first, std::int64_t last, F&& f) const;

  /// The same for one tensor: calls `f(offset, position, length)`. (Steps in all tensors take twice as long as to copy
  /// a run of some dozens of values.)
  template <typename F>
  void for_each_run_of(std::size_t tensor, std::int64_t first, std::int64_t last, const F& f) const {
    if (places != nullptr) {
      return for_each_run(first, last, [&](const Offsets& at, std::int64_t position, std::int64_t length) {
        f(at.tensor[tensor], position, length);
      });
    }
    const Axis run = fastest(), outer = rank < 2 ? no_axis() : axes[static_cast<std::size_t>(rank - 2)];
    while (first < last) {
      // The first may be a part of one. Those behind it follow each other along one axis, up to its end.
      const std::int64_t row = first / run.extent, within = first - row * run.extent;
      std::int64_t at = offset(first, tensor);
      f(at, first, (std::min)(run.extent - within, last - first));
      at -= within * run.stride[tensor];
      first += run.extent - within;
      for (std::int64_t i = row % outer.extent + 1; i < outer.extent && first < last; ++i, first += run.extent)
        f(at += outer.stride[tensor], first, (std::min)(run.extent, last - first));
    }
  }

 private:
  void copy_axes(const Loop& other) noexcept {
    for (int i = 0; i < other.rank; ++i) axes[static_cast<std::size_t>(i)] = other.axes[static_cast<std::size_t>(i)];
  }
};

/// The runs along the fastest axis of a loop that cover positions [first, last), one after the other. (Not a template,
/// and not inlined: a dozen walks share it.)
class Runs {
 public:
  Offsets at;
  std::int64_t position, length;

  [[gnu::noinline]] Runs(const Loop& loop, std::int64_t first, std::int64_t last)
      : at(loop.at(first)), position(first), length(0), loop_(loop), last_(last) {
    if (loop.places != nullptr) {
      if (first >= last) return;
      run_ = &loop.places->run_of(first);
      length = (std::min)(run_->position + run_->length, last) - first;
      return;
    }
    const std::int64_t extent = loop.fastest().extent;
    std::int64_t outer = loop.rank <= 1 ? 0 : first / extent;
    inside_ = first - outer * extent;
    for (int i = loop.rank - 2; i >= 0; --i) {
      const std::int64_t next = i == 0 ? 0 : outer / loop.axes[static_cast<std::size_t>(i)].extent;
      place_[static_cast<std::size_t>(i)] = outer - next * loop.axes[static_cast<std::size_t>(i)].extent;
      outer = next;
    }
    length = (std::min)(extent - inside_, last - first);
  }

  bool done() const { return position >= last_; }

  /// (By steps: divisions would cost as much as short runs themselves.)
  [[gnu::noinline]] void next() {
    position += length;
    if (done()) return;
    if (run_ != nullptr) {
      at = (++run_)->at;
      length = (std::min)(run_->length, last_ - position);
      return;
    }
    const Axis& run = loop_.axes[static_cast<std::size_t>(loop_.rank - 1)];
    at.step(run, -inside_);
    inside_ = 0;
    for (int i = loop_.rank - 2; i >= 0; --i) {
      const Axis& axis = loop_.axes[static_cast<std::size_t>(i)];
      at.step(axis, 1);
      if (++place_[static_cast<std::size_t>(i)] < axis.extent) break;
      at.step(axis, -axis.extent);
      place_[static_cast<std::size_t>(i)] = 0;
    }
    length = (std::min)(run.extent, last_ - position);
  }

 private:
  const Loop& loop_;
  std::int64_t last_, inside_;
  std::array<std::int64_t, max_rank + 1> place_;  ///< on each slower axis
  const Run* run_ = nullptr;                      ///< of places
};

template <typename F>
void Loop::for_each_run(std::int64_t first, std::int64_t last, F&& f) const {
  for (Runs runs(*this, first, last); !runs.done(); runs.next()) f(runs.at, runs.position, runs.length);
}

}  // namespace core
}  // namespace eigennorm

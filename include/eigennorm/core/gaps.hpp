#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eigennorm/core/device.hpp"
#include "eigennorm/core/run_finder.hpp"

/// \file
/// What a mask leaves out, which results have zeros in.

namespace eigennorm::core {

class Gaps {
 public:
  /// `outer` and `inner` have to stay.
  Gaps(std::vector<Run>& outer, std::vector<Run>& inner)
      : outer_(outer),
        inner_(inner),
        finder_(RunFinder::Which::invalid, false, outer),
        between_(RunFinder::Which::inner, false, inner) {}

  /// The next axis, slowest in memory first: whether the mask varies along it, and what a step then adds in the mask.
  void add_axis(const Axis& axis, bool varies, std::int64_t mask) {
    if (varies) {
      finder_.add_axis(axis, mask);
      between_.add_axis(axis, mask);
      positions_ *= axis.extent;
    } else {
      others_.append(axis, false, false);
    }
  }
  Axis fastest() const { return finder_.step(); }

  /// Finds them. Returns how many values they are. `later`: those that have valid positions on both sides of them are
  /// looked for when they are needed.
  std::int64_t find(const bool* mask, bool later) {
    mask_ = mask;
    if (later) finder_.look_for(RunFinder::Which::outer);
    std::int64_t invalid = finder_.find({}, mask);
    if (later) invalid = left_ = positions_ - finder_.valid();
    return size_ = invalid * others_.size;
  }
  /// Where they are left for later: whether runs between them are that short, on average.
  bool leave_runs_below(std::int64_t length) const {
    return left_ > 0 && finder_.valid() < finder_.valid_runs() * length;
  }

  /// Writes zeros to them in tensor number `tensor`; `between`: to those, too, that were left for later.
  template <typename Storage>
  void clear(Storage* data, std::size_t tensor, bool between, const Device& device) {
    clear(outer_, data, tensor, device);
    if (!between || left_ == 0) return;
    if (inner_.empty()) between_.find({}, mask_);
    clear(inner_, data, tensor, device);
  }

 private:
  template <typename Storage>
  void clear(const std::vector<Run>& runs, Storage* data, std::size_t tensor, const Device& device) const {
    const auto number = static_cast<std::int64_t>(runs.size());
    if (number == 0) return;
    const std::int64_t step = finder_.step().stride[tensor], other_step = others_.fastest().stride[tensor];
    device.parallel_for(
        number, (std::max)(size_ / number, std::int64_t{1}), [&](std::int64_t first, std::int64_t last) {
          // Gaps of a few pages at a time, again for each of the others: in the order of memory where gaps step less.
          constexpr std::int64_t together = 256;
          for (std::int64_t begin = first; begin < last; begin += together) {
            const std::int64_t end = (std::min)(begin + together, last);
            others_.for_each_run(0, others_.size, [&](const Offsets& at, std::int64_t, std::int64_t length) {
              Storage* const row = data + at.tensor[tensor];
              if (step > other_step) {
                for_gaps(runs, begin, end, [&](const Run& gap) {
                  clear_rows(row + gap.at.tensor[tensor], gap.length, step, length, other_step);
                });
                return;
              }
              for (std::int64_t i = 0; i < length; ++i) clear_row(runs, row + i * other_step, begin, end, tensor);
            });
          }
        });
  }

  template <typename F>
  static void for_gaps(const std::vector<Run>& runs, std::int64_t first, std::int64_t last, const F& f) {
    for (std::int64_t i = first; i < last; ++i) f(runs[static_cast<std::size_t>(i)]);
  }

  template <typename Storage>
  void clear_row(const std::vector<Run>& runs, Storage* row, std::int64_t first, std::int64_t last,
                 std::size_t tensor) const {
    const std::int64_t step = finder_.step().stride[tensor];
    for_gaps(runs, first, last, [&](const Run& gap) {
      Storage* const at = row + gap.at.tensor[tensor];
      // (Most are of one or two values where they are many.)
      if (gap.length > 4) return clear_rows(at, 1, 0, gap.length, step);
      for (std::int64_t i = 0; i < gap.length; ++i) at[i * step] = static_cast<Storage>(0.0F);
    });
  }

  template <typename Storage>
  static void clear_rows(Storage* data, std::int64_t rows, std::int64_t row, std::int64_t columns,
                         std::int64_t column) {
    const Storage zero = static_cast<Storage>(0.0F);
    for (std::int64_t r = 0; r < rows; ++r, data += row) {
      if (column == 1) {
        std::fill_n(data, columns, zero);
      } else {
        for (std::int64_t c = 0; c < columns; ++c) data[c * column] = zero;
      }
    }
  }

  std::vector<Run>&outer_, &inner_;
  RunFinder finder_, between_;
  const bool* mask_ = nullptr;
  std::int64_t positions_ = 1, left_ = 0;
  Loop others_;  ///< over the axes along which the mask does not vary
  std::int64_t size_ = 0;
};

}  // namespace eigennorm::core

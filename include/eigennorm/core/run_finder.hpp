#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eigennorm/core/loop.hpp"
#include "eigennorm/core/mask_bits.hpp"

/// \file
/// The runs of positions that a mask leaves.

namespace eigennorm::core {

/// Finds the runs of some axes, slowest in memory first, that a mask leaves, or leaves out.
class RunFinder {
 public:
  /// An axis, and what a step along it adds in the mask; 0 where all positions of the axis are alike.
  struct Masked {
    Axis axis;
    std::int64_t mask;
  };
  /// Which runs: of positions that are valid, or not; of the latter those between valid ones of the fastest axis
  /// (`inner`), or those before the first and behind the last (`outer`).
  enum class Which { valid, invalid, inner, outer };

  /// `words`: not null where words of a mask may stand for runs. A run then is what is valid of a row.
  RunFinder(Which which, bool features_matter, std::vector<Run>& to, std::vector<MaskWord>* words = nullptr)
      : which_(which), features_matter_(features_matter), runs_(to), words_(words) {}

  void add_axis(const Axis& axis, std::int64_t mask) { axes_[static_cast<std::size_t>(rank_++)] = {axis, mask}; }
  /// The axis along which runs step.
  Axis step() const { return rank_ == 0 ? no_axis() : axes_[static_cast<std::size_t>(rank_ - 1)].axis; }
  void look_for(Which which) { which_ = which; }
  /// Which::outer: how many positions are valid, and how many runs of a row they are.
  std::int64_t valid() const { return valid_; }
  std::int64_t valid_runs() const { return valid_runs_; }

  /// Appends the runs behind those that are there already, which stay by themselves. Returns how many positions they
  /// are.
  std::int64_t find(const Offsets& base, const bool* mask) {
    begin_ = runs_.size();
    position_ = 0;
    walk(0, base, mask);
    return position_;
  }

  /// Whether words stand for runs: positions are neighbours in memory, and some are left out between them.
  bool makes_words() const {
    if (words_ == nullptr || rank_ == 0) return false;
    const Masked& last = axes_[static_cast<std::size_t>(rank_ - 1)];
    return last.mask != 0 && last.axis.feature == 0 && last.axis.stride[0] == 1;
  }

  /// A loop over runs, which it does not have yet.
  Loop loop() const {
    Loop loop;
    loop.rank = 2;
    loop.axes[0] = no_axis();
    loop.axes[1] = step();
    for (int i = 0; i + 1 < rank_; ++i) {
      const Axis& axis = axes_[static_cast<std::size_t>(i)].axis;
      if (axis.group != 0) loop.axes[0].group = 1;
      if (axis.feature != 0) loop.axes[0].feature = 1;
    }
    return loop;
  }

 private:
  void walk(int level, Offsets at, const bool* mask) {
    if (level == rank_) {
      if (*mask == (which_ == Which::valid)) append(at, 1);
      return;
    }
    const Masked& of = axes_[static_cast<std::size_t>(level)];
    if (level + 1 == rank_) return scan(of, at, mask);
    for (std::int64_t i = 0; i < of.axis.extent; ++i, at.step(of.axis, 1), mask += of.mask) walk(level + 1, at, mask);
  }

  /// The runs along the fastest axis.
  void scan(const Masked& of, const Offsets& at, const bool* mask) {
    const std::int64_t extent = of.axis.extent;
    if (of.mask == 0) {
      if (extent > 0 && *mask == (which_ == Which::valid)) append(at, extent);
      return;
    }
    if (makes_words()) return append_words(of, at, mask);
    if (which_ == Which::valid || which_ == Which::invalid)
      return scan_all(of, at, mask, 0, extent, which_ == Which::valid);
    const MaskRow row(mask, of.mask, extent);
    if (which_ == Which::outer) row.count(valid_, valid_runs_);
    if (which_ == Which::inner) return scan_all(of, at, mask, row.first, row.last, false);
    if (row.first > 0) append_along(of, at, 0, row.first);
    if (row.last < extent && row.first < row.last) append_along(of, at, row.last, extent);
  }
  void scan_all(const Masked& of, const Offsets& at, const bool* mask, std::int64_t first, std::int64_t last,
                bool wanted) {
    // Word by word: where a run begins that has not ended yet.
    constexpr std::int64_t none = -1;
    std::int64_t begin = none;
    for (std::int64_t start = first; start < last; start += 64) {
      const std::int64_t lanes = (std::min)(std::int64_t{64}, last - start);
      const std::uint64_t valid = mask_bits(mask + start * of.mask, of.mask, lanes), bits = wanted ? valid : ~valid;
      for (std::int64_t lane = 0; lane < lanes;) {
        const std::uint64_t left = (begin == none ? bits : ~bits) >> lane;
        lane = left == 0 ? lanes : (std::min)(lane + __builtin_ctzll(left), lanes);
        if (lane == lanes) break;
        if (begin != none) append_along(of, at, begin, start + lane);
        begin = begin == none ? start + lane : none;
      }
    }
    if (begin != none) append_along(of, at, begin, last);
  }
  void append_along(const Masked& of, Offsets at, std::int64_t first, std::int64_t last) {
    at.step(of.axis, first);
    // (Behind others of its row it continues none.)
    append(at, last - first, first == 0);
  }

  void append_words(const Masked& of, Offsets at, const bool* mask) {
    const MaskRow row(mask, of.mask, of.axis.extent);
    if (row.first == row.last) return;
    const std::int64_t begin = position_;
    row.for_each_word([&](std::uint64_t bits, std::int64_t start, std::int64_t lanes) {
      words_->push_back({bits, lanes, at.tensor[0] + start, position_});
      position_ += __builtin_popcountll(bits);
    });
    at.step(of.axis, row.first);
    runs_.push_back({at, begin, position_ - begin});
  }

  void append(const Offsets& at, std::int64_t length, bool may_continue = true) {
    if (may_continue && runs_.size() > begin_ && continues(at)) {
      runs_.back().length += length;
    } else {
      runs_.push_back({at, position_, length});
    }
    position_ += length;
  }
  bool continues(const Offsets& at) const {
    Offsets next = runs_.back().at;
    next.step(step(), runs_.back().length);
    return next.tensor == at.tensor && next.group == at.group && (!features_matter_ || next.feature == at.feature);
  }

  Which which_;
  bool features_matter_;
  std::vector<Run>& runs_;
  std::vector<MaskWord>* words_;
  int rank_ = 0;
  std::array<Masked, max_rank + 1> axes_;
  std::size_t begin_ = 0;
  std::int64_t position_ = 0, valid_ = 0, valid_runs_ = 0;
};

}  // namespace eigennorm::core

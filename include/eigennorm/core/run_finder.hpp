#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eigennorm/core/loop.hpp"

/// \file
/// The runs of positions that a mask leaves.

namespace eigennorm::core {

/// Finds the runs of some axes, slowest in memory first, on which the mask says `wanted`.
class RunFinder {
 public:
  /// An axis, and what a step along it adds in the mask; 0 where all positions of the axis are alike.
  struct Masked {
    Axis axis;
    std::int64_t mask;
  };

  RunFinder(bool wanted, bool features_matter, std::vector<Run>& to)
      : wanted_(wanted), features_matter_(features_matter), runs_(to) {}

  void add_axis(const Axis& axis, std::int64_t mask) { axes_[static_cast<std::size_t>(rank_++)] = {axis, mask}; }
  /// The axis along which runs step.
  Axis step() const { return rank_ == 0 ? no_axis() : axes_[static_cast<std::size_t>(rank_ - 1)].axis; }

  /// Appends the runs behind those that are there already, which stay by themselves. Returns how many positions they
  /// are.
  std::int64_t find(const Offsets& base, const bool* mask) {
    begin_ = runs_.size();
    position_ = 0;
    walk(0, base, mask);
    return position_;
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
      if (*mask == wanted_) append(at, 1);
      return;
    }
    const Masked& of = axes_[static_cast<std::size_t>(level)];
    if (level + 1 == rank_) return scan(of, at, mask);
    for (std::int64_t i = 0; i < of.axis.extent; ++i, at.step(of.axis, 1), mask += of.mask) walk(level + 1, at, mask);
  }

  /// The runs along the fastest axis.
  void scan(const Masked& of, Offsets at, const bool* mask) {
    const std::int64_t extent = of.axis.extent;
    if (of.mask == 0) {
      if (extent > 0 && *mask == wanted_) append(at, extent);
      return;
    }
    for (std::int64_t i = 0; i < extent;) {
      std::int64_t end = i;
      while (end < extent && mask[end * of.mask] == wanted_) ++end;
      if (end > i) {
        Offsets first = at;
        first.step(of.axis, i);
        append(first, end - i);
      }
      i = end + 1;
    }
  }

  void append(const Offsets& at, std::int64_t length) {
    if (runs_.size() > begin_ && continues(at)) {
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

  bool wanted_, features_matter_;
  std::vector<Run>& runs_;
  int rank_ = 0;
  std::array<Masked, max_rank + 1> axes_;
  std::size_t begin_ = 0;
  std::int64_t position_ = 0;
};

}  // namespace eigennorm::core

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/walk.hpp"

/// \file
/// Tiles whose lanes lie side by side in memory.

namespace eigennorm::kernels {

/// Positions that are transformed together: as many as have room for their parameters in L1, 4 KB each.
template <typename Scalar>
constexpr std::int64_t most_positions = 4096 / static_cast<std::int64_t>(sizeof(Scalar));

/// How the lanes of a tile lie in memory: `run` values of one lane that follow each other, then those of the
/// next lane; and so again on each of `rows`.
struct LaneLayout {
  bool direct = false;  ///< false: not like this
  bool by_row = false;  ///< scale and shift change from row to row, and not along it
  std::int64_t run = 1;
  Axis inside = no_axis();  ///< along a run
  Axis lane = no_axis();    ///< from lane to lane
  Loop rows;

  /// Whether the runs are long enough to be transformed one by one, a vector or more each.
  bool by_runs() const { return run >= 16 && inside.feature <= 1; }

  /// Lanes of at most `most` that are transformed together.
  template <typename Scalar>
  std::int64_t width(std::int64_t most) const {
    return std::clamp((by_runs() ? 16 : 1) * most_positions<Scalar> / run, std::int64_t{1}, most);
  }
};

/// All axes of a loop but the fastest `count`.
inline Loop without_fastest(Loop loop, int count) {
  for (; count > 0 && loop.rank > 0; --count)
    loop.size /= loop.axes[static_cast<std::size_t>(--loop.rank)].extent;
  return loop;
}

inline bool has_features(const Loop& loop) {
  for (int i = 0; i < loop.rank; ++i) {
    if (loop.axes[static_cast<std::size_t>(i)].feature != 0) return true;
  }
  return false;
}

/// Lanes are groups.
inline LaneLayout layout_of_groups(const Partition& partition, std::size_t tensors) {
  LaneLayout layout;
  const Loop& reduced = partition.groups.reduced;
  layout.lane = partition.groups.kept.fastest();
  if (partition.groups.interleaved) {
    layout.rows = reduced;
  } else {
    layout.inside = reduced.fastest();
    layout.run = layout.inside.extent;
    layout.rows = without_fastest(reduced, 1);
    if (!Partition::steps_by(layout.inside, 1, 0, tensors)) return layout;
  }
  layout.direct = Partition::steps_by(layout.lane, layout.run, 0, tensors);
  if (has_features(layout.rows)) {
    layout.by_row = partition.groups.interleaved && layout.lane.feature == 0 && layout.rows.rank == 1 &&
                    layout.rows.fastest().feature == 1;
    layout.direct = layout.direct && layout.by_row;
  }
  return layout;
}

/// Lanes are features, whatever their groups. For tensors [first, first + 2).
inline LaneLayout layout_of_features(const Partition& partition, std::size_t first) {
  LaneLayout layout;
  const Loop& memory = partition.memory;
  const Axis fastest = memory.fastest();
  if (fastest.feature != 0 || memory.rank < 2) {
    layout.lane = fastest;
    layout.rows = without_fastest(memory, 1);
  } else {
    layout.inside = fastest;
    layout.run = fastest.extent;
    layout.lane = memory.axes[static_cast<std::size_t>(memory.rank - 2)];
    layout.rows = without_fastest(memory, 2);
    if (!Partition::steps_by(fastest, 1, first, first + 2)) return layout;
  }
  layout.direct =
      Partition::steps_by(layout.lane, layout.run, first, first + 2) && !has_features(layout.rows);
  return layout;
}

/// The parameters of some lanes, one for each position of a row; several rows that follow each other in memory
/// count as one.
template <typename Scalar>
class LaneArrays {
 public:
  /// Room for vectors that read past the last position.
  static constexpr std::int64_t room = most_positions<Scalar> + 16;

  /// Several rows count as one up to `most` positions: that fills vectors where lanes are few. Their parameters are
  /// copied for it, which must stay little beside the rows.
  LaneArrays(const LaneLayout& layout, std::int64_t lanes, std::size_t first_tensor, std::size_t tensors,
             std::int64_t most)
      : run_(layout.run), lanes_(lanes), positions_(lanes * layout.run) {
    if (layout.by_row || layout.rows.rank != 1) return;
    const Axis row = layout.rows.fastest();
    if (Partition::steps_by(row, positions_, first_tensor, tensors))
      copies_ = std::clamp((std::min)(most / positions_, row.extent / 8), std::int64_t{1}, row.extent);
  }
  /// Whole cache lines matter where results are streamed.
  static std::int64_t most(bool stream) { return stream ? most_positions<Scalar> : std::int64_t{256}; }

  std::int64_t positions() const { return positions_; }
  std::int64_t copies() const { return copies_; }

  /// array[position] = value(lane, place in its run).
  template <typename Value>
  void fill(Scalar* array, const Value& value) const {
    Scalar* to = array;
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
      for (std::int64_t i = 0; i < run_; ++i) *to++ = value(lane, i);
    }
    for (std::int64_t copy = 1; copy < copies_; ++copy, to += positions_)
      std::copy(array, array + positions_, to);
    std::fill(to, array + (std::min)(room, positions_ * copies_ + 16), Scalar(0));
  }

  /// Calls `f(offsets, rows, width, axis, copies)` for bands of `rows` rows of `width` positions that
  /// together are rows [first, last).
  template <typename F>
  void for_each_band(const LaneLayout& layout, std::int64_t first, std::int64_t last, const F& f) const {
    const Axis axis = layout.rows.fastest();
    layout.rows.for_each_run(first, last, [&](Offsets offsets, std::int64_t, std::int64_t length) {
      const std::int64_t whole = length / copies_;
      if (whole > 0) f(offsets, whole, positions_ * copies_, axis, copies_);
      const std::int64_t rest = length - whole * copies_;
      if (rest == 0) return;
      offsets.step(axis, whole * copies_);
      f(offsets, std::int64_t{1}, positions_ * rest, axis, copies_);
    });
  }

  alignas(64) Scalar high[room], low[room], rstd[room], scale[room], shift[room], mean[room], slope[room];

 private:
  std::int64_t run_, lanes_, positions_, copies_ = 1;
};

}  // namespace eigennorm::kernels

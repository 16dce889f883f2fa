#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

/// \file
/// The loops of a call: which positions a kernel walks, in the order of memory.

namespace eigennorm {

/// The largest rank that a layer accepts.
constexpr int max_rank = 8;

namespace kernels {

/// The tensors of one call: x and y, or x, dy and dx.
constexpr int max_tensors = 3;

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
};

/// A walk over some of the axes, slowest in memory first. Neighbours of which the inner continues where the outer
/// steps are merged, in all that a step adds; so a contiguous tensor is one axis, and numbering does not depend on
/// strides.
struct Loop {
  int rank;
  std::array<Axis, max_rank + 1> axes;  ///< the first `rank` of them
  std::int64_t size;

  Loop() : rank(0), size(1) {}
  Loop(const Loop& other) noexcept : rank(other.rank), size(other.size) { copy_axes(other); }
  Loop& operator=(const Loop& other) noexcept {
    rank = other.rank;
    size = other.size;
    copy_axes(other);
    return *this;
  }

  /// Neighbours are merged whatever their groups or features where those do not matter.
  void append(const Axis& axis, bool groups_matter = true, bool features_matter = true) {
    size *= axis.extent;
    if (axis.extent == 1) return;
    if (rank > 0) {
      Axis& last = axes[static_cast<std::size_t>(rank - 1)];
      bool merges = (!groups_matter || last.group == axis.group * axis.extent) &&
                    (!features_matter || last.feature == axis.feature * axis.extent);
      for (std::size_t t = 0; t < max_tensors; ++t)
        merges = merges && last.stride[t] == axis.stride[t] * axis.extent;
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
    for (int i = rank - 1; i >= 0; --i) {
      const Axis& axis = axes[static_cast<std::size_t>(i)];
      offsets.step(axis, position % axis.extent);
      position /= axis.extent;
    }
    return offsets;
  }

  /// Calls `f(offsets, position, length)` for each run along the fastest axis that covers positions [first,
  /// last).
  template <typename F>
  void for_each_run(std::int64_t first, std::int64_t last, F&& f) const {
    const std::int64_t extent = fastest().extent;
    std::int64_t inside = first % extent;
    for (std::int64_t position = first; position < last;) {
      const std::int64_t length = (std::min)(extent - inside, last - position);
      f(at(position), position, length);
      position += length;
      inside = 0;
    }
  }

 private:
  void copy_axes(const Loop& other) noexcept {
    for (int i = 0; i < other.rank; ++i)
      axes[static_cast<std::size_t>(i)] = other.axes[static_cast<std::size_t>(i)];
  }
};

/// Neighbouring reductions that one task handles together: several along the fastest of the kept axes.
struct Tile {
  Offsets base;
  std::int64_t lanes = 1;
  Axis lane = no_axis();  ///< what a step to the next lane adds
};

/// A reduction: for every position of `kept`, the positions of `reduced`. Used twice: groups over the values
/// that share a statistic, and features over the values that share a scale.
struct Reduction {
  Loop kept, reduced;
  bool interleaved =
      false;  ///< the axis that is fastest in memory is kept, so neighbours in memory are in different reductions

  std::int64_t tiles(std::int64_t width) const {
    const std::int64_t extent = kept.fastest().extent;
    return kept.size / extent * ((extent + width - 1) / width);
  }

  /// Tile number `id` of those with at most `width` lanes.
  Tile tile(std::int64_t id, std::int64_t width) const {
    const Axis lane = kept.fastest();
    const std::int64_t chunks = (lane.extent + width - 1) / width;
    const std::int64_t start = id % chunks * width;
    return {kept.at(id / chunks * lane.extent + start), (std::min)(width, lane.extent - start), lane};
  }
};

/// The loops of one call.
struct Partition {
  Reduction groups;    ///< kept: the groups; reduced: the values that share a statistic, in memory order
  Reduction features;  ///< kept: the features; reduced: the positions of each
  Loop values;         ///< groups.reduced, its neighbours merged whatever their features
  Loop memory;  ///< all positions, its neighbours merged where their features follow, whatever their groups
  std::int64_t count = 1;  ///< values in a group
  /// Positions of one feature that follow each other in memory, by role, not by stride; 1 where features are
  /// fastest.
  std::int64_t run = 1;
  /// Values of a group that follow each other in its own order with one feature, by role; 1 where features are fastest.
  std::int64_t group_run = 1;
  bool features_kept = true;  ///< no averaged axis is a feature axis: one scale for a whole group
  std::int64_t size = 1;
  std::uint32_t averaged_axes = 0;  ///< as bits, by logical number
  std::uint32_t feature_axes = 0;

  /// The groups of one feature, and the features, where every feature axis is kept.
  Loop kept_features, kept_samples;

  /// Whether a group's values follow each other in memory, in the first `tensors` tensors.
  bool rows(std::size_t tensors) const {
    return !groups.interleaved && values.rank <= 1 && steps_by(values.fastest(), 1, 0, tensors);
  }
  /// Whether a step along `axis` is one of `stride` in tensors [first, last).
  static bool steps_by(const Axis& axis, std::int64_t stride, std::size_t first, std::size_t last) {
    for (std::size_t t = first; t < last; ++t) {
      if (axis.extent > 1 && axis.stride[t] != stride) return false;
    }
    return true;
  }
};

}  // namespace kernels
}  // namespace eigennorm

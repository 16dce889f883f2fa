#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "eigennorm/core/device.hpp"
#include "eigennorm/core/gaps.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/run_finder.hpp"
#include "eigennorm/core/valid_room.hpp"
#include "eigennorm/valid.hpp"

/// \file
/// A call on valid positions alone, cut into parts that are calls like any other: groups of as many values each, whose
/// loops hold only what is valid. Pure functions of shapes, strides and the mask.

namespace eigennorm::core {

/// What has written results, and by it zeros where words of a mask leave something out: calls on parts, or on
/// positions.
enum class Cleared { nothing, by_parts, by_positions };

/// The valid positions of a call. What is constant along an axis there may be taken together along it:
///
/// - where the mask varies along averaged axes alone (BatchNorm), all is one part, whose groups are shorter;
/// - where it varies along kept axes alone (LayerNorm over channels), each run of groups is a part;
/// - where it varies along both (InstanceNorm of sequences), groups differ in their number of values, and those that
///   share a place on the kept axes along which it varies are a part.
class ValidParts {
 public:
  using Part = ValidPart;

  /// `valid` goes with the shape. `room` has to stay. `whole`: the partition of the call without it.
  ValidParts(const Geometry& geometry, const Shape& shape, Order order, const std::array<Strides, max_tensors>& strides,
             const Valid& valid, const Partition& whole, ValidRoom& room)
      : whole_(whole), mask_(valid.data), room_(room), gaps_(room.gaps, room.inner_gaps) {
    room.clear();
    for (const Strides& other : strides) alike_ = alike_ && other == strides[0];
    for_each_axis(geometry, Roles{whole.averaged_axes, whole.feature_axes}, shape, order, strides,
                  [&](const Axis& axis, bool averaged, bool is_feature, int number) {
                    // (One bool whose stride is 0 stands for all, as an extent of 1 does.)
                    const std::int64_t step = valid.strides[static_cast<std::size_t>(number)];
                    const bool varies = valid.shape[number] > 1 && step != 0;
                    axes_[static_cast<std::size_t>(rank_++)] = {axis, averaged, is_feature, varies, varies ? step : 0};
                    kept_varies_ = kept_varies_ || (varies && !averaged);
                    reduced_varies_ = reduced_varies_ || (varies && averaged);
                    features_vary_ = features_vary_ || (varies && is_feature);
                    if (varies) fastest_averaged_ = averaged;
                  });
    if (whole.size > 0) find_gaps();
  }
  ValidParts(const ValidParts&) = delete;
  ValidParts& operator=(const ValidParts&) = delete;

  bool all() const { return invalid_ == 0; }
  /// How many values are valid.
  std::int64_t size() const { return size_; }
  /// The smallest number of values that a group has, of those that have any.
  std::int64_t least_count() const {
    std::int64_t least = whole_.count;
    for (const Part& part : room_.parts) least = (std::min)(least, part.count);
    return least;
  }
  std::int64_t most_count() const {
    std::int64_t most = 0;
    for (const Part& part : room_.parts) most = (std::max)(most, part.count);
    return most;
  }
  /// Whether there are groups that have fewer values than others, or none.
  bool differ() const { return kept_varies_; }
  /// Whether all that is valid is one call, with as many groups as there are.
  bool is_one_call() const { return !kept_varies_ && !features_vary_; }
  /// Whether no two groups need have as many values, or the same features.
  bool sums_by_feature() const { return features_vary_ || (kept_varies_ && reduced_varies_); }
  /// Whether each part is a block of the tensor, with all features.
  bool are_blocks() const {
    bool blocks = !features_vary_;
    for (const Part& part : room_.parts) blocks = blocks && part.dense;
    return blocks;
  }

  /// Whether whole groups are valid or not, whose features vary: each position is one of them.
  bool are_rows() const { return !features_vary_ && !reduced_varies_ && !whole_.features_kept; }

  /// Before they are asked for.
  void find_parts() {
    if (size_ > 0) find_all_parts();
  }

  /// The loops of all valid positions: only `features`, `kept_features`, `size` and what sums of features are cut by.
  /// (Not where the mask varies along features.)
  const Partition& positions() const { return positions_; }
  /// Before they, or parts, are asked for sums of features.
  void find_positions() {
    if (!features_vary_ && size_ > 0) find_all_positions();
  }

  /// Calls `f(partition, base, device)` for each part, shared out among threads where that pays.
  template <typename F>
  void for_each(const Device& device, const F& f) const {
    const auto number = static_cast<std::int64_t>(room_.parts.size());
    if (number == 0) return;
    const auto run = [&](std::int64_t first, std::int64_t last, const Device& inner) {
      Partition partition = partition_of(room_.parts[static_cast<std::size_t>(first)]);
      for (std::int64_t i = first; i < last; ++i) {
        const Part& part = room_.parts[static_cast<std::size_t>(i)];
        take(part, partition);
        f(partition, part.base, inner);
      }
    };
    constexpr std::int64_t enough = 4;
    if (number < enough * device.threads_for(size_)) return run(0, number, device);
    device.parallel_for(number, size_ / number, [&](std::int64_t first, std::int64_t last) { run(first, last, {}); });
  }

  /// Calls `f(group, count)` for each group that has valid values.
  template <typename F>
  void for_each_group(const F& f) const {
    for (const Part& part : room_.parts) {
      const Loop kept = kept_of(part);
      for (std::int64_t i = 0; i < kept.size; ++i) f(part.base.group + kept.at(i).group, part.count);
    }
  }

  /// Writes zeros to all that is not valid in tensor number `tensor`, but for what has them already.
  template <typename Storage>
  void clear_gaps(Storage* data, std::size_t tensor, const Device& device, Cleared cleared = Cleared::nothing) {
    const bool between = cleared == Cleared::by_parts       ? !clear_between()
                         : cleared == Cleared::by_positions ? position_places_.words == nullptr
                                                            : true;
    gaps_.clear(data, tensor, between, device);
  }

 private:
  /// Runs of so many values are taken one by one.
  static constexpr std::int64_t long_enough = 16;

  struct RoledAxis {
    Axis axis;
    bool averaged, is_feature, varies;
    std::int64_t mask;
  };

  /// Adds the axes that `chosen(axis)` says, in order; but features whose values are between those of axes along which
  /// the mask varies come first, so that what is left of a feature is one run, as where it is packed.
  template <typename F>
  void add_axes(RunFinder& finder, const F& chosen) const {
    int first = rank_, last = -1;
    for (int i = 0; i < rank_; ++i) {
      const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
      if (!of.varies || !chosen(of)) continue;
      first = (std::min)(first, i);
      last = i;
    }
    const auto add = [&](int from, int to, bool features, bool others) {
      for (int i = from; i < to; ++i) {
        const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
        const bool feature = of.is_feature && !of.varies;
        if (chosen(of) && (feature ? features : others)) finder.add_axis(of.axis, of.mask);
      }
    };
    if (last < 0 || features_vary_) return add(0, rank_, true, true);
    add(0, first, true, true);
    add(first, last, true, false);
    add(first, last, false, true);
    add(last, rank_, true, true);
  }

  void find_gaps() {
    for (int i = 0; i < rank_; ++i) {
      const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
      gaps_.add_axis(of.axis, of.varies, of.mask);
    }
    const Axis fastest = gaps_.fastest();
    const bool fit = alike_ && rank_ > 0 && fastest_averaged_ && fastest.stride[0] == 1;
    invalid_ = gaps_.find(mask_, fit);
    size_ = whole_.size - invalid_;
    uses_words_ = fit && gaps_.leave_runs_below(long_enough);
  }

  /// What finds runs of valid positions; words, too, where they have a use.
  RunFinder finder(bool features_matter, const Reduction& of, FoundPlaces& found) const {
    return {RunFinder::Which::valid, features_matter, found.runs,
            uses_words_ && !of.interleaved ? &found.words : nullptr};
  }
  /// Whether each part that has gaps has words for them.
  bool clear_between() const {
    if (!uses_words_) return false;
    for (const Part& part : room_.parts) {
      if (part.dense) continue;
      if (part.values.words == nullptr || (!whole_.features_kept && part.featured.words == nullptr)) return false;
    }
    return true;
  }

  /// The same where a part is a block: its valid positions follow each other on the one averaged axis on which there
  /// are others. Returns whether it is.
  bool add_block(Offsets base, const bool* mask) {
    const RoledAxis* along = nullptr;
    std::int64_t others = 1;
    for (int i = 0; i < rank_; ++i) {
      const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
      if (!of.averaged) continue;
      if (!of.varies) {
        others *= of.axis.extent;
      } else if (along == nullptr) {
        along = &of;
      } else {
        return false;
      }
    }
    const std::int64_t extent = along->axis.extent;
    std::int64_t first = 0, last = extent;
    while (first < extent && !mask[first * along->mask]) ++first;
    while (last > first && !mask[(last - 1) * along->mask]) --last;
    for (std::int64_t i = first; i < last; ++i) {
      if (!mask[i * along->mask]) return false;
    }
    if (first == last) return true;
    base.step(along->axis, first);
    room_.parts.push_back({base, 1, (last - first) * others, {}, {}, true});
    return true;
  }

  /// Reductions of the part whose kept positions begin at `base`.
  void add_part(RunFinder& plain, RunFinder& featured, const Offsets& base, const bool* mask) {
    if (add_block(base, mask)) return;
    const Places first = room_.values.next(), first_featured = room_.featured.next();
    const std::int64_t count = plain.find({}, mask);
    if (count == 0) return;
    for (auto i = static_cast<std::size_t>(first.count); i < room_.values.runs.size(); ++i)
      room_.values.runs[i].at.feature = 0;
    room_.parts.push_back({base, 1, count, first, first_featured});
    if (whole_.features_kept) return;
    featured.find({}, mask);
    // Of one feature alone, which then is that of the group.
    if (partition_of(room_.parts.back()).features_kept)
      room_.parts.back().base.feature += room_.featured.runs[static_cast<std::size_t>(first_featured.count)].at.feature;
  }

  /// At each place on the kept axes along which the mask varies, from `level` on.
  void walk_kept(int level, Offsets base, const bool* mask, RunFinder& plain, RunFinder& featured) {
    while (level < rank_ &&
           (axes_[static_cast<std::size_t>(level)].averaged || !axes_[static_cast<std::size_t>(level)].varies))
      ++level;
    if (level == rank_) return add_part(plain, featured, base, mask);
    const RoledAxis& of = axes_[static_cast<std::size_t>(level)];
    for (std::int64_t i = 0; i < of.axis.extent; ++i, base.step(of.axis, 1), mask += of.mask)
      walk_kept(level + 1, base, mask, plain, featured);
  }

  void find_all_parts() {
    if (!reduced_varies_) {
      RunFinder kept(RunFinder::Which::valid, true, room_.groups);
      add_axes(kept, [](const RoledAxis& of) { return !of.averaged && of.varies; });
      kept.find({}, mask_);
      for (const Run& run : room_.groups) room_.parts.push_back({run.at, run.length, whole_.count, {}, {}});
      return;
    }
    RunFinder plain = finder(false, whole_.groups, room_.values),
              featured = finder(true, whole_.groups, room_.featured);
    const auto reduced = [](const RoledAxis& of) { return of.averaged; };
    add_axes(plain, reduced);
    add_axes(featured, reduced);
    walk_kept(0, {}, mask_, plain, featured);
    settle(room_.values, plain.step(), &Part::values);
    settle(room_.featured, featured.step(), &Part::featured);
    values_loop_ = plain.loop();
    featured_loop_ = featured.loop();
  }

  /// From the numbers of first runs and words to where these are.
  void settle(FoundPlaces& found, const Axis& step, Places Part::*places) {
    Places end = found.next();
    found.end_words();
    std::int64_t positions = 0;
    for (std::size_t i = room_.parts.size(); i-- > 0;) {
      Part& part = room_.parts[i];
      if (part.dense) continue;
      const Places first = part.*places;
      part.*places = found.between(first, end);
      if (part.count == values_together(true)) (part.*places).words = nullptr;
      end = first;
      positions += part.count;
    }
    if (lists(found, step, positions)) list_offsets(found, step, positions, places);
  }
  /// Whether places are listed: runs are too short to be taken one by one.
  bool lists(const FoundPlaces& found, const Axis& step, std::int64_t positions) const {
    return found.words.empty() && alike_ && step.feature == 0 && positions < long_enough * found.number();
  }
  void list_offsets(FoundPlaces& found, const Axis& step, std::int64_t positions, Places Part::*places) {
    found.offsets.reserve(static_cast<std::size_t>(positions));
    for (const Part& part : room_.parts) {
      if (!part.dense && !found.append_offsets(part.*places, step)) return;
    }
    const std::int32_t* next = found.offsets.data();
    for (Part& part : room_.parts) {
      if (part.dense) continue;
      (part.*places).offsets = next;
      next += part.count;
    }
  }

  void find_all_positions() {
    FoundPlaces& found = room_.positions;
    RunFinder of_all = finder(true, whole_.features, found);
    add_axes(of_all, [](const RoledAxis& of) { return !of.is_feature; });
    const std::int64_t count = of_all.find({}, mask_);
    found.end_words();
    position_places_ = found.all();
    if (size_ == values_together(false)) position_places_.words = nullptr;
    if (lists(found, of_all.step(), count) && found.append_offsets(position_places_, of_all.step()))
      position_places_.offsets = found.offsets.data();
    positions_ = packed(packed_extent(true), packed_extent(false));
    positions_.kept_features = whole_.kept_features;
    positions_.features.kept = whole_.features.kept;
    positions_.features.reduced = with(of_all.loop(), position_places_, count);
    positions_.size = size_;
    const bool in_pieces = position_places_.words == nullptr && size_ < position_places_.count * 256;
    positions_.whole = in_pieces ? 0 : size_;
  }

  /// How many values are valid or not together: of all, or of a group. (Where there are no more, no step of the axis of
  /// words is left, and others are faster.)
  std::int64_t values_together(bool of_group) const {
    std::int64_t together = 1;
    for (int i = 0; i < rank_; ++i) {
      const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
      if (!of.varies && (of.averaged || !of_group)) together *= of.axis.extent;
    }
    return together;
  }

  /// How many positions there are on all kept, or averaged, axes along which the mask varies; 1 where there are none.
  std::int64_t packed_extent(bool kept) const {
    if (!(kept ? kept_varies_ : reduced_varies_)) return 1;
    // (Where it varies along both, those of both together: only sums of features, which are not cut by it, see it.)
    return size_ / values_together(false);
  }

  /// The loops of a call whose axes along which the mask varies are one, in the place of the fastest.
  Partition packed(std::int64_t kept, std::int64_t reduced) const {
    Partition result;
    result.averaged_axes = whole_.averaged_axes;
    result.feature_axes = whole_.feature_axes;
    // Where values are there or not with their features, these change from one to the next.
    const bool changing = features_vary_ && !whole_.features_kept;
    int last_kept = -1, last_reduced = -1;
    for (int i = 0; i < rank_; ++i) {
      const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
      if (of.varies) (of.averaged ? last_reduced : last_kept) = i;
    }
    for (int i = 0; i < rank_; ++i) {
      const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
      Axis axis = of.axis;
      if (of.varies) axis.extent = i == last_kept ? kept : i == last_reduced ? reduced : 1;
      result.append(axis, of.averaged, of.is_feature || (changing && of.averaged && of.varies));
    }
    result.count = result.groups.reduced.size;
    result.whole = result.size;
    result.is_part = true;
    return result;
  }

  /// Groups of a part.
  Loop kept_of(const Part& part) const {
    Loop kept;
    int last = -1;
    for (int i = 0; i < rank_; ++i) {
      const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
      if (!of.averaged && of.varies) last = i;
    }
    for (int i = 0; i < rank_; ++i) {
      const RoledAxis& of = axes_[static_cast<std::size_t>(i)];
      if (of.averaged || (of.varies && i != last)) continue;
      Axis axis = of.axis;
      if (of.varies) axis.extent = part.groups;
      kept.append(axis);
    }
    return kept;
  }

  /// Values of a part's reduced axes along which the mask varies.
  Partition partition_of(const Part& part) const {
    Partition partition = packed(part.groups, part.count / values_together(true));
    partition.features.kept = whole_.features.kept;
    if (!kept_varies_ && !features_vary_ && !part.dense) {
      partition.kept_features = whole_.kept_features;
      partition.features.reduced = positions_.features.reduced;
    }
    return partition;
  }

  /// Makes the partition of one part that of another.
  void take(const Part& part, Partition& partition) const {
    if (!reduced_varies_) {
      partition.groups.kept = kept_of(part);
      partition.size = partition.groups.kept.size * partition.count;
    } else if (part.dense) {
      partition = partition_of(part);
    } else {
      if (partition.groups.reduced.places == nullptr || partition.count != part.count) partition = partition_of(part);
      partition.values = with(values_loop_, part.values, part.count);
      partition.groups.reduced =
          partition.features_kept ? partition.values : with(featured_loop_, part.featured, part.count);
      if (partition.features_kept)
        partition.groups.reduced.axes[0].feature = partition.groups.reduced.axes[1].feature = 0;
    }
    // Parameters behind the first of the part.
    partition.features.kept.size = whole_.features.kept.size - part.base.feature;
    // What is written in short pieces stays in the caches, whatever it is a part of.
    constexpr std::int64_t streamed = 256;
    const std::int64_t pieces = (std::max)(part.values.words != nullptr ? 0 : part.values.count, std::int64_t{1}) *
                                (partition.groups.interleaved ? 1 : partition.groups.kept.size);
    partition.whole = partition.size < streamed * pieces ? std::int64_t{0} : size_;
  }
  /// The same loop over `places`, which have to stay.
  static Loop with(const Loop& loop, const Places& places, std::int64_t size) {
    Loop result = loop;
    result.places = &places;
    result.size = size;
    result.axes[1].extent = 1;
    if (places.words != nullptr) return result;
    for (std::int64_t i = 0; i < places.count; ++i)
      result.axes[1].extent = (std::max)(result.axes[1].extent, places.runs[i].length);
    return result;
  }

  const Partition& whole_;
  const bool* mask_;
  ValidRoom& room_;
  int rank_ = 0;
  std::array<RoledAxis, max_rank + 1> axes_;
  bool kept_varies_ = false, reduced_varies_ = false, features_vary_ = false;
  std::int64_t invalid_ = 0, size_ = 0;
  Gaps gaps_;
  bool alike_ = true;              // the strides of all tensors
  bool fastest_averaged_ = false;  // of the axes along which the mask varies
  bool uses_words_ = false;
  Loop values_loop_, featured_loop_;
  Partition positions_;
  Places position_places_{};
};

}  // namespace eigennorm::core

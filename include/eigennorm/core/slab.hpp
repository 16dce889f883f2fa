#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// Slabs: two axes and a base, the piece of work that kernels of results take at a time. Every tile is cut into them.

namespace eigennorm::core {

using kernels::Extent;

/// Rows and columns: where the first value is, and what a step along either adds.
struct Slab {
  Offsets at;
  Axis row, column;
  /// Where columns are, in every tensor, or, where `lists_rows`, rows; null: they are a step apart.
  const std::int32_t* places = nullptr;
  bool lists_rows = false;
  /// Where words leave columns: these are lanes of theirs, the first `skipped` of which are not meant; null: none.
  const kernels::MaskWord* words = nullptr;
  std::int64_t skipped = 0;

  Extent size() const { return {row.extent, column.extent}; }
};

/// All axes of a loop but the fastest.
inline Loop without_fastest(Loop loop) {
  if (loop.rank == 0) return loop;
  const std::int64_t extent = loop.axes[static_cast<std::size_t>(--loop.rank)].extent;
  loop.size = loop.rank == 0 ? 1 : loop.size / extent;
  return loop;
}

inline bool has_features(const Loop& loop) {
  for (int i = 0; i < loop.rank; ++i) {
    if (loop.axes[static_cast<std::size_t>(i)].feature != 0) return true;
  }
  return false;
}

/// Runs longer than this are transformed one by one; shorter ones side by side with their neighbours.
constexpr std::int64_t longest_short_run = 256;

/// How the lanes of a reduction lie in tensors [first, last): runs of values of one lane, a run of each lane side by
/// side, and so again on each of `rows`.
struct Layout {
  /// Shorter runs would leave vectors empty: those of several lanes are the columns of one row.
  static constexpr std::int64_t shortest_run = 16;

  std::size_t first, last;
  Axis lane, inside = no_axis();  ///< from lane to lane; along a run
  Loop rows;
  bool by_column;     ///< the columns of slabs are lanes, or runs of neighbouring lanes; otherwise a row is a run
  bool side_by_side;  ///< a lane's run begins where its neighbour's ends

  Layout(const Reduction& reduction, std::size_t first_tensor, std::size_t last_tensor)
      : first(first_tensor), last(last_tensor), lane(reduction.kept.fastest()), rows(reduction.reduced) {
    if (!reduction.interleaved) {
      inside = rows.fastest();
      if (!has_places()) rows = without_fastest(rows);
    }
    side_by_side = Partition::steps_by(inside, 1, first, last) && Partition::steps_by(lane, run(), first, last) &&
                   (reduction.interleaved || !has_places());
    by_column =
        reduction.interleaved || (run() < shortest_run && lane.extent > 1 && side_by_side && !has_features(rows));
  }

  std::int64_t run() const { return inside.extent; }
  /// How many lanes are taken together where positions are left out, and lanes are no columns: one for each slab's row,
  /// unless runs are so long that nothing is gained.
  std::int64_t lanes_of_runs() const { return run() > longest_short_run ? 1 : most_rows; }
  /// Whether positions are left out: `rows` then are the runs of those that are there, each as long as it is.
  bool has_places() const { return rows.places != nullptr; }
};

/// The slabs that together are values [first, last) of the lanes of a tile, one after the other; where lanes are
/// several, or columns, whole runs. (Not a template, and not inlined: it is the same for all.)
class Slabs {
 public:
  [[gnu::noinline]] Slabs(const Layout& layout, const Tile& tile, std::int64_t first, std::int64_t last)
      : layout_(layout), tile_(tile), at_(first), last_(last), by_lanes_(layout.by_column || tile.lanes > 1) {
    slab_.row = tile.lane;
    slab_.column = layout.by_column ? tile.lane : layout.inside;
    if (!by_lanes_) return;
    at_ = runs_before(first);
    last_ = runs_before(last);
  }

  /// The next slab, or null.
  const Slab* next() { return by_lanes_ ? next_of_lanes() : next_of_runs(); }

 private:
  std::int64_t runs_before(std::int64_t values) const {
    if (layout_.has_places()) return values;
    if (layout_.rows.size == 1) return values > 0 ? 1 : 0;
    return layout_.run() == 1 ? values : (values + layout_.run() - 1) / layout_.run();
  }

  /// Columns are lanes: as many rows as follow each other. Rows are: the run of each.
  [[gnu::noinline]] const Slab* next_of_lanes() {
    const Axis outer = layout_.rows.fastest();
    if (left_ > 0) {
      --left_;
      slab_.at.step(outer, 1);
      return &slab_;
    }
    if (at_ >= last_) return nullptr;
    if (layout_.has_places()) return next_of_places();
    const std::int64_t rows =
        (std::min)(outer.extent - (layout_.rows.rank <= 1 ? at_ : at_ % outer.extent), last_ - at_);
    slab_.at = tile_.base;
    slab_.at.add(layout_.rows.at(at_));
    at_ += rows;
    if (layout_.by_column) {
      slab_.row = outer;
      slab_.row.extent = rows;
    } else {
      left_ = rows - 1;
    }
    return &slab_;
  }

  /// Rows are runs of the one lane; or a part of one.
  [[gnu::noinline]] const Slab* next_of_runs() {
    if (at_ >= last_) return nullptr;
    if (layout_.has_places()) return next_of_places();
    const Axis outer = layout_.rows.fastest();
    const bool one_run = layout_.rows.size == 1;
    const std::int64_t run = layout_.run(), row = one_run ? 0 : at_ / run, within = at_ - row * run;
    slab_.at = tile_.base;
    slab_.at.add(layout_.rows.at(row));
    slab_.at.step(layout_.inside, within);
    slab_.row = outer;
    slab_.row.extent = 1;
    slab_.column.extent = (std::min)(run - within, last_ - at_);
    if (slab_.column.extent == run && !one_run)
      slab_.row.extent = (std::min)({most_rows, (last_ - at_) / run, outer.extent - row % outer.extent});
    at_ += slab_.row.extent * slab_.column.extent;
    return &slab_;
  }

  /// What is there of one run: rows of lanes, or a part of each lane.
  [[gnu::noinline]] const Slab* next_of_places() {
    const Axis step = layout_.rows.fastest();
    if (run_ == nullptr) run_ = &layout_.rows.places->run_of(at_);
    while (at_ >= run_->position + run_->length) ++run_;
    const Run& run = *run_;
    const std::int64_t within = at_ - run.position, length = (std::min)(run.length - within, last_ - at_);
    slab_.at = tile_.base;
    slab_.at.add(run.at);
    Axis& along = layout_.by_column ? slab_.row : slab_.column;
    along = step;
    if (layout_.rows.places->words != nullptr) return next_of_words(run, within, along);
    if (layout_.rows.places->offsets != nullptr) return next_of_short_runs(run, within, along);
    slab_.at.step(step, within);
    along.extent = length;
    at_ += length;
    return &slab_;
  }

  /// What words leave of a row, or a part of it, and what they leave out behind it.
  const Slab* next_of_words(const Run& run, std::int64_t within, Axis& along) {
    const Places& places = *layout_.rows.places;
    const std::int64_t length = (std::min)(run.length - within, last_ - at_);
    slab_.words = places.word_of(at_);
    slab_.skipped = places.lane_of(at_, *slab_.words);
    slab_.at.tensor = tile_.base.tensor;
    along.extent = within + length < run.length ? places.lane_of(at_ + length, *slab_.words)
                                                : places.lanes_to_end(run, *slab_.words);
    at_ += length;
    return &slab_;
  }

  /// As many of them as follow each other with one feature.
  const Slab* next_of_short_runs(const Run& first, std::int64_t within, Axis& along) {
    const Places& places = *layout_.rows.places;
    const Run* run = &first;
    std::int64_t length = first.length - within;
    while (++run < places.runs + places.count && run->at.feature == first.at.feature && length < block_size)
      length += run->length;
    length = (std::min)({length, last_ - at_, block_size});
    for (std::size_t t = 0; t < max_tensors; ++t)
      slab_.at.tensor[t] = tile_.base.tensor[t] + places.runs[0].at.tensor[t];
    slab_.places = places.offsets + at_;
    slab_.lists_rows = layout_.by_column;
    along.extent = length;
    at_ += length;
    return &slab_;
  }

  const Layout& layout_;
  const Tile& tile_;
  std::int64_t at_, last_, left_ = 0;  ///< values, of lanes runs; rows of the present run that are to come
  bool by_lanes_;
  const Run* run_ = nullptr;  ///< of places
  Slab slab_;
};

/// Calls `f(slab)` for each of them.
template <typename F>
void for_each_slab(const Layout& layout, const Tile& tile, std::int64_t first, std::int64_t last, const F& f) {
  if (layout.rows.size == 1 && !layout.by_column && !layout.has_places() && first == 0 && last == layout.run()) {
    // Rows that are whole groups: the tile is a slab.
    return f(Slab{tile.base, tile.lane, layout.inside});
  }
  Slabs slabs(layout, tile, first, last);
  while (const Slab* slab = slabs.next()) f(*slab);
}

}  // namespace eigennorm::core

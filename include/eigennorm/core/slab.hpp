#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// Slabs: two axes and a base, the piece of work that kernels of results take at a time. Every tile is cut into them,
/// and what is not contiguous is gathered and written back here.

namespace eigennorm::core {

using kernels::Affine;
using kernels::BlockKernels;
using kernels::Extent;
using kernels::Rows;

/// Rows and columns: where the first value is, and what a step along either adds.
struct Slab {
  Offsets at;
  Axis row, column;
  const std::int32_t* places = nullptr;  ///< of the columns, in every tensor; null: they are a step apart

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
    if (layout_.rows.places->offsets != nullptr && !layout_.by_column) return next_of_short_runs(run, within);
    slab_.at.step(step, within);
    Axis& along = layout_.by_column ? slab_.row : slab_.column;
    along = step;
    along.extent = length;
    at_ += length;
    return &slab_;
  }

  /// As many of them as follow each other with one feature.
  const Slab* next_of_short_runs(const Run& first, std::int64_t within) {
    const Places& places = *layout_.rows.places;
    const Run* run = &first;
    std::int64_t length = first.length - within;
    while (++run < places.runs + places.count && run->at.feature == first.at.feature && length < block_size)
      length += run->length;
    length = (std::min)({length, last_ - at_, block_size});
    for (std::size_t t = 0; t < max_tensors; ++t)
      slab_.at.tensor[t] = tile_.base.tensor[t] + places.runs[0].at.tensor[t];
    slab_.places = places.offsets + at_;
    slab_.column = layout_.rows.fastest();
    slab_.column.extent = length;
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

/// The tensors that a pass reads, up to three, and the one that it writes; `first` is the number of the first.
template <typename Storage>
struct Pass {
  const Storage* in[3];
  Storage* out;
  std::size_t first, inputs;
  std::size_t result = max_tensors;  ///< the number of the one that is written, where it is not the next

  std::size_t written() const { return result < max_tensors ? result : first + inputs; }
};

/// A contiguous part of a slab: what one call of a kernel works on.
template <typename Storage, typename Scalar>
struct Part {
  Rows<const Storage> in[3];
  Rows<Storage> out;
  Extent size;
  Affine<Scalar> affine;
  std::int64_t row = 0, column = 0;  ///< of the slab, where the part begins
  std::int64_t width = 0;            ///< columns of the slab
  bool copied = false;

  /// Copies are near, and are read at once.
  kernels::Traffic traffic(bool stream, std::int64_t next) const {
    return copied ? kernels::Traffic{} : kernels::Traffic{stream, next};
  }
};

/// What is done to each part: a reference to a function. (Not a template's parameter, so that walks are compiled once.)
template <typename Storage, typename Scalar>
class Visitor {
 public:
  using Of = Part<Storage, Scalar>;

  template <typename F>
  Visitor(const F& f)  // NOLINT(google-explicit-constructor)
      : f_(&f), call_([](const void* of, const Of& part) { (*static_cast<const F*>(of))(part); }) {}

  void operator()(const Of& part) const { call_(f_, part); }

 private:
  const void* f_;
  void (*call_)(const void*, const Of&);
};

/// Copies of n values that are a step apart, or, where `places` is not null, there. (Loops that are all alike but for
/// where they read or write.)
template <typename Storage>
void gather(const Storage* from, std::int64_t step, const std::int32_t* places, std::int64_t n, Storage* to) {
  if (places != nullptr) {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from[places[i]];
  } else {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * step];
  }
}
template <typename Storage>
void scatter(const Storage* from, std::int64_t n, Storage* to, std::int64_t step, const std::int32_t* places) {
  if (places != nullptr) {
    for (std::int64_t i = 0; i < n; ++i) to[places[i]] = from[i];
  } else {
    for (std::int64_t i = 0; i < n; ++i) to[i * step] = from[i];
  }
}

/// Copies, of 4 KB at most, of a part whose columns are scattered, and the results written back: see on_contiguous.
/// (Not inlined, so that its buffers are on the stack only where they are needed.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void on_copies(const Pass<Storage>& pass, const Slab& slab, const Part<Storage, Scalar>& whole,
                                 const Visitor<Storage, Scalar>& visit) {
  constexpr std::int64_t most = (std::min)(block_size, 4096 / static_cast<std::int64_t>(sizeof(Storage)));
  alignas(64) Storage memory[2 * most];
  // (Of three tensors a little over half as much each.)
  const std::int64_t room = pass.inputs <= 2 ? most : most / 2 + most / 8;
  Storage* const buffers[3] = {memory, memory + room, memory + 2 * room};
  const std::int64_t columns = (std::min)(slab.column.extent, room), rows = room / columns;
  const std::int64_t out_stride = slab.column.stride[pass.written()];
  // Results take the place of what was read last.
  Storage* results = buffers[pass.inputs - 1];
  Part<Storage, Scalar> part = whole;
  part.copied = true;
  for (std::int64_t r = 0; r < slab.row.extent; r += rows) {
    for (std::int64_t c = 0; c < slab.column.extent; c += columns) {
      const std::int32_t* const places = slab.places == nullptr ? nullptr : slab.places + c;
      const std::int64_t stepped = places == nullptr ? c : 0;
      part.size = {(std::min)(rows, slab.row.extent - r), (std::min)(columns, slab.column.extent - c)};
      for (std::size_t k = 0; k < pass.inputs; ++k) {
        const std::int64_t stride = slab.column.stride[pass.first + k];
        for (std::int64_t i = 0; i < part.size.rows; ++i)
          gather(whole.in[k](r + i) + stepped * stride, stride, places, part.size.columns, buffers[k] + i * columns);
        part.in[k] = {buffers[k], columns};
      }
      part.out = {results, columns};
      part.affine = whole.affine.from(r, c);
      part.row = whole.row + r;
      part.column = c;
      visit(part);
      for (std::int64_t i = 0; i < part.size.rows; ++i)
        scatter(results + i * columns, part.size.columns, whole.out(r + i) + stepped * out_stride, out_stride, places);
    }
  }
}

/// Visits the parts of a slab: all of it where it lies in rows of contiguous columns, otherwise copies.
/// `whole` has the parameters of the slab.
template <typename Storage, typename Scalar>
void on_contiguous(const Pass<Storage>& pass, const Slab& slab, Part<Storage, Scalar> whole,
                   const Visitor<Storage, Scalar>& visit) {
  for (std::size_t k = 0; k < pass.inputs; ++k)
    whole.in[k] = {pass.in[k] + slab.at.tensor[pass.first + k], slab.row.stride[pass.first + k]};
  whole.out = {pass.out + slab.at.tensor[pass.written()], slab.row.stride[pass.written()]};
  whole.size = slab.size();
  whole.width = slab.column.extent;
  const std::size_t out = pass.written();
  if (slab.places == nullptr && Partition::steps_by(slab.column, 1, pass.first, pass.first + pass.inputs) &&
      Partition::steps_by(slab.column, 1, out, out + 1))
    return visit(whole);
  on_copies(pass, slab, whole, visit);
}

/// Scale and shift by feature number; null: none.
template <typename Scalar>
struct ScaleAndShift {
  const Scalar* scale;
  const Scalar* shift;
};

/// Copies of the parameters of a slab that are not one behind the other along the columns: see with_affine. (Not
/// inlined, so that they are on the stack only where they are needed.)
template <typename Scalar, typename F>
[[gnu::noinline]] void with_copied_affine(ScaleAndShift<Scalar> of, const Slab& slab, const F& f) {
  constexpr std::int64_t together = 256;
  Scalar scales[together], shifts[together];
  Slab part = slab;
  if (slab.row.feature != 0) part.row.extent = 1;
  for (std::int64_t r = 0; r < slab.row.extent; r += part.row.extent) {
    for (std::int64_t c = 0; c < slab.column.extent; c += together) {
      part.at = slab.at;
      part.at.step(slab.row, r);
      part.at.step(slab.column, c);
      part.column.extent = (std::min)(together, slab.column.extent - c);
      for (std::int64_t i = 0; i < part.column.extent; ++i) {
        const std::int64_t own = part.at.feature + i * slab.column.feature;
        if (of.scale != nullptr) scales[i] = of.scale[own];
        if (of.shift != nullptr) shifts[i] = of.shift[own];
      }
      f(part, Affine<Scalar>{of.scale == nullptr ? nullptr : scales, of.shift == nullptr ? nullptr : shifts, 0, 1}, r);
    }
  }
}

/// Calls `f(part, affine, row)` for the parts of a slab, from its row `row` on, with the scale and shift of each: where
/// they are, or copied.
template <typename Scalar, typename F>
void with_affine(ScaleAndShift<Scalar> of, const Slab& slab, const F& f) {
  using At = Affine<Scalar>;
  if (slab.column.feature > 1 && (of.scale != nullptr || of.shift != nullptr)) return with_copied_affine(of, slab, f);
  const std::int64_t feature = slab.at.feature;
  f(slab, At{At::at(of.scale, feature), At::at(of.shift, feature), slab.row.feature, slab.column.feature},
    std::int64_t{0});
}

/// Positions that are transformed together: as many as have room for their parameters in L1, 4 KB each.
template <typename Scalar>
constexpr std::int64_t most_positions = 4096 / static_cast<std::int64_t>(sizeof(Scalar));

/// The parameters of the columns of slabs whose columns are lanes, or runs of them, one for each column; several rows
/// that follow each other in memory count as one.
template <typename Scalar>
class Columns {
 public:
  /// (No pass needs both shift and mean.)
  enum Which { high, low, rstd, slope, scale, shift, mean = shift };

  /// (Sixteen more than columns, so that arrays are no multiple of 4 KB apart.)
  static constexpr std::int64_t room = most_positions<Scalar> + 16;

  /// Several rows count as one up to `most` columns: that fills vectors where lanes are few. Their parameters are
  /// copied for it, which must stay little beside the rows.
  Columns(const Layout& layout, std::int64_t lanes, std::int64_t most)
      : run_(layout.run()), lanes_(lanes), columns_(lanes * layout.run()) {
    if (layout.rows.rank != 1 || has_features(layout.rows)) return;
    const Axis row = layout.rows.fastest();
    if (layout.side_by_side && Partition::steps_by(row, columns_, layout.first, layout.last))
      copies_ = std::clamp((std::min)(most / columns_, row.extent / 8), std::int64_t{1}, row.extent);
  }

  std::int64_t columns() const { return columns_; }

  /// Array `which` = those of the lanes, a step apart, and a further step along a run. Returns the array.
  const Scalar* fill(Which which, const Scalar* from, std::int64_t lane_step, std::int64_t inside_step = 0) {
    Scalar* const array = arrays_[which];
    Scalar* to = array;
    if (run_ == 1 && lane_step == 1) {
      to = std::copy(from, from + lanes_, to);
    } else {
      for (std::int64_t lane = 0; lane < lanes_; ++lane) {
        for (std::int64_t i = 0; i < run_; ++i) *to++ = from[lane * lane_step + i * inside_step];
      }
    }
    for (std::int64_t copy = 1; copy < copies_; ++copy) to = std::copy(array, array + columns_, to);
    return array;
  }

  /// Calls `f(slab)` for the parts of a slab of whole lanes: several rows as one, and what is left.
  template <typename F>
  void for_each_part(const Slab& slab, const F& f) const {
    Slab part = slab;
    const std::int64_t rows = slab.row.extent, whole = rows / copies_, left = rows - whole * copies_;
    // Columns follow each other, whatever lanes and runs they are of.
    if (run_ > 1 || copies_ > 1) part.column.stride.fill(1);
    if (whole > 0) {
      part.row.extent = whole;
      for (std::int64_t& stride : part.row.stride) stride *= copies_;
      part.row.group *= copies_;
      part.column.extent = columns_ * copies_;
      f(part);
    }
    if (left == 0) return;
    part.at.step(slab.row, whole * copies_);
    part.row.extent = 1;
    part.column.extent = columns_ * left;
    f(part);
  }

 private:
  std::int64_t run_, lanes_, columns_, copies_ = 1;
  alignas(64) Scalar arrays_[6][room];
};

/// Visits contiguous parts that together are values [first, last) of the lanes of a tile, where rows are runs.
template <typename Storage, typename Scalar>
void for_rows(const Pass<Storage>& pass, const Layout& layout, const Tile& tile, Segment part, ScaleAndShift<Scalar> of,
              const Visitor<Storage, Scalar>& visit) {
  for_each_slab(layout, tile, part.first, part.last, [&](const Slab& slab) {
    with_affine(of, slab, [&](const Slab& some, const Affine<Scalar>& affine, std::int64_t row) {
      on_contiguous(pass, some, Part<Storage, Scalar>{{}, {}, {}, affine, row, 0, 0, false}, visit);
    });
  });
}

/// The same where columns are lanes, or runs of them, with the parameters of `columns`.
template <typename Storage, typename Scalar>
void for_columns(const Pass<Storage>& pass, const Layout& layout, const Tile& tile, Segment part,
                 ScaleAndShift<Scalar> of, Columns<Scalar>& columns, const Visitor<Storage, Scalar>& visit) {
  using At = Affine<Scalar>;
  Affine<Scalar> affine{nullptr, nullptr, 0, 1};
  const auto fill = [&](std::int64_t feature) {
    const std::int64_t lane = tile.lane.feature, inside = layout.inside.feature;
    if (of.scale != nullptr) affine.scale = columns.fill(Columns<Scalar>::scale, of.scale + feature, lane, inside);
    if (of.shift != nullptr) affine.shift = columns.fill(Columns<Scalar>::shift, of.shift + feature, lane, inside);
  };
  const auto run = [&](const Slab& slab) {
    columns.for_each_part(slab, [&](const Slab& some) {
      on_contiguous(pass, some, Part<Storage, Scalar>{{}, {}, {}, affine, 0, 0, 0, false}, visit);
    });
  };
  const bool fixed = !has_features(layout.rows), none = of.scale == nullptr && of.shift == nullptr;
  if (fixed) fill(tile.base.feature);
  for_each_slab(layout, tile, part.first, part.last, [&](const Slab& slab) {
    if (fixed || none) return run(slab);
    if (tile.lane.feature <= 1 && layout.run() == 1) {
      const std::int64_t feature = slab.at.feature;
      affine = {At::at(of.scale, feature), At::at(of.shift, feature), slab.row.feature, tile.lane.feature};
      return run(slab);
    }
    // Each row has scales of its own, and they are not side by side.
    Slab row = slab;
    row.row.extent = 1;
    for (std::int64_t r = 0; r < slab.row.extent; ++r, row.at.step(slab.row, 1)) {
      fill(row.at.feature);
      run(row);
    }
  });
}

}  // namespace eigennorm::core

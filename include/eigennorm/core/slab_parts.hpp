#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/slab.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// Contiguous parts of slabs, with their parameters: what a kernel of results is given. What lies scattered is gathered
/// and written back here.

namespace eigennorm::core {

using kernels::Affine;
using kernels::BlockKernels;
using kernels::Rows;

/// The tensors that a pass reads, up to three, and the one that it writes; `first` is the number of the first.
template <typename Storage>
struct Pass {
  const Storage* in[3];
  Storage* out;
  std::size_t first, inputs;
  std::size_t result = max_tensors;  ///< the number of the one that is written, where it is not the next
  const kernels::Selection<Storage>* select = nullptr;
  bool stream = false;  ///< results go past the caches

  std::size_t written() const { return result < max_tensors ? result : first + inputs; }
};

/// Whether tensors of so many values are likely to come from memory, so that passes of results ask for what they read
/// next. From some cache, to ask would take up to a fifth of the time.
template <typename Storage>
bool is_far(std::int64_t values) {
  constexpr std::int64_t near_bytes = 4000000;
  return values >= near_bytes / static_cast<std::int64_t>(sizeof(Storage));
}

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
  const std::int32_t* places = nullptr;  ///< of rows that are listed; then `in` and `out` have no step

  /// Makes this the copies of `whole` from its row r and column c on, whose results are put together in `results`.
  void is_at(std::int64_t r, std::int64_t c, const Part& whole, Rows<Storage> results) {
    out = results;
    affine = whole.affine.from(r, c);
    row = whole.row + r;
    column = c;
  }
  /// Row r alone.
  Part at_row(std::int64_t r) const {
    Part alone = *this;
    const std::int64_t offset = places[r];
    for (Rows<const Storage>& rows : alone.in) rows.data += rows.data == nullptr ? 0 : offset;
    alone.out.data += offset;
    alone.size.rows = 1;
    alone.affine = affine.from(r, 0);
    alone.row = row + r;
    alone.places = nullptr;
    return alone;
  }

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
  part.places = nullptr;
  const bool lists_columns = slab.places != nullptr && !slab.lists_rows;
  // Where row r of a tensor begins.
  const auto at = [&](auto tensor, std::int64_t r) {
    return slab.lists_rows ? tensor.data + slab.places[r] : tensor(r);
  };
  for (std::int64_t r = 0; r < slab.row.extent; r += rows) {
    for (std::int64_t c = 0; c < slab.column.extent; c += columns) {
      const std::int32_t* const places = lists_columns ? slab.places + c : nullptr;
      const std::int64_t stepped = places == nullptr ? c : 0;
      part.size = {(std::min)(rows, slab.row.extent - r), (std::min)(columns, slab.column.extent - c)};
      for (std::size_t k = 0; k < pass.inputs; ++k) {
        const std::int64_t stride = slab.column.stride[pass.first + k];
        for (std::int64_t i = 0; i < part.size.rows; ++i)
          gather(at(whole.in[k], r + i) + stepped * stride, stride, places, part.size.columns,
                 buffers[k] + i * columns);
        part.in[k] = {buffers[k], columns};
      }
      part.is_at(r, c, whole, {results, columns});
      visit(part);
      for (std::int64_t i = 0; i < part.size.rows; ++i)
        scatter(results + i * columns, part.size.columns, at(whole.out, r + i) + stepped * out_stride, out_stride,
                places);
    }
  }
}

/// The same of a part whose columns are lanes of words: what they leave out is 0 in the copies, whatever is there.
template <typename Storage, typename Scalar>
[[gnu::noinline]] void on_kept(const Pass<Storage>& pass, const Slab& slab, const Part<Storage, Scalar>& whole,
                               const Visitor<Storage, Scalar>& visit) {
  constexpr std::int64_t most = (std::min)(block_size, 4096 / static_cast<std::int64_t>(sizeof(Storage)));
  // (Whole words, of three tensors half as many each.)
  const std::int64_t room = pass.inputs <= 2 ? most : most / 2;
  alignas(64) Storage memory[2 * most];
  const std::int64_t lanes = slab.column.extent, columns = (std::min)((lanes + 15) / 16 * 16, room);
  const std::int64_t rows = room / columns;
  Part<Storage, Scalar> part = whole;
  part.copied = true;
  for (std::int64_t r = 0; r < slab.row.extent; r += rows) {
    for (std::int64_t c = 0; c < lanes; c += columns) {
      const kernels::MaskWord* const words = slab.words + c / 64;
      part.size = {(std::min)(rows, slab.row.extent - r), (std::min)(columns, lanes - c)};
      const kernels::LaneRange meant{(std::max)(slab.skipped - c, std::int64_t{0}), part.size.columns};
      for (std::size_t k = 0; k < pass.inputs; ++k) {
        Storage* const copies = memory + static_cast<std::int64_t>(k) * room;
        for (std::int64_t i = 0; i < part.size.rows; ++i)
          pass.select->keep(whole.in[k](r + i), words, meant, copies + i * columns);
        part.in[k] = {copies, columns};
      }
      // Results take the place of what was read last.
      Storage* const results = memory + static_cast<std::int64_t>(pass.inputs - 1) * room;
      part.is_at(r, c, whole, {results, columns});
      visit(part);
      for (std::int64_t i = 0; i < part.size.rows; ++i)
        pass.select->put_kept(results + i * columns, words, meant, whole.out(r + i), pass.stream);
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
  if (slab.lists_rows) whole.places = slab.places;
  if (slab.words != nullptr) return on_kept(pass, slab, whole, visit);
  if ((slab.places == nullptr || slab.lists_rows) &&
      Partition::steps_by(slab.column, 1, pass.first, pass.first + pass.inputs) &&
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
  enum Which { high, low, rstd, slope, scale, mean, shift };

  /// How many columns there is room for. `both`: a pass needs mean and shift, and each of seven arrays is smaller.
  static constexpr std::int64_t most_columns(bool both) { return step(both) - 16; }

  /// Several rows count as one up to `most` columns, as far as there is room: that fills vectors where lanes are few.
  /// Their parameters are copied for it, which must stay little beside the rows.
  Columns(const Layout& layout, std::int64_t lanes, std::int64_t most, bool both = false)
      : run_(layout.run()), lanes_(lanes), columns_(lanes * layout.run()), both_(both) {
    if (layout.rows.rank != 1 || has_features(layout.rows)) return;
    const Axis row = layout.rows.fastest();
    if (layout.side_by_side && Partition::steps_by(row, columns_, layout.first, layout.last))
      copies_ = std::clamp((std::min)((std::min)(most, most_columns(both)) / columns_, row.extent / 8), std::int64_t{1},
                           row.extent);
  }

  std::int64_t columns() const { return columns_; }

  /// Array `which` = those of the lanes, a step apart, and a further step along a run. Returns the array.
  const Scalar* fill(Which which, const Scalar* from, std::int64_t lane_step, std::int64_t inside_step = 0) {
    // (Where no pass needs both, shift lies where mean would.)
    Scalar* const array = numbers_ + (which == shift && !both_ ? mean : which) * step(both_);
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
  /// From array to array: whole cache lines, and no multiple of 4 KB.
  static constexpr std::int64_t step(bool both) {
    constexpr std::int64_t room = most_positions<Scalar> + 16;
    return both ? 6 * room / 7 / 16 * 16 : room;
  }

  std::int64_t run_, lanes_, columns_, copies_ = 1;
  bool both_;
  alignas(64) Scalar numbers_[static_cast<std::size_t>(6 * step(false))];
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
    if (slab.lists_rows) {
      fill(slab.at.feature);
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

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/loop.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/slab_parts.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// What a forward call does beside normalizing: a sum before it, a residual and an activation behind it; and the gate
/// that backward finds again by the same arithmetic.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

template <typename Storage, typename Scalar>
struct ForwardCall;

/// What is fused with a forward call. Tensors are x, the residual, dy and y, as far as there are any; or, where x is a
/// sum that is still to be made, x, y and its two terms.
template <typename Storage>
struct Fusion {
  bool relu = false;
  const Storage* residual = nullptr;  ///< added behind shift
  const Storage* dy = nullptr;        ///< of y only the gate is wanted: what is written is dy where y is above 0, or 0
  const Storage* terms[2] = {nullptr, nullptr};
  Storage* sum = nullptr;  ///< x itself: terms[0] + terms[1]

  /// How many tensors are read for y.
  std::size_t inputs() const { return std::size_t{1} + (residual != nullptr ? 1U : 0U) + (dy != nullptr ? 1U : 0U); }
  std::size_t tensors() const { return sum != nullptr ? std::size_t{4} : inputs() + 1; }
};

/// The pass that writes y.
template <typename Storage, typename Scalar>
Pass<Storage> pass_of(const ForwardCall<Storage, Scalar>& call, std::size_t first) {
  Pass<Storage> pass{{call.x, nullptr, nullptr}, call.y, first, 1, max_tensors, &call.kernels->select, call.stream};
  if (call.fused == nullptr) return pass;
  for (const Storage* each : {call.fused->residual, call.fused->dy}) {
    if (each != nullptr) pass.in[pass.inputs++] = each;
  }
  return pass;
}

/// y of a part, or dy through its gate.
template <typename Storage, typename Scalar>
[[gnu::noinline]] void write_fused(const ForwardCall<Storage, Scalar>& call, const Part<Storage, Scalar>& at,
                                   const kernels::Normalizers<Scalar>& by, kernels::Traffic traffic) {
  const bool adds = call.fused->residual != nullptr;
  const kernels::Fused<Storage, Scalar> fused{by, at.affine, adds ? at.in[1] : Rows<const Storage>{nullptr, 0},
                                              call.fused->relu};
  if (call.fused->dy == nullptr) return call.kernels->transform_fused(at.in[0], at.out, at.size, fused, traffic);
  const Rows<const Storage> dy = at.in[call.fused->inputs() - 1];
  // (Nothing is closed where there is no activation.)
  if (!fused.relu) return call.kernels->copy(dy, at.out, at.size, traffic);
  call.kernels->gate(at.in[0], dy, at.out, at.size, fused, traffic);
}

/// The result of a part.
template <typename Storage, typename Scalar>
void write_part(const ForwardCall<Storage, Scalar>& call, const Part<Storage, Scalar>& at,
                const kernels::Normalizers<Scalar>& by, kernels::Traffic traffic) {
  if (call.fused != nullptr && at.places == nullptr) return write_fused(call, at, by, traffic);
  if (call.fused != nullptr) {
    for (std::int64_t r = 0; r < at.size.rows; ++r) write_fused(call, at.at_row(r), by, traffic);
    return;
  }
  if (at.places != nullptr)
    return call.kernels->transform_listed({at.in[0].data, at.places}, {at.out.data, at.places}, at.size, by, at.affine,
                                          traffic);
  call.kernels->transform(at.in[0], at.out, at.size, by, at.affine, traffic);
}

/// Makes values [part.first, part.last) of the lanes of a tile of x, which is a sum. Where that are not whole runs,
/// those go before that begin there. (Not inlined: what it needs of the stack.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void add_terms(const ForwardCall<Storage, Scalar>& call, const Tile& tile, Segment part) {
  const Fusion<Storage>& of = *call.fused;
  const Layout& layout = *call.layout;
  const Pass<Storage> pass{{of.terms[0], of.terms[1], nullptr}, of.sum, 2, 2, 0, &call.kernels->select, false};
  const auto add_part = [&](const Part<Storage, Scalar>& at) {
    call.kernels->add(at.in[0], at.in[1], at.out, at.size, {});
  };
  const auto add = [&](const Part<Storage, Scalar>& at) {
    if (at.places == nullptr) return add_part(at);
    for (std::int64_t r = 0; r < at.size.rows; ++r) add_part(at.at_row(r));
  };
  const Visitor<Storage, Scalar> visit(add);
  if (!layout.by_column) return for_rows(pass, layout, tile, part, ScaleAndShift<Scalar>{nullptr, nullptr}, visit);
  Columns<Scalar> columns(layout, tile.lanes, 256);
  for_columns(pass, layout, tile, part, ScaleAndShift<Scalar>{nullptr, nullptr}, columns, visit);
}

/// The same of all tiles, where tasks will share them out otherwise than whole.
template <typename Storage, typename Scalar, typename OnDevice>
[[gnu::noinline]] void add_all_terms(const ForwardCall<Storage, Scalar>& call, const Reduction& tiles,
                                     std::int64_t width, const OnDevice& device) {
  const std::int64_t count = tiles.reduced.size, run = call.layout->run();
  const std::int64_t each = (std::max)(kernels::segment_size / (width * run), std::int64_t{1}) * run;
  const std::int64_t bands = (count + each - 1) / each, all = tiles.tiles(width);
  device.parallel_for(all * bands, each * width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t start = task % bands * each;
      add_terms(call, tiles.tile(task / bands, width), {start, (std::min)(start + each, count)});
    }
  });
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

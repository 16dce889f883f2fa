#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/gradient_sums.hpp"
#include "eigennorm/core/moments_view.hpp"
#include "eigennorm/core/piece_sums.hpp"
#include "eigennorm/core/schedule.hpp"
#include "eigennorm/core/slab_parts.hpp"
#include "eigennorm/core/summaries_view.hpp"
#include "eigennorm/core/transform.hpp"
#include "eigennorm/statistic.hpp"

/// \file
/// What a backward call is given, and how dx is made of parts of it: of columns that are lanes, and of rows whose dy
/// still has to pass the gate of an activation.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// One backward call. Tensor 0 is x, 1 is dy, 2 is dx. dx may be dy: a value is read for the last time before it is
/// written.
template <typename Storage, typename Scalar>
struct BackwardCall {
  const Partition* partition;
  Statistic statistic;
  bool frozen;  ///< by running statistics: dx = d * rstd
  const Storage* x;
  const Storage* dy;
  Storage* dx;
  const Scalar* scale;          ///< by feature number; null: 1
  MomentsView<Scalar> moments;  ///< what forward left
  const BlockKernels<Storage, Scalar>* kernels;

  bool wants_parameters = false;              ///< sums for dscale and dshift are kept
  GradientTotals<Scalar> sums{};              ///< by group, or by part and feature
  Scalar* accumulators = nullptr;             ///< of rows that need more than the stack has room for, by part
  const PieceSums<Scalar>* pieces = nullptr;  ///< where groups leave the sums of their pieces
  const Layout* layout = nullptr;
  bool stream = false;  ///< dx goes past the caches
  Half half = Half::both;
  GradientTotals<Scalar>
      all{};               ///< by group: where Half::sums leaves them, and Half::results finds those of all members
  std::int64_t count = 0;  ///< of values in a group of all members
  /// What dx is corrected by, of each group, where it is made apart from the sums; null: with them.
  Scalar* mean = nullptr;
  Scalar* slope = nullptr;
  /// Whether dy still has to pass the gate of an activation, and the shift of y for it.
  bool gated = false;
  const Scalar* shift = nullptr;
};

/// Whether dy may pass the gate of an activation where it is used, and not in a walk of its own: where rows are runs,
/// each of one scale, in L1, and where columns are channels, in registers.
inline bool gates_in_place(const Partition& partition) {
  const Reduction& groups = partition.groups;
  if (groups.reduced.places != nullptr || groups.kept.places != nullptr) return false;
  if (are_columns_apart(partition)) return groups.kept.size >= most_rows;
  return partition.features_kept && !groups.interleaved && groups.reduced.fastest().extent >= Layout::shortest_run;
}

/// Calls `use(dy, r, c, size)` for all parts of rows whose dy has passed the gate: it lies in L1. Rows of up to a block
/// are whole. (Not inlined, so that what lies there is on the stack only here.)
template <typename Storage, typename Scalar, typename Use>
[[gnu::noinline]] void with_gate(const BackwardCall<Storage, Scalar>& call, Rows<const Storage> x,
                                 Rows<const Storage> dy, Extent size, const kernels::Fused<Storage, Scalar>& by,
                                 std::int64_t next, const Use& use) {
  alignas(64) Storage passed[block_size];
  const std::int64_t columns = (std::min)(size.columns, block_size);
  const std::int64_t rows = (std::min)(block_size / columns, size.rows);
  const std::int64_t last_rows = size.rows % rows, last_columns = size.columns % columns;
  const Extent parts[2][2] = {{{rows, columns}, {rows, last_columns}},
                              {{last_rows, columns}, {last_rows, last_columns}}};
  for (std::int64_t r = 0; r < size.rows; r += rows) {
    for (std::int64_t c = 0; c < size.columns; c += columns) {
      const Extent& part = parts[r + rows > size.rows ? 1 : 0][c + columns > size.columns ? 1 : 0];
      call.kernels->gate({x(r) + c, x.step}, {dy(r) + c, dy.step}, {passed, columns}, part, by.from(r, c),
                         {false, next});
      use(Rows<const Storage>{passed, columns}, r, c, part);
    }
  }
}

template <typename Storage, typename Scalar>
Pass<Storage> pass_of(const BackwardCall<Storage, Scalar>& call) {
  return {{call.x, call.dy}, call.dx, 0, 2, max_tensors, &call.kernels->select, call.stream};
}

/// Writes dx of values of the lanes of a tile, where columns are lanes. (Not inlined, so that their arrays are on the
/// stack only where they are needed.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void gradient_columns(const BackwardCall<Storage, Scalar>& call, const Tile& tile, Segment part,
                                        const kernels::Gradient<Scalar>& of_lanes, std::int64_t next) {
  using Own = Columns<Scalar>;
  const std::int64_t most = call.stream ? Own::most_columns(call.gated) : 256;
  Own columns(*call.layout, tile.lanes, most, call.gated);
  const Normalizers<Scalar> by{columns.fill(Own::high, of_lanes.by.high, 1), columns.fill(Own::low, of_lanes.by.low, 1),
                               columns.fill(Own::rstd, of_lanes.by.rstd, 1), 1, true};
  const kernels::Gradient<Scalar> own{by,
                                      columns.fill(Own::mean, of_lanes.mean, 1),
                                      columns.fill(Own::slope, of_lanes.slope, 1),
                                      {},
                                      of_lanes.scale_first};
  const auto gradient = call.gated ? call.kernels->gradient_gated : call.kernels->gradient;
  for_columns(pass_of(call), *call.layout, tile, part, {call.scale, call.gated ? call.shift : nullptr}, columns,
              Visitor<Storage, Scalar>([&](const Part<Storage, Scalar>& at) {
                kernels::Gradient<Scalar> here = own.from(0, at.column);
                here.affine = at.affine;
                const Traffic traffic = at.traffic(call.stream, columns_ahead(at, *call.partition, next));
                if (at.places != nullptr) {
                  return call.kernels->gradient_listed({at.in[0].data, at.places}, {at.in[1].data, at.places},
                                                       {at.out.data, at.places}, at.size, here, traffic);
                }
                gradient(at.in[0], at.in[1], at.out, at.size, here, traffic);
              }));
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

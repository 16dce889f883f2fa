#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/fused.hpp"
#include "eigennorm/core/moments_view.hpp"
#include "eigennorm/core/schedule.hpp"
#include "eigennorm/core/slab_parts.hpp"
#include "eigennorm/core/summaries_view.hpp"
#include "eigennorm/statistic.hpp"

/// \file
/// y of a tile, by the statistics of its lanes.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

using kernels::Normalizers;
using kernels::Traffic;

/// One forward call. Tensor 0 is x, tensor 1 is y, unless something is fused with it.
template <typename Storage, typename Scalar>
struct ForwardCall {
  const Partition* partition;
  Statistic statistic;
  Wide<Scalar> eps;
  const Storage* x;
  Storage* y;           ///< null: only statistics are wanted
  const Scalar* scale;  ///< by feature number; null: 1
  const Scalar* shift;  ///< by feature number; null: 0
  MomentsView<Scalar> moments;
  const BlockKernels<Storage, Scalar>* kernels;
  const Layout* layout = nullptr;
  bool stream = false;  ///< y goes past the caches
  Half half = Half::both;
  SummariesView<Scalar> summaries{};  ///< where Half::sums leaves them
  const Fusion<Storage>* fused = nullptr;
  bool adds = false;  ///< x is a sum that is still to be made

  std::size_t inputs() const { return fused == nullptr ? 1 : fused->inputs(); }
  std::size_t tensors() const { return fused == nullptr ? 2 : fused->tensors(); }
};

/// A parameter that is read again for each of many rows, copied to where no vector crosses a cache line (a transform in
/// L2 takes a quarter longer otherwise).
template <typename Scalar>
class AlignedParameter {
 public:
  AlignedParameter(const Scalar* from, std::int64_t size) : from_(from) {
    if (from == nullptr || size == 0 || size > room) return;
    std::copy(from, from + size, values_);
    from_ = values_;
  }
  AlignedParameter(const AlignedParameter&) = delete;
  AlignedParameter& operator=(const AlignedParameter&) = delete;

  const Scalar* get() const { return from_; }

 private:
  static constexpr std::int64_t room = (std::min)(block_size, 6144 / static_cast<std::int64_t>(sizeof(Scalar)));

  alignas(64) Scalar values_[room];
  const Scalar* from_;
};

/// How many values of each parameter a task of so many tiles copies: all, or none where that is not worth it.
inline std::int64_t copied_parameters(const Partition& partition, const Layout& layout, std::int64_t tiles) {
  constexpr std::int64_t worth_copying = 8;
  const bool again = layout.inside.feature == 1 && tiles * layout.lane.extent >= worth_copying;
  return again && !partition.features_kept ? partition.features.kept.size : 0;
}

/// How far ahead passes of results ask where columns are lanes, unless others say `next`: by the rows that four
/// kilobytes of float are, or not at all.
template <typename Storage, typename Scalar>
std::int64_t columns_ahead(const Part<Storage, Scalar>& at, const Partition& partition, std::int64_t next) {
  if (next != 0 || !is_far<Storage>(partition.size)) return next;
  return (std::max)(block_size / at.width, std::int64_t{4}) * at.in[0].step;
}

/// Writes y of values of the lanes of a tile, where rows are runs: of one lane, all of them (`by` has step 0).
template <typename Storage, typename Scalar>
void transform_rows(const ForwardCall<Storage, Scalar>& call, ScaleAndShift<Scalar> affine, const Tile& tile,
                    Segment part, const Normalizers<Scalar>& by, std::int64_t next) {
  for_rows(pass_of(call, call.layout->first), *call.layout, tile, part, affine,
           Visitor<Storage, Scalar>([&](const Part<Storage, Scalar>& at) {
             write_part(call, at, by.from(at.row), at.traffic(call.stream, next));
           }));
}

/// The same where columns are lanes. (Not inlined, so that their arrays are on the stack only where they are needed.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void transform_columns(const ForwardCall<Storage, Scalar>& call, ScaleAndShift<Scalar> affine,
                                         const Tile& tile, Segment part, const Normalizers<Scalar>& by,
                                         std::int64_t next) {
  const Pass<Storage> pass = pass_of(call, call.layout->first);
  Columns<Scalar> columns(*call.layout, tile.lanes, call.stream ? most_positions<Scalar> : 256);
  const Normalizers<Scalar> of{columns.fill(Columns<Scalar>::high, by.high, 1),
                               columns.fill(Columns<Scalar>::low, by.low, 1),
                               columns.fill(Columns<Scalar>::rstd, by.rstd, 1), 1, true};
  for_columns(pass, *call.layout, tile, part, affine, columns,
              Visitor<Storage, Scalar>([&](const Part<Storage, Scalar>& at) {
                const Traffic traffic = at.traffic(call.stream, columns_ahead(at, *call.partition, next));
                write_part(call, at, of.from(at.column), traffic);
              }));
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

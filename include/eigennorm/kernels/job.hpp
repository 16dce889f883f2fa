#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/lane_layout.hpp"
#include "eigennorm/kernels/summary.hpp"
#include "eigennorm/kernels/walk.hpp"
#include "eigennorm/kernels/wide.hpp"

/// \file
/// What a kernel is given: plain data, the same for every instruction set.

namespace eigennorm::kernels {

/// Blocks [first, last) of a group.
struct Segment {
  std::int64_t first_block, last_block;
};

inline std::int64_t blocks_in(std::int64_t count) { return (count + block_size - 1) / block_size; }
inline std::int64_t segments_in(std::int64_t count) { return (count + segment_size - 1) / segment_size; }

inline Segment segment(std::int64_t number, std::int64_t count) {
  const std::int64_t first = number * segment_blocks;
  return {first, (std::min)(first + segment_blocks, blocks_in(count))};
}

inline std::int64_t values_in_block(std::int64_t block, std::int64_t count) {
  return (std::min)(block_size, count - block * block_size);
}

/// Up to so many bytes, what a task reads next is asked for while it writes the present: as much as an L2 of 1 MB
/// holds. (With 400 KB instead, BatchNorm's backward of 32 x 64 x 56 x 56 takes 1.3 times as long; with none, its
/// forward 1.4 times.)
constexpr std::int64_t resident_bytes = 900 * 1024;

/// How far ahead to ask for the next of several tiles of `values` in `tensors` tensors: not at all where they
/// do not stay in cache.
template <typename Storage>
std::int64_t next_after(std::int64_t values, std::int64_t tensors, std::int64_t distance) {
  return values * tensors * static_cast<std::int64_t>(sizeof(Storage)) <= resident_bytes ? distance : 0;
}

/// Rows that are four kilobytes of float.
inline std::int64_t rows_ahead(std::int64_t width) { return (std::max)(block_size / width, std::int64_t{4}); }

template <typename Scalar>
const Scalar* at_feature(const Scalar* parameter, std::int64_t feature) {
  return parameter == nullptr ? nullptr : parameter + feature;
}

/// Where the statistics of each group are kept, by group number; null pointers: not at all.
template <typename Scalar>
struct MomentsSink {
  Scalar* high = nullptr;
  Scalar* low = nullptr;
  Scalar* rstd = nullptr;
  Wide<Scalar>* variance = nullptr;

  void put(std::int64_t group, const GroupStatistics<Scalar>& statistics) const {
    if (high == nullptr) return;
    high[group] = statistics.normalizer.high;
    low[group] = statistics.normalizer.low;
    rstd[group] = statistics.normalizer.rstd;
    if (variance != nullptr) variance[group] = statistics.variance;
  }
};

/// What forward left, by group number.
template <typename Scalar>
struct MomentsSource {
  const Scalar* high;
  const Scalar* low;
  const Scalar* rstd;

  Normalizer<Scalar> of(std::int64_t group) const { return {high[group], low[group], rstd[group]}; }
};

/// One forward call. Tensor 0 is x, tensor 1 is y.
template <typename Storage, typename Scalar>
struct ForwardJob {
  const Partition* partition;
  Statistic statistic;
  Wide<Scalar> eps;
  const Storage* x;
  Storage* y;           ///< null: only statistics are wanted
  const Scalar* scale;  ///< by feature number; null: 1
  const Scalar* shift;  ///< by feature number; null: 0
  MomentsSink<Scalar> sink;
  const BlockKernels<Storage, Scalar>* kernels;

  const Scalar* given_mean = nullptr;  ///< by feature number: running statistics
  const Scalar* given_variance = nullptr;
  const Wide<Scalar>* given_rstd = nullptr;  ///< in place of the variance

  std::size_t from = 0, to = 1;        ///< by given statistics: which tensors x and y are
  const LaneLayout* layout = nullptr;  ///< of tiles
  std::int64_t width = 1;              ///< lanes of a tile
  bool stream = false;                 ///< y goes past the caches
};

#include "eigennorm/kernels/strict_begin.inl"

/// Sums of dy (or d) and of its product with xhat.
template <typename Scalar>
struct GradientSums {
  WideSum<Scalar> sum, product;

  void add(const GradientSums& next) {
    sum.add(next.sum);
    product.add(next.product);
  }
  /// A block's, times the scale of all its values.
  void add(Sums<Scalar> block, Scalar scale = Scalar(1)) {
    const auto factor = static_cast<Wide<Scalar>>(scale);
    sum.add(static_cast<Wide<Scalar>>(block.first) * factor);
    product.add(static_cast<Wide<Scalar>>(block.second) * factor);
  }
};

/// Room for sums of dy and of dy * xhat, with what the additions lost where Wide is no wider than Scalar.
template <typename Scalar>
struct GradientTotals {
  Wide<Scalar>* sum = nullptr;
  Wide<Scalar>* product = nullptr;
  Wide<Scalar>* sum_lost = nullptr;
  Wide<Scalar>* product_lost = nullptr;

  /// Numbers that `size` sums take.
  static constexpr std::int64_t room(std::int64_t size) {
    return size * (WideSum<Scalar>::compensated ? 4 : 2);
  }
  GradientTotals() = default;
  GradientTotals(Wide<Scalar>* data, std::int64_t size)
      : sum(data),
        product(data + size),
        sum_lost(WideSum<Scalar>::compensated ? data + 2 * size : nullptr),
        product_lost(WideSum<Scalar>::compensated ? data + 3 * size : nullptr) {}

  GradientTotals from(std::int64_t i) const {
    GradientTotals result = *this;
    for (Wide<Scalar>** each : {&result.sum, &result.product, &result.sum_lost, &result.product_lost}) {
      if (*each != nullptr) *each += i;
    }
    return result;
  }
  void put(std::int64_t i, const GradientSums<Scalar>& sums) const {
    sum[i] = sums.sum.value;
    product[i] = sums.product.value;
    if (sum_lost == nullptr) return;
    sum_lost[i] = sums.sum.lost;
    product_lost[i] = sums.product.lost;
  }
  GradientSums<Scalar> get(std::int64_t i) const {
    if (sum_lost == nullptr) return {{sum[i], 0}, {product[i], 0}};
    return {{sum[i], sum_lost[i]}, {product[i], product_lost[i]}};
  }
  void clear(std::int64_t first, std::int64_t n) const {
    for (Wide<Scalar>* each : {sum, product, sum_lost, product_lost}) {
      if (each != nullptr) std::fill(each + first, each + first + n, Wide<Scalar>(0));
    }
  }
};

/// Pieces of a feature's positions that are added in Scalar, by pairs, before they go on to Wide.
constexpr std::int64_t pieces_together = 16;

/// What a group's dx is corrected by, from its sums.
template <typename Scalar>
Correction<Scalar> correction_of(const GradientSums<Scalar>& sums, Statistic statistic, std::int64_t count) {
  const auto n = static_cast<Wide<Scalar>>(count);
  const Wide<Scalar> product = sums.product.total();
  Correction<Scalar> result{0, 0};
  if (is_centred(statistic)) result.mean = static_cast<Scalar>(sums.sum.total() / n);
  if (has_sigma(statistic))
    result.slope = static_cast<Scalar>(statistic == Statistic::sum_square ? product : product / n);
  return result;
}

#include "eigennorm/kernels/strict_end.inl"

/// How a group is cut for the sums of its gradients: into blocks, and where its features change between runs
/// (GroupNorm on planes), into blocks of each run: one scale then multiplies a whole sum. By shape alone.
struct GroupPieces {
  bool by_runs;  ///< only where there is a scale
  std::int64_t run, per_run, pieces, per_segment, segments;

  GroupPieces(const Partition& partition, bool scaled) {
    // Shorter runs would leave vectors empty.
    constexpr std::int64_t shortest = 16;
    by_runs = scaled && !partition.features_kept && partition.group_run >= shortest;
    run = by_runs ? partition.group_run : partition.count;
    per_run = blocks_in(run);
    pieces = partition.count / run * per_run;
    per_segment = (std::max)(segment_blocks, segment_size / run);
    segments = (pieces + per_segment - 1) / per_segment;
  }
  std::int64_t first_value(std::int64_t piece) const {
    return piece / per_run * run + piece % per_run * block_size;
  }
  std::int64_t values_in(std::int64_t piece) const {
    return (std::min)(block_size, run - piece % per_run * block_size);
  }
  Segment segment(std::int64_t number) const {
    return {number * per_segment, (std::min)((number + 1) * per_segment, pieces)};
  }
};

template <typename Scalar>
class PieceSums;

/// One backward call. Tensor 0 is x, 1 is dy, 2 is dx. dx may be dy: a value is read for the last time
/// before it is written.
template <typename Storage, typename Scalar>
struct BackwardJob {
  const Partition* partition;
  Statistic statistic;
  bool frozen;  ///< by running statistics: dx = d * rstd
  const Storage* x;
  const Storage* dy;
  Storage* dx;
  const Scalar* scale;  ///< by feature number; null: 1
  MomentsSource<Scalar> moments;
  const BlockKernels<Storage, Scalar>* kernels;

  bool wants_parameters = false;              ///< sums for dscale and dshift are kept
  GradientTotals<Scalar> sums{};              ///< by group, or by part and feature
  Scalar* accumulators = nullptr;             ///< of rows that need more than the stack has room for, by part
  GradientTotals<Scalar> waiting{};           ///< where the sums of segments wait to be added up
  const PieceSums<Scalar>* pieces = nullptr;  ///< where groups leave the sums of their pieces
  const LaneLayout* layout = nullptr;         ///< of tiles
  std::int64_t width = 1;                     ///< lanes of a tile
  bool stream = false;                        ///< dx goes past the caches

  void keep(std::int64_t group, const GradientSums<Scalar>& next) const {
    if (partition->features_kept && wants_parameters) sums.put(group, next);
  }
};

/// How the positions of a feature are cut for dscale and dshift: into pieces of one run in memory, of at most a
/// block, and those into parts that tasks take. By shape alone.
struct FeaturePieces {
  std::int64_t run, per_run, pieces, per_part, parts;

  explicit FeaturePieces(const Partition& partition) {
    constexpr std::int64_t most_parts = 64;
    constexpr std::int64_t together = pieces_together;
    run = partition.run;
    per_run = blocks_in(run);
    pieces = partition.features.reduced.size / run * per_run;
    per_part = ((pieces + most_parts - 1) / most_parts + together - 1) / together * together;
    parts = (pieces + per_part - 1) / per_part;
  }
};

}  // namespace eigennorm::kernels

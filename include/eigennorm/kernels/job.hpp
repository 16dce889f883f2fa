#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/summary.hpp"
#include "eigennorm/kernels/walk.hpp"
#include "eigennorm/kernels/wide.hpp"

/// \file
/// What a kernel is given: plain data, the same for every instruction set.

namespace eigennorm::kernels {

/// Lanes of a tile: a cache line of Scalar, so that interleaved groups are read by whole lines.
template <typename Scalar>
constexpr std::int64_t tile_width = sizeof(Scalar) >= 64 ? 1 : 64 / static_cast<std::int64_t>(sizeof(Scalar));

/// Blocks [first, last) of a group.
struct Segment {
  std::int64_t first_block, last_block;
};

inline std::int64_t blocks_in(std::int64_t count) { return (count + block_size - 1) / block_size; }
inline std::int64_t segments_in(std::int64_t count) { return (count + segment_size - 1) / segment_size; }

inline Segment segment(std::int64_t number, std::int64_t count) {
  const std::int64_t first = number * segment_blocks;
  return {first, std::min(first + segment_blocks, blocks_in(count))};
}

inline std::int64_t values_in_block(std::int64_t block, std::int64_t count) {
  return std::min(block_size, count - block * block_size);
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
  const Scalar* given_mean = nullptr;  ///< by feature number: running statistics
  const Scalar* given_variance = nullptr;
  const BlockKernels<Storage, Scalar>* kernels = nullptr;
  bool stream = false;  ///< y goes past the caches
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
  void add(Sums<Scalar> block) {
    sum.add(static_cast<Wide<Scalar>>(block.first));
    product.add(static_cast<Wide<Scalar>>(block.second));
  }
};

/// Sums of the pieces of a feature's positions: pairs of pieces are added in Scalar, eight pairs then go on
/// to Wide.
template <typename Scalar>
class PieceSums {
 public:
  /// Pieces that go to Wide together.
  static constexpr std::int64_t pieces_together = 16;

  void add_pair(Scalar sum, Scalar product) {
    together_ = {together_.first + sum, together_.second + product};
    if (++pairs_ % (pieces_together / 2) == 0) flush();
  }
  GradientSums<Scalar> total() {
    flush();
    return total_;
  }

 private:
  void flush() {
    total_.add(together_);
    together_ = {0, 0};
  }

  Sums<Scalar> together_{0, 0};
  GradientSums<Scalar> total_;
  std::int64_t pairs_ = 0;
};

/// The part of one group in dx: dx = (d - (mean + xhat * slope)) * rstd, by sums of d = dy * scale; with one
/// scale for the
/// group dx = (dy - (mean + xhat * slope)) * rstd * scale, by sums of dy.
template <typename Scalar>
struct GradientCoefficients {
  Scalar mean = 0, slope = 0;

  GradientCoefficients(const GradientSums<Scalar>& sums, Statistic statistic, std::int64_t count) {
    const auto n = static_cast<Wide<Scalar>>(count);
    const Wide<Scalar> product = sums.product.total();
    if (is_centred(statistic)) mean = static_cast<Scalar>(sums.sum.total() / n);
    if (has_sigma(statistic))
      slope = static_cast<Scalar>(statistic == Statistic::sum_square ? product : product / n);
  }
};

#include "eigennorm/kernels/strict_end.inl"

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
  bool wants_parameters = false;         ///< sums for dscale and dshift are kept
  GradientSums<Scalar>* sums = nullptr;  ///< by group, or by part and feature
  const BlockKernels<Storage, Scalar>* kernels = nullptr;
  bool stream = false;  ///< dx goes past the caches
};

/// How the positions of a feature are cut for dscale and dshift: into pieces of one run in memory, of at
/// most a block,
/// and those into parts that tasks take. By shape alone.
struct FeaturePieces {
  std::int64_t run, per_run, pieces, per_part, parts;

  explicit FeaturePieces(const Partition& partition) {
    constexpr std::int64_t most_parts = 64;
    constexpr std::int64_t together = 16;  // PieceSums::pieces_together
    run = partition.run;
    per_run = blocks_in(run);
    pieces = partition.features.reduced.size / run * per_run;
    per_part = ((pieces + most_parts - 1) / most_parts + together - 1) / together * together;
    parts = (pieces + per_part - 1) / per_part;
  }
};

}  // namespace eigennorm::kernels

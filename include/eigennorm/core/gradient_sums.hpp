#pragma once

#include <algorithm>
#include <cstdint>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/kernels/wide.hpp"

/// \file
/// The sums of backward: of a group, for its dx, and of a feature, for dscale and dshift. How they are kept and how
/// their terms are cut into pieces.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// Sums of dy (or d) and of its product with xhat.
template <typename Scalar>
struct GradientSums {
  kernels::WideSum<Scalar> sum, product;

  void add(const GradientSums& next) {
    sum.add(next.sum);
    product.add(next.product);
  }
  /// A block's, times the scale of all its values.
  void add(Scalar block_sum, Scalar block_product, Scalar scale = Scalar(1)) {
    const auto factor = static_cast<Wide<Scalar>>(scale);
    sum.add(static_cast<Wide<Scalar>>(block_sum) * factor);
    product.add(static_cast<Wide<Scalar>>(block_product) * factor);
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
    return size * (kernels::WideSum<Scalar>::compensated ? 4 : 2);
  }
  GradientTotals() = default;
  GradientTotals(Wide<Scalar>* data, std::int64_t size)
      : sum(data),
        product(data + size),
        sum_lost(kernels::WideSum<Scalar>::compensated ? data + 2 * size : nullptr),
        product_lost(kernels::WideSum<Scalar>::compensated ? data + 3 * size : nullptr) {}

  GradientTotals starting_at(std::int64_t i) const {
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
  /// The first n of `from`, a step apart from i on.
  void put_all(std::int64_t i, std::int64_t step, std::int64_t n, const GradientTotals& from) const {
    if (step != 1) {
      for (std::int64_t k = 0; k < n; ++k) put(i + k * step, from.get(k));
      return;
    }
    std::copy(from.sum, from.sum + n, sum + i);
    std::copy(from.product, from.product + n, product + i);
    if (sum_lost == nullptr) return;
    std::copy(from.sum_lost, from.sum_lost + n, sum_lost + i);
    std::copy(from.product_lost, from.product_lost + n, product_lost + i);
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
    per_segment = (std::max)(kernels::segment_blocks, segment_size / run);
    segments = (pieces + per_segment - 1) / per_segment;
  }
  std::int64_t first_value(std::int64_t piece) const { return piece / per_run * run + piece % per_run * block_size; }
  std::int64_t values_in(std::int64_t piece) const {
    return (std::min)(block_size, run - piece % per_run * block_size);
  }
  Segment segment(std::int64_t number) const {
    return {number * per_segment, (std::min)((number + 1) * per_segment, pieces)};
  }
};

/// Pieces of a feature's positions that are added in Scalar, by pairs, before they go on to Wide.
constexpr std::int64_t pieces_together = 16;

/// How the positions of a feature are cut for dscale and dshift: into pieces of one run in memory, of at most a block,
/// and those into parts that tasks take. By shape alone.
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

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "eigennorm/core/gradient_sums.hpp"

/// \file
/// dscale and dshift from the sums that dx is made of anyway, where groups are cut where features are.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// The sums of pieces, as many of each feature as a wave of samples has, and what has become of them so far: the
/// contract's pairs, sixteens and parts (docs/arithmetic.md), continued from wave to wave.
template <typename Scalar>
class PieceSums {
 public:
  /// Pieces of a feature that wait at a time: enough groups for all threads.
  static constexpr std::int64_t most_waiting = 32;

  /// Whether the pieces of groups are those of features, and come in their order.
  static bool fits(const Partition& partition, bool scaled) {
    const Loop& kept = partition.groups.kept;
    if (!GroupPieces(partition, scaled).by_runs || partition.run != partition.group_run || partition.groups.interleaved)
      return false;
    if (GroupPieces(partition, true).per_run > most_waiting) return false;
    // A group is one run of each of its features.
    const Loop& values = partition.groups.reduced;
    for (int i = 0; i + 1 < values.rank; ++i) {
      if (values.axes[static_cast<std::size_t>(i)].feature == 0) return false;
    }
    // (Places say nothing of the axes that they are on.)
    if (values.places != nullptr && partition.features.reduced.size != samples_in(partition) * partition.run)
      return false;
    // Samples outside, groups of features inside.
    return kept.rank < 2 || (kept.axes[0].feature == 0 && kept.axes[1].feature != 0);
  }
  static std::int64_t samples_in(const Partition& partition) {
    const Loop& kept = partition.groups.kept;
    return kept.rank == 0 || kept.axes[0].feature != 0 ? 1 : kept.axes[0].extent;
  }
  /// Samples that wait at a time.
  static std::int64_t wave(const Partition& partition) {
    return (std::max)(most_waiting / GroupPieces(partition, true).per_run, std::int64_t{1});
  }
  /// Numbers that these take, a feature.
  static constexpr std::int64_t room = 2 * GradientTotals<Scalar>::room(1) + 4 + 2 * most_waiting;

  PieceSums(Wide<Scalar>* data, const Partition& partition)
      : features_(partition.features.kept.size), per_run_(GroupPieces(partition, true).per_run), cut_(partition) {
    const auto take = [&](std::int64_t numbers) { return std::exchange(data, data + numbers * features_); };
    totals_ = GradientTotals<Scalar>(take(GradientTotals<Scalar>::room(1)), features_);
    part_ = GradientTotals<Scalar>(take(GradientTotals<Scalar>::room(1)), features_);
    for (Wide<Scalar>** each : {&pair_.sum, &pair_.product, &together_.sum, &together_.product}) *each = take(1);
    waiting_ = take(2 * most_waiting);
    part_.clear(0, features_);
    pair_.clear(0, features_);
    together_.clear(0, features_);
  }

  /// Keeps the sums of a piece of a feature: block `block` of its run in the wave's sample `sample`.
  void put(std::int64_t sample, std::int64_t block, std::int64_t feature, Scalar sum, Scalar product) const {
    Wide<Scalar>* to = waiting_ + 2 * (sample * per_run_ + block) * features_ + feature;
    to[0] = static_cast<Wide<Scalar>>(sum);
    to[features_] = static_cast<Wide<Scalar>>(product);
  }

  /// Adds what waits, pieces [first, first + count) of features [begin, end).
  void add(std::int64_t begin, std::int64_t end, std::int64_t first, std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t done = (first + i) % cut_.per_part + 1;
      const bool ends = done == cut_.per_part || first + i + 1 == cut_.pieces;
      const Wide<Scalar>* sums = waiting_ + 2 * i * features_;
      for (std::int64_t f = begin; f < end; ++f) {
        const bool pair_ends = done % 2 == 0 || ends;
        const bool sixteen_ends = done % pieces_together == 0 || ends;
        Scalar sum = add(pair_.sum[f], sums[f]), product = add(pair_.product[f], sums[features_ + f]);
        pair_.sum[f] = pair_ends ? Wide<Scalar>(0) : static_cast<Wide<Scalar>>(sum);
        pair_.product[f] = pair_ends ? Wide<Scalar>(0) : static_cast<Wide<Scalar>>(product);
        if (!pair_ends) continue;
        sum = add(together_.sum[f], sum);
        product = add(together_.product[f], product);
        together_.sum[f] = sixteen_ends ? Wide<Scalar>(0) : static_cast<Wide<Scalar>>(sum);
        together_.product[f] = sixteen_ends ? Wide<Scalar>(0) : static_cast<Wide<Scalar>>(product);
        if (!sixteen_ends) continue;
        GradientSums<Scalar> part = part_.get(f);
        part.add(sum, product);
        if (ends) {
          GradientSums<Scalar> total = part;
          if (first + i >= cut_.per_part) {
            total = totals_.get(f);
            total.add(part);
          }
          totals_.put(f, total);
          part = {};
        }
        part_.put(f, part);
      }
    }
  }

  const GradientTotals<Scalar>& totals() const { return totals_; }

 private:
  /// In Scalar, of numbers that are kept as Wide.
  template <typename T>
  static Scalar add(Wide<Scalar> a, T b) {
    return static_cast<Scalar>(a) + static_cast<Scalar>(b);
  }

  std::int64_t features_, per_run_;
  FeaturePieces cut_;
  GradientTotals<Scalar> totals_, part_, pair_, together_;
  Wide<Scalar>* waiting_;
};

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

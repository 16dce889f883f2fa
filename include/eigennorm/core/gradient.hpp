#pragma once

#include <algorithm>
#include <cstdint>

#include "eigennorm/core/backward.hpp"
#include "eigennorm/core/device.hpp"
#include "eigennorm/core/feature_rows.hpp"
#include "eigennorm/core/feature_sums.hpp"
#include "eigennorm/core/given.hpp"
#include "eigennorm/core/gradient_sums.hpp"
#include "eigennorm/core/piece_sums.hpp"
#include "eigennorm/core/renormalize.hpp"
#include "eigennorm/streaming.hpp"

/// \file
/// Backward: how a call is cut into tasks, and the parameter gradients put together.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// Where parameter gradients go, by feature number; null: not wanted.
template <typename Scalar>
struct AffineGradients {
  Scalar* scale = nullptr;
  Scalar* shift = nullptr;
  Corrections<Scalar> corrections{};  ///< only where every feature is kept
  GradientTotals<Scalar> totals{};    ///< where sums go instead, as they are; none: nowhere

  bool wanted() const { return scale != nullptr || shift != nullptr; }

  /// Adds to the gradients of one feature, each rounded once.
  void add(std::int64_t feature, const GradientSums<Scalar>& sums) const {
    if (scale != nullptr) {
      const Wide<Scalar> product = corrected_product(corrections, feature, sums.product.total(), sums.sum.total());
      scale[feature] = static_cast<Scalar>(static_cast<Wide<Scalar>>(scale[feature]) + product);
    }
    if (shift != nullptr)
      shift[feature] = static_cast<Scalar>(static_cast<Wide<Scalar>>(shift[feature]) + sums.sum.total());
  }

  /// The same for features [first, first + n).
  template <typename Storage>
  void add_all(const BlockKernels<Storage, Scalar>& kernels, std::int64_t first, std::int64_t n,
               const GradientTotals<Scalar>& sums) const {
    if (totals.sum != nullptr) return add_to_totals(first, n, sums);
    if (scale != nullptr) kernels.add_totals(sums.product, sums.product_lost, n, scale + first);
    if (shift != nullptr) kernels.add_totals(sums.sum, sums.sum_lost, n, shift + first);
  }

 private:
  void add_to_totals(std::int64_t first, std::int64_t n, const GradientTotals<Scalar>& sums) const {
    for (std::int64_t i = 0; i < n; ++i) {
      GradientSums<Scalar> total = totals.get(first + i);
      total.add(sums.get(i));
      totals.put(first + i, total);
    }
  }
};

/// How many sums a backward call keeps: by group, or by part and feature.
inline std::int64_t sums_in(const Partition& partition) {
  if (partition.features_kept) return partition.groups.kept.size;
  return FeaturePieces(partition).parts * partition.features.kept.size;
}

/// Where a backward call keeps the accumulators of rows that the stack has no room for: numbers of Wide, to begin with
/// up to a cache line.
template <typename Scalar>
struct Accumulators {
  using Rows = FeatureRows<Scalar, Scalar>;
  static constexpr std::int64_t line = 64;

  /// `positions`: those of the features that are there, perhaps not all.
  static std::int64_t room(const Partition& partition, const Partition& positions) {
    if (!Rows::fits(partition) || !Rows::needs_accumulators(partition.count)) return 0;
    const std::int64_t numbers = 2 * FeaturePieces(positions).parts * Rows::accumulators_step(partition.count);
    constexpr auto bytes = static_cast<std::int64_t>(sizeof(Wide<Scalar>));
    return (numbers * static_cast<std::int64_t>(sizeof(Scalar)) + line) / bytes;
  }
  static Scalar* place(Wide<Scalar>* data) {
    const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(data) % line);
    return reinterpret_cast<Scalar*>(reinterpret_cast<unsigned char*>(data) + (past == 0 ? 0 : line - past));
  }
};

/// How many numbers a backward call needs room for.
template <typename Scalar>
std::int64_t gradient_scratch(const Partition& partition, bool scaled, bool frozen) {
  const std::int64_t before = Accumulators<Scalar>::room(partition, partition);
  if (PieceSums<Scalar>::fits(partition, scaled))
    return before + PieceSums<Scalar>::room * partition.features.kept.size;
  const std::int64_t others = frozen ? 1 : are_columns_apart(partition) ? 2 : 0;
  return before + GradientTotals<Scalar>::room(sums_in(partition)) + others * partition.features.kept.size;
}

/// dx = dy * rstd * scale. `rstd`: room for one of each feature.
template <typename Storage, typename Scalar>
void frozen_gradient(const BackwardCall<Storage, Scalar>& call, Scalar* rstd, const Device& device) {
  const Partition& partition = *call.partition;
  const bool in_place = are_features(partition.groups);
  for (std::int64_t i = 0; !in_place && i < partition.kept_features.size; ++i) {
    const Offsets feature = partition.kept_features.at(i);
    rstd[feature.feature] = call.moments.rstd[feature.group];
  }
  ForwardCall<Storage, Scalar> forward{&partition, call.statistic, 0,  call.dy,     call.dx,
                                       call.scale, nullptr,        {}, call.kernels};
  transform_given(forward, Given<Scalar>{nullptr, nullptr, in_place ? call.moments.rstd : rstd}, 1, device);
}

/// Adds the sums of each feature's parts, in order, to the parameter gradients.
template <typename Storage, typename Scalar>
void merge_parts(const BackwardCall<Storage, Scalar>& call, std::int64_t parts,
                 const AffineGradients<Scalar>& gradients, const Device& device) {
  const std::int64_t features = call.partition->features.kept.size;
  device.parallel_for(features, parts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t start = first; start < last; start += block_size) {
      const std::int64_t n = (std::min)(block_size, last - start);
      const auto total = call.sums.starting_at(start);
      for (std::int64_t part = 1; part < parts; ++part) {
        const auto next = call.sums.starting_at(part * features + start);
        call.kernels->merge(next.sum, next.sum_lost, n, total.sum, total.sum_lost);
        call.kernels->merge(next.product, next.product_lost, n, total.product, total.product_lost);
      }
      gradients.add_all(*call.kernels, start, n, total);
    }
  });
}

/// Adds the sums of each feature's groups, in order, to the parameter gradients, where every feature is kept.
template <typename Storage, typename Scalar>
void add_kept(const BackwardCall<Storage, Scalar>& call, const AffineGradients<Scalar>& gradients) {
  const Partition& partition = *call.partition;
  // (Where additions keep what they lose, adding to nothing is more than a copy: infinity loses NaN.)
  if (!kernels::WideSum<Scalar>::compensated && are_features(partition.groups) && gradients.corrections.r == nullptr)
    return gradients.add_all(*call.kernels, 0, partition.kept_features.size, call.sums);
  for (std::int64_t i = 0; i < partition.kept_features.size; ++i) {
    const Offsets feature = partition.kept_features.at(i);
    GradientSums<Scalar> total;
    for (std::int64_t sample = 0; sample < partition.kept_samples.size; ++sample)
      total.add(call.sums.get(feature.group + partition.kept_samples.at(sample).group));
    gradients.add(feature.feature, total);
  }
}

/// Where every feature is kept, and a group's sums are those of its feature. `room`: for two of each feature.
template <typename Storage, typename Scalar>
void backward_of_kept(BackwardCall<Storage, Scalar>& call, const AffineGradients<Scalar>& gradients, Scalar* room,
                      const Device& device) {
  if (!call.frozen && are_columns_apart(*call.partition)) {
    call.mean = room;
    call.slope = room + call.partition->features.kept.size;
  }
  if (!call.frozen || gradients.wanted()) input_gradient(call, device);
  if (call.frozen) frozen_gradient(call, room, device);
  if (gradients.wanted()) add_kept(call, gradients);
}

/// Adds dscale and dshift in a walk of their own, where features vary within a group.
template <typename Storage, typename Scalar>
void sum_features(const BackwardCall<Storage, Scalar>& call, const AffineGradients<Scalar>& gradients,
                  const Device& device) {
  using Sums = FeatureSums<Storage, Scalar>;
  const FeaturePieces cut(*call.partition);
  const std::int64_t tasks = cut.parts * call.partition->features.tiles(Sums::width(*call.partition));
  device.parallel_for(tasks, call.partition->size / tasks,
                      [&](std::int64_t first, std::int64_t last) { Sums::parts(call, first, last); });
  merge_parts(call, cut.parts, gradients, device);
}

/// Whether all rows are taken at once, for which no scratch is needed.
template <typename Scalar>
bool takes_at_once(const Partition& partition, const AffineGradients<Scalar>& gradients, const Device& device) {
  using Rows = FeatureRows<Scalar, Scalar>;
  return Rows::fits(partition) && Rows::is_one_take(partition) && gradients.wanted() &&
         gradients.totals.sum == nullptr && (partition.count < segment_size || device.threads_for(partition.size) == 1);
}

/// Such a call, which is told whether dx is streamed. (Not inlined, so that what it needs of the stack is there only
/// here.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void backward_at_once(BackwardCall<Storage, Scalar>& call, const AffineGradients<Scalar>& gradients) {
  call.stream = kernels::streams<Storage>(call.partition->whole);
  FeatureRows<Storage, Scalar>(call, nullptr).only_take(gradients.scale, gradients.shift);
}

/// Rows in parts: all of them, or those at positions of the features. (Not inlined, for the same reason.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void rows_in_parts(const BackwardCall<Storage, Scalar>& call, const Loop* positions,
                                     const FeaturePieces& cut, const AffineGradients<Scalar>& gradients,
                                     const Device& device) {
  using Rows = FeatureRows<Storage, Scalar>;
  // (The device is asked once: places of parts go with the answer.)
  const bool added = Rows::adds_parts(cut) && device.threads_for(call.partition->size) == 1;
  const auto take = [&](std::int64_t first, std::int64_t last) {
    Rows(call, positions).parts(cut, first, last, added);
  };
  if (added) {
    take(0, cut.parts);
  } else {
    device.parallel_for(cut.parts, cut.pieces * call.partition->count / cut.parts, take);
  }
  merge_parts(call, added ? 1 : cut.parts, gradients, device);
}

/// Whether parts of rows are enough for all threads, or rows are too short to be shared out in another way.
inline bool has_tasks(const Partition& partition, const FeaturePieces& cut, int threads) {
  return cut.parts >= threads || partition.count < segment_size;
}

/// Where features vary within a group. `scratch`: what is behind the accumulators.
template <typename Storage, typename Scalar>
void backward_of_varying(BackwardCall<Storage, Scalar>& call, const AffineGradients<Scalar>& gradients,
                         Wide<Scalar>* scratch, const Device& device) {
  using Rows = FeatureRows<Storage, Scalar>;
  const Partition& partition = *call.partition;
  if (!gradients.wanted()) return input_gradient(call, device);
  const FeaturePieces cut(partition);
  if (Rows::fits(partition) && has_tasks(partition, cut, device.threads_for(partition.size))) {
    return rows_in_parts(call, nullptr, cut, gradients, device);
  }
  if (PieceSums<Scalar>::fits(partition, call.scale != nullptr)) {
    const PieceSums<Scalar> pieces(scratch, partition);
    call.pieces = &pieces;
    input_gradient(call, device);
    return gradients.add_all(*call.kernels, 0, partition.features.kept.size, pieces.totals());
  }
  // Before dx is written, because it may be written over dy.
  sum_features(call, gradients, device);
  input_gradient(call, device);
}

/// Runs a backward call: adds to the parameter gradients and writes dx. `scratch`: gradient_scratch() numbers.
template <typename Storage, typename Scalar>
void backward(BackwardCall<Storage, Scalar> call, const AffineGradients<Scalar>& gradients, Wide<Scalar>* scratch,
              const Device& device) {
  const Partition& partition = *call.partition;
  call.wants_parameters = gradients.wanted();
  call.stream = kernels::streams<Storage>(partition.whole);
  if (takes_at_once(partition, gradients, device)) return backward_at_once(call, gradients);
  const std::int64_t sums = sums_in(partition), accumulators = Accumulators<Scalar>::room(partition, partition);
  if (accumulators > 0) call.accumulators = Accumulators<Scalar>::place(scratch);
  scratch += accumulators;
  call.sums = GradientTotals<Scalar>(scratch, sums);
  if (!partition.features_kept) return backward_of_varying(call, gradients, scratch, device);
  auto* room = reinterpret_cast<Scalar*>(scratch + GradientTotals<Scalar>::room(sums));
  backward_of_kept(call, gradients, room, device);
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

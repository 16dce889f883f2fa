#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/transform.hpp"
#include "eigennorm/streaming.hpp"

/// \file
/// y by given statistics: evaluation, frozen layers, and N x C once all of its sums are there.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// Statistics of each feature, by feature number.
template <typename Scalar>
struct Given {
  const Scalar* mean = nullptr;      ///< null: 0
  const Scalar* variance = nullptr;  ///< null: `rstd`
  const Scalar* rstd = nullptr;      ///< null: 1
  const Scalar* low = nullptr;       ///< of the mean; null: 0
};

/// The given statistics of some lanes that are features.
template <typename Storage, typename Scalar>
class GivenStatistics {
 public:
  static constexpr std::int64_t most = most_positions<Scalar>;

  void find(const ForwardCall<Storage, Scalar>& call, const Given<Scalar>& given, const Tile& tile) {
    const std::int64_t feature = tile.base.feature, step = tile.lane.feature;
    take(given.low, feature, step, tile.lanes, Scalar(0), low_);
    take(given.mean, feature, step, tile.lanes, Scalar(0), high_);
    take(given.variance != nullptr ? given.variance : given.rstd, feature, step, tile.lanes, Scalar(1), rstd_);
    if (given.variance != nullptr) call.kernels->reciprocal_roots(rstd_, tile.lanes, call.eps, rstd_);
  }
  Normalizers<Scalar> by(std::int64_t step) const { return {high_, low_, rstd_, step, false}; }

 private:
  static void take(const Scalar* from, std::int64_t feature, std::int64_t step, std::int64_t n, Scalar none,
                   Scalar* to) {
    if (from == nullptr) {
      std::fill(to, to + n, none);
    } else if (step == 1) {
      std::copy(from + feature, from + feature + n, to);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[feature + i * step];
    }
  }

  alignas(64) Scalar high_[most], low_[most], rstd_[most];
};

/// Whether all values are one slab of contiguous columns in tensors [first, last), one for each feature, and few: a
/// frame, or a small batch.
template <typename Scalar>
bool is_one_slab(const Partition& partition, std::size_t first, std::size_t last) {
  const Reduction& features = partition.features;
  const Axis feature = features.kept.fastest();
  return features.interleaved && features.kept.rank <= 1 && features.reduced.rank <= 1 && feature.feature == 1 &&
         features.kept.size <= most_positions<Scalar> && partition.size <= 32 * block_size &&
         Partition::steps_by(feature, 1, first, last);
}

/// Such a call: nothing has to be cut, and parameters are read where they are.
template <typename Storage, typename Scalar>
[[gnu::noinline]] void transform_one_slab(const ForwardCall<Storage, Scalar>& call, const Given<Scalar>& given,
                                          std::size_t first) {
  constexpr std::int64_t most = most_positions<Scalar>;
  alignas(64) static constexpr Scalar zeros[most] = {};
  alignas(64) Scalar found[most];
  const Partition& partition = *call.partition;
  const Axis row = partition.features.reduced.fastest();
  const std::int64_t features = partition.features.kept.size;
  const Scalar* rstd = given.rstd;
  if (given.variance != nullptr) call.kernels->reciprocal_roots(given.variance, features, call.eps, found);
  if (rstd == nullptr) {
    if (given.variance == nullptr) std::fill(found, found + features, Scalar(1));
    rstd = found;
  }
  const Normalizers<Scalar> by{given.mean == nullptr ? zeros : given.mean, given.low == nullptr ? zeros : given.low,
                               rstd, 1, true};
  call.kernels->transform({call.x, row.stride[first]}, {call.y, row.stride[first + 1]}, {row.extent, features}, by,
                          {call.scale, call.shift, 0, 1}, {});
}

/// y by given statistics of each feature. `first`: the number of the tensor that is x.
template <typename Storage, typename Scalar>
void transform_given(const ForwardCall<Storage, Scalar>& of, const Given<Scalar>& given, std::size_t first,
                     const Device& device) {
  const Partition& partition = *of.partition;
  const Reduction& features = partition.features;
  const bool stream = kernels::streams<Storage>(partition.whole);
  if (!stream && is_one_slab<Scalar>(partition, first, first + 2) && of.fused == nullptr)
    return transform_one_slab(of, given, first);
  ForwardCall<Storage, Scalar> call = of;
  call.stream = stream;
  const Layout layout(features, first, first + of.tensors());
  call.layout = &layout;
  const std::int64_t run = layout.run(), most = GivenStatistics<Storage, Scalar>::most;
  const std::int64_t positions = layout.by_column ? most : most_rows * most;
  const bool alone = layout.has_places() ? !layout.by_column : run > segment_size;
  const std::int64_t width =
      alone ? (layout.has_places() ? most_rows : std::int64_t{1}) : std::clamp(positions / run, std::int64_t{1}, most);
  // Whole runs, of one lane also parts of them.
  const std::int64_t unit = alone || width == 1 ? 1 : run;
  const std::int64_t next = is_far<Storage>(partition.size) ? 512 : 0;
  const auto write = [&](const Tile& tile, Segment part) {
    if (call.adds) add_terms(call, tile, part);
    GivenStatistics<Storage, Scalar> statistics;
    statistics.find(call, given, tile);
    if (layout.by_column) {
      transform_columns(call, {call.scale, call.shift}, tile, part, statistics.by(1), 0);
    } else {
      transform_rows(call, {call.scale, call.shift}, tile, part, statistics.by(tile.lanes == 1 ? 0 : 1), next);
    }
  };
  for_each_band(features, {width, unit}, device, write, stream ? call.kernels->fence : nullptr);
}

/// Keeps given statistics as those of every group.
template <typename Storage, typename Scalar>
void keep_given(const ForwardCall<Storage, Scalar>& call, const Given<Scalar>& given) {
  const MomentsView<Scalar>& to = call.moments;
  const Loop& kept = call.partition->groups.kept;
  // Of neighbours together where they follow each other.
  const Axis next = kept.fastest();
  const std::int64_t n = next.group == 1 && next.feature == 1 ? next.extent : 1;
  for (std::int64_t i = 0; i < kept.size; i += n) {
    const Offsets at = kept.at(i);
    const auto fill = [&](auto* own, const Scalar* from, Scalar none) {
      for (std::int64_t k = 0; k < n; ++k) own[at.group + k] = from == nullptr ? none : from[at.feature + k];
    };
    fill(to.high, given.mean, Scalar(0));
    fill(to.low, nullptr, Scalar(0));
    fill(to.rstd, nullptr, Scalar(1));
    if (to.variance != nullptr) fill(to.variance, given.variance, Scalar(0));
    if (given.variance != nullptr)
      call.kernels->reciprocal_roots(given.variance + at.feature, n, call.eps, to.rstd + at.group);
  }
}

/// Runs a forward call by given statistics.
template <typename Storage, typename Scalar>
void forward_given(const ForwardCall<Storage, Scalar>& call, const Given<Scalar>& given, const Device& device) {
  if (call.moments.high == nullptr) {
    if (call.y != nullptr) transform_given(call, given, 0, device);
    return;
  }
  keep_given(call, given);
  // (The roots are found once.)
  const bool found = are_features(call.partition->groups);
  if (call.y != nullptr)
    transform_given(call, found ? Given<Scalar>{given.mean, nullptr, call.moments.rstd} : given, 0, device);
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

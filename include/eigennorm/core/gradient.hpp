#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/device.hpp"
#include "eigennorm/kernels/engine.hpp"
#include "eigennorm/kernels/job.hpp"

/// \file
/// Backward: how a call is cut into tasks, and the parameter gradients put together.

namespace eigennorm::core {

/// Where parameter gradients go, by feature number; null: not wanted.
template <typename Scalar>
struct AffineGradients {
  Scalar* scale = nullptr;
  Scalar* shift = nullptr;

  bool wanted() const { return scale != nullptr || shift != nullptr; }

  /// Adds to the gradients of one feature, each rounded once.
  void add(std::int64_t feature, const kernels::GradientSums<Scalar>& sums) const {
    if (scale != nullptr)
      scale[feature] = static_cast<Scalar>(static_cast<Wide<Scalar>>(scale[feature]) + sums.product.total());
    if (shift != nullptr)
      shift[feature] = static_cast<Scalar>(static_cast<Wide<Scalar>>(shift[feature]) + sums.sum.total());
  }
};

/// How many sums a backward call needs room for.
inline std::int64_t gradient_scratch(const kernels::Partition& partition) {
  if (partition.features_kept) return partition.groups.kept.size;
  return kernels::FeaturePieces(partition).parts * partition.features.kept.size;
}

/// dx, and where every feature is kept also the sums of each group.
template <typename Storage, typename Scalar>
void input_gradient(const kernels::BackwardJob<Storage, Scalar>& job, const Device& device) {
  using Engine = kernels::Engine<Storage, Scalar>;
  constexpr std::int64_t width = kernels::tile_width<Scalar>;
  const kernels::Partition& partition = *job.partition;
  const std::int64_t tiles = partition.groups.tiles(width);
  const std::int64_t segments = kernels::segments_in(partition.count);
  if (segments == 1 || tiles >= device.threads()) {
    device.parallel_for(tiles, partition.size / tiles,
                        [&](std::int64_t first, std::int64_t last) { Engine::backward(job, first, last); });
    return;
  }
  constexpr std::int64_t wave = 64;
  for (std::int64_t id = 0; id < tiles; ++id) {
    const kernels::Tile tile = partition.groups.tile(id, width);
    const std::int64_t values = kernels::segment_size * tile.lanes;
    std::array<kernels::GradientSums<Scalar>, static_cast<std::size_t>(wave * width)> waiting;
    std::array<kernels::GradientSums<Scalar>, static_cast<std::size_t>(width)> total;
    for (std::int64_t start = 0; Engine::needs_sums(job) && start < segments; start += wave) {
      const std::int64_t numbers = std::min(wave, segments - start);
      device.parallel_for(numbers, values, [&](std::int64_t first, std::int64_t last) {
        Engine::sum_segments(job, tile, start + first, start + last, waiting.data() + first * width);
      });
      for (std::int64_t i = 0; i < numbers; ++i) {
        for (std::int64_t t = 0; t < tile.lanes; ++t) {
          total[static_cast<std::size_t>(t)].add(waiting[static_cast<std::size_t>(i * width + t)]);
        }
      }
    }
    Engine::keep(job, tile, total.data());
    device.parallel_for(segments, values, [&](std::int64_t first, std::int64_t last) {
      Engine::gradient_segments(job, tile, first, last, total.data());
    });
  }
}

/// Runs a backward call: adds to the parameter gradients and writes dx.
template <typename Storage, typename Scalar>
void backward(const kernels::BackwardJob<Storage, Scalar>& job, const AffineGradients<Scalar>& gradients,
              const Device& device) {
  using Engine = kernels::Engine<Storage, Scalar>;
  const kernels::Partition& partition = *job.partition;
  if (partition.features_kept) {
    input_gradient(job, device);
    if (!gradients.wanted()) return;
    // The sums of a feature's groups, in order.
    for (std::int64_t i = 0; i < partition.kept_features.size; ++i) {
      const kernels::Offsets feature = partition.kept_features.at(i);
      kernels::GradientSums<Scalar> total;
      for (std::int64_t sample = 0; sample < partition.kept_samples.size; ++sample) {
        total.add(job.sums[feature.group + partition.kept_samples.at(sample).group]);
      }
      gradients.add(feature.feature, total);
    }
    return;
  }
  if (gradients.wanted()) {
    // Before dx is written, because it may be written over dy.
    const kernels::FeaturePieces cut(partition);
    const std::int64_t features = partition.features.kept.size;
    const std::int64_t tasks = cut.parts * partition.features.tiles(256);
    device.parallel_for(tasks, partition.size / tasks, [&](std::int64_t first, std::int64_t last) {
      Engine::sum_features(job, first, last);
    });
    for (std::int64_t feature = 0; feature < features; ++feature) {
      kernels::GradientSums<Scalar> total;
      for (std::int64_t part = 0; part < cut.parts; ++part) total.add(job.sums[part * features + feature]);
      gradients.add(feature, total);
    }
  }
  input_gradient(job, device);
}

}  // namespace eigennorm::core

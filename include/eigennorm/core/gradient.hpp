#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/device.hpp"
#include "eigennorm/core/tiles.hpp"
#include "eigennorm/core/transform.hpp"
#include "eigennorm/kernels/backward_rows.hpp"
#include "eigennorm/kernels/backward_tiles.hpp"
#include "eigennorm/kernels/feature_sums.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/piece_sums.hpp"
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

  bool wanted() const { return scale != nullptr || shift != nullptr; }

  /// Adds to the gradients of one feature, each rounded once.
  void add(std::int64_t feature, const kernels::GradientSums<Scalar>& sums) const {
    if (scale != nullptr)
      scale[feature] = static_cast<Scalar>(static_cast<Wide<Scalar>>(scale[feature]) + sums.product.total());
    if (shift != nullptr)
      shift[feature] = static_cast<Scalar>(static_cast<Wide<Scalar>>(shift[feature]) + sums.sum.total());
  }

  /// The same for features [first, first + n).
  void add_all(std::int64_t first, std::int64_t n, const kernels::GradientTotals<Scalar>& sums) const {
    add_to(scale == nullptr ? nullptr : scale + first, n, sums.product, sums.product_lost);
    add_to(shift == nullptr ? nullptr : shift + first, n, sums.sum, sums.sum_lost);
  }

 private:
  static void add_to(Scalar* gradient, std::int64_t n, const Wide<Scalar>* sum, const Wide<Scalar>* lost) {
    for (std::int64_t i = 0; gradient != nullptr && i < n; ++i) {
      const Wide<Scalar> total = lost == nullptr ? sum[i] : sum[i] + lost[i];
      gradient[i] = static_cast<Scalar>(static_cast<Wide<Scalar>>(gradient[i]) + total);
    }
  }
};

/// How many sums a backward call keeps: by group, or by part and feature.
inline std::int64_t sums_in(const kernels::Partition& partition) {
  if (partition.features_kept) return partition.groups.kept.size;
  return kernels::FeaturePieces(partition).parts * partition.features.kept.size;
}

/// Where a backward call keeps what the stack has no room for: numbers of Wide, one part behind the other.
template <typename Scalar>
struct Scratch {
  using Rows = kernels::BackwardRows<Scalar, Scalar>;
  static constexpr std::int64_t line = 64;

  explicit Scratch(const kernels::Partition& partition) {
    constexpr auto bytes = static_cast<std::int64_t>(sizeof(Wide<Scalar>));
    if (kernels::segments_in(partition.count) > 1) waiting = waiting_bytes / bytes;
    if (Rows::are_feature_rows(partition) && Rows::needs_accumulators(partition.count)) {
      const std::int64_t rows = 2 * kernels::FeaturePieces(partition).parts;
      const std::int64_t size = rows * Rows::accumulators_step(partition.count) * sizeof(Scalar);
      accumulators = (size + line) / bytes;
    }
  }

  std::int64_t waiting = 0;       ///< for the sums of segments
  std::int64_t accumulators = 0;  ///< for those of rows, and to begin with a cache line

  /// How many sums wait at a time.
  static constexpr std::int64_t room = waiting_bytes / static_cast<std::int64_t>(sizeof(Wide<Scalar>)) /
                                       kernels::GradientTotals<Scalar>::room(1);

  /// Gives a job its parts, and returns where the rest begins.
  template <typename Storage>
  Wide<Scalar>* give(Wide<Scalar>* data, kernels::BackwardJob<Storage, Scalar>& job) const {
    if (waiting > 0) job.waiting = kernels::GradientTotals<Scalar>(data, room);
    data += waiting;
    if (accumulators > 0) {
      const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(data) % line);
      auto* bytes = reinterpret_cast<unsigned char*>(data) + (past == 0 ? 0 : line - past);
      job.accumulators = reinterpret_cast<Scalar*>(bytes);
    }
    return data + accumulators;
  }
};

/// How many numbers a backward call needs room for.
template <typename Scalar>
std::int64_t gradient_scratch(const kernels::Partition& partition, bool scaled, bool frozen) {
  const Scratch<Scalar> scratch(partition);
  const std::int64_t before = scratch.waiting + scratch.accumulators;
  if (kernels::PieceSums<Scalar>::fits(partition, scaled))
    return before + kernels::PieceSums<Scalar>::room * partition.features.kept.size;
  return before + kernels::GradientTotals<Scalar>::room(sums_in(partition)) +
         (frozen ? partition.features.kept.size : 0);
}

/// dx of tiles [first_tile, last_tile), and where every feature is kept also the sums of each group.
template <typename Storage, typename Scalar>
void some_input_gradient(kernels::BackwardJob<Storage, Scalar>& job, std::int64_t first_tile,
                         std::int64_t last_tile, const Device& device) {
  using Tiles = kernels::BackwardTiles<Storage, Scalar>;
  const kernels::Partition& partition = *job.partition;
  const std::int64_t tiles = last_tile - first_tile;
  const std::int64_t segments = kernels::segments_in(partition.count);
  if (takes_whole_tiles(tiles, segments, device.threads())) {
    device.parallel_for(tiles, partition.count * job.width, [&](std::int64_t first, std::int64_t last) {
      Tiles::tiles(job, first_tile + first, first_tile + last);
    });
    return;
  }
  for (std::int64_t id = first_tile; id < last_tile; ++id) {
    const kernels::Tile tile = partition.groups.tile(id, job.width);
    std::array<kernels::GradientSums<Scalar>, static_cast<std::size_t>(kernels::most_lanes<Scalar>)> total;
    for_each_segment(
        device, kernels::GroupPieces(partition, job.scale != nullptr).segments, tile.lanes,
        Scratch<Scalar>::room,
        [&](std::int64_t first, std::int64_t last, std::int64_t at) {
          Tiles::sum_segments(job, id, first, last, job.waiting.from(at));
        },
        [&](std::int64_t lane, std::int64_t, std::int64_t at) {
          total[static_cast<std::size_t>(lane)].add(job.waiting.get(at));
        });
    Tiles::keep_tile(job, tile, total.data());
    if (job.frozen) continue;
    device.parallel_for(segments, kernels::segment_size * tile.lanes,
                        [&](std::int64_t first, std::int64_t last) {
                          Tiles::write_segments(job, tile, first, last, total.data());
                        });
  }
}

/// dx, and where every feature is kept also the sums of each group; where job.pieces is set, those of each feature.
template <typename Storage, typename Scalar>
void input_gradient(kernels::BackwardJob<Storage, Scalar>& job, const Device& device) {
  using Rows = kernels::BackwardRows<Storage, Scalar>;
  const kernels::Partition& partition = *job.partition;
  const std::int64_t groups = partition.groups.kept.size;
  const std::int64_t segments = kernels::segments_in(partition.count);
  if (!job.frozen && partition.rows(3) && partition.groups.reduced.rank <= 1 &&
      partition.groups.reduced.fastest().feature <= 1 &&
      takes_whole_tiles(groups, segments, device.threads())) {
    device.parallel_for(groups, partition.count,
                        [&](std::int64_t first, std::int64_t last) { Rows::rows(job, first, last); });
    return;
  }
  const kernels::LaneLayout layout = kernels::layout_of_groups(partition, 3);
  job.layout = &layout;
  job.width = tile_width<Scalar>(partition, layout, device.threads());
  const std::int64_t tiles = partition.groups.tiles(job.width);
  if (job.pieces == nullptr) {
    some_input_gradient(job, 0, tiles, device);
    return;
  }
  // A wave of samples at a time, whose pieces then are added to their features.
  using Pieces = kernels::PieceSums<Scalar>;
  const std::int64_t samples = Pieces::samples_in(partition), wave = Pieces::wave(partition);
  const std::int64_t in_sample = tiles / samples,
                     per_run = kernels::GroupPieces(partition, job.scale != nullptr).per_run;
  for (std::int64_t sample = 0; sample < samples; sample += wave) {
    const std::int64_t end = (std::min)(sample + wave, samples);
    some_input_gradient(job, sample * in_sample, end * in_sample, device);
    const std::int64_t count = (end - sample) * per_run;
    device.parallel_for(partition.features.kept.size, count, [&](std::int64_t first, std::int64_t last) {
      job.pieces->add(first, last, sample * per_run, count);
    });
  }
}

/// dx = dy * rstd * scale.
template <typename Storage, typename Scalar>
void frozen_gradient(const kernels::BackwardJob<Storage, Scalar>& job, Wide<Scalar>* rstd,
                     const Device& device) {
  const kernels::Partition& partition = *job.partition;
  for (std::int64_t i = 0; i < partition.kept_features.size; ++i) {
    const kernels::Offsets feature = partition.kept_features.at(i);
    rstd[feature.feature] = job.moments.rstd[feature.group];
  }
  kernels::ForwardJob<Storage, Scalar> forward{&partition, job.statistic, 0,  job.dy,     job.dx,
                                               job.scale,  nullptr,       {}, job.kernels};
  forward.given_rstd = rstd;
  forward.from = 1;
  forward.to = 2;
  transform_given(forward, device);
}

/// Adds the sums of each feature's parts, in order, to the parameter gradients.
template <typename Storage, typename Scalar>
void merge_parts(const kernels::BackwardJob<Storage, Scalar>& job, std::int64_t parts,
                 const AffineGradients<Scalar>& gradients, const Device& device) {
  const std::int64_t features = job.partition->features.kept.size;
  device.parallel_for(features, parts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t start = first; start < last; start += kernels::block_size) {
      const std::int64_t n = (std::min)(kernels::block_size, last - start);
      const auto total = job.sums.from(start);
      for (std::int64_t part = 1; part < parts; ++part) {
        const auto next = job.sums.from(part * features + start);
        job.kernels->merge(next.sum, next.sum_lost, n, total.sum, total.sum_lost);
        job.kernels->merge(next.product, next.product_lost, n, total.product, total.product_lost);
      }
      gradients.add_all(start, n, total);
    }
  });
}

/// Runs a backward call: adds to the parameter gradients and writes dx. `scratch`: gradient_scratch() numbers.
template <typename Storage, typename Scalar>
void backward(kernels::BackwardJob<Storage, Scalar>& job, const AffineGradients<Scalar>& gradients,
              Wide<Scalar>* scratch, const Device& device) {
  using Rows = kernels::BackwardRows<Storage, Scalar>;
  const kernels::Partition& partition = *job.partition;
  const std::int64_t sums = sums_in(partition);
  job.wants_parameters = gradients.wanted();
  scratch = Scratch<Scalar>(partition).give(scratch, job);
  job.sums = kernels::GradientTotals<Scalar>(scratch, sums);
  job.stream = kernels::streams<Storage>(partition.size);
  if (partition.features_kept) {
    if (!job.frozen || gradients.wanted()) input_gradient(job, device);
    if (job.frozen) frozen_gradient(job, scratch + kernels::GradientTotals<Scalar>::room(sums), device);
    if (!gradients.wanted()) return;
    // The sums of a feature's groups, in order.
    for (std::int64_t i = 0; i < partition.kept_features.size; ++i) {
      const kernels::Offsets feature = partition.kept_features.at(i);
      kernels::GradientSums<Scalar> total;
      for (std::int64_t sample = 0; sample < partition.kept_samples.size; ++sample) {
        total.add(job.sums.get(feature.group + partition.kept_samples.at(sample).group));
      }
      gradients.add(feature.feature, total);
    }
    return;
  }
  if (!gradients.wanted()) {
    input_gradient(job, device);
    return;
  }
  const kernels::FeaturePieces cut(partition);
  if (Rows::are_feature_rows(partition) &&
      (cut.parts >= device.threads() || partition.count < kernels::segment_size)) {
    device.parallel_for(cut.parts, partition.size / cut.parts,
                        [&](std::int64_t first, std::int64_t last) { Rows::feature_rows(job, first, last); });
    merge_parts(job, cut.parts, gradients, device);
    return;
  }
  if (kernels::PieceSums<Scalar>::fits(partition, job.scale != nullptr)) {
    const kernels::PieceSums<Scalar> pieces(scratch, partition);
    job.pieces = &pieces;
    input_gradient(job, device);
    gradients.add_all(0, partition.features.kept.size, pieces.totals());
    return;
  }
  // Before dx is written, because it may be written over dy.
  using Sums = kernels::FeatureSums<Storage, Scalar>;
  const std::int64_t tasks = cut.parts * partition.features.tiles(Sums::width(partition));
  device.parallel_for(tasks, partition.size / tasks,
                      [&](std::int64_t first, std::int64_t last) { Sums::parts(job, first, last); });
  merge_parts(job, cut.parts, gradients, device);
  input_gradient(job, device);
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

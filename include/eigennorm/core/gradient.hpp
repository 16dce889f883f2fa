#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "eigennorm/core/device.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/statistics.hpp"
#include "eigennorm/core/transform.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// Backward: dx = (d - mean(d) - xhat * mean(d * xhat)) * rstd with d = dy * scale, dscale = sum(dy * xhat), dshift = sum(dy).

namespace eigennorm::core {

#include "eigennorm/kernels/strict_begin.inl"

/// Sums of dy (or d) and of its product with xhat.
template <typename Scalar>
struct GradientSums {
  Wide<Scalar> sum = 0, product = 0;

  void add(const GradientSums& next) {
    sum = sum + next.sum;
    product = product + next.product;
  }
  void add(kernels::Sums<Scalar> block) {
    sum = sum + static_cast<Wide<Scalar>>(block.first);
    product = product + static_cast<Wide<Scalar>>(block.second);
  }
};

/// The part of one group in dx: dx = (dy * scale - (mean + xhat * slope)) * rstd; with one scale for the group
/// dx = (dy - (mean + xhat * slope)) * (rstd * scale), sums being those of dy.
template <typename Scalar>
struct GradientCoefficients {
  Scalar mean = 0, slope = 0;

  GradientCoefficients() = default;
  GradientCoefficients(const GradientSums<Scalar>& sums, Statistic statistic, std::int64_t count) {
    const auto n = static_cast<Wide<Scalar>>(count);
    if (is_centred(statistic)) mean = static_cast<Scalar>(sums.sum / n);
    if (has_sigma(statistic)) {
      slope = static_cast<Scalar>(statistic == Statistic::sum_square ? sums.product : sums.product / n);
    }
  }
};

/// Sums of consecutive pieces of a feature's positions: sixteen in Scalar, then on to Wide.
template <typename Scalar>
class PieceSums {
 public:
  void add(Scalar sum, Scalar product) {
    sum_ = sum_ + sum;
    product_ = product_ + product;
  }
  /// After every sixteenth piece, and after the last.
  void flush() {
    total_.add(kernels::Sums<Scalar>{sum_, product_});
    sum_ = product_ = Scalar(0);
  }
  const GradientSums<Scalar>& total() const { return total_; }

  static constexpr std::int64_t pieces_between_flushes = 16;

 private:
  Scalar sum_ = 0, product_ = 0;
  GradientSums<Scalar> total_;
};

/// grad += total, rounded once.
template <typename Scalar>
void accumulate(Scalar& grad, Wide<Scalar> total) {
  grad = static_cast<Scalar>(static_cast<Wide<Scalar>>(grad) + total);
}

#include "eigennorm/kernels/strict_end.inl"

/// What forward left, by group number.
template <typename Scalar>
struct MomentsSource {
  const Scalar* high;
  const Scalar* low;
  const Scalar* rstd;

  kernels::Normalizer<Scalar> of(std::int64_t group) const { return {high[group], low[group], rstd[group]}; }
};

/// Where parameter gradients go, by feature number; null: not wanted.
template <typename Scalar>
struct AffineGradients {
  Scalar* scale = nullptr;
  Scalar* shift = nullptr;

  bool wanted() const { return scale != nullptr || shift != nullptr; }
};

/// How the positions of a feature are cut for dscale and dshift: into pieces of one run in memory, of at most a block,
/// and those into parts that tasks take. By shape alone.
struct FeaturePieces {
  std::int64_t run, per_run, pieces, per_part, parts;

  FeaturePieces(const Partition& partition, std::int64_t multiple) {
    constexpr std::int64_t most_parts = 64;
    const std::int64_t positions = partition.features.reduced.size;
    run = partition.run;
    per_run = blocks_in(run);
    pieces = positions / run * per_run;
    per_part = ((pieces + most_parts - 1) / most_parts + multiple - 1) / multiple * multiple;
    parts = (pieces + per_part - 1) / per_part;
  }
};

/// One backward call. Tensor 0 is x, 1 is dy, 2 is dx. dx may be dy: a value is read for the last time before it is written.
template <typename Storage, typename Scalar>
class Backward {
 public:
  Backward(const Partition& partition, Statistic statistic, bool frozen, const Storage* x, const Storage* dy, Storage* dx,
           const Scalar* scale, const MomentsSource<Scalar>& moments)
      : partition_(partition),
        statistic_(statistic),
        frozen_(frozen),
        x_(x),
        dy_(dy),
        dx_(dx),
        affine_{scale, nullptr},
        moments_(moments) {}

  /// How many sums `run` needs as scratch.
  static std::int64_t scratch_size(const Partition& partition) {
    if (partition.features_kept) return partition.groups.kept.size;
    return FeaturePieces(partition, PieceSums<Scalar>::pieces_between_flushes).parts * partition.features.kept.size;
  }

  /// Adds to the parameter gradients and writes dx.
  void run(const AffineGradients<Scalar>& gradients, GradientSums<Scalar>* sums, const Device& device) const {
    if (partition_.features_kept) {
      input_gradient(gradients.wanted() ? sums : nullptr, device);
      if (gradients.wanted()) add_group_sums(gradients, sums);
    } else {
      // Before dx is written, because it may be written over dy.
      if (gradients.wanted()) add_feature_sums(gradients, sums, device);
      input_gradient(nullptr, device);
    }
  }

 private:
  static constexpr std::int64_t width = tile_width<Scalar>;
  using Lanes = std::array<GradientSums<Scalar>, width>;

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

  /// Blocks of xhat and dy (or d).
  struct Pair {
    Blocks<Scalar> xhat, d;
    Scalar scale[kernels::block_size];
  };

  // ---- dx, and where every feature is kept also what dscale and dshift are made of

  void input_gradient(GradientSums<Scalar>* group_sums, const Device& device) const {
    const std::int64_t tiles = partition_.groups.tiles(width);
    if (segments_in(partition_.count) == 1 || tiles >= device.threads()) {
      device.parallel_for(tiles, partition_.count * width, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t id = first; id < last; ++id) whole_tile(partition_.groups.tile(id, width), group_sums);
      });
    } else {
      for (std::int64_t id = 0; id < tiles; ++id) tile_in_segments(partition_.groups.tile(id, width), group_sums, device);
    }
  }

  void whole_tile(const Tile& tile, GradientSums<Scalar>* group_sums) const {
    Pair pair;
    Lanes total{};
    const std::int64_t segments = segments_in(partition_.count);
    if (needs_sums(group_sums)) {
      for (std::int64_t number = 0; number < segments; ++number) {
        Lanes next{};
        sum(tile, segment(number, partition_.count), pair, next);
        for (std::int64_t t = 0; t < tile.lanes; ++t) total[at(t)].add(next[at(t)]);
      }
    }
    keep(tile, total, group_sums);
    for (std::int64_t number = 0; number < segments; ++number) write(tile, segment(number, partition_.count), pair, total);
  }

  void tile_in_segments(const Tile& tile, GradientSums<Scalar>* group_sums, const Device& device) const {
    constexpr std::int64_t wave = 64;
    std::array<Lanes, wave> waiting;
    Lanes total{};
    const std::int64_t segments = segments_in(partition_.count);
    for (std::int64_t start = 0; needs_sums(group_sums) && start < segments; start += wave) {
      const std::int64_t numbers = std::min(wave, segments - start);
      device.parallel_for(numbers, kernels::segment_size * tile.lanes, [&](std::int64_t first, std::int64_t last) {
        Pair pair;
        for (std::int64_t i = first; i < last; ++i) {
          waiting[at(i)] = Lanes{};
          sum(tile, segment(start + i, partition_.count), pair, waiting[at(i)]);
        }
      });
      for (std::int64_t i = 0; i < numbers; ++i) {
        for (std::int64_t t = 0; t < tile.lanes; ++t) total[at(t)].add(waiting[at(i)][at(t)]);
      }
    }
    keep(tile, total, group_sums);
    device.parallel_for(segments, kernels::segment_size * tile.lanes, [&](std::int64_t first, std::int64_t last) {
      Pair pair;
      for (std::int64_t number = first; number < last; ++number) write(tile, segment(number, partition_.count), pair, total);
    });
  }

  bool needs_sums(const GradientSums<Scalar>* group_sums) const { return !frozen_ || group_sums != nullptr; }

  void keep(const Tile& tile, const Lanes& total, GradientSums<Scalar>* group_sums) const {
    if (group_sums == nullptr) return;
    for (std::int64_t t = 0; t < tile.lanes; ++t) group_sums[tile.base.group + t * tile.lane.group] = total[at(t)];
  }

  /// A block of each lane: xhat, and d = dy * scale where the scale varies in a group, otherwise dy.
  void load_pair(const Tile& tile, std::int64_t block, Pair& pair) const {
    const std::int64_t first = block * kernels::block_size;
    const std::int64_t n = values_in_block(block, partition_.count);
    load(x_, 0, partition_.groups, tile, first, n, pair.xhat);
    load(dy_, 1, partition_.groups, tile, first, n, pair.d);
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      kernels::normalize(pair.xhat.lane(t), n, moments_.of(tile.base.group + t * tile.lane.group));
      if (partition_.features_kept || affine_.scale == nullptr) continue;
      if (t == 0 || tile.lane.feature != 0) {
        AffineReader<Scalar>(affine_, partition_).scales(tile.base.feature + t * tile.lane.feature, first, n, pair.scale);
      }
      kernels::multiply(pair.d.lane(t), pair.scale, n);
    }
  }

  void sum(const Tile& tile, Segment segment, Pair& pair, Lanes& sums) const {
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      load_pair(tile, block, pair);
      const std::int64_t n = values_in_block(block, partition_.count);
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        sums[at(t)].add(kernels::sum_and_product(pair.d.lane(t), pair.xhat.lane(t), n));
      }
    }
  }

  void write(const Tile& tile, Segment segment, Pair& pair, const Lanes& sums) const {
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      load_pair(tile, block, pair);
      const std::int64_t n = values_in_block(block, partition_.count);
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        Scalar factor = moments_.of(tile.base.group + t * tile.lane.group).rstd;
        if (partition_.features_kept && affine_.scale != nullptr) {
          factor = factor * affine_.scale[tile.base.feature + t * tile.lane.feature];
        }
        if (frozen_) {
          kernels::multiply(pair.d.lane(t), factor, n);
        } else {
          const GradientCoefficients<Scalar> by(sums[at(t)], statistic_, partition_.count);
          kernels::gradient(pair.d.lane(t), pair.xhat.lane(t), n, by.mean, by.slope, factor);
        }
      }
      store(dx_, 2, partition_.groups, tile, block * kernels::block_size, n, pair.d);
    }
  }

  /// dscale and dshift of features that are kept: the sums of a feature's groups, in order.
  void add_group_sums(const AffineGradients<Scalar>& gradients, const GradientSums<Scalar>* group_sums) const {
    for (std::int64_t i = 0; i < partition_.kept_features.size; ++i) {
      const Offsets feature = partition_.kept_features.at(i);
      GradientSums<Scalar> total;
      for (std::int64_t sample = 0; sample < partition_.kept_samples.size; ++sample) {
        total.add(group_sums[feature.group + partition_.kept_samples.at(sample).group]);
      }
      if (gradients.scale != nullptr) accumulate(gradients.scale[feature.feature], total.product);
      if (gradients.shift != nullptr) accumulate(gradients.shift[feature.feature], total.sum);
    }
  }

  // ---- dscale and dshift where scale and shift vary within a group

  void add_feature_sums(const AffineGradients<Scalar>& gradients, GradientSums<Scalar>* sums, const Device& device) const {
    const FeaturePieces cut(partition_, PieceSums<Scalar>::pieces_between_flushes);
    const std::int64_t features = partition_.features.kept.size;
    const std::int64_t tiles = partition_.features.tiles(feature_lanes);
    const std::int64_t values = cut.per_part * std::min(cut.run, kernels::block_size) * std::min(features, feature_lanes);
    device.parallel_for(cut.parts * tiles, values, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t task = first; task < last; ++task) {
        const std::int64_t part = task / tiles;
        part_sums(cut, part, partition_.features.tile(task % tiles, feature_lanes), sums + part * features);
      }
    });
    for (std::int64_t feature = 0; feature < features; ++feature) {
      GradientSums<Scalar> total;
      for (std::int64_t part = 0; part < cut.parts; ++part) total.add(sums[part * features + feature]);
      if (gradients.scale != nullptr) accumulate(gradients.scale[feature], total.product);
      if (gradients.shift != nullptr) accumulate(gradients.shift[feature], total.sum);
    }
  }

  /// Features that a task handles together where they lie side by side: 256 of float are 1 KB of each row, and their sums 6 KB.
  static constexpr std::int64_t feature_lanes = 256;

  void part_sums(const FeaturePieces& cut, std::int64_t part, const Tile& tile, GradientSums<Scalar>* into) const {
    std::array<PieceSums<Scalar>, feature_lanes> sums{};
    const std::int64_t first = part * cut.per_part;
    const std::int64_t last = std::min(first + cut.per_part, cut.pieces);
    for (std::int64_t piece = first; piece < last; ++piece) {
      if (cut.run == 1) {
        add_row(tile, piece, sums);
      } else {
        const std::int64_t start = piece % cut.per_run * kernels::block_size;
        const std::int64_t n = std::min(kernels::block_size, cut.run - start);
        const auto [sum, product] = piece_sums(tile, piece / cut.per_run * cut.run + start, n);
        sums[0].add(sum, product);
      }
      if ((piece + 1 - first) % PieceSums<Scalar>::pieces_between_flushes == 0 || piece + 1 == last) {
        for (std::int64_t t = 0; t < tile.lanes; ++t) sums[at(t)].flush();
      }
    }
    for (std::int64_t t = 0; t < tile.lanes; ++t) into[tile.base.feature + t * tile.lane.feature] = sums[at(t)].total();
  }

  /// One position of features that lie side by side.
  void add_row(const Tile& tile, std::int64_t position, std::array<PieceSums<Scalar>, feature_lanes>& sums) const {
    Scalar xhat[feature_lanes];
    Scalar dy[feature_lanes] = {};  // load fills what is read, which g++ 12 does not see
    const Offsets offsets = partition_.features.reduced.at(position);
    const std::int64_t group = tile.base.group + offsets.group;
    // The lanes are the run here: they follow each other in memory.
    kernels::load(x_ + tile.base.tensor[0] + offsets.tensor[0], kernels::Run{tile.lanes, tile.lane.stride[0], 1, 0}, xhat, 0);
    kernels::load(dy_ + tile.base.tensor[1] + offsets.tensor[1], kernels::Run{tile.lanes, tile.lane.stride[1], 1, 0}, dy, 0);
    if (tile.lane.group == 0) {
      kernels::normalize(xhat, tile.lanes, moments_.of(group));
    } else {
      for (std::int64_t t = 0; t < tile.lanes; ++t) kernels::normalize(xhat + t, 1, moments_.of(group + t * tile.lane.group));
    }
    kernels::multiply(xhat, dy, tile.lanes);
    for (std::int64_t t = 0; t < tile.lanes; ++t) sums[at(t)].add(dy[t], xhat[t]);
  }

  /// One piece of a feature whose positions follow each other in memory.
  kernels::Sums<Scalar> piece_sums(const Tile& tile, std::int64_t first, std::int64_t n) const {
    Scalar xhat[kernels::block_size];
    Scalar dy[kernels::block_size];
    const Loop& positions = partition_.features.reduced;
    const Axis fastest = positions.fastest();
    positions.for_each_run(first, first + n, [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
      const std::int64_t start = position - first;
      const std::int64_t group = tile.base.group + offsets.group;
      kernels::load(x_ + tile.base.tensor[0] + offsets.tensor[0], kernels::Run{length, fastest.stride[0], 1, 0}, xhat + start, 0);
      kernels::load(dy_ + tile.base.tensor[1] + offsets.tensor[1], kernels::Run{length, fastest.stride[1], 1, 0}, dy + start, 0);
      if (fastest.group == 0) {
        kernels::normalize(xhat + start, length, moments_.of(group));
      } else {
        for (std::int64_t i = 0; i < length; ++i) kernels::normalize(xhat + start + i, 1, moments_.of(group + i * fastest.group));
      }
    });
    return kernels::sum_and_product(dy, xhat, n);
  }

  const Partition& partition_;
  Statistic statistic_;
  bool frozen_;
  const Storage* x_;
  const Storage* dy_;
  Storage* dx_;
  Affine<Scalar> affine_;
  MomentsSource<Scalar> moments_;
};

}  // namespace eigennorm::core

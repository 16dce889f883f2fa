#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "eigennorm/core/device.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/statistics.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// Forward: statistics of each group, then y = ((x - mean) * rstd) * scale + shift.

namespace eigennorm::core {

/// Scale and shift by feature number; a null pointer is the identity.
template <typename Scalar>
struct Affine {
  const Scalar* scale = nullptr;
  const Scalar* shift = nullptr;
};

/// Statistics that are given, by feature number: the running ones.
template <typename Scalar>
struct GivenStatistics {
  const Scalar* mean = nullptr;
  const Scalar* variance = nullptr;  ///< null where sigma is not a statistic
};

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

/// What a group with given statistics is normalized with.
template <typename Scalar>
GroupStatistics<Scalar> given_statistics(const GivenStatistics<Scalar>& given, std::int64_t feature, double eps) {
  GroupStatistics<Scalar> result{{given.mean[feature], Scalar(0), Scalar(1)}, 0};
  if (given.variance != nullptr) {
    result.variance = static_cast<Wide<Scalar>>(given.variance[feature]);
    result.normalizer.rstd = reciprocal_root<Scalar>(result.variance, static_cast<Wide<Scalar>>(eps), 0);
  }
  return result;
}

/// Reads scale and shift for the values of a block.
template <typename Scalar>
class AffineReader {
 public:
  AffineReader(const Affine<Scalar>& affine, const Partition& partition) : affine_(affine), partition_(partition) {}

  /// Of a group whose values share one feature.
  Scalar scale_of(std::int64_t feature) const { return affine_.scale == nullptr ? Scalar(1) : affine_.scale[feature]; }
  Scalar shift_of(std::int64_t feature) const { return affine_.shift == nullptr ? Scalar(0) : affine_.shift[feature]; }

  /// For the values [first, first + n) of a group whose first feature is `feature`.
  void scales(std::int64_t feature, std::int64_t first, std::int64_t n, Scalar* into) const {
    read(affine_.scale, Scalar(1), feature, first, n, into);
  }
  void shifts(std::int64_t feature, std::int64_t first, std::int64_t n, Scalar* into) const {
    read(affine_.shift, Scalar(0), feature, first, n, into);
  }

 private:
  void read(const Scalar* from, Scalar otherwise, std::int64_t feature, std::int64_t first, std::int64_t n, Scalar* into) const {
    if (from == nullptr) {
      std::fill(into, into + n, otherwise);
      return;
    }
    const Loop& values = partition_.groups.reduced;
    const std::int64_t stride = values.fastest().feature;
    values.for_each_run(first, first + n, [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
      const Scalar* run = from + feature + offsets.feature;
      for (std::int64_t i = 0; i < length; ++i) into[position - first + i] = run[i * stride];
    });
  }

  Affine<Scalar> affine_;
  const Partition& partition_;
};

/// One forward call. Tensor 0 is x, tensor 1 is y.
template <typename Storage, typename Scalar>
struct Forward {
  const Partition& partition;
  Statistic statistic;
  double eps;
  const Storage* x;
  Storage* y;  ///< null: only statistics are wanted
  Affine<Scalar> affine;
  MomentsSink<Scalar> sink;

  /// With each group's own statistics.
  void with_own_statistics(const Device& device) const {
    const std::int64_t tiles = partition.groups.tiles(width);
    const std::int64_t segments = segments_in(partition.count);
    if (segments == 1 || tiles >= device.threads()) {
      device.parallel_for(tiles, partition.count * width, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t id = first; id < last; ++id) whole_tile(partition.groups.tile(id, width));
      });
    } else {
      for (std::int64_t id = 0; id < tiles; ++id) tile_in_segments(partition.groups.tile(id, width), device);
    }
  }

  /// With given statistics: `given` by feature.
  void with_given_statistics(const GivenStatistics<Scalar>& given, const Device& device) const {
    const std::int64_t segments = segments_in(partition.count);
    const std::int64_t tasks = partition.groups.tiles(width) * segments;
    device.parallel_for(tasks, std::min(partition.count, kernels::segment_size) * width, [&](std::int64_t first, std::int64_t last) {
      Blocks<Scalar> blocks;
      for (std::int64_t task = first; task < last; ++task) {
        const Tile tile = partition.groups.tile(task / segments, width);
        std::array<GroupStatistics<Scalar>, width> statistics;
        for (std::int64_t t = 0; t < tile.lanes; ++t) {
          statistics[at(t)] = given_statistics(given, tile.base.feature + t * tile.lane.feature, eps);
          if (task % segments == 0) sink.put(tile.base.group + t * tile.lane.group, statistics[at(t)]);
        }
        if (y != nullptr) write(tile, segment(task % segments, partition.count), statistics, blocks, false);
      }
    });
  }

 private:
  static constexpr std::int64_t width = tile_width<Scalar>;
  using Lanes = std::array<GroupStatistics<Scalar>, width>;
  using Summaries = std::array<Summary<Scalar>, width>;

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

  StatisticsFinder<Storage, Scalar> finder() const {
    return StatisticsFinder<Storage, Scalar>(x, partition.groups, partition.count, statistic, eps);
  }

  Lanes finish(const Tile& tile, const Summaries& summaries) const {
    Lanes statistics;
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      statistics[at(t)] = finder().finish(tile, t, summaries[at(t)]);
      sink.put(tile.base.group + t * tile.lane.group, statistics[at(t)]);
    }
    return statistics;
  }

  void whole_tile(const Tile& tile) const {
    Blocks<Scalar> blocks;
    Summaries total;
    const std::int64_t segments = segments_in(partition.count);
    for (std::int64_t number = 0; number < segments; ++number) {
      Summaries next;
      finder().summarize(tile, segment(number, partition.count), blocks, next.data());
      for (std::int64_t t = 0; t < tile.lanes; ++t) total[at(t)].merge(next[at(t)], is_centred(statistic));
    }
    const Lanes statistics = finish(tile, total);
    if (y == nullptr) return;
    const bool loaded = partition.count <= kernels::block_size;
    for (std::int64_t number = 0; number < segments; ++number) {
      write(tile, segment(number, partition.count), statistics, blocks, loaded);
    }
  }

  /// A tile of few, long groups: its segments at once. Summaries wait on the stack, a wave at a time.
  void tile_in_segments(const Tile& tile, const Device& device) const {
    constexpr std::int64_t wave = 64;
    std::array<Summaries, wave> waiting;
    Summaries total;
    const std::int64_t segments = segments_in(partition.count);
    for (std::int64_t start = 0; start < segments; start += wave) {
      const std::int64_t numbers = std::min(wave, segments - start);
      device.parallel_for(numbers, kernels::segment_size * tile.lanes, [&](std::int64_t first, std::int64_t last) {
        Blocks<Scalar> blocks;
        for (std::int64_t i = first; i < last; ++i) {
          finder().summarize(tile, segment(start + i, partition.count), blocks, waiting[at(i)].data());
        }
      });
      for (std::int64_t i = 0; i < numbers; ++i) {
        for (std::int64_t t = 0; t < tile.lanes; ++t) total[at(t)].merge(waiting[at(i)][at(t)], is_centred(statistic));
      }
    }
    const Lanes statistics = finish(tile, total);
    if (y == nullptr) return;
    device.parallel_for(segments, kernels::segment_size * tile.lanes, [&](std::int64_t first, std::int64_t last) {
      Blocks<Scalar> blocks;
      for (std::int64_t number = first; number < last; ++number) {
        write(tile, segment(number, partition.count), statistics, blocks, false);
      }
    });
  }

  /// Writes y for a segment of a tile. `loaded`: the only block is in `blocks` already.
  void write(const Tile& tile, Segment segment, const Lanes& statistics, Blocks<Scalar>& blocks, bool loaded) const {
    const AffineReader<Scalar> reader(affine, partition);
    Scalar scale[kernels::block_size];
    Scalar shift[kernels::block_size];
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t first = block * kernels::block_size;
      const std::int64_t n = values_in_block(block, partition.count);
      if (!loaded) load(x, 0, partition.groups, tile, first, n, blocks);
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        const std::int64_t feature = tile.base.feature + t * tile.lane.feature;
        const kernels::Normalizer<Scalar> by = statistics[at(t)].normalizer;
        if (partition.features_kept) {
          kernels::transform(blocks.lane(t), n, by, reader.scale_of(feature), reader.shift_of(feature));
        } else {
          if (t == 0 || tile.lane.feature != 0) {
            reader.scales(feature, first, n, scale);
            reader.shifts(feature, first, n, shift);
          }
          kernels::transform(blocks.lane(t), n, by, scale, shift);
        }
      }
      store(y, 1, partition.groups, tile, first, n, blocks);
    }
  }
};

}  // namespace eigennorm::core

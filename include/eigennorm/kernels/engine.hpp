#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/scaled.hpp"

/// \file
/// What a task does: walks tiles, block by block, and leaves each block to the kernels of the job.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

/// Room for the scales and shifts of a block's values, where they are not to be had in place.
template <typename Scalar>
struct AffineBuffers {
  Scalar scale[block_size], shift[block_size];
};

template <typename Storage, typename Scalar>
struct Engine {
  using W = Wide<Scalar>;
  static constexpr std::int64_t width = tile_width<Scalar>;
  using Forward = ForwardJob<Storage, Scalar>;
  using Backward = BackwardJob<Storage, Scalar>;

  /// A block of each lane of a tile, where memory has them scattered. Not initialized.
  struct Buffer {
    Storage values[static_cast<std::size_t>(width * block_size)];
  };

  // ---- statistics

  /// Summaries of one segment of each lane.
  static void summarize(const Forward& job, const Tile& tile, Segment segment, Buffer& buffer,
                        Summary<Scalar>* summaries) {
    const Reduction& groups = job.partition->groups;
    const std::int64_t count = job.partition->count;
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t n = values_in_block(block, count);
      const Storage* x = read_block(job.x, 0, groups, tile, block * block_size, n, buffer.values);
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        append_block(*job.kernels, job.statistic, x + t * block_size, n, block == segment.first_block,
                     summaries[t]);
      }
    }
  }

  /// Finished statistics of each lane of a tile, from the summaries of all its segments.
  static void finish_tile(const Forward& job, const Tile& tile, const Summary<Scalar>* summaries,
                          GroupStatistics<Scalar>* statistics) {
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      statistics[t] = is_out_of_range(summaries[t], job.statistic)
                          ? ScaledStatistics<Storage, Scalar>(job, tile, t).find(summaries[t])
                          : finish(summaries[t], job.statistic, job.eps, 0);
      job.sink.put(tile.base.group + t * tile.lane.group, statistics[t]);
    }
  }

  // ---- forward

  /// Writes y for one segment of each lane.
  static void write(const Forward& job, const Tile& tile, Segment segment,
                    const GroupStatistics<Scalar>* statistics, Buffer& buffer) {
    const Partition& partition = *job.partition;
    AffineBuffers<Scalar> affine;
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t first = block * block_size;
      const std::int64_t n = values_in_block(block, partition.count);
      const Storage* x = read_block(job.x, 0, partition.groups, tile, first, n, buffer.values);
      Storage* place = place_of_block(job.y, 1, partition.groups, tile, first, n);
      Storage* y = place == nullptr ? buffer.values : place;
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        transform(job, tile.base.feature + t * tile.lane.feature, first, n, statistics[t].normalizer, affine,
                  x + t * block_size, y + t * block_size, job.stream && place != nullptr);
      }
      if (place == nullptr) write_block(job.y, 1, partition.groups, tile, first, n, buffer.values);
    }
  }

  static void transform(const Forward& job, std::int64_t feature, std::int64_t first, std::int64_t n,
                        const Normalizer<Scalar>& by, AffineBuffers<Scalar>& affine, const Storage* x,
                        Storage* y, bool stream) {
    const Partition& partition = *job.partition;
    if (partition.features_kept || (job.scale == nullptr && job.shift == nullptr)) {
      job.kernels->transform_one(x, y, n, by, job.scale == nullptr ? Scalar(1) : job.scale[feature],
                                 job.shift == nullptr ? Scalar(0) : job.shift[feature], stream);
    } else {
      const Loop& values = partition.groups.reduced;
      job.kernels->transform_each(
          x, y, n, by, parameter(job.scale, Scalar(1), values, feature, first, n, affine.scale),
          parameter(job.shift, Scalar(0), values, feature, first, n, affine.shift), stream);
    }
  }

  static const Scalar* parameter(const Scalar* from, Scalar otherwise, const Loop& values,
                                 std::int64_t feature, std::int64_t first, std::int64_t n, Scalar* buffer) {
    if (from != nullptr) return read_parameter(from, values, feature, first, n, buffer);
    std::fill(buffer, buffer + n, otherwise);
    return buffer;
  }

  /// Tiles [first, last) by their own statistics.
  static void forward(const Forward& job, std::int64_t first, std::int64_t last) {
    Buffer buffer;
    for_each_tile(job.partition->groups, width, first, last, [&](const Tile& tile) {
      Summary<Scalar> total[width];
      GroupStatistics<Scalar> statistics[width];
      const std::int64_t segments = segments_in(job.partition->count);
      for (std::int64_t number = 0; number < segments; ++number) {
        Summary<Scalar> next[width];
        summarize(job, tile, segment(number, job.partition->count), buffer, number == 0 ? total : next);
        for (std::int64_t t = 0; number > 0 && t < tile.lanes; ++t)
          total[t].merge(next[t], is_centred(job.statistic));
      }
      finish_tile(job, tile, total, statistics);
      if (job.y == nullptr) return;
      for (std::int64_t number = 0; number < segments; ++number) {
        write(job, tile, segment(number, job.partition->count), statistics, buffer);
      }
    });
    if (job.stream) job.kernels->fence();
  }

  /// Segments [first, last) of one tile: their summaries, `width` apart.
  static void summarize_segments(const Forward& job, const Tile& tile, std::int64_t first, std::int64_t last,
                                 Summary<Scalar>* summaries) {
    Buffer buffer;
    for (std::int64_t number = first; number < last; ++number) {
      summarize(job, tile, segment(number, job.partition->count), buffer,
                summaries + (number - first) * width);
    }
  }

  /// Segments [first, last) of one tile: y.
  static void write_segments(const Forward& job, const Tile& tile, std::int64_t first, std::int64_t last,
                             const GroupStatistics<Scalar>* statistics) {
    Buffer buffer;
    for (std::int64_t number = first; number < last; ++number) {
      write(job, tile, segment(number, job.partition->count), statistics, buffer);
    }
    if (job.stream) job.kernels->fence();
  }

  /// Segments [first, last) of all tiles, numbered one tile after another, by given statistics.
  static void forward_given(const Forward& job, std::int64_t first, std::int64_t last) {
    Buffer buffer;
    const std::int64_t segments = segments_in(job.partition->count);
    for (std::int64_t task = first; task < last; ++task) {
      const Tile tile = job.partition->groups.tile(task / segments, width);
      GroupStatistics<Scalar> statistics[width];
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        statistics[t] = given_statistics(job, tile.base.feature + t * tile.lane.feature);
        if (task % segments == 0) job.sink.put(tile.base.group + t * tile.lane.group, statistics[t]);
      }
      if (job.y != nullptr)
        write(job, tile, segment(task % segments, job.partition->count), statistics, buffer);
    }
    if (job.stream) job.kernels->fence();
  }

  static GroupStatistics<Scalar> given_statistics(const Forward& job, std::int64_t feature) {
    GroupStatistics<Scalar> result{{job.given_mean[feature], Scalar(0), Scalar(1)}, 0};
    if (job.given_variance != nullptr) {
      result.variance = static_cast<W>(job.given_variance[feature]);
      result.normalizer.rstd = reciprocal_root<Scalar>(result.variance, job.eps, 0);
    }
    return result;
  }

  // ---- backward

  /// The scale of each value of a block, or null where the group has one scale.
  static const Scalar* scales(const Backward& job, std::int64_t feature, std::int64_t first, std::int64_t n,
                              Scalar* buffer) {
    if (job.partition->features_kept || job.scale == nullptr) return nullptr;
    return read_parameter(job.scale, job.partition->groups.reduced, feature, first, n, buffer);
  }

  /// Adds up one segment of each lane.
  static void sum(const Backward& job, const Tile& tile, Segment segment, Buffer& x_buffer, Buffer& dy_buffer,
                  GradientSums<Scalar>* sums) {
    const Partition& partition = *job.partition;
    Scalar scale_buffer[block_size];
    for (std::int64_t t = 0; t < tile.lanes; ++t) sums[t] = {};
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t first = block * block_size;
      const std::int64_t n = values_in_block(block, partition.count);
      const Storage* x = read_block(job.x, 0, partition.groups, tile, first, n, x_buffer.values);
      const Storage* dy = read_block(job.dy, 1, partition.groups, tile, first, n, dy_buffer.values);
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        const Scalar* scale = scales(job, tile.base.feature + t * tile.lane.feature, first, n, scale_buffer);
        sums[t].add(job.kernels->gradient_sums(x + t * block_size, dy + t * block_size, n,
                                               job.moments.of(tile.base.group + t * tile.lane.group), scale));
      }
    }
  }

  /// Writes dx for one segment of each lane.
  static void write(const Backward& job, const Tile& tile, Segment segment, Buffer& x_buffer,
                    Buffer& dy_buffer, const GradientSums<Scalar>* sums) {
    const Partition& partition = *job.partition;
    Scalar scale_buffer[block_size];
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t first = block * block_size;
      const std::int64_t n = values_in_block(block, partition.count);
      const Storage* x =
          job.frozen ? nullptr : read_block(job.x, 0, partition.groups, tile, first, n, x_buffer.values);
      const Storage* dy = read_block(job.dy, 1, partition.groups, tile, first, n, dy_buffer.values);
      Storage* place = place_of_block(job.dx, 2, partition.groups, tile, first, n);
      Storage* dx = place == nullptr ? dy_buffer.values : place;
      const bool stream = job.stream && place != nullptr;
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        const std::int64_t feature = tile.base.feature + t * tile.lane.feature;
        const Normalizer<Scalar> by = job.moments.of(tile.base.group + t * tile.lane.group);
        const Scalar* scale = scales(job, feature, first, n, scale_buffer);
        const Scalar factor =
            partition.features_kept && job.scale != nullptr ? job.scale[feature] : Scalar(1);
        if (job.frozen) {
          job.kernels->fixed_gradient(dy + t * block_size, dx + t * block_size, n, by.rstd, scale, factor,
                                      stream);
        } else {
          const GradientCoefficients<Scalar> c(sums[t], job.statistic, partition.count);
          job.kernels->gradient(x + t * block_size, dy + t * block_size, dx + t * block_size, n, by, c.mean,
                                c.slope, scale, factor, stream);
        }
      }
      if (place == nullptr) write_block(job.dx, 2, partition.groups, tile, first, n, dy_buffer.values);
    }
  }

  /// Whether a group's sums are needed, for dx or for the parameters.
  static bool needs_sums(const Backward& job) {
    return !job.frozen || (job.partition->features_kept && job.wants_parameters);
  }

  static void keep(const Backward& job, const Tile& tile, const GradientSums<Scalar>* sums) {
    if (!job.partition->features_kept || !job.wants_parameters) return;
    for (std::int64_t t = 0; t < tile.lanes; ++t) job.sums[tile.base.group + t * tile.lane.group] = sums[t];
  }

  /// Tiles [first, last).
  static void backward(const Backward& job, std::int64_t first, std::int64_t last) {
    Buffer x_buffer, dy_buffer;
    for_each_tile(job.partition->groups, width, first, last, [&](const Tile& tile) {
      GradientSums<Scalar> total[width];
      const std::int64_t segments = segments_in(job.partition->count);
      for (std::int64_t number = 0; needs_sums(job) && number < segments; ++number) {
        GradientSums<Scalar> next[width];
        sum(job, tile, segment(number, job.partition->count), x_buffer, dy_buffer, next);
        for (std::int64_t t = 0; t < tile.lanes; ++t) total[t].add(next[t]);
      }
      keep(job, tile, total);
      for (std::int64_t number = 0; number < segments; ++number) {
        write(job, tile, segment(number, job.partition->count), x_buffer, dy_buffer, total);
      }
    });
    if (job.stream) job.kernels->fence();
  }

  /// Segments [first, last) of one tile: their sums, `width` apart.
  static void sum_segments(const Backward& job, const Tile& tile, std::int64_t first, std::int64_t last,
                           GradientSums<Scalar>* sums) {
    Buffer x_buffer, dy_buffer;
    for (std::int64_t number = first; number < last; ++number) {
      sum(job, tile, segment(number, job.partition->count), x_buffer, dy_buffer,
          sums + (number - first) * width);
    }
  }

  /// Segments [first, last) of one tile: dx.
  static void gradient_segments(const Backward& job, const Tile& tile, std::int64_t first, std::int64_t last,
                                const GradientSums<Scalar>* sums) {
    Buffer x_buffer, dy_buffer;
    for (std::int64_t number = first; number < last; ++number) {
      write(job, tile, segment(number, job.partition->count), x_buffer, dy_buffer, sums);
    }
    if (job.stream) job.kernels->fence();
  }

  // ---- dscale and dshift where scale and shift vary within a group

  /// Features that a task handles together where they lie side by side: 256 of float are 1 KB of each row,
  /// their sums 6 KB.
  static constexpr std::int64_t feature_lanes = 256;

  /// Tasks [first, last), numbered by part and, within a part, by tile of features.
  static void sum_features(const Backward& job, std::int64_t first, std::int64_t last) {
    const FeaturePieces cut(*job.partition);
    const Reduction& features = job.partition->features;
    const std::int64_t tiles = features.tiles(feature_lanes);
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t part = task / tiles;
      const Tile tile = features.tile(task % tiles, feature_lanes);
      GradientSums<Scalar>* into = job.sums + part * features.kept.size;
      if (cut.run == 1) {
        sum_rows(job, cut, part, tile, into);
      } else {
        sum_runs(job, cut, part, tile, into);
      }
    }
  }

  /// One part of features that lie side by side.
  static void sum_rows(const Backward& job, const FeaturePieces& cut, std::int64_t part, const Tile& tile,
                       GradientSums<Scalar>* into) {
    PieceSums<Scalar> sums[feature_lanes];
    Scalar pair[2][feature_lanes] = {};  // sums and products of two positions
    const std::int64_t first = part * cut.per_part;
    const std::int64_t last = std::min(first + cut.per_part, cut.pieces);
    for (std::int64_t position = first; position < last; ++position) {
      add_row(job, job.partition->features.reduced.at(position), tile, pair[0], pair[1]);
      if ((position - first) % 2 == 0 && position + 1 < last) continue;
      for (std::int64_t t = 0; t < tile.lanes; ++t) {
        sums[t].add_pair(pair[0][t], pair[1][t]);
        pair[0][t] = pair[1][t] = Scalar(0);
      }
    }
    for (std::int64_t t = 0; t < tile.lanes; ++t)
      into[tile.base.feature + t * tile.lane.feature] = sums[t].total();
  }

  static void add_row(const Backward& job, const Offsets& position, const Tile& tile, Scalar* sums,
                      Scalar* products) {
    const Storage* x = job.x + tile.base.tensor[0] + position.tensor[0];
    const Storage* dy = job.dy + tile.base.tensor[1] + position.tensor[1];
    const std::int64_t group = tile.base.group + position.group;
    if (tile.lane.group == 0 && tile.lane.stride[0] == 1 && tile.lane.stride[1] == 1) {
      job.kernels->add_position(x, dy, tile.lanes, job.moments.of(group), sums, products);
      return;
    }
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      job.kernels->add_position(x + t * tile.lane.stride[0], dy + t * tile.lane.stride[1], 1,
                                job.moments.of(group + t * tile.lane.group), sums + t, products + t);
    }
  }

  /// One part of a feature whose positions follow each other in memory.
  static void sum_runs(const Backward& job, const FeaturePieces& cut, std::int64_t part, const Tile& tile,
                       GradientSums<Scalar>* into) {
    PieceSums<Scalar> sums;
    Sums<Scalar> pair{0, 0};
    const std::int64_t first = part * cut.per_part;
    const std::int64_t last = std::min(first + cut.per_part, cut.pieces);
    for (std::int64_t piece = first; piece < last; ++piece) {
      const std::int64_t start = piece % cut.per_run * block_size;
      const Sums<Scalar> next =
          sum_piece(job, tile, piece / cut.per_run * cut.run + start, std::min(block_size, cut.run - start));
      pair = {pair.first + next.first, pair.second + next.second};
      if ((piece - first) % 2 == 0 && piece + 1 < last) continue;
      sums.add_pair(pair.first, pair.second);
      pair = {0, 0};
    }
    into[tile.base.feature] = sums.total();
  }

  static Sums<Scalar> sum_piece(const Backward& job, const Tile& tile, std::int64_t first, std::int64_t n) {
    const Reduction& features = job.partition->features;
    Buffer x_buffer, dy_buffer;
    const Storage* x = read_block(job.x, 0, features, tile, first, n, x_buffer.values);
    const Storage* dy = read_block(job.dy, 1, features, tile, first, n, dy_buffer.values);
    const Loop& positions = features.reduced;
    const Axis fastest = positions.fastest();
    const Offsets start = positions.at(first);
    const std::int64_t group = tile.base.group + start.group;
    if (first % fastest.extent + n <= fastest.extent && (fastest.group == 0 || n == 1)) {
      return job.kernels->gradient_sums(x, dy, n, job.moments.of(group), nullptr);
    }
    // The group changes on the way: xhat first, then dy * xhat with nothing left to normalize by.
    Scalar xhat[block_size], d[block_size];
    positions.for_each_run(
        first, first + n, [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
          for (std::int64_t i = 0; i < length; ++i) {
            const std::int64_t at = position - first + i;
            const Normalizer<Scalar> by = job.moments.of(tile.base.group + offsets.group + i * fastest.group);
            xhat[at] = ((static_cast<Scalar>(x[at]) - by.high) - by.low) * by.rstd;
            d[at] = static_cast<Scalar>(dy[at]);
          }
        });
    return reference::Functions<Scalar, Scalar>::gradient_sums(xhat, d, n, Normalizer<Scalar>{0, 0, 1},
                                                               nullptr);
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

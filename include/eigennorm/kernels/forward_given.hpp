#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/forward_writes.hpp"
#include "eigennorm/kernels/job.hpp"
#include "eigennorm/kernels/lane_layout.hpp"

/// \file
/// What a task of a forward call by given statistics does: of evaluation, and of a frozen layer.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

/// By given statistics, one of each feature.
template <typename Storage, typename Scalar>
struct ForwardGiven {
  using W = Wide<Scalar>;
  using Job = ForwardJob<Storage, Scalar>;
  using Writes = ForwardWrites<Storage, Scalar>;

  static GroupStatistics<Scalar> statistics_of(const Job& job, std::int64_t feature) {
    GroupStatistics<Scalar> result{{0, 0, 1}, 0};
    if (job.given_mean != nullptr) result.normalizer.high = job.given_mean[feature];
    if (job.given_rstd != nullptr) result.normalizer.rstd = static_cast<Scalar>(job.given_rstd[feature]);
    if (job.given_variance != nullptr) {
      result.variance = static_cast<W>(job.given_variance[feature]);
      result.normalizer.rstd = reciprocal_root<Scalar>(result.variance + job.eps);
    }
    return result;
  }

  /// Keeps the given statistics as those of every group.
  static void keep(const Job& job) {
    const Loop& kept = job.partition->groups.kept;
    for (std::int64_t i = 0; i < kept.size; ++i) {
      const Offsets group = kept.at(i);
      job.sink.put(group.group, statistics_of(job, group.feature));
    }
  }

  /// The axis along which runs of one feature lie, of one value each where features are fastest.
  static Axis run_of_feature(const Job& job) {
    const Axis fastest = job.partition->memory.fastest();
    return fastest.feature == 0 ? fastest : no_axis();
  }

  static std::int64_t runs_in(const Job& job) { return job.partition->size / run_of_feature(job).extent; }

  /// Runs of one feature each, numbered in memory order, in so many pieces each: pieces [first, last).
  static void runs(const Job& job, std::int64_t pieces, std::int64_t first, std::int64_t last) {
    const Loop& memory = job.partition->memory;
    const Axis inside = run_of_feature(job);
    const Loop runs = inside.extent > 1 ? without_fastest(memory, 1) : memory;
    const Axis axis = runs.fastest();
    if (pieces > 1) {
      for (std::int64_t task = first; task < last; ++task) {
        Offsets at = runs.at(task / pieces);
        const std::int64_t start = task % pieces * segment_size;
        at.step(inside, start);
        some_runs(job, at, axis, 1, inside, (std::min)(segment_size, inside.extent - start));
      }
    } else {
      runs.for_each_run(first, last, [&](Offsets at, std::int64_t, std::int64_t length) {
        for (std::int64_t done = 0; done < length; done += most_rows) {
          const std::int64_t count = (std::min)(most_rows, length - done);
          some_runs(job, at, axis, count, inside, inside.extent);
          at.step(axis, count);
        }
      });
    }
    if (job.stream) job.kernels->fence();
  }

  static void some_runs(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                        const Axis& inside, std::int64_t n) {
    Normalizer<Scalar> by[most_rows];
    for (std::int64_t r = 0; r < count; ++r)
      by[r] = statistics_of(job, at.feature + r * axis.feature).normalizer;
    const Rows<const Storage> x{job.x + at.tensor[job.from], axis.stride[job.from]};
    const Rows<Storage> y{job.y + at.tensor[job.to], axis.stride[job.to]};
    const Affine<Scalar> affine{at_feature(job.scale, at.feature), at_feature(job.shift, at.feature),
                                axis.feature, false};
    if (n == 1 || (inside.stride[job.from] == 1 && inside.stride[job.to] == 1)) {
      job.kernels->transform(x, y, count, n, by, affine, {job.stream, 512});
    } else {
      scattered_values(job, x, y, count, inside, n, by, affine);
    }
  }

  /// Values that do not follow each other in memory.
  static void scattered_values(const Job& job, Rows<const Storage> x, Rows<Storage> y, std::int64_t rows,
                               const Axis& inside, std::int64_t length, const Normalizer<Scalar>* by,
                               Affine<Scalar> affine) {
    Storage values[block_size];
    for (std::int64_t r = 0; r < rows; ++r) {
      const Affine<Scalar> mine{at_feature(affine.scale, r * affine.step),
                                at_feature(affine.shift, r * affine.step), 0, false};
      for (std::int64_t at = 0; at < length; at += block_size) {
        const std::int64_t n = (std::min)(block_size, length - at);
        for (std::int64_t i = 0; i < n; ++i) values[i] = x(r)[(at + i) * inside.stride[job.from]];
        job.kernels->transform({values, 0}, {values, 0}, 1, n, by + r, mine, {});
        for (std::int64_t i = 0; i < n; ++i) y(r)[(at + i) * inside.stride[job.to]] = values[i];
      }
    }
  }

  /// Rows [first, last) of the lanes of one chunk.
  static void lanes(const Job& job, std::int64_t chunk, std::int64_t first, std::int64_t last) {
    const LaneLayout& layout = *job.layout;
    const std::int64_t start = chunk * job.width;
    Tile tile{{}, (std::min)(job.width, layout.lane.extent - start), layout.lane};
    tile.base.step(layout.lane, start);
    Normalizer<Scalar> by[most_positions<Scalar>];
    for (std::int64_t t = 0; t < tile.lanes; ++t)
      by[t] = statistics_of(job, tile.base.feature + t * tile.lane.feature).normalizer;
    if (layout.by_runs()) {
      Writes::write_short_runs(job, tile, first, last, by, 512);
      if (job.stream) job.kernels->fence();
      return;
    }
    LaneArrays<Scalar> arrays(layout, tile.lanes, job.from, job.to + 1, LaneArrays<Scalar>::most(job.stream));
    arrays.fill(arrays.high, [&](std::int64_t t, std::int64_t) { return by[t].high; });
    arrays.fill(arrays.low, [&](std::int64_t, std::int64_t) { return Scalar(0); });
    arrays.fill(arrays.rstd, [&](std::int64_t t, std::int64_t) { return by[t].rstd; });
    Writes::write_bands(job, layout, tile, first, last, arrays, 0);
    if (job.stream) job.kernels->fence();
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/copy.hpp"
#include "eigennorm/kernels/forward_statistics.hpp"
#include "eigennorm/kernels/forward_writes.hpp"
#include "eigennorm/kernels/job.hpp"

/// \file
/// What a task of a forward call does where groups are rows of contiguous values: walks them, block by block, and
/// leaves each block to the kernels of the job.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

template <typename Storage, typename Scalar>
struct ForwardRows {
  using Job = ForwardJob<Storage, Scalar>;
  using Statistics = ForwardStatistics<Storage, Scalar>;
  using Writes = ForwardWrites<Storage, Scalar>;

  /// Groups [first, last), each of contiguous values.
  static void rows(const Job& job, std::int64_t first, std::int64_t last) {
    const Partition& partition = *job.partition;
    const Axis axis = partition.groups.kept.fastest();
    const Loop& reduced = partition.groups.reduced;
    const bool each =
        reduced.rank == 1 && reduced.fastest().feature == 1 && !has_features(partition.groups.kept);
    const AlignedParameter<Scalar> scale(job.scale, each, partition.count, last - first);
    const AlignedParameter<Scalar> shift(job.shift, each, partition.count, last - first);
    // Their x and y stay in L1 between statistics and transform.
    const std::int64_t most = partition.count > block_size
                                  ? 1
                                  : std::clamp(4 * block_size / partition.count, std::int64_t{1}, most_rows);
    partition.groups.kept.for_each_run(first, last, [&](Offsets at, std::int64_t, std::int64_t length) {
      for (std::int64_t done = 0; done < length; done += most) {
        const std::int64_t count = (std::min)(most, length - done);
        some_rows(job, at, axis, count, scale.get(), shift.get());
        at.step(axis, count);
      }
    });
    if (job.stream) job.kernels->fence();
  }

  static void some_rows(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                        const Scalar* scale, const Scalar* shift) {
    const Partition& partition = *job.partition;
    const Rows<const Storage> x{job.x + at.tensor[0], axis.stride[0]};
    Normalizer<Scalar> by[most_rows];
    const Tile tile{at, count, axis};
    if (partition.count <= block_size) {
      Statistics::finish_short_rows(job, tile, x, by);
    } else {
      Summary<Scalar> summary;
      for (std::int64_t number = 0; number < segments_in(partition.count); ++number) {
        Summary<Scalar> next;
        const Segment part = segment(number, partition.count);
        for (std::int64_t block = part.first_block; block < part.last_block; ++block) {
          append_rows(*job.kernels, job.statistic, {x.data + block * block_size, 0}, 1,
                      values_in_block(block, partition.count), block == part.first_block, &next);
        }
        summary.merge(next, is_centred(job.statistic));
      }
      Statistics::finish_tile(job, tile, &summary, by);
    }
    if (job.y == nullptr) return;
    const Rows<Storage> y{job.y + at.tensor[1], axis.stride[1]};
    if (partition.groups.reduced.rank > 1 || partition.groups.reduced.fastest().feature > 1) {
      Tile row{at, 1, no_axis()};
      for (std::int64_t r = 0; r < count; ++r) {
        Writes::write_runs(job, row, 0, partition.count, by[r]);
        row.base.step(axis, 1);
      }
      return;
    }
    const Axis values = partition.groups.reduced.fastest();
    const bool each = values.feature != 0;
    job.kernels->transform(
        x, y, count, partition.count, by,
        {at_feature(scale, at.feature), at_feature(shift, at.feature), axis.feature, each},
        {job.stream, next_after<Storage>(partition.count * count, 1, count * axis.stride[0])});
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

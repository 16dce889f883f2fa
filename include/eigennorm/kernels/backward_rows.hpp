#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/job.hpp"

/// \file
/// Backward of groups that are rows: what their tasks do.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

template <typename Storage, typename Scalar>
struct BackwardRows {
  using Job = BackwardJob<Storage, Scalar>;
  using In = Rows<const Storage>;

  // ---- rows of one feature, or of one after the other

  /// Groups [first, last).
  static void rows(const Job& job, std::int64_t first, std::int64_t last) {
    const Partition& partition = *job.partition;
    const Axis axis = partition.groups.kept.fastest();
    const bool each = !partition.features_kept;
    const std::int64_t most = partition.count > block_size
                                  ? 1
                                  : std::clamp(block_size / partition.count, std::int64_t{1}, most_rows);
    partition.groups.kept.for_each_run(first, last, [&](Offsets at, std::int64_t, std::int64_t length) {
      for (std::int64_t done = 0; done < length; done += most) {
        const std::int64_t count = (std::min)(most, length - done);
        Normalizer<Scalar> by[most_rows];
        GradientSums<Scalar> sums[most_rows];
        Correction<Scalar> correction[most_rows];
        moments_of(job, at, axis, count, by);
        sum_some_rows(job, at, axis, count, by, sums);
        for (std::int64_t r = 0; r < count; ++r) {
          job.keep(at.group + r * axis.group, sums[r]);
          correction[r] = correction_of(sums[r], job.statistic, partition.count);
        }
        job.kernels->gradient(
            {job.x + at.tensor[0], axis.stride[0]}, {job.dy + at.tensor[1], axis.stride[1]},
            {job.dx + at.tensor[2], axis.stride[2]}, count, partition.count, by, correction,
            {at_feature(job.scale, at.feature), nullptr, axis.feature, each},
            {job.stream, next_after<Storage>(partition.count * count, 2, count * axis.stride[0])});
        at.step(axis, count);
      }
    });
    if (job.stream) job.kernels->fence();
  }

  /// The sums of `count` groups, of at most a block where there are several.
  static void sum_some_rows(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                            const Normalizer<Scalar>* by, GradientSums<Scalar>* sums) {
    const Partition& partition = *job.partition;
    const In x{job.x + at.tensor[0], axis.stride[0]};
    const In dy{job.dy + at.tensor[1], axis.stride[1]};
    const Scalar* scale = partition.features_kept ? nullptr : at_feature(job.scale, at.feature);
    const Affine<Scalar> affine{scale, nullptr, axis.feature, true};
    if (partition.count <= block_size) {
      Scalar first[most_rows], second[most_rows];
      job.kernels->gradient_sums(x, dy, count, partition.count, by, affine, first, second);
      for (std::int64_t r = 0; r < count; ++r) {
        sums[r] = {};
        sums[r].add(Sums<Scalar>{first[r], second[r]});
      }
      return;
    }
    sums[0] = {};
    for (std::int64_t number = 0; number < segments_in(partition.count); ++number)
      sums[0].add(sum_segment(job, x.data, dy.data, segment(number, partition.count), by, scale));
  }

  static GradientSums<Scalar> sum_segment(const Job& job, const Storage* x, const Storage* dy,
                                          Segment segment, const Normalizer<Scalar>* by,
                                          const Scalar* scale) {
    GradientSums<Scalar> result;
    for (std::int64_t block = segment.first_block; block < segment.last_block; ++block) {
      const std::int64_t first = block * block_size;
      Sums<Scalar> sums;
      job.kernels->gradient_sums({x + first, 0}, {dy + first, 0}, 1,
                                 values_in_block(block, job.partition->count), by,
                                 {at_feature(scale, first), nullptr, 0, true}, &sums.first, &sums.second);
      result.add(sums);
    }
    return result;
  }

  static void moments_of(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                         Normalizer<Scalar>* by) {
    for (std::int64_t r = 0; r < count; ++r) by[r] = job.moments.of(at.group + r * axis.group);
  }

  // ---- rows of all features, with dscale and dshift in the same walk

  /// Whether each group is a row of all features, in their order.
  static bool are_feature_rows(const Partition& partition) {
    return partition.rows(3) && !partition.features_kept && partition.groups.reduced.rank == 1 &&
           partition.groups.reduced.fastest().feature == 1 && partition.run == 1 &&
           partition.count == partition.features.kept.size && partition.groups.kept.rank <= 1 &&
           partition.groups.kept.fastest().feature == 0;
  }

  /// Parts [first, last) of the rows.
  static void feature_rows(const Job& job, std::int64_t first, std::int64_t last) {
    const FeaturePieces cut(*job.partition);
    const std::int64_t n = job.partition->count;
    const Axis axis = job.partition->groups.kept.fastest();
    alignas(64) Scalar own[2][block_size];
    Scalar* sums = own[0];
    Scalar* products = own[1];
    if (needs_accumulators(n)) {
      // These parts take those of the first of them one after the other, which so stay in cache.
      sums = job.accumulators + 2 * first * accumulators_step(n);
      products = sums + accumulators_step(n);
    }
    for (std::int64_t part = first; part < last; ++part) {
      const GradientTotals<Scalar> totals = job.sums.from(part * n);
      totals.clear(0, n);
      const std::int64_t end = (std::min)((part + 1) * cut.per_part, cut.pieces);
      for (std::int64_t row = part * cut.per_part; row < end; row += pieces_together) {
        const std::int64_t count = (std::min)(pieces_together, end - row);
        Offsets at;
        at.step(axis, row);
        some_feature_rows(job, at, axis, count, totals, sums, products);
      }
    }
    if (job.stream) job.kernels->fence();
  }

  /// Longer rows are taken in column blocks, sixteen at a time: two of them with all accumulators leave L2.
  static constexpr std::int64_t longest_row = 8 * block_size;

  /// Whether rows need more accumulators than the stack has room for.
  static bool needs_accumulators(std::int64_t n) { return n > block_size && n <= longest_row; }
  /// Whole cache lines.
  static std::int64_t accumulators_step(std::int64_t n) { return (n + 15) / 16 * 16; }

  /// At most sixteen rows: dx, and their sums added to `totals`.
  static void some_feature_rows(const Job& job, Offsets at, const Axis& axis, std::int64_t count,
                                const GradientTotals<Scalar>& totals, Scalar* sums, Scalar* products) {
    const std::int64_t n = job.partition->count;
    if (n > longest_row) {
      Normalizer<Scalar> by[most_rows];
      Correction<Scalar> correction[most_rows];
      correct_rows(job, at, axis, count, by, correction);
      // Column by column, so that the accumulators stay in L1.
      for (std::int64_t column = 0; column < n; column += block_size) {
        const std::int64_t width = (std::min)(block_size, n - column);
        std::fill(sums, sums + width, Scalar(0));
        std::fill(products, products + width, Scalar(0));
        write_pairs(job, at, axis, count, column, width, by, correction, sums, products);
        flush_sums(job, totals.from(column), width, sums, products);
      }
      return;
    }
    std::fill(sums, sums + n, Scalar(0));
    std::fill(products, products + n, Scalar(0));
    // As many rows at a time as stay in L1 between sums and dx: an even number, for pairs.
    const std::int64_t most = std::clamp(block_size / n / 2 * 2, std::int64_t{2}, most_rows);
    for (std::int64_t done = 0; done < count; done += most) {
      const std::int64_t some = (std::min)(most, count - done);
      Normalizer<Scalar> by[most_rows];
      Correction<Scalar> correction[most_rows];
      correct_rows(job, at, axis, some, by, correction);
      write_pairs(job, at, axis, some, 0, n, by, correction, sums, products);
      at.step(axis, some);
    }
    flush_sums(job, totals, n, sums, products);
  }

  static void correct_rows(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                           Normalizer<Scalar>* by, Correction<Scalar>* correction) {
    GradientSums<Scalar> sums[most_rows];
    moments_of(job, at, axis, count, by);
    if (job.partition->count <= block_size) {
      sum_some_rows(job, at, axis, count, by, sums);
    } else {
      Offsets row = at;
      for (std::int64_t r = 0; r < count; ++r, row.step(axis, 1))
        sum_some_rows(job, row, axis, 1, by + r, sums + r);
    }
    for (std::int64_t r = 0; r < count; ++r)
      correction[r] = correction_of(sums[r], job.statistic, job.partition->count);
  }

  static void write_pairs(const Job& job, const Offsets& at, const Axis& axis, std::int64_t count,
                          std::int64_t column, std::int64_t width, const Normalizer<Scalar>* by,
                          const Correction<Scalar>* correction, Scalar* sums, Scalar* products) {
    job.kernels->gradient_pairs(
        {job.x + at.tensor[0] + column, axis.stride[0]}, {job.dy + at.tensor[1] + column, axis.stride[1]},
        {job.dx + at.tensor[2] + column, axis.stride[2]}, count, width, by, correction,
        at_feature(job.scale, column), sums, products,
        {job.stream, next_after<Storage>(job.partition->count * count, 2, count * axis.stride[0])});
  }
};

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

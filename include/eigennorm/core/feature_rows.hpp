#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/backward.hpp"
#include "eigennorm/core/feature_sums.hpp"
#include "eigennorm/core/gradient_sums.hpp"

/// \file
/// Backward of groups that are rows of all features, with dscale and dshift in the same walk.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

template <typename Storage, typename Scalar>
class FeatureRows {
 public:
  using Call = BackwardCall<Storage, Scalar>;
  using KernelSums = kernels::Sums<Scalar>;

  /// Whether each group is a row of all features, in their order.
  static bool fits(const Partition& partition) {
    return partition.rows(3) && !partition.features_kept && partition.groups.reduced.rank == 1 &&
           partition.groups.reduced.fastest().feature == 1 && partition.run == 1 &&
           partition.count == partition.features.kept.size && partition.groups.kept.rank <= 1 &&
           partition.groups.kept.fastest().feature == 0;
  }

  /// Longer rows are taken in column blocks, sixteen at a time: two of them with all accumulators leave L2.
  static constexpr std::int64_t longest_row = 8 * block_size;
  /// Rows that are taken together whatever their length: a pair.
  static constexpr std::int64_t fewest_rows = 2;
  /// Whether rows need more accumulators than the stack has room for.
  static bool needs_accumulators(std::int64_t n) { return n > block_size && n <= longest_row; }
  /// Whole cache lines, and sixteen numbers more: see placed.
  static std::int64_t accumulators_step(std::int64_t n) { return (n + 15) / 16 * 16 + 16; }

  /// `positions`: those of the features at which rows are taken; null: all rows.
  FeatureRows(const Call& call, const Loop* positions)
      : call_(call), n_(call.partition->count), axis_(call.partition->groups.kept.fastest()), positions_(positions) {}

  /// Whether all rows are taken at once, so that their sums need not wait for others.
  static bool is_one_take(const Partition& partition) {
    return partition.groups.kept.size <= (needs_accumulators(partition.count) ? fewest_rows : pieces_together);
  }
  /// Such rows; adds their sums to the gradients of scale and shift, where those are not null.
  void only_take(Scalar* scale, Scalar* shift) {
    alignas(64) Scalar own[2][block_size + 16];
    take(0, axis_.extent, placed(own[0], own[1]), [&](std::int64_t column, std::int64_t columns, KernelSums sums) {
      if (scale != nullptr) call_.kernels->add_sums(sums.product, columns, scale + column);
      if (shift != nullptr) call_.kernels->add_sums(sums.plain, columns, shift + column);
    });
    if (call_.stream) call_.kernels->fence();
  }

  /// Whether parts can be added up as they come, if one task takes them all: each is one sum in Scalar.
  static bool adds_parts(const FeaturePieces& cut) { return cut.per_part == pieces_together; }

  /// Parts [first, last) of the rows, each to a place of its own, or, `added`, to that of the first.
  void parts(const FeaturePieces& cut, std::int64_t first, std::int64_t last, bool added) {
    alignas(64) Scalar own[2][block_size + 16];
    KernelSums sums = placed(own[0], own[1]);
    if (needs_accumulators(n_)) {
      // These parts take those of the first of them one after the other, which so stay in cache.
      Scalar* const plain = call_.accumulators + 2 * first * accumulators_step(n_);
      sums = placed(plain, plain + accumulators_step(n_));
    }
    for (std::int64_t part = first; part < last; ++part) {
      const GradientTotals<Scalar> totals = call_.sums.starting_at(added ? first * n_ : part * n_);
      if (!added || part == first) totals.clear(0, n_);
      const std::int64_t end = (std::min)((part + 1) * cut.per_part, cut.pieces);
      for (std::int64_t row = part * cut.per_part; row < end; row += pieces_together)
        take(row, (std::min)(pieces_together, end - row), sums,
             [&](std::int64_t column, std::int64_t columns, KernelSums of) {
               flush_sums(call_, totals.starting_at(column), columns, of.plain, of.product);
             });
    }
    if (call_.stream) call_.kernels->fence();
  }

 private:
  /// At most sixteen rows: dx, and `flush(column, columns, sums)` for their sums.
  template <typename Flush>
  void take(std::int64_t first, std::int64_t count, KernelSums sums, const Flush& flush) {
    const bool by_columns = n_ > longest_row;
    // As many rows at a time as stay in L1 between sums and dx: an even number, for pairs.
    const std::int64_t most = by_columns ? most_rows : std::clamp(block_size / n_ / 2 * 2, fewest_rows, most_rows);
    // Long rows column by column, so that the accumulators stay in L1.
    const std::int64_t width = by_columns || count <= most ? (std::min)(block_size, n_) : n_;
    first_ = first;
    if (positions_ != nullptr) find_places(count);
    for (std::int64_t done = 0; done < count; done += most) {
      const Segment rows{done, (std::min)(done + most, count)};
      for_each_stretch(rows, [&](std::int64_t row, std::int64_t number) { correct(row, number); });
      for (std::int64_t column = 0; column < n_; column += width) {
        const std::int64_t columns = (std::min)(width, n_ - column);
        if (done == 0) {
          std::fill(sums.plain, sums.plain + columns, Scalar(0));
          std::fill(sums.product, sums.product + columns, Scalar(0));
        }
        for_each_stretch(rows, [&](std::int64_t row, std::int64_t number) {
          write(row, column, {number, columns}, sums);
        });
        if (rows.last == count) flush(column, columns, sums);
      }
    }
  }

  /// Calls `f(row, number)` for rows that are taken together: all of them, or, of those at positions, if they are not
  /// equally far apart, each two.
  template <typename F>
  void for_each_stretch(Segment rows, const F& f) const {
    bool equally = true;
    for (std::int64_t row = rows.first; positions_ != nullptr && equally && row + 2 < rows.last; ++row) {
      for (const auto& at : at_) equally = equally && at[row + 2] - at[row + 1] == at[row + 1] - at[row];
    }
    if (equally) return f(rows.first, rows.last - rows.first);
    for (std::int64_t row = rows.first; row < rows.last; row += 2) f(row, (std::min)(rows.last - row, std::int64_t{2}));
  }

  /// Where the next rows are, and their statistics side by side.
  [[gnu::noinline]] void find_places(std::int64_t count) {
    const Axis step = positions_->fastest();
    positions_->for_each_run(first_, first_ + count, [&](Offsets at, std::int64_t position, std::int64_t length) {
      for (std::int64_t i = position - first_; length > 0; ++i, --length, at.step(step, 1)) {
        for (std::size_t t = 0; t < tensors; ++t) at_[t][i] = at.tensor[t];
        high_[i] = call_.moments.high[at.group];
        low_[i] = call_.moments.low[at.group];
        rstd_[i] = call_.moments.rstd[at.group];
      }
    });
    for (auto& at : at_) at[count] = at[count - 1];
  }

  /// Accumulators that lie to cache lines as dx does: vectors that cross none of its lines cross none of theirs.
  KernelSums placed(Scalar* plain, Scalar* product) const {
    const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(call_.dx) / sizeof(Storage) % 16);
    return {plain + past, product + past};
  }

  // Rows are numbered from the first that is taken on.
  std::int64_t step() const { return positions_ != nullptr ? 1 : axis_.group; }
  // (Numbers that are stored one by one and loaded by twos would have to wait: what this returns is not copied.)
  [[gnu::always_inline]] Normalizers<Scalar> by(std::int64_t row) const {
    const bool listed = positions_ != nullptr;
    const std::int64_t at = listed ? row : (first_ + row) * axis_.group;
    return {(listed ? high_ : call_.moments.high) + at, (listed ? low_ : call_.moments.low) + at,
            (listed ? rstd_ : call_.moments.rstd) + at, step(), false};
  }
  template <typename T>
  [[gnu::always_inline]] Rows<T> rows_of(T* tensor, std::size_t number, std::int64_t row, std::int64_t column) const {
    if (positions_ == nullptr) return {tensor + (first_ + row) * axis_.stride[number] + column, axis_.stride[number]};
    const std::int64_t* const at = at_[number] + row;
    return {tensor + at[0] + column, at[1] - at[0]};
  }

  void correct(std::int64_t row, std::int64_t rows) {
    Scalar plain[most_rows], product[most_rows];
    const Affine<Scalar> affine{call_.scale, nullptr, 0, 1};
    const auto put = [&](std::int64_t r, const GradientSums<Scalar>& sums) {
      correction_of(sums, call_.statistic, n_, mean_[(row + r) * step()], slope_[(row + r) * step()]);
    };
    if (n_ > block_size) {
      for (std::int64_t r = 0; r < rows; ++r) put(r, sums_of(row + r, affine));
      return;
    }
    call_.kernels->gradient_sums(rows_of(call_.x, 0, row, 0), rows_of(call_.dy, 1, row, 0), {rows, n_}, by(row), affine,
                                 {plain, product});
    for (std::int64_t r = 0; r < rows; ++r) {
      GradientSums<Scalar> sums;
      sums.add(plain[r], product[r]);
      put(r, sums);
    }
  }

  GradientSums<Scalar> sums_of(std::int64_t row, const Affine<Scalar>& affine) const {
    GradientSums<Scalar> total;
    for (std::int64_t number = 0; number < segments_in(n_); ++number) {
      GradientSums<Scalar> next;
      const Segment part = segment(number, n_);
      for (std::int64_t block = part.first; block < part.last; ++block) {
        const std::int64_t at = block * block_size;
        Scalar plain, product;
        call_.kernels->gradient_sums(rows_of(call_.x, 0, row, at), rows_of(call_.dy, 1, row, at),
                                     {1, values_in_block(block, n_)}, by(row), affine.from(0, at), {&plain, &product});
        next.add(plain, product);
      }
      total.add(next);
    }
    return total;
  }

  void write(std::int64_t row, std::int64_t column, Extent size, KernelSums sums) const {
    const kernels::Gradient<Scalar> gradient{by(row), mean_ + row * step(), slope_ + row * step(),
                                             Affine<Scalar>{call_.scale, nullptr, 0, 1}.from(0, column), true};
    const auto x = rows_of(call_.x, 0, row, column);
    const Traffic traffic{call_.stream,
                          next_after<Storage>(n_ * size.rows, call_.partition->whole, 2, size.rows * x.step)};
    call_.kernels->gradient_pairs(x, rows_of(call_.dy, 1, row, column), rows_of(call_.dx, 2, row, column), size,
                                  gradient, sums, traffic);
  }

  static constexpr std::size_t tensors = 3;

  const Call& call_;
  std::int64_t n_;
  Axis axis_;
  std::int64_t first_ = 0;  // of the rows that are taken
  Scalar mean_[most_rows], slope_[most_rows];

  const Loop* positions_;
  std::int64_t at_[tensors][most_rows + 1];
  Scalar high_[most_rows], low_[most_rows], rstd_[most_rows];
};

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

#pragma once

#include <cstdint>

#include "eigennorm/kernels/wide.hpp"

/// \file
/// The words of the arithmetic contract (docs/arithmetic.md) that all kernels share, and the list of kernels.

namespace eigennorm::kernels {

/// Values in a block: 4 KB of float, so a block of each of three tensors stays in a 32 KB L1 between two passes.
constexpr std::int64_t block_size = 1024;
/// Blocks in a segment, the largest piece of a group that one task takes: 65,536 values, enough to repay a task switch.
constexpr std::int64_t segment_blocks = 64;
constexpr std::int64_t segment_size = block_size * segment_blocks;
/// Values in a step of a tree, and its sums.
constexpr std::int64_t step_size = 64;
constexpr std::int64_t tree_lanes = 16;

/// Rows that kernels of sums take at a time; what is done once a group is done for so many at once.
constexpr std::int64_t most_rows = 16;
/// Groups that are handled together: 256 bytes of Scalar, a multiple of `most_rows`.
template <typename Scalar>
constexpr std::int64_t most_lanes = 256 / static_cast<std::int64_t>(sizeof(Scalar));

/// Rows of contiguous values, a fixed step apart. (Two words: passed in registers.)
template <typename T>
struct Rows {
  T* data;
  std::int64_t step;

  T* operator()(std::int64_t row) const { return data + row * step; }
};

/// Rows whose values are summed down the rows: a fixed step apart, or, where there are `offsets`, at those. (Without a
/// branch: where there are none, one zero is read again and again.)
template <typename T>
struct LaneRows {
  T* data;
  std::int64_t step;
  const std::int64_t* offsets;
  std::int64_t each;  ///< 1 where there are offsets, otherwise 0

  LaneRows(T* first, std::int64_t apart) : data(first), step(apart), offsets(none()), each(0) {}
  LaneRows(T* base, const std::int64_t* at) : data(base), step(0), offsets(at), each(1) {}

  bool is_regular() const { return each == 0; }
  T* operator()(std::int64_t row) const { return data + row * step + offsets[row * each]; }

 private:
  static const std::int64_t* none() {
    static constexpr std::int64_t zero = 0;
    return &zero;
  }
};

/// Rows of contiguous values, each at a place of its own. (Two words, too.)
template <typename T>
struct ListedRows {
  T* data;
  const std::int32_t* places;

  T* operator()(std::int64_t row) const { return data + places[row]; }
};

/// Up to sixty-four neighbours in memory of which a mask leaves some: those whose bits are set.
struct MaskWord {
  std::uint64_t bits;
  std::int64_t lanes;     ///< how many there are
  std::int64_t at;        ///< where the first of them is
  std::int64_t position;  ///< how many have been left in words before
};

/// Lanes of words that follow each other, by number.
struct LaneRange {
  std::int64_t first, last;
};

/// Values that words leave.
template <typename Storage>
struct Selection {
  /// to = n of them side by side, from the one behind `skipped` of the first word on. Behind them, up to sixteen more
  /// may be written
  void (*pack)(const Storage* x, const MaskWord* words, std::int64_t skipped, std::int64_t n, Storage* to);
  /// to = x in those lanes of words that follow each other in memory, and 0 in all others up to of.last, which are not
  /// read. Behind them, up to sixteen more may be written
  void (*keep)(const Storage* x, const MaskWord* words, LaneRange of, Storage* to);
  /// y = from in the same lanes, and 0 in those between them; others are not written
  void (*put_kept)(const Storage* from, const MaskWord* words, LaneRange of, Storage* y, bool stream);
};
/// How many more values must have room behind those that are put together: none where no vectors have them.
template <typename Storage>
constexpr std::int64_t selection_room = sizeof(Storage) > 8 ? 0 : 16;

struct Extent {
  std::int64_t rows, columns;
};

/// Groups [first, first + count).
struct Range {
  std::int64_t first, count;
};

/// Where kernels leave two sums of each row, or column: of the terms themselves, and of their squares or products.
template <typename Scalar>
struct Sums {
  Scalar* plain;
  Scalar* product;
};

/// What is normalized with: the mean as the unevaluated sum high + low, and rstd = 1 / sigma. Those of row r are at
/// r * step; or, `by_column`, those of column c at c.
template <typename Scalar>
struct Normalizers {
  const Scalar* high;
  const Scalar* low;
  const Scalar* rstd;
  std::int64_t step = 1;
  bool by_column = false;

  /// Those of row or column `i` and on.
  Normalizers from(std::int64_t i) const {
    const std::int64_t at = by_column ? i : i * step;
    return {high + at, low + at, rstd + at, step, by_column};
  }
};

/// Scale and shift: those of row r and column c are at r * row + c * column, where column is 0 or 1. Null: none.
template <typename Scalar>
struct Affine {
  const Scalar* scale = nullptr;
  const Scalar* shift = nullptr;
  std::int64_t row = 0, column = 0;

  static const Scalar* at(const Scalar* parameter, std::int64_t offset) {
    return parameter == nullptr ? nullptr : parameter + offset;
  }
  Affine from(std::int64_t r, std::int64_t c) const {
    const std::int64_t offset = r * row + c * column;
    return {at(scale, offset), at(shift, offset), row, column};
  }
};

/// What dx is made of beside x and dy. With d = dy * scale where `scale_first` (scale varies within a group):
/// dx = (d - (mean + xhat * slope)) * rstd; otherwise d = dy, and dx is that times scale, which then belongs to the
/// group: it does not change along a row of a group, nor from row to row where groups are columns.
template <typename Scalar>
struct Gradient {
  Normalizers<Scalar> by;
  const Scalar* mean;   ///< of d, and
  const Scalar* slope;  ///< of d * xhat: by row or column like `by`
  Affine<Scalar> affine;
  bool scale_first;

  Gradient from(std::int64_t r, std::int64_t c) const {
    const std::int64_t i = by.by_column ? c : r, at = by.by_column ? i : i * by.step;
    return {by.from(i), mean + at, slope + at, affine.from(r, c), scale_first};
  }
};

/// What y is made of beside x, where more than scale and shift are applied.
template <typename Storage, typename Scalar>
struct Fused {
  Normalizers<Scalar> by;
  Affine<Scalar> affine;
  Rows<const Storage> residual;  ///< of y's rows and columns; null: none
  bool relu;

  /// That of row r and column c and on.
  Fused from(std::int64_t r, std::int64_t c) const {
    const Storage* const at = residual.data == nullptr ? nullptr : residual(r) + c;
    return {by.from(by.by_column ? c : r), affine.from(r, c), {at, residual.step}, relu};
  }
};

/// What a pass does about memory. (One word: two that are stored apart, for a call, and loaded together have to wait
/// until all stores before them have left the processor, which takes long where those go to memory.)
class Traffic {
 public:
  constexpr Traffic() = default;
  constexpr Traffic(bool stream, std::int64_t next) : word_(2 * next + (stream ? 1 : 0)) {}

  /// Whether results go past the caches.
  constexpr bool stream() const { return (word_ & 1) != 0; }
  /// How many values behind each that is read it asks for what lies there; 0: for nothing more.
  constexpr std::int64_t next() const { return word_ >> 1; }

 private:
  std::int64_t word_ = 0;
};

/// The blocks so far of some groups: of each the mean (as mean + low where Scalar is no narrower than Wide) and the sum
/// of squared deviations from it. Not centred: mean and low are 0, and m2 is the sum of squares.
template <typename Scalar>
struct Summaries {
  using W = Wide<Scalar>;
  static constexpr bool two_parts = WideSum<Scalar>::compensated;
  static constexpr std::int64_t most = most_lanes<Scalar>;
  static constexpr std::int64_t lows = two_parts ? most : 1;

  W count;  ///< values of each
  alignas(64) W mean[most], m2[most];
  alignas(64) W low[lows], lost[lows];
};

/// The statistics of some groups.
template <typename Scalar>
struct Statistics {
  static constexpr std::int64_t most = most_lanes<Scalar>;

  alignas(64) Scalar high[most], low[most], rstd[most];
  alignas(64) Wide<Scalar> variance[most];  ///< of Statistic::mean_variance: biased

  Normalizers<Scalar> by(std::int64_t step = 1) const { return {high, low, rstd, step, false}; }
};

/// By which rule statistics follow from summaries.
template <typename Scalar>
struct Rule {
  bool has_sigma;
  Wide<Scalar> smallest;  ///< m2 below this says nothing: squares that matter were rounded as subnormal numbers
  Wide<Scalar> divisor;   ///< of their m2: the number of values, or 1
  Wide<Scalar> eps;
};

/// The contract's functions, one such table for each instruction set, all of the same bits.
/// xhat = ((x - high) - low) * rstd.
///
/// Of *rows*, each belongs to one group, or part of one. Of *lanes*, each column does, and its values go down the rows;
/// there are at least sixteen. A sum is that of at most a block of values, of at most `most_lanes` rows, or columns.
template <typename Storage, typename Scalar>
struct BlockKernels {
  using In = Rows<const Storage>;
  using Out = Rows<Storage>;
  using ListedIn = ListedRows<const Storage>;
  using ListedOut = ListedRows<Storage>;
  using Lanes = LaneRows<const Storage>;
  using W = Wide<Scalar>;

  // ---- sums

  /// tree(x) of each row, or tree(x^2) where `squares`
  void (*sums)(In x, Extent size, bool squares, Scalar* sums);
  /// tree(x - h) and tree((x - h)^2)
  void (*sweeps)(In x, Extent size, const Scalar* h, Sums<Scalar> sums);
  /// tree(x) of each lane, of at most a step of rows
  void (*lane_sums)(const Lanes& x, Extent size, Scalar* sums);
  void (*lane_sweeps)(const Lanes& x, Extent size, const Scalar* h, Sums<Scalar> sums);
  /// tree(d) and tree(d * xhat), d = dy * scale where values have their own (column is 1), otherwise dy
  void (*gradient_sums)(In x, In dy, Extent size, const Normalizers<Scalar>& by, const Affine<Scalar>& affine,
                        Sums<Scalar> sums);
  /// Here scale is that of a row
  void (*lane_gradient_sums)(const Lanes& x, const Lanes& dy, Extent size, const Normalizers<Scalar>& by,
                             const Affine<Scalar>& affine, Sums<Scalar> sums);
  /// The same where dy first passes the gate, see `gate`, of the scale and shift of lanes (column is 1)
  void (*lane_gated_sums)(const Lanes& x, const Lanes& dy, Extent size, const Normalizers<Scalar>& by,
                          const Affine<Scalar>& affine, Sums<Scalar> sums);
  /// Adds (dy_0 + dy_1) and (dy_0 * xhat_0 + dy_1 * xhat_1) of rows by twos, the last perhaps alone, to the sums of
  /// each column. xhat is by row
  void (*pair_sums)(In x, In dy, Extent size, const Normalizers<Scalar>& by, Sums<Scalar> sums);

  // ---- what happens once a group, for at most sixteen; of some, all sixteen from the first on may be written

  /// The shifts h that follow from sums of `of` values: their means
  void (*shifts)(Range groups, W of, Scalar* sums);
  /// The summaries of one block from its sums about h. Returns bit i where h was far from the mean
  unsigned (*summarize)(Range groups, const Scalar* h, Sums<Scalar> sums, Summaries<Scalar>& to);
  /// The statistics. Returns bit i where the group is out of range, so that they say nothing
  unsigned (*finish)(Range groups, const Rule<Scalar>& rule, const Summaries<Scalar>& of, Statistics<Scalar>& to);
  /// 1 / sqrt(variance + eps) of n; 0 where that is beyond the range of Scalar
  void (*reciprocal_roots)(const Scalar* variance, std::int64_t n, W eps, Scalar* rstd);

  /// All of it, and y = xhat * scale + shift (null: not wanted), for one row of a block at most. Returns false where
  /// the group is out of range; then y is not written, and the statistics say nothing unless all values are 0, as after
  /// finish. Null: there is none
  bool (*normalize)(const Storage* x, Storage* y, std::int64_t n, bool centred, const Rule<Scalar>& rule,
                    const Affine<Scalar>& affine, Statistics<Scalar>& to);

  // ---- what is done for groups that are out of range

  /// Whether the magnitudes of n values are all at most `limit`
  bool (*is_quiet)(const Storage* x, std::int64_t n, Scalar limit);
  /// Of at most sixteen rows, those that have a bit in `which`: returns bit i where values of row i do not all have the
  /// bits of its `first`, and then makes `largest` the larger of it and their largest magnitude; NaN where one is NaN
  unsigned (*ranges)(In x, Extent size, unsigned which, const Scalar* first, Scalar* largest);
  /// The same of sixteen lanes
  unsigned (*lane_ranges)(const Lanes& x, std::int64_t rows, unsigned which, const Scalar* first, Scalar* largest);

  // ---- results

  /// y = xhat * scale + shift
  void (*transform)(In x, Out y, Extent size, const Normalizers<Scalar>& by, const Affine<Scalar>& affine,
                    Traffic traffic);
  /// y = max(xhat * scale + shift + residual, 0), or without max: 0 is +0, and NaN stays
  void (*transform_fused)(In x, Out y, Extent size, const Fused<Storage, Scalar>& by, Traffic traffic);
  /// dx = dy where the y of transform_fused with max, as it is stored, is above 0, otherwise 0. (Called for each block:
  /// see Traffic.)
  void (*gate)(In x, In dy, Out dx, const Extent& size, const Fused<Storage, Scalar>& by, Traffic traffic);
  /// sum = a + b
  void (*add)(In a, In b, Out sum, Extent size, Traffic traffic);
  void (*gradient)(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Traffic traffic);
  /// The same by column where dy first passes the gate of those scales and shifts, which do not change from row to row
  void (*gradient_gated)(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Traffic traffic);
  /// transform and gradient of rows that are listed, by column: parameters are the same for all of them
  void (*transform_listed)(ListedIn x, ListedOut y, Extent size, const Normalizers<Scalar>& by,
                           const Affine<Scalar>& affine, Traffic traffic);
  void (*gradient_listed)(ListedIn x, ListedIn dy, ListedOut dx, Extent size, const Gradient<Scalar>& by,
                          Traffic traffic);
  /// gradient, rows by twos, and what pair_sums does. A row's values have their own scales
  void (*gradient_pairs)(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Sums<Scalar> sums,
                         Traffic traffic);
  /// y = x
  void (*copy)(In x, Out y, Extent size, Traffic traffic);
  Selection<Storage> select;
  /// After streaming stores, before anybody is told of them
  void (*fence)();

  // ---- wide totals

  /// Adds sums to wide totals, and what those additions lose to `lost` where it is not null; sums become 0
  void (*flush)(Scalar* sums, std::int64_t n, W* totals, W* lost);
  /// Adds wide totals, with what they lost, to others
  void (*merge)(const W* from, const W* from_lost, std::int64_t n, W* totals, W* lost);
  /// Adds wide totals, with what they lost, to numbers of Scalar, each rounded once; -0 counts as 0
  void (*add_totals)(const W* totals, const W* lost, std::int64_t n, Scalar* to);
  /// The same of sums that become totals by themselves
  void (*add_sums)(const Scalar* sums, std::int64_t n, Scalar* to);
  /// to = (totals + lost) / divisor
  void (*quotients)(const W* totals, const W* lost, std::int64_t n, W divisor, Scalar* to);

  template <typename Functions>
  static constexpr BlockKernels of() {
    return {Functions::sums,
            Functions::sweeps,
            Functions::lane_sums,
            Functions::lane_sweeps,
            Functions::gradient_sums,
            Functions::lane_gradient_sums,
            Functions::lane_gated_sums,
            Functions::pair_sums,
            Functions::shifts,
            Functions::summarize,
            Functions::finish,
            Functions::reciprocal_roots,
            Functions::normalize,
            Functions::is_quiet,
            Functions::ranges,
            Functions::lane_ranges,
            Functions::transform,
            Functions::transform_fused,
            Functions::gate,
            Functions::add,
            Functions::gradient,
            Functions::gradient_gated,
            Functions::transform_listed,
            Functions::gradient_listed,
            Functions::gradient_pairs,
            Functions::copy,
            {Functions::pack, Functions::keep, Functions::put_kept},
            Functions::fence,
            Functions::flush,
            Functions::merge,
            Functions::add_totals,
            Functions::add_sums,
            Functions::quotients};
  }
};

}  // namespace eigennorm::kernels

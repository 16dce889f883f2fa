#pragma once

#include <cstdint>

#include "eigennorm/kernels/wide.hpp"

/// \file
/// The words of the arithmetic contract (docs/arithmetic.md) that all kernels share.

namespace eigennorm::kernels {

/// Values in a block: 4 KB of float, so a block of each of three tensors stays in a 32 KB L1 between two
/// passes.
constexpr std::int64_t block_size = 1024;
/// Blocks in a segment, the largest piece of a group that one task takes: 65,536 values, enough to repay a
/// task switch.
constexpr std::int64_t segment_blocks = 64;
constexpr std::int64_t segment_size = block_size * segment_blocks;
/// Values in a step of a tree, and its lanes.
constexpr std::int64_t step_size = 64;
constexpr std::int64_t tree_lanes = 16;

/// Groups whose blocks are summed together: so many rows, or lanes that are 256 bytes of Scalar.
constexpr std::int64_t most_rows = 16;
template <typename Scalar>
constexpr std::int64_t most_lanes = 256 / static_cast<std::int64_t>(sizeof(Scalar));

/// The two sums that a pass takes together.
template <typename Scalar>
struct Sums {
  Scalar first, second;
};

/// What a group's values are normalized with: the mean as the unevaluated sum high + low, and 1 / sigma.
template <typename Scalar>
struct Normalizer {
  Scalar high, low, rstd;
};

/// By which rule statistics follow from the sums of a group of one block.
template <typename Scalar>
struct Rule {
  bool has_sigma;
  Wide<Scalar> count;    ///< values
  Wide<Scalar> divisor;  ///< of their squares' sum: count, or 1
  Wide<Scalar> eps;
};

/// What a group's gradients are made orthogonal with: dx = (d - (mean + xhat * slope)) * rstd.
template <typename Scalar>
struct Correction {
  Scalar mean, slope;
};

/// Rows of contiguous values, a fixed step apart.
template <typename T>
struct Rows {
  T* data;
  std::int64_t step;

  T* operator()(std::int64_t row) const { return data + row * step; }
};

/// Scale and shift of rows: row r has scale[r * step], or, where `each`, its value i has scale[r * step + i].
/// Null: none. Rows that are only part of their groups are `inside` them: d = dy * scale, as where `each`.
template <typename Scalar>
struct Affine {
  const Scalar* scale;
  const Scalar* shift;
  std::int64_t step;
  bool each;
  bool inside = false;
};

/// What a pass does about memory.
struct Traffic {
  bool stream = false;    ///< results go past the caches
  std::int64_t next = 0;  ///< asks for what lies so many values behind each that is read; 0: for nothing more
};

/// The same for lanes, each in an array with room for whole vectors; and the scale of a row, which `gradient` and
/// `gradient_sums` take before anything else.
template <typename Scalar>
struct Lanes {
  const Scalar* high;
  const Scalar* low;
  const Scalar* rstd;
  const Scalar* scale;
  const Scalar* shift;
  const Scalar* mean;  ///< of a Correction
  const Scalar* slope;
};

/// The trees of sixteen lanes whose block comes in parts, those of one residue: for each of two terms the sums of
/// even and of odd steps, by lane. There are sixteen of these.
template <typename Scalar>
struct OpenTree {
  alignas(64) Scalar sums[2][2][tree_lanes];  ///< [term][parity][lane]
};

/// The contract's functions, one such table for each instruction set, all of the same bits.
/// xhat = ((x - high) - low) * rstd.
///
/// On *rows*, the n values of a row belong to one group and follow each other; at most sixteen rows of at most a
/// block in sums. On *lanes*, neighbours belong to different groups (or positions), and the values of one go down the
/// n rows; at least sixteen lanes.
template <typename Storage, typename Scalar>
struct BlockKernels {
  using In = Rows<const Storage>;
  using Out = Rows<Storage>;

  // ---- rows

  /// tree(x), or tree(x^2) where `squares`
  void (*sums)(In x, std::int64_t rows, std::int64_t n, bool squares, Scalar* sums);
  /// tree(x - h) and tree((x - h)^2)
  void (*sweeps)(In x, std::int64_t rows, std::int64_t n, const Scalar* h, Scalar* first, Scalar* second);
  /// Sixteen groups of one block, rows or lanes, from those: what they are normalized with and their variance. Returns
  /// bit i where group i is left to the general code (summary.hpp): h was far from its mean, or it is out of range
  unsigned (*finish)(const Rule<Scalar>& rule, const Scalar* h, const Scalar* first, const Scalar* second,
                     Scalar* high, Scalar* low, Scalar* rstd, Wide<Scalar>* variance);
  /// tree(d) and tree(d * xhat); d = dy * scale where `each`, otherwise dy
  void (*gradient_sums)(In x, In dy, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                        Affine<Scalar> affine, Scalar* first, Scalar* second);
  /// y = xhat * scale + shift
  void (*transform)(In x, Out y, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                    Affine<Scalar> affine, Traffic traffic);
  /// dx = (d - (mean + xhat * slope)) * rstd, d = dy * scale where `each` or `inside`; otherwise d = dy, and dx * scale
  void (*gradient)(In x, In dy, Out dx, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                   const Correction<Scalar>* correction, Affine<Scalar> affine, Traffic traffic);
  /// The same for `each`, rows by twos; adds (dy_0 + dy_1) to sums and (dy_0 * xhat_0 + dy_1 * xhat_1) to products
  void (*gradient_pairs)(In x, In dy, Out dx, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                         const Correction<Scalar>* correction, const Scalar* scale, Scalar* sums,
                         Scalar* products, Traffic traffic);
  /// Adds sums to wide totals, and what those additions lose to `lost` where it is not null; sums become 0
  void (*flush)(Scalar* sums, std::int64_t n, Wide<Scalar>* totals, Wide<Scalar>* lost);
  /// Adds wide totals, with what they lost, to others
  void (*merge)(const Wide<Scalar>* from, const Wide<Scalar>* from_lost, std::int64_t n, Wide<Scalar>* totals,
                Wide<Scalar>* lost);
  /// y = x
  void (*copy)(In x, Out y, std::int64_t rows, std::int64_t n, Traffic traffic);
  /// Adds dy and dy * xhat of one position of n features to their sums.
  void (*add_position)(const Storage* x, const Storage* dy, std::int64_t n, const Normalizer<Scalar>& by,
                       Scalar* sums, Scalar* products);

  // ---- lanes

  /// The same for each lane down the rows; about h = 0 it gives tree(x) and tree(x^2)
  void (*lane_sweeps)(In x, std::int64_t n, std::int64_t lanes, const Scalar* h, Scalar* first,
                      Scalar* second);
  /// d = dy * row_scale, or dy where that is null
  void (*lane_gradient_sums)(In x, In dy, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                             const Scalar* row_scale, Scalar* first, Scalar* second);
  /// These of a part of the block of sixteen lanes, from its value `first` on, a whole number of steps; what a part
  /// has after the last of them ends the block
  void (*continue_lane_sweeps)(In x, std::int64_t n, const Scalar* h, std::int64_t first,
                               OpenTree<Scalar>* trees);
  void (*continue_lane_gradient_sums)(In x, In dy, std::int64_t n, const Lanes<Scalar>& by,
                                      const Scalar* row_scale, std::int64_t first, OpenTree<Scalar>* trees);
  void (*fold_lanes)(const OpenTree<Scalar>* trees, Scalar* first, Scalar* second);
  /// y = xhat * scale + shift, scale and shift by lane, or by row where row_scale is not null
  void (*lane_transform)(In x, Out y, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                         const Scalar* row_scale, const Scalar* row_shift, Traffic traffic);
  /// dx = (dy - (mean + xhat * slope)) * rstd * scale, or with d = dy * row_scale instead of the last factor
  void (*lane_gradient)(In x, In dy, Out dx, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                        const Scalar* row_scale, Traffic traffic);

  /// After streaming stores, before anybody is told of them.
  void (*fence)();

  /// `Parts` has the trees whose blocks come in parts.
  template <typename Functions, typename Parts = Functions>
  static constexpr BlockKernels of() {
    return {Functions::sums,
            Functions::sweeps,
            Functions::finish,
            Functions::gradient_sums,
            Functions::transform,
            Functions::gradient,
            Functions::gradient_pairs,
            Functions::flush,
            Functions::merge,
            Functions::copy,
            Functions::add_position,
            Functions::lane_sweeps,
            Functions::lane_gradient_sums,
            Parts::continue_lane_sweeps,
            Parts::continue_lane_gradient_sums,
            Parts::fold_lanes,
            Functions::lane_transform,
            Functions::lane_gradient,
            Functions::fence};
  }
};

}  // namespace eigennorm::kernels

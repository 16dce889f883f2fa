#pragma once

#include <cstdint>

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

/// The contract's functions on one block of contiguous values: one such table for each instruction set, all
/// of the same
/// bits. xhat = ((x - high) - low) * rstd; d = dy * scale, or dy where scale is null. `stream`: past the
/// caches.
template <typename Storage, typename Scalar>
struct BlockKernels {
  /// tree(x), of at most 64 values
  Scalar (*sum)(const Storage* x, std::int64_t n);
  /// tree(x - h) and tree((x - h)^2)
  Sums<Scalar> (*sweep)(const Storage* x, std::int64_t n, Scalar h);
  /// tree(x^2)
  Scalar (*sum_of_squares)(const Storage* x, std::int64_t n);
  /// tree(d) and tree(d * xhat)
  Sums<Scalar> (*gradient_sums)(const Storage* x, const Storage* dy, std::int64_t n,
                                const Normalizer<Scalar>& by, const Scalar* scale);
  /// y = xhat * scale + shift, one scale and one shift
  void (*transform_one)(const Storage* x, Storage* y, std::int64_t n, const Normalizer<Scalar>& by,
                        Scalar scale, Scalar shift, bool stream);
  /// y = xhat * scale + shift, a scale and a shift for each value
  void (*transform_each)(const Storage* x, Storage* y, std::int64_t n, const Normalizer<Scalar>& by,
                         const Scalar* scale, const Scalar* shift, bool stream);
  /// dx = (d - (mean + xhat * slope)) * rstd * factor
  void (*gradient)(const Storage* x, const Storage* dy, Storage* dx, std::int64_t n,
                   const Normalizer<Scalar>& by, Scalar mean, Scalar slope, const Scalar* scale,
                   Scalar factor, bool stream);
  /// dx = d * rstd * factor
  void (*fixed_gradient)(const Storage* dy, Storage* dx, std::int64_t n, Scalar rstd, const Scalar* scale,
                         Scalar factor, bool stream);
  /// Adds dy and dy * xhat of one position of n features to their sums.
  void (*add_position)(const Storage* x, const Storage* dy, std::int64_t n, const Normalizer<Scalar>& by,
                       Scalar* sums, Scalar* products);
  /// After streaming stores, before anybody is told of them.
  void (*fence)();

  template <typename Functions>
  static constexpr BlockKernels of() {
    return {Functions::sum,           Functions::sweep,          Functions::sum_of_squares,
            Functions::gradient_sums, Functions::transform_one,  Functions::transform_each,
            Functions::gradient,      Functions::fixed_gradient, Functions::add_position,
            Functions::fence};
  }
};

}  // namespace eigennorm::kernels

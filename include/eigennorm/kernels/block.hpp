#pragma once

#include <array>
#include <cstdint>

#include "eigennorm/core/wide.hpp"

/// \file
/// The arithmetic contract (docs/arithmetic.md) on one block of contiguous values: the reference kernel. Whatever else
/// computes these functions must give their bits.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {

/// Values in a block: 4 KB of float, so a block of each of three tensors stays in a 32 KB L1 between two passes.
constexpr std::int64_t block_size = 1024;
/// Blocks in a segment, the largest piece of a group that one task takes: 65,536 values, enough to repay a task switch.
constexpr std::int64_t segment_blocks = 64;
constexpr std::int64_t segment_size = block_size * segment_blocks;
/// Values in a step of `tree`, and the partial sums it keeps for each parity.
constexpr std::int64_t step_size = 64;
constexpr std::int64_t tree_lanes = 16;

/// The two sums that every pass needs, taken together.
template <typename Scalar>
struct Sums {
  Scalar first, second;
};

/// One partial sum per lane of a step, for even and odd steps.
template <typename Scalar>
struct Accumulators {
  Scalar parity[2][tree_lanes] = {};

  /// Adds one step of 64 values.
  void add(const Scalar* v, std::int64_t step) {
    Scalar* sums = parity[step % 2];
    for (std::int64_t j = 0; j < tree_lanes; ++j) sums[j] += (v[j] + v[j + 16]) + (v[j + 32] + v[j + 48]);
  }

  Scalar fold() const {
    Scalar sums[tree_lanes];
    for (std::int64_t j = 0; j < tree_lanes; ++j) sums[j] = parity[0][j] + parity[1][j];
    for (std::int64_t half = tree_lanes / 2; half > 0; half /= 2) {
      for (std::int64_t j = 0; j < half; ++j) sums[j] = sums[j] + sums[j + half];
    }
    return sums[0];
  }
};

/// tree(f) and tree(g) over a block of n values, where `values(i, count, f, g)` writes the terms of values i to
/// i + count. Missing terms of the last step are 0.
template <typename Scalar, typename Values>
Sums<Scalar> tree_pair(std::int64_t n, const Values& values) {
  Accumulators<Scalar> first, second;
  Scalar f[step_size], g[step_size];
  std::int64_t step = 0;
  for (; (step + 1) * step_size <= n; ++step) {
    values(step * step_size, step_size, f, g);
    first.add(f, step);
    second.add(g, step);
  }
  const std::int64_t rest = n - step * step_size;
  if (rest > 0) {
    for (std::int64_t j = 0; j < step_size; ++j) f[j] = g[j] = Scalar(0);
    values(step * step_size, rest, f, g);
    first.add(f, step);
    second.add(g, step);
  }
  return {first.fold(), second.fold()};
}

/// tree(v) over a block.
template <typename Scalar>
Scalar tree(const Scalar* v, std::int64_t n) {
  return tree_pair<Scalar>(n, [v](std::int64_t i, std::int64_t count, Scalar* f, Scalar* g) {
           for (std::int64_t j = 0; j < count; ++j) {
             f[j] = v[i + j];
             g[j] = Scalar(0);
           }
         })
      .first;
}

/// S = tree(x - h) and Q = tree((x - h)^2).
template <typename Scalar>
Sums<Scalar> sweep(const Scalar* x, std::int64_t n, Scalar h) {
  return tree_pair<Scalar>(n, [x, h](std::int64_t i, std::int64_t count, Scalar* f, Scalar* g) {
    for (std::int64_t j = 0; j < count; ++j) {
      const Scalar e = x[i + j] - h;
      f[j] = e;
      g[j] = e * e;
    }
  });
}

/// tree(a) and tree(a * b).
template <typename Scalar>
Sums<Scalar> sum_and_product(const Scalar* a, const Scalar* b, std::int64_t n) {
  return tree_pair<Scalar>(n, [a, b](std::int64_t i, std::int64_t count, Scalar* f, Scalar* g) {
    for (std::int64_t j = 0; j < count; ++j) {
      f[j] = a[i + j];
      g[j] = a[i + j] * b[i + j];
    }
  });
}

/// What a group's values are normalized with: the mean as the unevaluated sum high + low, and 1 / sigma.
template <typename Scalar>
struct Normalizer {
  Scalar high, low, rstd;
};

/// x becomes ((x - high) - low) * rstd.
template <typename Scalar>
void normalize(Scalar* x, std::int64_t n, Normalizer<Scalar> by) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = ((x[i] - by.high) - by.low) * by.rstd;
}

/// x becomes ((x - high) - low) * (rstd * scale) + shift: one scale for the group.
template <typename Scalar>
void transform(Scalar* x, std::int64_t n, Normalizer<Scalar> by, Scalar scale, Scalar shift) {
  const Scalar factor = by.rstd * scale;
  for (std::int64_t i = 0; i < n; ++i) x[i] = ((x[i] - by.high) - by.low) * factor + shift;
}

/// x becomes ((x - high) - low) * rstd * scale + shift: a scale and a shift for each value.
template <typename Scalar>
void transform(Scalar* x, std::int64_t n, Normalizer<Scalar> by, const Scalar* scale, const Scalar* shift) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = ((x[i] - by.high) - by.low) * by.rstd * scale[i] + shift[i];
}

/// d becomes d * factor, elementwise.
template <typename Scalar>
void multiply(Scalar* d, const Scalar* factor, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) d[i] = d[i] * factor[i];
}

/// d becomes d * factor.
template <typename Scalar>
void multiply(Scalar* d, Scalar factor, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) d[i] = d[i] * factor;
}

/// d becomes (d - (mean + xhat * slope)) * factor: the gradient with respect to x.
template <typename Scalar>
void gradient(Scalar* d, const Scalar* xhat, std::int64_t n, Scalar mean, Scalar slope, Scalar factor) {
  for (std::int64_t i = 0; i < n; ++i) d[i] = (d[i] - (mean + xhat[i] * slope)) * factor;
}

}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

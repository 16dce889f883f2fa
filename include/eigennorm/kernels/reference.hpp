#pragma once

#include <cstdint>

#include "eigennorm/kernels/block.hpp"

/// \file
/// The functions of BlockKernels, value by value: the arithmetic contract (docs/arithmetic.md) as plainly as
/// can be. What every other kernel
/// must equal to the bit, and what is used where there are no vectors (long double).

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels::reference {

/// One partial sum per lane of a step, for even and odd steps.
template <typename Scalar>
class Tree {
 public:
  /// Adds one step of 64 values.
  void add(const Scalar* v) {
    Scalar* sums = sums_[steps_++ % 2];
    for (std::int64_t j = 0; j < tree_lanes; ++j) sums[j] += (v[j] + v[j + 16]) + (v[j + 32] + v[j + 48]);
  }

  Scalar fold() const {
    Scalar sums[tree_lanes];
    for (std::int64_t j = 0; j < tree_lanes; ++j) sums[j] = sums_[0][j] + sums_[1][j];
    for (std::int64_t half = tree_lanes / 2; half > 0; half /= 2) {
      for (std::int64_t j = 0; j < half; ++j) sums[j] = sums[j] + sums[j + half];
    }
    return sums[0];
  }

 private:
  Scalar sums_[2][tree_lanes] = {};
  std::int64_t steps_ = 0;
};

template <typename Storage, typename Scalar>
struct Functions {
  /// tree(f) and tree(g), where `terms(i, f, g)` gives the terms of value i. Missing terms of the last step
  /// are 0.
  template <typename Terms>
  static Sums<Scalar> tree_pair(std::int64_t n, const Terms& terms) {
    Tree<Scalar> first, second;
    for (std::int64_t i = 0; i < n; i += step_size) {
      Scalar f[step_size] = {}, g[step_size] = {};
      for (std::int64_t j = 0; j < step_size && i + j < n; ++j) terms(i + j, f[j], g[j]);
      first.add(f);
      second.add(g);
    }
    return {first.fold(), second.fold()};
  }

  /// ((x - high) - low) * rstd.
  static Scalar normalized(Storage x, const Normalizer<Scalar>& by) {
    return ((static_cast<Scalar>(x) - by.high) - by.low) * by.rstd;
  }

  static Scalar scaled(const Storage* dy, const Scalar* scale, std::int64_t i) {
    return scale == nullptr ? static_cast<Scalar>(dy[i]) : static_cast<Scalar>(dy[i]) * scale[i];
  }

  static Scalar sum(const Storage* x, std::int64_t n) {
    return tree_pair(n, [x](std::int64_t i, Scalar& f, Scalar&) { f = static_cast<Scalar>(x[i]); }).first;
  }

  static Sums<Scalar> sweep(const Storage* x, std::int64_t n, Scalar h) {
    return tree_pair(n, [x, h](std::int64_t i, Scalar& f, Scalar& g) {
      f = static_cast<Scalar>(x[i]) - h;
      g = f * f;
    });
  }

  static Scalar sum_of_squares(const Storage* x, std::int64_t n) {
    return tree_pair(n,
                     [x](std::int64_t i, Scalar& f, Scalar&) {
                       const Scalar value = static_cast<Scalar>(x[i]);
                       f = value * value;
                     })
        .first;
  }

  static Sums<Scalar> gradient_sums(const Storage* x, const Storage* dy, std::int64_t n,
                                    const Normalizer<Scalar>& by, const Scalar* scale) {
    return tree_pair(n, [=, &by](std::int64_t i, Scalar& f, Scalar& g) {
      f = scaled(dy, scale, i);
      g = f * normalized(x[i], by);
    });
  }

  static void transform_one(const Storage* x, Storage* y, std::int64_t n, const Normalizer<Scalar>& by,
                            Scalar scale, Scalar shift, bool) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<Storage>(normalized(x[i], by) * scale + shift);
  }

  static void transform_each(const Storage* x, Storage* y, std::int64_t n, const Normalizer<Scalar>& by,
                             const Scalar* scale, const Scalar* shift, bool) {
    for (std::int64_t i = 0; i < n; ++i)
      y[i] = static_cast<Storage>(normalized(x[i], by) * scale[i] + shift[i]);
  }

  static void gradient(const Storage* x, const Storage* dy, Storage* dx, std::int64_t n,
                       const Normalizer<Scalar>& by, Scalar mean, Scalar slope, const Scalar* scale,
                       Scalar factor, bool) {
    for (std::int64_t i = 0; i < n; ++i) {
      const Scalar rest = scaled(dy, scale, i) - (mean + normalized(x[i], by) * slope);
      dx[i] = static_cast<Storage>(rest * by.rstd * factor);
    }
  }

  static void fixed_gradient(const Storage* dy, Storage* dx, std::int64_t n, Scalar rstd, const Scalar* scale,
                             Scalar factor, bool) {
    for (std::int64_t i = 0; i < n; ++i) dx[i] = static_cast<Storage>(scaled(dy, scale, i) * rstd * factor);
  }

  static void add_position(const Storage* x, const Storage* dy, std::int64_t n, const Normalizer<Scalar>& by,
                           Scalar* sums, Scalar* products) {
    for (std::int64_t i = 0; i < n; ++i) {
      const Scalar d = static_cast<Scalar>(dy[i]);
      sums[i] = sums[i] + d;
      products[i] = products[i] + d * normalized(x[i], by);
    }
  }

  static void fence() {}
};

}  // namespace eigennorm::kernels::reference

#include "eigennorm/kernels/strict_end.inl"

#pragma once

#include <algorithm>
#include <cstdint>

#include "eigennorm/kernels/block.hpp"

/// \file
/// The functions of BlockKernels, value by value: the arithmetic contract (docs/arithmetic.md) as plainly as can be.
/// What every other kernel must equal to the bit, and what is used where there are no vectors (long double).

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels::reference {

/// The sum of a tree's sixteen.
template <typename Scalar>
Scalar folded(Scalar (&sums)[tree_lanes]) {
  for (std::int64_t half = tree_lanes / 2; half > 0; half /= 2) {
    for (std::int64_t j = 0; j < half; ++j) sums[j] = sums[j] + sums[j + half];
  }
  return sums[0];
}

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
    return folded(sums);
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

  using In = Rows<const Storage>;
  using Out = Rows<Storage>;

  /// ((x - high) - low) * rstd.
  static Scalar normalized(Storage x, const Normalizer<Scalar>& by) {
    return ((static_cast<Scalar>(x) - by.high) - by.low) * by.rstd;
  }
  static Normalizer<Scalar> of_lane(const Lanes<Scalar>& by, std::int64_t lane) {
    return {by.high[lane], by.low[lane], by.rstd[lane]};
  }

  /// What is missing changes nothing.
  static Scalar times(Scalar value, const Scalar* scale, std::int64_t i) {
    return scale == nullptr ? value : value * scale[i];
  }
  static Scalar plus(Scalar value, const Scalar* shift, std::int64_t i) {
    return shift == nullptr ? value : value + shift[i];
  }

  static void sums(In x, std::int64_t rows, std::int64_t n, bool squares, Scalar* sums) {
    for (std::int64_t r = 0; r < rows; ++r) {
      sums[r] = tree_pair(n, [&](std::int64_t i, Scalar& f, Scalar&) {
                  const Scalar value = static_cast<Scalar>(x(r)[i]);
                  f = squares ? value * value : value;
                }).first;
    }
  }

  static void sweeps(In x, std::int64_t rows, std::int64_t n, const Scalar* h, Scalar* first,
                     Scalar* second) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const Sums<Scalar> sums = tree_pair(n, [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = static_cast<Scalar>(x(r)[i]) - h[r];
        g = f * f;
      });
      first[r] = sums.first;
      second[r] = sums.second;
    }
  }

  /// Leaves every group to the general code.
  static unsigned finish(const Rule<Scalar>&, const Scalar*, const Scalar*, const Scalar*, Scalar*, Scalar*,
                         Scalar*, Wide<Scalar>*) {
    return 0xffffU;
  }

  static void gradient_sums(In x, In dy, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                            Affine<Scalar> affine, Scalar* first, Scalar* second) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const Sums<Scalar> sums = tree_pair(n, [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = times(static_cast<Scalar>(dy(r)[i]), affine.each ? affine.scale : nullptr, r * affine.step + i);
        g = f * normalized(x(r)[i], by[r]);
      });
      first[r] = sums.first;
      second[r] = sums.second;
    }
  }

  static void transform(In x, Out y, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                        Affine<Scalar> affine, Traffic) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t at = r * affine.step + (affine.each ? i : 0);
        y(r)[i] =
            static_cast<Storage>(plus(times(normalized(x(r)[i], by[r]), affine.scale, at), affine.shift, at));
      }
    }
  }

  static void gradient(In x, In dy, Out dx, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                       const Correction<Scalar>* correction, Affine<Scalar> affine, Traffic) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t i = 0; i < n; ++i) {
        const bool first = affine.each || affine.inside;
        const Scalar d = times(static_cast<Scalar>(dy(r)[i]), first ? affine.scale : nullptr,
                               r * affine.step + (affine.each ? i : 0));
        const Scalar rest = d - (correction[r].mean + normalized(x(r)[i], by[r]) * correction[r].slope);
        dx(r)[i] =
            static_cast<Storage>(times(rest * by[r].rstd, first ? nullptr : affine.scale, r * affine.step));
      }
    }
  }

  static void gradient_pairs(In x, In dy, Out dx, std::int64_t rows, std::int64_t n,
                             const Normalizer<Scalar>* by, const Correction<Scalar>* correction,
                             const Scalar* scale, Scalar* sums, Scalar* products, Traffic) {
    for (std::int64_t r = 0; r < rows; r += 2) {
      for (std::int64_t i = 0; i < n; ++i) {
        Scalar sum = static_cast<Scalar>(dy(r)[i]);
        Scalar product = sum * normalized(x(r)[i], by[r]);
        if (r + 1 < rows) {
          const Scalar d = static_cast<Scalar>(dy(r + 1)[i]);
          sum = sum + d;
          product = product + d * normalized(x(r + 1)[i], by[r + 1]);
        }
        sums[i] = sums[i] + sum;
        products[i] = products[i] + product;
      }
    }
    gradient(x, dy, dx, rows, n, by, correction, {scale, nullptr, 0, true}, {});
  }

  static void flush(Scalar* sums, std::int64_t n, Wide<Scalar>* totals, Wide<Scalar>* lost) {
    for (std::int64_t i = 0; i < n; ++i) {
      add_wide(static_cast<Wide<Scalar>>(sums[i]), totals[i], lost == nullptr ? totals[i] : lost[i]);
      sums[i] = Scalar(0);
    }
  }
  static void merge(const Wide<Scalar>* from, const Wide<Scalar>* from_lost, std::int64_t n,
                    Wide<Scalar>* totals, Wide<Scalar>* lost) {
    for (std::int64_t i = 0; i < n; ++i) {
      add_wide(from[i], totals[i], lost == nullptr ? totals[i] : lost[i]);
      if (WideSum<Scalar>::compensated) lost[i] = lost[i] + from_lost[i];
    }
  }
  static void add_wide(Wide<Scalar> next, Wide<Scalar>& total, Wide<Scalar>& lost) {
    WideSum<Scalar> sum{total, lost};
    sum.add(next);
    if (WideSum<Scalar>::compensated) lost = sum.lost;
    total = sum.value;
  }

  static void copy(In x, Out y, std::int64_t rows, std::int64_t n, Traffic) {
    for (std::int64_t r = 0; r < rows; ++r) std::copy(x(r), x(r) + n, y(r));
  }

  static void add_position(const Storage* x, const Storage* dy, std::int64_t n, const Normalizer<Scalar>& by,
                           Scalar* sums, Scalar* products) {
    for (std::int64_t i = 0; i < n; ++i) {
      const Scalar d = static_cast<Scalar>(dy[i]);
      sums[i] = sums[i] + d;
      products[i] = products[i] + d * normalized(x[i], by);
    }
  }

  // ---- trees whose blocks come in parts

  /// Adds values [first, first + n) of a block to its tree: the sum of residue j is `at(term, parity, j)`.
  template <typename At, typename Terms>
  static void continue_trees(std::int64_t first, std::int64_t n, const At& at, const Terms& terms) {
    for (std::int64_t i = 0; i < n; i += step_size) {
      Scalar v[2][step_size] = {};
      for (std::int64_t j = 0; j < step_size && i + j < n; ++j) terms(i + j, v[0][j], v[1][j]);
      for (int k = 0; k < 2; ++k) {
        for (std::int64_t j = 0; j < tree_lanes; ++j)
          at(k, (first + i) / step_size % 2, j) += (v[k][j] + v[k][j + 16]) + (v[k][j + 32] + v[k][j + 48]);
      }
    }
  }
  static auto of_lane(OpenTree<Scalar>* trees, std::int64_t lane) {
    return [trees, lane](int k, std::int64_t parity, std::int64_t j) -> Scalar& {
      return trees[j].sums[k][parity][lane];
    };
  }
  template <typename At>
  static Scalar folded(const At& at, int k) {
    Scalar sums[tree_lanes];
    for (std::int64_t j = 0; j < tree_lanes; ++j) sums[j] = at(k, 0, j) + at(k, 1, j);
    return reference::folded(sums);
  }

  static void continue_lane_sweeps(In x, std::int64_t n, const Scalar* h, std::int64_t first,
                                   OpenTree<Scalar>* trees) {
    for (std::int64_t lane = 0; lane < tree_lanes; ++lane) {
      continue_trees(first, n, of_lane(trees, lane), [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = static_cast<Scalar>(x(i)[lane]) - h[lane];
        g = f * f;
      });
    }
  }
  static void continue_lane_gradient_sums(In x, In dy, std::int64_t n, const Lanes<Scalar>& by,
                                          const Scalar* row_scale, std::int64_t first,
                                          OpenTree<Scalar>* trees) {
    for (std::int64_t lane = 0; lane < tree_lanes; ++lane) {
      continue_trees(first, n, of_lane(trees, lane), [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = times(static_cast<Scalar>(dy(i)[lane]), row_scale, i);
        g = f * normalized(x(i)[lane], of_lane(by, lane));
      });
    }
  }
  static void fold_lanes(const OpenTree<Scalar>* trees, Scalar* first, Scalar* second) {
    for (std::int64_t lane = 0; lane < tree_lanes; ++lane) {
      const auto at = [&](int k, std::int64_t parity, std::int64_t j) {
        return trees[j].sums[k][parity][lane];
      };
      first[lane] = folded(at, 0);
      second[lane] = folded(at, 1);
    }
  }

  // ---- lanes

  /// tree(f) and tree(g) of every lane.
  template <typename Terms>
  static void lane_trees(std::int64_t n, std::int64_t lanes, const Terms& terms, Scalar* first,
                         Scalar* second) {
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      const Sums<Scalar> sums =
          tree_pair(n, [&](std::int64_t i, Scalar& f, Scalar& g) { terms(i, lane, f, g); });
      first[lane] = sums.first;
      second[lane] = sums.second;
    }
  }

  static void lane_sweeps(In x, std::int64_t n, std::int64_t lanes, const Scalar* h, Scalar* first,
                          Scalar* second) {
    lane_trees(
        n, lanes,
        [&](std::int64_t i, std::int64_t lane, Scalar& f, Scalar& g) {
          f = static_cast<Scalar>(x(i)[lane]) - h[lane];
          g = f * f;
        },
        first, second);
  }

  static void lane_gradient_sums(In x, In dy, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                                 const Scalar* row_scale, Scalar* first, Scalar* second) {
    lane_trees(
        n, lanes,
        [&](std::int64_t i, std::int64_t lane, Scalar& f, Scalar& g) {
          f = times(static_cast<Scalar>(dy(i)[lane]), row_scale, i);
          g = f * normalized(x(i)[lane], of_lane(by, lane));
        },
        first, second);
  }

  static void lane_transform(In x, Out y, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                             const Scalar* row_scale, const Scalar* row_shift, Traffic) {
    const bool by_row = row_scale != nullptr || row_shift != nullptr;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t lane = 0; lane < lanes; ++lane) {
        const Scalar xhat = normalized(x(i)[lane], of_lane(by, lane));
        y(i)[lane] = static_cast<Storage>(by_row ? plus(times(xhat, row_scale, i), row_shift, i)
                                                 : xhat * by.scale[lane] + by.shift[lane]);
      }
    }
  }

  static void lane_gradient(In x, In dy, Out dx, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                            const Scalar* row_scale, Traffic) {
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t lane = 0; lane < lanes; ++lane) {
        const Scalar d = times(static_cast<Scalar>(dy(i)[lane]), row_scale, i);
        const Scalar xhat = normalized(x(i)[lane], of_lane(by, lane));
        const Scalar rest = d - (by.mean[lane] + xhat * by.slope[lane]);
        dx(i)[lane] = static_cast<Storage>(rest * by.rstd[lane] * by.scale[lane]);
      }
    }
  }

  static void fence() {}
};

}  // namespace eigennorm::kernels::reference

#include "eigennorm/kernels/strict_end.inl"

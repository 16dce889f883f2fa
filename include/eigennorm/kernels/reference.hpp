#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "eigennorm/kernels/block.hpp"

/// \file
/// The functions of BlockKernels, value by value: the arithmetic contract (docs/arithmetic.md) as plainly as can be.
/// What every other kernel must equal to the bit, and what is used where there are no vectors (long double).

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
  /// tree(f) and tree(g), where `terms(i, f, g)` gives the terms of value i. Missing terms of the last step are 0.
  template <typename Terms>
  static void trees(std::int64_t n, const Terms& terms, Scalar* of_first, Scalar* of_second) {
    Tree<Scalar> first, second;
    for (std::int64_t i = 0; i < n; i += step_size) {
      Scalar f[step_size] = {}, g[step_size] = {};
      for (std::int64_t j = 0; j < step_size && i + j < n; ++j) terms(i + j, f[j], g[j]);
      first.add(f);
      second.add(g);
    }
    *of_first = first.fold();
    if (of_second != nullptr) *of_second = second.fold();
  }

  using In = Rows<const Storage>;
  using Out = Rows<Storage>;
  using ListedIn = ListedRows<const Storage>;
  using ListedOut = ListedRows<Storage>;
  using Lanes = LaneRows<const Storage>;
  using W = Wide<Scalar>;
  using By = Normalizers<Scalar>;

  /// ((x - high) - low) * rstd of a value in row r and column c.
  static Scalar normalized(Storage x, const By& by, std::int64_t r, std::int64_t c) {
    const std::int64_t i = by.by_column ? c : r * by.step;
    return ((static_cast<Scalar>(x) - by.high[i]) - by.low[i]) * by.rstd[i];
  }
  /// What is missing changes nothing.
  static Scalar times(Scalar value, const Affine<Scalar>& affine, std::int64_t r, std::int64_t c) {
    return affine.scale == nullptr ? value : value * affine.scale[r * affine.row + c * affine.column];
  }
  static Scalar plus(Scalar value, const Affine<Scalar>& affine, std::int64_t r, std::int64_t c) {
    return affine.shift == nullptr ? value : value + affine.shift[r * affine.row + c * affine.column];
  }

  // ---- sums

  static void sums(In x, Extent size, bool squares, Scalar* sums) {
    for (std::int64_t r = 0; r < size.rows; ++r) {
      const auto terms = [&](std::int64_t i, Scalar& f, Scalar&) {
        const Scalar value = static_cast<Scalar>(x(r)[i]);
        f = squares ? value * value : value;
      };
      trees(size.columns, terms, sums + r, nullptr);
    }
  }

  static void sweeps(In x, Extent size, const Scalar* h, Sums<Scalar> sums) {
    for (std::int64_t r = 0; r < size.rows; ++r) {
      const auto terms = [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = static_cast<Scalar>(x(r)[i]) - h[r];
        g = f * f;
      };
      trees(size.columns, terms, sums.plain + r, sums.product + r);
    }
  }
  static void lane_sums(const Lanes& x, Extent size, Scalar* sums) {
    for (std::int64_t c = 0; c < size.columns; ++c) {
      const auto terms = [&](std::int64_t i, Scalar& f, Scalar&) { f = static_cast<Scalar>(x(i)[c]); };
      trees(size.rows, terms, sums + c, nullptr);
    }
  }
  static void lane_sweeps(const Lanes& x, Extent size, const Scalar* h, Sums<Scalar> sums) {
    for (std::int64_t c = 0; c < size.columns; ++c) {
      const auto terms = [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = static_cast<Scalar>(x(i)[c]) - h[c];
        g = f * f;
      };
      trees(size.rows, terms, sums.plain + c, sums.product + c);
    }
  }

  static void gradient_sums(In x, In dy, Extent size, const By& by, const Affine<Scalar>& affine, Sums<Scalar> sums) {
    const Affine<Scalar> each = affine.column == 0 ? Affine<Scalar>{} : affine;
    for (std::int64_t r = 0; r < size.rows; ++r) {
      const auto terms = [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = times(static_cast<Scalar>(dy(r)[i]), each, r, i);
        g = f * normalized(x(r)[i], by, r, i);
      };
      trees(size.columns, terms, sums.plain + r, sums.product + r);
    }
  }
  static void lane_gradient_sums(const Lanes& x, const Lanes& dy, Extent size, const By& by,
                                 const Affine<Scalar>& affine, Sums<Scalar> sums) {
    for (std::int64_t c = 0; c < size.columns; ++c) {
      const auto terms = [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = times(static_cast<Scalar>(dy(i)[c]), affine, i, c);
        g = f * normalized(x(i)[c], by, i, c);
      };
      trees(size.rows, terms, sums.plain + c, sums.product + c);
    }
  }

  static void lane_gated_sums(const Lanes& x, const Lanes& dy, Extent size, const By& by, const Affine<Scalar>& affine,
                              Sums<Scalar> sums) {
    const Fused<Storage, Scalar> gate{by, affine, {nullptr, 0}, true};
    for (std::int64_t c = 0; c < size.columns; ++c) {
      const auto terms = [&](std::int64_t i, Scalar& f, Scalar& g) {
        f = passed({x(i), 0}, dy(i)[c], 0, c, gate);
        g = f * normalized(x(i)[c], by, 0, c);
      };
      trees(size.rows, terms, sums.plain + c, sums.product + c);
    }
  }

  static void pair_sums(In x, In dy, Extent size, const By& by, Sums<Scalar> sums) {
    for (std::int64_t r = 0; r < size.rows; r += 2) {
      for (std::int64_t i = 0; i < size.columns; ++i) {
        Scalar sum = static_cast<Scalar>(dy(r)[i]);
        Scalar product = sum * normalized(x(r)[i], by, r, i);
        if (r + 1 < size.rows) {
          const Scalar d = static_cast<Scalar>(dy(r + 1)[i]);
          sum = sum + d;
          product = product + d * normalized(x(r + 1)[i], by, r + 1, i);
        }
        sums.plain[i] = sums.plain[i] + sum;
        sums.product[i] = sums.product[i] + product;
      }
    }
  }

  // ---- what happens once a group

  static void shifts(Range groups, W of, Scalar* sums) {
    for (std::int64_t i = groups.first; i < groups.first + groups.count; ++i)
      sums[i] = static_cast<Scalar>(static_cast<W>(sums[i]) * (W(1) / of));
  }

  static unsigned summarize(Range groups, const Scalar* h, Sums<Scalar> sums, Summaries<Scalar>& to) {
    unsigned distant = 0;
    for (std::int64_t i = groups.first; i < groups.first + groups.count; ++i) {
      const W sum = static_cast<W>(sums.plain[i]), squares = static_cast<W>(sums.product[i]);
      const W correction = sum * (W(1) / to.count), loss = sum * correction;
      if constexpr (WideSum<Scalar>::compensated) {
        to.mean[i] = two_sum(static_cast<W>(h[i]), correction, to.low[i]);
        to.lost[i] = 0;
      } else {
        to.mean[i] = static_cast<W>(h[i]) + correction;
      }
      to.m2[i] = squares - loss;
      // Far from the mean, squares cancel.
      if (!(loss <= W(0.25) * squares)) distant |= 1U << (i - groups.first);
    }
    return distant;
  }

  /// 1 / sigma; 0 where that is beyond the range of Scalar, as where sigma is 0: such a group counts as constant and is
  /// normalized to 0.
  static Scalar rstd_of(W reciprocal) {
    const auto rstd = static_cast<Scalar>(reciprocal);
    return rstd > (std::numeric_limits<Scalar>::max)() ? Scalar(0) : rstd;
  }
  /// The same from sigma^2.
  static Scalar reciprocal_root(W radicand) { return radicand == 0 ? Scalar(0) : rstd_of(W(1) / std::sqrt(radicand)); }

  static unsigned finish(Range groups, const Rule<Scalar>& rule, const Summaries<Scalar>& of, Statistics<Scalar>& to) {
    constexpr W largest = (std::numeric_limits<W>::max)();
    unsigned out = 0;
    for (std::int64_t i = groups.first; i < groups.first + groups.count; ++i) {
      W m2 = of.m2[i], residual = 0;
      if constexpr (WideSum<Scalar>::compensated) {
        m2 = m2 + of.lost[i];
        residual = of.low[i];
      }
      to.high[i] = static_cast<Scalar>(of.mean[i]);
      to.low[i] = static_cast<Scalar>((of.mean[i] - static_cast<W>(to.high[i])) + residual);
      to.rstd[i] = 1;
      to.variance[i] = 0;
      bool good = (std::abs)(of.mean[i]) <= largest;
      if (rule.has_sigma) {
        good = good && m2 >= rule.smallest && m2 <= largest;
        to.variance[i] = (std::max)(m2 / rule.divisor, W(0));
        to.rstd[i] = reciprocal_root(to.variance[i] + rule.eps);
      }
      if (!good) out |= 1U << (i - groups.first);
    }
    return out;
  }

  static void reciprocal_roots(const Scalar* variance, std::int64_t n, W eps, Scalar* rstd) {
    for (std::int64_t i = 0; i < n; ++i) rstd[i] = reciprocal_root(static_cast<W>(variance[i]) + eps);
  }

  /// (What it would be made of are the others.)
  static constexpr bool (*normalize)(const Storage*, Storage*, std::int64_t, bool, const Rule<Scalar>&,
                                     const Affine<Scalar>&, Statistics<Scalar>&) = nullptr;

  // ---- groups that are out of range

  /// Values of one group, `value(i)`: whether they differ from the first, be it in sign; then also the largest.
  template <typename Value>
  static bool range(std::int64_t n, const Value& value, Scalar first, Scalar& largest) {
    bool varies = false;
    for (std::int64_t i = 0; i < n; ++i) {
      const Scalar other = value(i);
      const bool both_nan = other != other && first != first;
      varies = varies || !(both_nan || (other == first && std::signbit(other) == std::signbit(first)));
    }
    if (varies) largest = (std::abs)(largest);
    for (std::int64_t i = 0; varies && i < n; ++i) {
      const Scalar magnitude = (std::abs)(value(i));
      if (largest == largest && !(magnitude <= largest)) largest = magnitude;
    }
    return varies;
  }
  static bool is_quiet(const Storage* x, std::int64_t n, Scalar limit) {
    for (std::int64_t i = 0; i < n; ++i) {
      if (!((std::abs)(static_cast<Scalar>(x[i])) <= limit)) return false;
    }
    return true;
  }
  static unsigned ranges(In x, Extent size, unsigned which, const Scalar* first, Scalar* largest) {
    unsigned varied = 0;
    for (std::int64_t r = 0; r < size.rows; ++r) {
      const auto value = [&](std::int64_t i) { return static_cast<Scalar>(x(r)[i]); };
      if ((which >> r & 1U) != 0 && range(size.columns, value, first[r], largest[r])) varied |= 1U << r;
    }
    return varied;
  }
  static unsigned lane_ranges(const Lanes& x, std::int64_t rows, unsigned which, const Scalar* first, Scalar* largest) {
    unsigned varied = 0;
    for (std::int64_t lane = 0; lane < most_rows; ++lane) {
      const auto value = [&](std::int64_t i) { return static_cast<Scalar>(x(i)[lane]); };
      if ((which >> lane & 1U) != 0 && range(rows, value, first[lane], largest[lane])) varied |= 1U << lane;
    }
    return varied;
  }

  // ---- results

  static void transform(In x, Out y, Extent size, const By& by, const Affine<Scalar>& affine, Traffic) {
    for (std::int64_t r = 0; r < size.rows; ++r) {
      for (std::int64_t c = 0; c < size.columns; ++c) {
        const Scalar scaled = times(normalized(x(r)[c], by, r, c), affine, r, c);
        y(r)[c] = static_cast<Storage>(plus(scaled, affine, r, c));
      }
    }
  }

  /// max(value, 0): never -0, and NaN where the value is.
  static Scalar rectified(Scalar value) { return value <= 0 ? Scalar(0) : value; }
  static Storage fused(In x, std::int64_t r, std::int64_t c, const Fused<Storage, Scalar>& by) {
    Scalar value = plus(times(normalized(x(r)[c], by.by, r, c), by.affine, r, c), by.affine, r, c);
    if (by.residual.data != nullptr) value = value + static_cast<Scalar>(by.residual(r)[c]);
    return static_cast<Storage>(by.relu ? rectified(value) : value);
  }
  static void transform_fused(In x, Out y, Extent size, const Fused<Storage, Scalar>& by, Traffic) {
    for (std::int64_t r = 0; r < size.rows; ++r) {
      for (std::int64_t c = 0; c < size.columns; ++c) y(r)[c] = fused(x, r, c, by);
    }
  }

  /// dy where y, as it is stored, is above 0.
  static Scalar passed(In x, Storage dy, std::int64_t r, std::int64_t c, const Fused<Storage, Scalar>& by) {
    return static_cast<Scalar>(fused(x, r, c, by)) > 0 ? static_cast<Scalar>(dy) : Scalar(0);
  }
  static void gate(In x, In dy, Out dx, const Extent& size, const Fused<Storage, Scalar>& by, Traffic) {
    for (std::int64_t r = 0; r < size.rows; ++r) {
      for (std::int64_t c = 0; c < size.columns; ++c) dx(r)[c] = static_cast<Storage>(passed(x, dy(r)[c], r, c, by));
    }
  }

  static void add(In a, In b, Out sum, Extent size, Traffic) {
    for (std::int64_t r = 0; r < size.rows; ++r) {
      for (std::int64_t c = 0; c < size.columns; ++c)
        sum(r)[c] = static_cast<Storage>(static_cast<Scalar>(a(r)[c]) + static_cast<Scalar>(b(r)[c]));
    }
  }

  static void gradient(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Traffic) {
    const Affine<Scalar> none, before = by.scale_first ? by.affine : none, after = by.scale_first ? none : by.affine;
    for (std::int64_t r = 0; r < size.rows; ++r) {
      for (std::int64_t c = 0; c < size.columns; ++c) {
        const Scalar d = times(static_cast<Scalar>(dy(r)[c]), before, r, c);
        dx(r)[c] = static_cast<Storage>(times(corrected(x(r)[c], d, r, c, by), after, r, c));
      }
    }
  }
  static Scalar corrected(Storage x, Scalar d, std::int64_t r, std::int64_t c, const Gradient<Scalar>& by) {
    const std::int64_t i = by.by.by_column ? c : r * by.by.step;
    return (d - (by.mean[i] + normalized(x, by.by, r, c) * by.slope[i])) * by.by.rstd[i];
  }
  static void gradient_gated(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Traffic) {
    const Fused<Storage, Scalar> gate{by.by, by.affine, {nullptr, 0}, true};
    for (std::int64_t r = 0; r < size.rows; ++r) {
      for (std::int64_t c = 0; c < size.columns; ++c) {
        const Scalar d = passed(x, dy(r)[c], r, c, gate);
        dx(r)[c] = static_cast<Storage>(times(corrected(x(r)[c], d, r, c, by), by.affine, r, c));
      }
    }
  }

  static void transform_listed(ListedIn x, ListedOut y, Extent size, const By& by, const Affine<Scalar>& affine,
                               Traffic) {
    for (std::int64_t r = 0; r < size.rows; ++r) transform({x(r), 0}, {y(r), 0}, {1, size.columns}, by, affine, {});
  }
  static void gradient_listed(ListedIn x, ListedIn dy, ListedOut dx, Extent size, const Gradient<Scalar>& by, Traffic) {
    for (std::int64_t r = 0; r < size.rows; ++r) gradient({x(r), 0}, {dy(r), 0}, {dx(r), 0}, {1, size.columns}, by, {});
  }

  static void gradient_pairs(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Sums<Scalar> sums, Traffic) {
    pair_sums(x, dy, size, by.by, sums);
    gradient(x, dy, dx, size, by, {});
  }

  static void copy(In x, Out y, Extent size, Traffic) {
    for (std::int64_t r = 0; r < size.rows; ++r) std::copy(x(r), x(r) + size.columns, y(r));
  }

  static void pack(const Storage* x, const MaskWord* word, std::int64_t skipped, std::int64_t n, Storage* to) {
    for (std::int64_t lane = 0; n > 0; ++lane) {
      if (lane == word->lanes) {
        ++word;
        lane = 0;
      }
      if (!is_set(word, lane) || skipped-- > 0) continue;
      *to++ = x[word->at + lane];
      --n;
    }
  }
  static bool is_set(const MaskWord* words, std::int64_t lane) {
    return (words[lane / 64].bits >> lane % 64 & 1U) != 0;
  }
  static void keep(const Storage* x, const MaskWord* words, LaneRange of, Storage* to) {
    for (std::int64_t lane = 0; lane < of.last; ++lane) {
      const bool kept = lane >= of.first && is_set(words, lane);
      to[lane] = kept ? x[words->at + lane] : static_cast<Storage>(Scalar(0));
    }
  }
  static void put_kept(const Storage* from, const MaskWord* words, LaneRange of, Storage* y, bool) {
    for (std::int64_t lane = of.first; lane < of.last; ++lane)
      y[words->at + lane] = is_set(words, lane) ? from[lane] : static_cast<Storage>(Scalar(0));
  }

  static void fence() {}

  // ---- wide totals

  static void flush(Scalar* sums, std::int64_t n, W* totals, W* lost) {
    for (std::int64_t i = 0; i < n; ++i) {
      add_wide(static_cast<W>(sums[i]), totals[i], lost == nullptr ? totals[i] : lost[i]);
      sums[i] = Scalar(0);
    }
  }
  static void merge(const W* from, const W* from_lost, std::int64_t n, W* totals, W* lost) {
    for (std::int64_t i = 0; i < n; ++i) {
      add_wide(from[i], totals[i], lost == nullptr ? totals[i] : lost[i]);
      if (WideSum<Scalar>::compensated) lost[i] = lost[i] + from_lost[i];
    }
  }
  static void add_totals(const W* totals, const W* lost, std::int64_t n, Scalar* to) {
    for (std::int64_t i = 0; i < n; ++i) {
      const W total = lost == nullptr ? totals[i] : totals[i] + lost[i];
      to[i] = static_cast<Scalar>(static_cast<W>(to[i]) + (W(0) + total));
    }
  }
  static void add_sums(const Scalar* sums, std::int64_t n, Scalar* to) {
    for (std::int64_t i = 0; i < n; ++i) {
      WideSum<Scalar> sum;
      sum.add(static_cast<W>(sums[i]));
      to[i] = static_cast<Scalar>(static_cast<W>(to[i]) + sum.total());
    }
  }
  static void quotients(const W* totals, const W* lost, std::int64_t n, W divisor, Scalar* to) {
    for (std::int64_t i = 0; i < n; ++i)
      to[i] = static_cast<Scalar>((lost == nullptr ? totals[i] : totals[i] + lost[i]) / divisor);
  }
  static void add_wide(W next, W& total, W& lost) {
    WideSum<Scalar> sum{total, lost};
    sum.add(next);
    if (WideSum<Scalar>::compensated) lost = sum.lost;
    total = sum.value;
  }
};

}  // namespace eigennorm::kernels::reference

#include "eigennorm/kernels/strict_end.inl"

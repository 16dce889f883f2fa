#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <eigennorm/eigennorm.hpp>
#include <type_traits>
#include <vector>

#include "reference.hpp"

// docs/arithmetic.md once more, from its words alone and with numbers of its own.

#include "eigennorm/kernels/strict_begin.inl"

namespace contract {

using eigennorm::Normalization;
using eigennorm::Statistic;
using eigennorm::Wide;
using reference::Sizes;

template <typename S>
using Values = std::vector<S>;
template <typename S>
constexpr bool is_wide = !std::is_same_v<S, float>;

/// Whatever a + b loses.
template <typename T>
T lost_by(T a, T b) {
  const T sum = a + b, part = sum - a;
  return (a - (sum - part)) + (b - part);
}

/// A wide sum: what additions lose is added up beside it where Wide is no wider than Scalar.
template <typename S>
struct Sum {
  Wide<S> value = 0, lost = 0;

  void add(Wide<S> next) {
    if (is_wide<S>) lost += lost_by(value, next);
    value += next;
  }
  void add(const Sum& next) {
    add(next.value);
    lost += next.lost;
  }
  Wide<S> total() const { return value + lost; }
};

template <typename S>
S tree(const Values<S>& v) {
  S sums[2][16] = {};
  for (std::size_t i = 0; i < v.size(); i += 64) {
    const auto at = [&](std::size_t k) { return i + k < v.size() ? v[i + k] : S(0); };
    for (std::size_t j = 0; j < 16; ++j) sums[i / 64 % 2][j] += (at(j) + at(j + 16)) + (at(j + 32) + at(j + 48));
  }
  for (std::size_t j = 0; j < 16; ++j) sums[0][j] += sums[1][j];
  for (const std::size_t half : {8U, 4U, 2U, 1U}) {
    for (std::size_t j = 0; j < half; ++j) sums[0][j] += sums[0][j + half];
  }
  return sums[0][0];
}

/// v[first], v[first + 1], ..., at most `count` of them.
template <typename S>
Values<S> part_of(const Values<S>& v, std::size_t first, std::size_t count) {
  const auto begin = v.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(std::min(count, v.size() - first))};
}

template <typename S>
Values<S> products(const Values<S>& a, const Values<S>& b) {
  Values<S> result;
  for (std::size_t i = 0; i < a.size(); ++i) result.push_back(a[i] * b[i]);
  return result;
}

template <typename S>
struct Summary {
  Wide<S> n = 0, mean = 0, low = 0;
  Sum<S> m2;

  void merge(const Summary& next) {
    if (n == 0) {
      *this = next;
      return;
    }
    const Wide<S> weight = next.n / (n + next.n);
    m2.add(next.m2);
    Wide<S> d = next.mean - mean;
    if (is_wide<S>) d += next.low - low;
    const Wide<S> sum = mean + d * weight;
    if (is_wide<S>) {
      const Wide<S> rest = low + lost_by(mean, d * weight);
      mean = sum + rest;
      low = lost_by(sum, rest);
    } else {
      mean = sum;
    }
    m2.add(d * d * (n * weight));
    n += next.n;
  }
};

template <typename S>
Summary<S> sweep(const Values<S>& block, S h, bool& is_far) {
  Values<S> e;
  for (const S x : block) e.push_back(x - h);
  Summary<S> result;
  result.n = static_cast<Wide<S>>(block.size());
  const Wide<S> sum = tree(e), squares = tree(products(e, e)), c = sum * (1 / result.n);
  result.mean = static_cast<Wide<S>>(h) + c;
  if (is_wide<S>) result.low = lost_by(static_cast<Wide<S>>(h), c);
  result.m2.value = squares - sum * c;
  is_far = sum * c > squares / 4;
  return result;
}

template <typename S>
Summary<S> summary_of(const Values<S>& x) {
  Summary<S> total;
  for (std::size_t segment = 0; segment < x.size(); segment += 65536) {
    Summary<S> partial;
    for (std::size_t block = segment; block < std::min(x.size(), segment + 65536); block += 1024) {
      const Values<S> values = part_of(x, block, 1024);
      const Values<S> first = part_of(values, 0, 64);
      S h = static_cast<S>(partial.mean);
      if (block == segment)
        h = static_cast<S>(static_cast<Wide<S>>(tree(first)) * (1 / static_cast<Wide<S>>(first.size())));
      bool is_far = false;
      Summary<S> next = sweep(values, h, is_far);
      if (is_far) next = sweep(values, static_cast<S>(next.mean), is_far);
      partial.merge(next);
    }
    total.merge(partial);
  }
  return total;
}

/// Of a group: what it is normalized by.
template <typename S>
struct By {
  S high = 0, low = 0, rstd = 1;
  Wide<S> variance = 0;

  By(const Values<S>& x, Statistic statistic, Wide<S> eps) {
    Wide<S> squares = 0;
    if (statistic == Statistic::mean_variance || statistic == Statistic::mean) {
      const Summary<S> summary = summary_of(x);
      squares = summary.m2.total();
      high = static_cast<S>(summary.mean);
      low = static_cast<S>((summary.mean - static_cast<Wide<S>>(high)) + summary.low);
    } else {
      Sum<S> total;
      for (std::size_t segment = 0; segment < x.size(); segment += 65536) {
        Sum<S> partial;
        for (std::size_t block = segment; block < std::min(x.size(), segment + 65536); block += 1024)
          partial.add(static_cast<Wide<S>>(tree(products(part_of(x, block, 1024), part_of(x, block, 1024)))));
        total.add(partial);
      }
      squares = total.total();
    }
    if (statistic == Statistic::mean) return;
    const auto n = static_cast<Wide<S>>(x.size());
    variance = statistic == Statistic::sum_square ? squares : squares / n;
    rstd = static_cast<S>(1 / std::sqrt(variance + eps));
    if (std::isinf(rstd)) rstd = 0;
  }
  S xhat(S x) const { return ((x - high) - low) * rstd; }
};

/// Sums of dy (or d), and of its products with xhat.
template <typename S>
struct Pair {
  Sum<S> sum, product;
  void add(const Pair& next) {
    sum.add(next.sum);
    product.add(next.product);
  }
};

/// The values of each group, or of each feature, in their order.
inline std::vector<reference::Indices> sorted(const reference::Indices& which, std::size_t size) {
  std::vector<reference::Indices> result(size);
  for (std::size_t i = 0; i < which.size(); ++i) result[which[i]].push_back(i);
  return result;
}

/// A layer's whole step on a row-major tensor: groups and features of its values are those of the formula.
template <typename S>
struct Contract {
  Values<S> y, dx, dscale, dshift;

  Contract(const reference::Formula& formula, const Sizes& shape, Statistic statistic, const Normalization<S>& layer,
           const Values<S>& x, const Values<S>& dy)
      : y(x.size()), dx(x.size()) {
    const reference::Roles roles(formula, shape);
    const bool kept = !reference::contains(formula.averaged, formula.features.at(0));
    const std::vector<reference::Indices> groups = sorted(roles.group, roles.groups),
                                          features = sorted(roles.feature, roles.features);
    std::vector<Pair<S>> of_group;
    Values<S> xhat(x.size());
    for (const reference::Indices& at : groups) {
      Values<S> mine;
      for (const std::size_t i : at) mine.push_back(x[i]);
      const By<S> by(mine, statistic, static_cast<Wide<S>>(layer.eps));
      for (const std::size_t i : at) {
        const auto f = static_cast<Eigen::Index>(roles.feature[i]);
        xhat[i] = by.xhat(x[i]);
        y[i] = layer.shift.value.size() == 0 ? xhat[i] * layer.scale.value(f)
                                             : xhat[i] * layer.scale.value(f) + layer.shift.value(f);
      }

      // dx.
      std::size_t run = 0;  // of one feature
      while (run < at.size() && roles.feature[at[run]] == roles.feature[at[0]]) ++run;
      const bool by_runs = !kept && run >= 16;
      const bool each = !kept && !by_runs;
      if (!by_runs) run = at.size();
      std::vector<Pair<S>> blocks;
      for (std::size_t begin = 0; begin < at.size(); begin += run) {
        for (std::size_t block = begin; block < begin + run; block += 1024) {
          const std::size_t n = std::min(std::size_t{1024}, begin + run - block);
          const auto scale = [&](std::size_t k) {
            return layer.scale.value(static_cast<Eigen::Index>(roles.feature[at[block + k]]));
          };
          Values<S> d, h;
          for (std::size_t k = 0; k < n; ++k) {
            d.push_back(each ? dy[at[block + k]] * scale(k) : dy[at[block + k]]);
            h.push_back(xhat[at[block + k]]);
          }
          const auto factor = static_cast<Wide<S>>(by_runs ? scale(0) : S(1));
          Pair<S> next;
          next.sum.value = static_cast<Wide<S>>(tree(d)) * factor;
          next.product.value = static_cast<Wide<S>>(tree(products(d, h))) * factor;
          blocks.push_back(next);
        }
      }
      Pair<S> total;
      const std::size_t per_segment = std::max(std::size_t{64}, std::size_t{65536} / run);
      for (std::size_t segment = 0; segment < blocks.size(); segment += per_segment) {
        Pair<S> partial;
        for (std::size_t b = segment; b < std::min(blocks.size(), segment + per_segment); ++b) partial.add(blocks[b]);
        total.add(partial);
      }
      of_group.push_back(total);
      const auto n = static_cast<Wide<S>>(at.size());
      const bool centred = statistic == Statistic::mean_variance;
      const S mean = centred ? static_cast<S>(total.sum.total() / n) : S(0);
      const Wide<S> product = total.product.total();
      const S slope = static_cast<S>(statistic == Statistic::sum_square ? product : product / n);
      for (const std::size_t i : at) {
        const S scale = layer.scale.value(static_cast<Eigen::Index>(roles.feature[i]));
        const S rest = (kept ? dy[i] : dy[i] * scale) - (mean + xhat[i] * slope);
        dx[i] = kept ? rest * by.rstd * scale : rest * by.rstd;
      }
    }

    for (const reference::Indices& at : features) {
      Pair<S> total;
      if (kept) {
        for (std::size_t i = 0; i < at.size(); ++i) {
          const std::size_t group = roles.group[at[i]];
          if (i == 0 || group != roles.group[at[i - 1]]) total.add(of_group[group]);
        }
      } else {
        total = in_parts(at, dy, xhat);
      }
      dscale.push_back(static_cast<S>(total.product.total()));
      dshift.push_back(static_cast<S>(total.sum.total()));
    }
  }

  static Pair<S> in_parts(const reference::Indices& at, const Values<S>& dy, const Values<S>& xhat) {
    // Pieces: what follows each other in memory, at most a block of it.
    std::size_t run = 1;
    while (run < at.size() && at[run] == at[0] + run) ++run;
    Values<S> sums, with_xhat;
    for (std::size_t begin = 0; begin < at.size(); begin += run) {
      for (std::size_t block = begin; block < begin + run; block += 1024) {
        const std::size_t n = std::min(std::size_t{1024}, begin + run - block);
        const Values<S> d = part_of(dy, at[block], n), h = part_of(xhat, at[block], n);
        sums.push_back(tree(d));
        with_xhat.push_back(tree(products(d, h)));
      }
    }
    const std::size_t pieces = sums.size(), per_part = ((pieces + 63) / 64 + 15) / 16 * 16;
    Pair<S> total;
    for (std::size_t part = 0; part < pieces; part += per_part) {
      Pair<S> partial;
      const std::size_t end = std::min(pieces, part + per_part);
      for (std::size_t sixteen = part; sixteen < end; sixteen += 16) {
        S sum = 0, product = 0;
        for (std::size_t i = sixteen; i < std::min(end, sixteen + 16); i += 2) {
          const bool alone = i + 1 == end;
          sum += alone ? sums[i] : sums[i] + sums[i + 1];
          product += alone ? with_xhat[i] : with_xhat[i] + with_xhat[i + 1];
        }
        partial.sum.add(static_cast<Wide<S>>(sum));
        partial.product.add(static_cast<Wide<S>>(product));
      }
      total.add(partial);
    }
    return total;
  }
};

/// By running statistics: y and dx, and what a batch makes of them, by the averaging and the estimator of a new layer.
template <typename S>
struct RunningContract {
  Values<S> y, dx, mean, variance;

  RunningContract(const reference::Formula& formula, const Sizes& shape, const Normalization<S>& layer,
                  const Values<S>& x, const Values<S>& dy)
      : y(x.size()), dx(x.size()) {
    using W = Wide<S>;
    const reference::Roles roles(formula, shape);
    const std::vector<reference::Indices> groups = sorted(roles.group, roles.groups),
                                          features = sorted(roles.feature, roles.features);
    for (std::size_t f = 0; f < features.size(); ++f) {
      const auto place = static_cast<Eigen::Index>(f);
      const S m = layer.running->mean(place), v = layer.running->variance(place), scale = layer.scale.value(place),
              shift = layer.shift.value(place);
      const S rstd = static_cast<S>(1 / std::sqrt(static_cast<W>(v) + static_cast<W>(layer.eps)));
      Sum<S> of_mean, of_variance;
      std::size_t samples = 0, last = groups.size(), n = 0;
      for (const std::size_t i : features[f]) {
        y[i] = (x[i] - m) * rstd * scale + shift;
        dx[i] = dy[i] * rstd * scale;
        if (roles.group[i] == last) continue;
        last = roles.group[i];
        Values<S> mine;
        for (const std::size_t k : groups[last]) mine.push_back(x[k]);
        const By<S> by(mine, Statistic::mean_variance, static_cast<W>(layer.eps));
        of_mean.add(static_cast<W>(by.high) + static_cast<W>(by.low));
        of_variance.add(by.variance);
        n = mine.size();
        ++samples;
      }
      const W of_new = 0.1, of_old = 1 - 0.1, unbiased = static_cast<W>(n) / static_cast<W>(n - 1);
      const auto number = static_cast<W>(samples);
      mean.push_back(static_cast<S>(of_old * static_cast<W>(m) + of_new * (of_mean.total() / number)));
      variance.push_back(
          static_cast<S>(of_old * static_cast<W>(v) + of_new * (of_variance.total() / number * unbiased)));
    }
  }
};

}  // namespace contract

#include "eigennorm/kernels/strict_end.inl"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <eigennorm/core/forward.hpp>
#include <eigennorm/kernels/dispatch.hpp>

#include "catch.hpp"
#include "kernels/block_kernels.hpp"
#include "same_bits.hpp"

// Groups that are out of range: their statistics are those of the scaled values, whichever way they lie in memory; and
// how often values are scaled is counted, so that time depends on what values are as little as it can.

using namespace eigennorm;
using test::same_bits;

namespace {

/// Groups of n values: in rows, down the columns of a matrix, down some columns, or in every second place of rows.
struct Layout {
  const char* name;
  std::int64_t groups, n;
  bool down;
  std::int64_t step;  ///< between neighbours in memory

  std::int64_t size() const { return groups * n * step; }
  std::int64_t at(std::int64_t group, std::int64_t i) const {
    return (down ? i * groups + group : group * n + i) * step;
  }
};

const Layout layouts[] = {
    {"rows", 40, 70, false, 1},
    {"one row of a block and more", 3, 1500, false, 1},
    {"long rows", 20, 700, false, 1},
    {"a few long rows", 7, 300, false, 1},
    {"a frame", 1, 50, false, 1},
    {"a long frame", 1, 300, false, 1},
    {"rows of three", 100, 3, false, 1},
    {"columns", 70, 40, true, 1},
    {"columns of more than a block", 37, 1100, true, 1},
    {"five columns", 5, 60, true, 1},
    {"every second value", 9, 50, false, 2},
    {"columns, every second value", 20, 30, true, 2},
    {"every second value of more than a block", 4, 1100, false, 2},
};

template <typename Scalar>
struct Found {
  std::vector<Scalar> high, low, rstd;
  std::vector<Wide<Scalar>> variance;
  int scaled = 0;  ///< how often a kernel made scaled copies
};

int copies, swept;  ///< swept: rows of x, or those whose squares are summed

/// What the last call is about.
const void* first_value;
const void* last_value;

/// The statistics that a forward without results leaves.
template <typename Scalar>
Found<Scalar> statistics(const Layout& layout, const std::vector<Scalar>& x, Statistic statistic, double eps) {
  using Kernels = kernels::BlockKernels<Scalar, Scalar>;
  static Kernels used;
  used = kernels::block_kernels<Scalar, Scalar>();
  used.transform = [](auto... arguments) {
    ++copies;
    kernels::block_kernels<Scalar, Scalar>().transform(arguments...);
  };
  used.sweeps = [](kernels::Rows<const Scalar> rows, kernels::Extent size, auto... others) {
    if (first_value <= rows.data && rows.data < last_value) swept += static_cast<int>(size.rows);
    kernels::block_kernels<Scalar, Scalar>().sweeps(rows, size, others...);
  };
  used.sums = [](kernels::Rows<const Scalar> rows, kernels::Extent size, bool squares, Scalar* sums) {
    if (squares && first_value <= rows.data && rows.data < last_value) swept += static_cast<int>(size.rows);
    kernels::block_kernels<Scalar, Scalar>().sums(rows, size, squares, sums);
  };
  first_value = x.data();
  last_value = x.data() + x.size();
  Geometry geometry;
  geometry.averaged = over(layout.down ? 0 : 1);
  geometry.features = over(layout.down ? 1 : 0);
  geometry.extents = layout.groups;
  Shape shape;
  shape.rank = 2;
  shape.extents = {layout.groups, layout.n};
  if (layout.down) shape.extents = {layout.n, layout.groups};
  const Strides strides{shape.extents[1] * layout.step, layout.step};
  const core::Partition partition = core::partition(geometry, shape, Order::row_major, {strides, strides, Strides{}});
  const auto groups = static_cast<std::size_t>(layout.groups);
  Found<Scalar> found{std::vector<Scalar>(groups), std::vector<Scalar>(groups), std::vector<Scalar>(groups),
                      std::vector<Wide<Scalar>>(groups), 0};
  core::ForwardCall<Scalar, Scalar> call{
      &partition, statistic, eps,     x.data(),
      nullptr,    nullptr,   nullptr, {found.high.data(), found.low.data(), found.rstd.data(), found.variance.data()},
      &used};
  copies = swept = 0;
  core::forward(call, Device());
  found.scaled = copies;
  return found;
}

template <typename Scalar>
std::vector<Scalar> normal_values(const Layout& layout) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal(0.5, 1);
  std::vector<Scalar> x(static_cast<std::size_t>(layout.size()));
  for (Scalar& value : x) value = static_cast<Scalar>(normal(random));
  return x;
}

template <typename Scalar>
void fill_group(const Layout& layout, std::int64_t group, const std::function<Scalar(Scalar)>& f,
                std::vector<Scalar>& x) {
  for (std::int64_t i = 0; i < layout.n; ++i) {
    Scalar& value = x[static_cast<std::size_t>(layout.at(group, i))];
    value = f(value);
  }
}

template <typename Scalar>
void check_scaled() {
  using Limits = std::numeric_limits<Scalar>;
  for (const Layout& layout : layouts) {
    const std::vector<Scalar> x = normal_values<Scalar>(layout);
    for (const Statistic statistic : {Statistic::mean_variance, Statistic::mean_square, Statistic::sum_square}) {
      const Found<Scalar> expected = statistics(layout, x, statistic, 0);
      CHECK(expected.scaled == 0);
      for (const int exponent : {Limits::min_exponent / 2 - 6, Limits::max_exponent / 2 + 2}) {
        std::vector<Scalar> far = x;
        for (std::int64_t group = 0; group < layout.groups; group += 2)
          fill_group<Scalar>(
              layout, group, [=](Scalar a) { return std::ldexp(a, exponent); }, far);
        const Found<Scalar> found = statistics(layout, far, statistic, 0);
        CHECK(found.scaled > 0);
        for (std::int64_t group = 0; group < layout.groups; ++group) {
          INFO(layout.name << ", group " << group << ", times 2^" << exponent);
          const auto i = static_cast<std::size_t>(group);
          const int by = group % 2 == 0 ? exponent : 0;
          REQUIRE(same_bits(found.high[i], std::ldexp(expected.high[i], by)));
          REQUIRE(same_bits(found.low[i], std::ldexp(expected.low[i], by)));
          REQUIRE(same_bits(found.rstd[i], std::ldexp(expected.rstd[i], -by)));
          REQUIRE(same_bits(found.variance[i], std::ldexp(expected.variance[i], 2 * by)));
        }
      }
    }
  }
}

TEST_CASE("Statistics of groups out of range are those of scaled values") {
  SECTION("float") { check_scaled<float>(); }
  SECTION("double") { check_scaled<double>(); }
}

template <typename Scalar>
void check_constants() {
  using Limits = std::numeric_limits<Scalar>;
  const Scalar constants[] = {
      0, 1, Scalar(-1.7), Limits::denorm_min(), Scalar(3) * Limits::min(), Limits::max(), Scalar(-0.1) * Limits::max()};
  for (const Layout& layout : layouts) {
    for (const double eps : {0.0, 1e-5}) {
      for (const Scalar constant : constants) {
        std::vector<Scalar> x = normal_values<Scalar>(layout);
        const Found<Scalar> without = statistics(layout, x, Statistic::mean_variance, eps);
        for (std::int64_t group = 0; group < layout.groups; group += 2)
          fill_group<Scalar>(
              layout, group, [=](Scalar) { return constant; }, x);
        const Found<Scalar> found = statistics(layout, x, Statistic::mean_variance, eps);
        // No value was scaled, and none summed again.
        CHECK(found.scaled == 0);
        const auto rstd = static_cast<Scalar>(eps == 0 ? 0 : 1 / std::sqrt(static_cast<Wide<Scalar>>(eps)));
        for (std::int64_t group = 0; group < layout.groups; ++group) {
          INFO(layout.name << ", group " << group << " of " << constant << ", eps " << eps);
          const auto i = static_cast<std::size_t>(group);
          const bool is_constant = group % 2 == 0;
          REQUIRE(found.high[i] == (is_constant ? constant : without.high[i]));
          REQUIRE(found.low[i] == (is_constant ? 0 : without.low[i]));
          REQUIRE(found.rstd[i] == (is_constant ? rstd : without.rstd[i]));
          REQUIRE(found.variance[i] == (is_constant ? 0 : without.variance[i]));
        }
      }
    }
  }
}

TEST_CASE("Groups of one value need no scaled values") {
  SECTION("float") { check_constants<float>(); }
  SECTION("double") { check_constants<double>(); }
}

/// Groups whose first block is of one value, and whose others are of values that are nothing beside it.
template <typename Scalar>
void check_constant_blocks(Scalar first, Scalar rest) {
  const InstructionSet before = instruction_set();
  for (const Layout& layout : layouts) {
    if (layout.n <= kernels::block_size) continue;
    std::vector<Scalar> x(static_cast<std::size_t>(layout.size()));
    for (std::int64_t group = 0; group < layout.groups; ++group) {
      for (std::int64_t i = 0; i < layout.n; ++i)
        x[static_cast<std::size_t>(layout.at(group, i))] =
            i < kernels::block_size ? first : rest * static_cast<Scalar>(i % 7 + 1);
    }
    const auto n = static_cast<long double>(layout.n), share = kernels::block_size / n;
    const long double mean = first * share, variance = mean * first * (1 - share);
    std::vector<Found<Scalar>> of_sets;
    for (const InstructionSet set :
         {InstructionSet::reference, InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512}) {
      limit_instruction_set(set);
      of_sets.push_back(statistics(layout, x, Statistic::mean_variance, 1e-5));
    }
    limit_instruction_set(before);
    for (const Found<Scalar>& found : of_sets) {
      for (std::size_t i = 0; i < found.high.size(); ++i) {
        INFO(layout.name << ", " << first << ", then " << rest << ", group " << i);
        REQUIRE(std::abs(found.high[i] / mean - 1) < 1e-6L);
        REQUIRE(std::abs(found.rstd[i] * std::sqrt(variance + 1e-5L) - 1) < 1e-6L);
        REQUIRE(same_bits(found.high[i], of_sets[0].high[i]));
        REQUIRE(same_bits(found.low[i], of_sets[0].low[i]));
        REQUIRE(same_bits(found.rstd[i], of_sets[0].rstd[i]));
        REQUIRE(same_bits(found.variance[i], of_sets[0].variance[i]));
      }
    }
  }
}

TEST_CASE("A constant block counts for the largest magnitude of its group") {
  for (const double sign : {1.0, -1.0}) {
    for (const float rest : {0.0F, 1.0F}) check_constant_blocks(static_cast<float>(sign) * 1e30F, rest);
    for (const float rest : {0.0F, 1e-38F}) check_constant_blocks(static_cast<float>(sign) * 1e-17F, rest);
    for (const double rest : {0.0, 1.0}) check_constant_blocks(sign * 1e200, rest);
  }
}

TEST_CASE("One value that is another, and one that is none, are found wherever they are") {
  for (const Layout& layout : layouts) {
    for (std::int64_t place = 0; place < layout.n; place += layout.n / 7 + 1) {
      INFO(layout.name << ", place " << place);
      std::vector<float> x(static_cast<std::size_t>(layout.size()), 2e-30F);
      const std::int64_t last = layout.groups - 1;
      x[static_cast<std::size_t>(layout.at(0, place))] = 4e-30F;
      if (last > 0) x[static_cast<std::size_t>(layout.at(last, place))] = std::numeric_limits<float>::quiet_NaN();
      const Found<float> found = statistics(layout, x, Statistic::mean_variance, 0);
      const double n = static_cast<double>(layout.n);
      CHECK(std::abs(found.high[0] / (2e-30 * (1 + 1 / n)) - 1) < 1e-6);
      CHECK(std::abs(found.variance[0] / (4e-60 * (1 / n - 1 / n / n)) - 1) < 1e-5);
      CHECK(std::isnan(found.high[static_cast<std::size_t>(last)]) == (last > 0));
      CHECK(std::isnan(found.rstd[static_cast<std::size_t>(last)]) == (last > 0));
      if (layout.groups > 2) {
        CHECK(found.high[1] == 2e-30F);
        CHECK(found.variance[1] == 0);
      }
    }
  }
}

/// Row `group` of rows that are quiet, or are not by one value or by all. Returns whether it is.
template <typename Scalar>
bool make_quiet(const Layout& layout, std::int64_t group, std::vector<Scalar>& x) {
  constexpr Scalar most = core::quiet_up_to<Scalar>(Statistic::mean_variance, 256);
  const auto fill = [&](const std::function<Scalar(Scalar)>& f) { fill_group<Scalar>(layout, group, f, x); };
  Scalar& one = x[static_cast<std::size_t>(layout.at(group, (group * 37 + 5) % layout.n))];
  const Scalar loud = std::nextafter(most, Scalar(1));
  switch (group % 7) {
    case 0:
      fill([=](Scalar a) { return a * most / 8; });
      return true;
    case 1:
      fill([=](Scalar a) { return std::copysign(Scalar(0), a); });
      return true;
    case 2:
      fill([=](Scalar a) { return std::copysign(most, a); });
      return true;
    case 3:
      fill([=](Scalar a) { return a * std::numeric_limits<Scalar>::min() / 64; });
      return true;
    case 4:
      fill([=](Scalar a) { return std::copysign(most, a); }), one = -loud;
      return false;
    case 5:
      fill([=](Scalar a) { return a * most / 8; }), one = loud * loud;
      return true;
    default:
      fill([=](Scalar) { return Scalar(0); }), one = Scalar(-1.5);
      return false;
  }
}

/// Quiet rows are not summed, and those that lie down columns, which always are, have the same bits.
template <typename Scalar>
void check_quiet(const Layout& layout) {
  Layout down = layout;
  down.down = true;
  for (const Statistic statistic : {Statistic::mean_variance, Statistic::mean_square, Statistic::mean}) {
    for (const double eps : {0.0, 1e-5}) {
      std::vector<Scalar> x = normal_values<Scalar>(layout), columns(x.size());
      int loud = 0;
      for (std::int64_t group = 0; group < layout.groups; ++group) loud += make_quiet(layout, group, x) ? 0 : 1;
      for (std::int64_t group = 0; group < layout.groups; ++group) {
        for (std::int64_t i = 0; i < layout.n; ++i)
          columns[static_cast<std::size_t>(down.at(group, i))] = x[static_cast<std::size_t>(layout.at(group, i))];
      }
      const Found<Scalar> expected = statistics(down, columns, statistic, eps);
      const Found<Scalar> found = statistics(layout, x, statistic, eps);
      INFO(layout.name << ", statistic " << static_cast<int>(statistic) << ", eps " << eps);
      // (A mean alone wants all; some are summed again.)
      if (statistic == Statistic::mean) CHECK(swept >= static_cast<int>(layout.groups));
      if (statistic != Statistic::mean) CHECK(swept == loud);
      for (std::size_t i = 0; i < found.high.size(); ++i) {
        INFO("group " << i);
        REQUIRE(same_bits(found.high[i], expected.high[i]));
        REQUIRE(same_bits(found.low[i], expected.low[i]));
        REQUIRE(same_bits(found.rstd[i], expected.rstd[i]));
        REQUIRE(same_bits(found.variance[i], expected.variance[i]));
      }
    }
  }
}

TEST_CASE("Quiet rows are not summed, and no bit of their statistics tells") {
  for (const std::int64_t n : {256, 300, 700, 1001, 1024}) {
    check_quiet<float>({"rows of many tiles", 60, n, false, 1});
    check_quiet<double>({"rows of many tiles", 60, n, false, 1});
  }
  check_quiet<float>({"rows of one tile", 21, 300, false, 1});
  check_quiet<double>({"rows of one tile", 21, 300, false, 1});
}

}  // namespace

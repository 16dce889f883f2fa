// What kernels do once a group (shifts, summaries, statistics, reciprocal roots) has the bits of the reference on every
// instruction set, for any count of groups and wherever they begin.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <eigennorm/core/statistics.hpp>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "kernels/tables.hpp"
#include "same_bits.hpp"

namespace {

using namespace eigennorm;
using test::reference_table;
using test::same_bits;
using test::tables;

/// What becomes of sixteen groups of one block.
template <typename Storage, typename Scalar>
struct Finished {
  using Kernels = kernels::BlockKernels<Storage, Scalar>;
  using W = Wide<Scalar>;
  static constexpr std::int64_t most = kernels::most_lanes<Scalar>;

  alignas(64) Scalar h[most] = {}, plain[most] = {}, product[most] = {};
  kernels::Summaries<Scalar> summaries{};
  kernels::Statistics<Scalar> statistics{};
  unsigned far = 0, out = 0;

  /// Of n values of `groups.count` rows, as groups from number `groups.first` on; about 0 where `shifted` is false.
  Finished(const Kernels& table, const std::vector<Storage>& x, std::int64_t n, kernels::Range groups, bool shifted,
           Statistic statistic, W eps) {
    const kernels::Rows<const Storage> rows{x.data(), n};
    const kernels::Extent size{groups.count, n};
    const std::int64_t first = groups.first;
    summaries.count = static_cast<W>(n);
    if (core::is_centred(statistic)) {
      if (shifted) {
        const std::int64_t q = std::min(n, kernels::step_size);
        table.sums(rows, {groups.count, q}, false, h + first);
        table.shifts(groups, static_cast<W>(q), h);
      }
      table.sweeps(rows, size, h + first, {plain + first, product + first});
      far = table.summarize(groups, h, {plain, product}, summaries);
    } else {
      table.sums(rows, size, true, product + first);
      for (std::int64_t i = first; i < first + groups.count; ++i) summaries.m2[i] = static_cast<W>(product[i]);
    }
    out = table.finish(groups, core::rule_of<Scalar>(statistic, n, eps), summaries, statistics);
  }

  bool is_like(const Finished& other, kernels::Range groups) const {
    bool same = far == other.far && out == other.out;
    for (std::int64_t i = groups.first; i < groups.first + groups.count; ++i) {
      same = same && (same_bits(h[i], other.h[i]) || std::isnan(h[i]));
      // Numbers that say nothing may say it differently.
      if ((out >> (i - groups.first) & 1U) != 0) continue;
      same = same && same_bits(summaries.mean[i], other.summaries.mean[i]) &&
             same_bits(summaries.m2[i], other.summaries.m2[i]);
      if constexpr (kernels::Summaries<Scalar>::two_parts) {
        same = same && same_bits(summaries.low[i], other.summaries.low[i]) &&
               same_bits(summaries.lost[i], other.summaries.lost[i]);
      }
      same = same && same_bits(statistics.high[i], other.statistics.high[i]) &&
             same_bits(statistics.low[i], other.statistics.low[i]) &&
             same_bits(statistics.rstd[i], other.statistics.rstd[i]) &&
             same_bits(statistics.variance[i], other.statistics.variance[i]);
    }
    return same;
  }
};

/// Sixteen rows of n values near a mean, most of them of a kind that is rare.
template <typename Storage, typename Scalar>
std::vector<Storage> rows_of_each_kind(std::int64_t n, double mean, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::vector<Storage> x(static_cast<std::size_t>(16 * n));
  for (Storage& value : x) value = static_cast<Storage>(static_cast<Scalar>(mean + normal(random)));
  // Rows of one value, with an outlier in front, with a NaN and with tiny values among the others.
  const auto at = [n](std::int64_t row) { return static_cast<std::size_t>(row * n); };
  std::fill(x.begin() + static_cast<std::ptrdiff_t>(at(3)), x.begin() + static_cast<std::ptrdiff_t>(at(4)), x[at(3)]);
  x[at(5)] = static_cast<Storage>(Scalar(30000));
  x[at(7)] = static_cast<Storage>(std::numeric_limits<Scalar>::quiet_NaN());
  for (std::size_t i = at(9); i < at(10); ++i) x[i] = static_cast<Storage>(static_cast<Scalar>(x[i]) * Scalar(1e-30));
  // And with squares a little below and above those that are in range, and beyond the largest.
  const Scalar edge = std::sqrt(std::numeric_limits<Scalar>::min() / std::numeric_limits<Scalar>::epsilon());
  for (std::size_t i = at(11); i < at(12); ++i)
    x[i] = static_cast<Storage>(static_cast<Scalar>(normal(random)) * edge * Scalar(0.5));
  for (std::size_t i = at(12); i < at(13); ++i)
    x[i] = static_cast<Storage>(static_cast<Scalar>(normal(random)) * edge * Scalar(3));
  for (std::size_t i = at(14); i < at(15); ++i)
    x[i] = static_cast<Storage>(static_cast<Scalar>(normal(random)) * std::numeric_limits<Scalar>::max() / 64);
  return x;
}

template <typename Storage, typename Scalar>
void check_finish() {
  const auto reference = reference_table<Storage, Scalar>();
  const auto bits = [](unsigned of) {
    int number = 0;
    for (; of != 0; of &= of - 1) ++number;
    return number;
  };
  std::mt19937_64 random(5);
  for (const auto& [name, table] : tables<Storage, Scalar>()) {
    int out = 0, far = 0, all = 0;
    for (const std::int64_t n : {1, 2, 5, 16, 63, 64, 65, 100, 333, 1024}) {
      for (const double mean : {0.0, 1.0, -300.0, 60000.0}) {
        const std::vector<Storage> x = rows_of_each_kind<Storage, Scalar>(n, mean, random);
        for (const Statistic statistic :
             {Statistic::mean_variance, Statistic::mean, Statistic::mean_square, Statistic::sum_square}) {
          for (const bool shifted : {true, false}) {
            // All, few, and numbers that fill no register; also not from the first group on.
            const std::int64_t last = kernels::most_lanes<Scalar> - kernels::most_rows;
            for (const kernels::Range groups : {kernels::Range{0, 16}, kernels::Range{last, 16},
                                                kernels::Range{0, 1 + all % 15}, kernels::Range{16, 1 + all % 7}}) {
              INFO(name << ", n " << n << ", mean " << mean << ", statistic " << static_cast<int>(statistic) << ", "
                        << groups.count << " groups from " << groups.first << " on");
              const Wide<Scalar> eps = all % 3 == 0 ? 0 : 1e-5;
              const Finished<Storage, Scalar> expected(reference, x, n, groups, shifted, statistic, eps),
                  found(table, x, n, groups, shifted, statistic, eps);
              REQUIRE(found.is_like(expected, groups));
              out += bits(found.out);
              far += bits(found.far);
              all += static_cast<int>(groups.count);
            }
          }
        }
      }
    }
    // Otherwise nothing was compared.
    CHECK(out < all / 3);
    CHECK(out > 0);
    CHECK(far > 0);
  }
}

TEST_CASE("Statistics of short groups are finished as those of long ones") {
  SECTION("float") { check_finish<float, float>(); }
  SECTION("double") { check_finish<double, double>(); }
  SECTION("half") { check_finish<Eigen::half, float>(); }
}

/// A frame by one kernel, and by all that it stands for. Returns whether it is in range.
template <typename Storage, typename Scalar>
bool check_frame(const kernels::BlockKernels<Storage, Scalar>& table, const std::vector<Storage>& x,
                 Statistic statistic, Wide<Scalar> eps, const kernels::Affine<Scalar>& affine) {
  const auto reference = reference_table<Storage, Scalar>();
  const auto n = static_cast<std::int64_t>(x.size());
  const bool centred = core::is_centred(statistic);
  const auto rule = core::rule_of<Scalar>(statistic, n, eps);
  const kernels::Rows<const Storage> row{x.data(), 0};
  kernels::Summaries<Scalar> summaries;
  kernels::Statistics<Scalar> expected, found, alone;
  summaries.count = 0;
  core::append_block(core::RowSource<Storage, Scalar>{reference, row, 1}, centred, n, 0, summaries);
  const bool good = reference.finish({0, 1}, rule, summaries, expected) == 0;
  // (Then statistics are right, in range or not.)
  const bool zeros = std::all_of(x.begin(), x.end(), [](Storage value) { return value == static_cast<Storage>(0.0F); });
  std::vector<Storage> y_expected(x.size() + 16, static_cast<Storage>(Scalar(7))), y = y_expected;
  if (good) reference.transform(row, {y_expected.data(), 0}, {1, n}, expected.by(), affine, {});
  REQUIRE(table.normalize(x.data(), y.data(), n, centred, rule, affine, found) == good);
  REQUIRE(table.normalize(x.data(), nullptr, n, centred, rule, affine, alone) == good);
  REQUIRE(same_bits(y.data(), y_expected.data(), y.size()));
  for (const auto& each : {found, alone}) {
    REQUIRE((!(good || zeros) ||
             (same_bits(each.high[0], expected.high[0]) && same_bits(each.low[0], expected.low[0]) &&
              same_bits(each.rstd[0], expected.rstd[0]) && same_bits(each.variance[0], expected.variance[0]))));
  }
  return good;
}

template <typename Storage, typename Scalar>
void check_frames() {
  std::mt19937_64 random(9);
  std::vector<Scalar> parameters(1040);
  for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i] = static_cast<Scalar>(i % 7) - Scalar(2.5);
  for (const auto& [name, table] : tables<Storage, Scalar>()) {
    int good = 0, all = 0;
    for (const std::int64_t n : {1, 2, 15, 16, 17, 33, 64, 65, 100, 300, 777, 1024}) {
      for (const double mean : {0.0, 1.0, -300.0}) {
        const std::vector<Storage> rows = rows_of_each_kind<Storage, Scalar>(n, mean, random);
        for (std::int64_t r = 0; r < 16; ++r) {
          const std::vector<Storage> x(rows.begin() + r * n, rows.begin() + (r + 1) * n);
          for (const Statistic statistic :
               {Statistic::mean_variance, Statistic::mean, Statistic::mean_square, Statistic::sum_square}) {
            INFO(name << ", row " << r << " of " << n << " about " << mean << ", " << static_cast<int>(statistic));
            const kernels::Affine<Scalar> affine{all % 3 == 0 ? nullptr : parameters.data(),
                                                 all % 5 == 0 ? nullptr : parameters.data() + 16, 0,
                                                 all % 4 == 0 ? 0 : 1};
            good += check_frame(table, x, statistic, all % 2 == 0 ? 1e-5 : 0, affine) ? 1 : 0;
            ++all;
          }
        }
      }
    }
    CHECK(good > all / 2);
    CHECK(good < all);
  }
}

TEST_CASE("One kernel does for a frame what the others do") {
  SECTION("float") { check_frames<float, float>(); }
  SECTION("double") { check_frames<double, double>(); }
  SECTION("half") { check_frames<Eigen::half, float>(); }
  SECTION("bfloat16") { check_frames<Eigen::bfloat16, float>(); }
}

template <typename Scalar>
void check_reciprocal_roots() {
  using Limits = std::numeric_limits<Scalar>;
  const auto reference = reference_table<Scalar, Scalar>();
  // NaN is refused before.
  const Scalar odd[] = {
      0,           Limits::denorm_min(), Limits::min() / 4, Limits::min(), Limits::max(), Limits::infinity(),
      Scalar(0.5), Scalar(-0.0),         Scalar(1e-30),     Scalar(3)};
  for (const auto& [name, table] : tables<Scalar, Scalar>()) {
    for (const Wide<Scalar> eps : {0.0, 1e-5, 1e-300}) {
      for (std::int64_t n = 1; n <= 40; ++n) {
        INFO(name << ", " << n << " values, eps " << eps);
        std::vector<Scalar> variance(static_cast<std::size_t>(n)), expected(static_cast<std::size_t>(n + 16), 7),
            found = expected;
        for (std::size_t i = 0; i < variance.size(); ++i)
          variance[i] = i % 3 == 2 ? static_cast<Scalar>(i) / 5 : odd[(i + static_cast<std::size_t>(n)) % 10];
        reference.reciprocal_roots(variance.data(), n, eps, expected.data());
        table.reciprocal_roots(variance.data(), n, eps, found.data());
        for (std::size_t i = 0; i < found.size(); ++i) {
          INFO("value " << i);
          REQUIRE(same_bits(found[i], expected[i]));
        }
      }
    }
  }
}

/// Roots whose reciprocals lie as near to the middle of two floats as numbers of double do: those that an estimate has
/// to leave to a root and a quotient.
void check_doubtful_roots() {
  const auto reference = reference_table<float, float>();
  std::mt19937 random(1);
  std::uniform_real_distribution<double> exponents(-14, 14);
  const std::vector<float> zeros(48, 0.0F);
  for (const auto& [name, table] : tables<float, float>()) {
    INFO(name);
    for (int trial = 0; trial < 5000; ++trial) {
      const auto rstd = static_cast<float>(std::pow(10, exponents(random)));
      const double middle = (static_cast<double>(rstd) + std::nextafter(rstd, 1e30F)) / 2;
      double eps = 1 / (middle * middle);
      for (int step = -2; step <= 2; ++step, eps = std::nextafter(eps, 1e30)) {
        float expected[48], found[48];
        reference.reciprocal_roots(zeros.data(), 48, eps, expected);
        table.reciprocal_roots(zeros.data(), 48, eps, found);
        for (int i = 0; i < 48; ++i) {
          if (!same_bits(found[i], expected[i])) FAIL("1 / sqrt(" << eps << "): " << found[i] << ", " << expected[i]);
        }
      }
    }
  }
}

/// Sixteen groups: of zeros, of one value, of two, with zeros of either sign, with NaN, with infinities, of any.
template <typename Storage, typename Scalar>
std::vector<Storage> groups_of_each_kind(std::int64_t n, std::mt19937_64& random) {
  using Limits = std::numeric_limits<Scalar>;
  std::normal_distribution<double> normal;
  std::vector<Storage> x(static_cast<std::size_t>(16 * n));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t group = i / static_cast<std::size_t>(n);
    Scalar value = static_cast<Scalar>(normal(random));
    if (group % 2 == 0) value = group % 4 == 0 ? Scalar(0) : static_cast<Scalar>(group) - Scalar(6);
    x[i] = static_cast<Storage>(value);
  }
  const auto put = [&](std::int64_t group, Scalar value) {
    x[static_cast<std::size_t>(group * n) + static_cast<std::size_t>(random() % static_cast<std::uint64_t>(n))] =
        static_cast<Storage>(value);
  };
  put(2, Scalar(-9)), put(4, Scalar(-0.0)), put(10, Limits::denorm_min());
  put(1, Limits::quiet_NaN()), put(12, Limits::quiet_NaN()), put(3, -Limits::infinity()), put(5, Scalar(-1e4));
  return x;
}

template <typename Storage, typename Scalar>
void check_ranges() {
  using Numbers = std::array<Scalar, 16>;
  const auto reference = reference_table<Storage, Scalar>();
  std::mt19937_64 random(8);
  for (const auto& [name, table] : tables<Storage, Scalar>()) {
    int varied = 0, all = 0;
    for (std::int64_t n = 1; n <= 150; ++n) {
      const std::vector<Storage> x = groups_of_each_kind<Storage, Scalar>(n, random);
      std::vector<Storage> lanes(x.size());
      for (std::size_t i = 0; i < x.size(); ++i)
        lanes[i % static_cast<std::size_t>(n) * 16 + i / static_cast<std::size_t>(n)] = x[i];
      const kernels::Rows<const Storage> rows{x.data(), n};
      const kernels::LaneRows<const Storage> down(lanes.data(), 16);
      Numbers first;
      for (std::size_t k = 0; k < 16; ++k) first[k] = static_cast<Scalar>(*rows(static_cast<std::int64_t>(k)));
      for (const unsigned which : {0xffffU, 0x0ff6U, 1U << (n % 16)}) {
        INFO(name << ", " << n << " values, groups " << which);
        const Numbers before = [&] {
          Numbers some{};
          some[3] = std::numeric_limits<Scalar>::quiet_NaN(), some[7] = 2, some[9] = -2;
          return some;
        }();
        Numbers expected = before, by_rows = before, by_lanes = before;
        const kernels::Extent size{16, n};
        const unsigned of_rows = reference.ranges(rows, size, which, first.data(), expected.data());
        REQUIRE(table.ranges(rows, size, which, first.data(), by_rows.data()) == of_rows);
        REQUIRE(table.lane_ranges(down, n, which, first.data(), by_lanes.data()) == of_rows);
        REQUIRE((of_rows & ~which) == 0);
        for (std::size_t k = 0; k < 16; ++k) {
          INFO("group " << k);
          if (std::isnan(expected[k])) {
            REQUIRE((std::isnan(by_rows[k]) && std::isnan(by_lanes[k])));
          } else {
            REQUIRE((same_bits(by_rows[k], expected[k]) && same_bits(by_lanes[k], expected[k])));
          }
          varied += static_cast<int>(of_rows >> k & 1U);
          all += static_cast<int>(which >> k & 1U);
        }
      }
    }
    CHECK(varied > all / 4);
    CHECK(varied < all * 7 / 8);
  }
}

TEST_CASE("Whether groups vary, and their largest magnitudes, are those of the reference") {
  SECTION("float") { check_ranges<float, float>(); }
  SECTION("double") { check_ranges<double, double>(); }
  SECTION("half") { check_ranges<Eigen::half, float>(); }
  SECTION("bfloat16") { check_ranges<Eigen::bfloat16, float>(); }
}

template <typename Storage, typename Scalar>
void check_quiet() {
  const Scalar limit = static_cast<Scalar>(static_cast<Storage>(0.01F)), nan = std::numeric_limits<Scalar>::quiet_NaN();
  for (const auto& [name, table] : tables<Storage, Scalar>()) {
    for (std::int64_t n = 1; n <= 150; ++n) {
      std::vector<Storage> x(static_cast<std::size_t>(n));
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<Storage>(i % 3 == 0 ? -limit : limit);
      INFO(name << ", " << n << " values");
      REQUIRE(table.is_quiet(x.data(), n, limit));
      for (Storage& value : x) {
        const Storage before = value;
        for (const Scalar loud : {2 * limit, -2 * limit, nan, std::numeric_limits<Scalar>::infinity()}) {
          value = static_cast<Storage>(loud);
          REQUIRE_FALSE(table.is_quiet(x.data(), n, limit));
        }
        value = before;
      }
    }
  }
}

TEST_CASE("Rows are quiet of which no magnitude is above the limit") {
  SECTION("float") { check_quiet<float, float>(); }
  SECTION("double") { check_quiet<double, double>(); }
  SECTION("half") { check_quiet<Eigen::half, float>(); }
  SECTION("bfloat16") { check_quiet<Eigen::bfloat16, float>(); }
}

/// Sums of lanes, and of rows, of -0 alone, which begin with +0 as all others do.
template <typename Storage, typename Scalar>
void check_signs_of_zero() {
  using Numbers = std::array<Scalar, 48>;
  const auto reference = reference_table<Storage, Scalar>();
  const Scalar zero = 0;
  for (const auto& [name, table] : tables<Storage, Scalar>()) {
    for (const std::int64_t n : {1, 15, 16, 17, 63, 64, 65, 100, 128, 130, 192, 500}) {
      for (const std::int64_t lanes : {16, 32, 48}) {
        INFO(name << ", " << n << " rows of " << lanes << " lanes");
        const auto size = static_cast<std::size_t>(n * lanes);
        const std::vector<Storage> ones(size, static_cast<Storage>(1.0F)), zeros(size, static_cast<Storage>(-0.0F));
        std::vector<std::int64_t> offsets;
        for (std::int64_t i = 0; i < n; ++i) offsets.push_back(i * lanes);
        const kernels::LaneRows<const Storage> x(ones.data(), lanes), dy(zeros.data(), lanes),
            listed(zeros.data(), offsets.data());
        Numbers high, others, rstd;
        high.fill(Scalar(0.5)), others.fill(0), rstd.fill(1);
        const kernels::Normalizers<Scalar> by{high.data(), others.data(), rstd.data(), 1, true};
        const kernels::Affine<Scalar> gate{rstd.data(), rstd.data(), 0, 1};
        const auto sums_of = [&](const kernels::BlockKernels<Storage, Scalar>& some, int which) {
          Numbers plain, product;
          plain.fill(1), product.fill(1);
          const kernels::Sums<Scalar> sums{plain.data(), product.data()};
          if (which == 0) some.lane_gated_sums(x, dy, {n, lanes}, by, gate, sums);
          if (which == 1) some.lane_gradient_sums(x, dy, {n, lanes}, by, {}, sums);
          if (which == 2) some.lane_sums(listed, {n, lanes}, sums.plain);
          if (which == 3) some.lane_sweeps(listed, {n, lanes}, others.data(), sums);
          if (which == 4) some.sums({zeros.data(), lanes}, {(std::min)(n, lanes), lanes}, false, sums.plain);
          return std::make_pair(plain, product);
        };
        for (int which = 0; which < 5; ++which) {
          CAPTURE(which);
          const auto expected = sums_of(reference, which), found = sums_of(table, which);
          REQUIRE(same_bits(expected.first[0], zero));
          REQUIRE(same_bits(found.first.data(), expected.first.data(), 48));
          REQUIRE(same_bits(found.second.data(), expected.second.data(), 48));
        }
      }
    }
  }
}

TEST_CASE("Sums have the signs of the reference where they are 0") {
  SECTION("float") { check_signs_of_zero<float, float>(); }
  SECTION("double") { check_signs_of_zero<double, double>(); }
}

TEST_CASE("Reciprocal roots of any variance are those of the reference") {
  SECTION("float") { check_reciprocal_roots<float>(); }
  SECTION("double") { check_reciprocal_roots<double>(); }
  SECTION("float, near the middle of two") { check_doubtful_roots(); }
}

}  // namespace

// Every instruction set's kernels give the bits of the reference, for each function, type and block length. (What is
// done once a group: group_kernels_test.cpp; whole layers: instruction_sets_test.cpp.)

#include <algorithm>
#include <cmath>
#include <cstring>
#include <eigennorm/core/gradient_sums.hpp>
#include <eigennorm/core/statistics.hpp>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "kernels/tables.hpp"
#include "same_bits.hpp"

namespace {

using namespace eigennorm;
using test::reference_table;
using test::same_bits;
using test::tables;

/// Values of a few rows, with room for misaligned starts and guards behind the ends.
template <typename Storage, typename Scalar>
struct Buffers {
  static constexpr std::size_t room = 5 * kernels::block_size + 256;
  std::vector<Storage> x = std::vector<Storage>(room), dy = x, y = x;
  std::vector<Scalar> scale = std::vector<Scalar>(room), shift = scale, sums = scale, products = scale;

  explicit Buffers(unsigned seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    for (std::size_t i = 0; i < room; ++i) {
      x[i] = static_cast<Storage>(static_cast<Scalar>(5 + normal(random)));
      dy[i] = static_cast<Storage>(static_cast<Scalar>(normal(random)));
      scale[i] = static_cast<Scalar>(1 + normal(random) / 4);
      shift[i] = static_cast<Scalar>(normal(random));
      sums[i] = static_cast<Scalar>(normal(random));
      products[i] = static_cast<Scalar>(normal(random));
    }
  }
};

/// The first place in a vector on a cache line, where it has one to spare.
template <typename T>
T* aligned(std::vector<T>& v) {
  const auto past = reinterpret_cast<std::uintptr_t>(v.data()) % 64;
  return v.data() + (past == 0 ? 0 : (64 - past) / sizeof(T));
}

/// Nothing asked for, which has loops of its own; something; and past the caches.
constexpr kernels::Traffic traffics[] = {{false, 0}, {false, 64}, {true, 64}};

/// Compares two tables, function by function. All start `start` values after an aligned place.
template <typename Storage, typename Scalar>
class Comparison {
 public:
  using Kernels = kernels::BlockKernels<Storage, Scalar>;
  using In = typename Kernels::In;
  using Out = typename Kernels::Out;
  using Sums = kernels::Sums<Scalar>;
  using Normalizers = kernels::Normalizers<Scalar>;
  using Affine = kernels::Affine<Scalar>;
  using Gradient = kernels::Gradient<Scalar>;

  Comparison(const Kernels& a, const Kernels& b, const Buffers<Storage, Scalar>& data, std::int64_t start)
      : a_(a), b_(b), data_(data), start_(start) {}

  /// The name of the first function that differs on `rows` rows of n values, at most a block, `step` apart.
  std::string on_rows(std::int64_t rows, std::int64_t n, std::int64_t step) const {
    const kernels::Extent size{rows, n};
    const In x{data_.x.data() + start_, step}, dy{data_.dy.data() + start_ / 2, step};
    const Scalar* scale = data_.scale.data() + start_;
    const Scalar* shift = data_.shift.data() + start_ / 3;
    std::vector<Scalar> high, low, rstd, mean, slope, h;
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto part = static_cast<Scalar>(r) / 8;
      high.push_back(r == 1 ? Scalar(0) : Scalar(5.1) + part);
      low.push_back(r == 1 ? Scalar(0) : Scalar(1e-8));
      rstd.push_back(Scalar(0.7) + part);
      mean.push_back(Scalar(0.1) - part);
      slope.push_back(Scalar(-0.3) + part);
      h.push_back(Scalar(4.9) + part);
    }
    // Each row is a group, or all are of one.
    for (const std::int64_t group : {1, 0}) {
      const Normalizers by{high.data(), low.data(), rstd.data(), group, false};
      const auto gradient = [&](const Affine& affine, bool scale_first) {
        return Gradient{by, mean.data(), slope.data(), affine, scale_first};
      };
      // Of each value, of each row, of all, and both.
      const std::vector<Affine> affines = affines_of(scale, shift, step);
      for (const Affine& affine : affines) {
        if (sums_differ([&](const Kernels& k, Sums s) { k.gradient_sums(x, dy, size, by, affine, s); }))
          return "gradient_sums";
      }
      for (const kernels::Traffic traffic : traffics) {
        for (const Affine& affine : affines) {
          if (results_differ([&](const Kernels& k, Storage* y, Sums) {
                k.transform(x, Out{y, step}, size, by, affine, traffic);
              }))
            return "transform";
          if (fused_differs(x, dy, size, by, affine, traffic)) return "transform_fused or gate";
          if (affine.shift != nullptr) continue;
          for (const bool scale_first : {true, false}) {
            // What varies within a group comes first.
            if (!scale_first && affine.column != 0) continue;
            if (results_differ([&](const Kernels& k, Storage* y, Sums) {
                  k.gradient(x, dy, Out{y, step}, size, gradient(affine, scale_first), traffic);
                }))
              return "gradient";
          }
        }
        for (const Scalar* each : {scale, static_cast<const Scalar*>(nullptr)}) {
          if (results_differ([&](const Kernels& k, Storage* y, Sums s) {
                k.gradient_pairs(x, dy, Out{y, step}, size, gradient({each, nullptr, 0, 1}, true), s, traffic);
              }))
            return "gradient_pairs";
        }
      }
      if (sums_differ([&](const Kernels& k, Sums s) { k.pair_sums(x, dy, size, by, s); })) return "pair_sums";
    }
    for (const bool squares : {false, true}) {
      if (sums_differ([&](const Kernels& k, Sums s) { k.sums(x, size, squares, s.plain); })) return "sums";
    }
    if (sums_differ([&](const Kernels& k, Sums s) { k.sweeps(x, size, h.data(), s); })) return "sweeps";
    for (const kernels::Traffic traffic : traffics) {
      if (results_differ([&](const Kernels& k, Storage* y, Sums) { k.copy(x, Out{y, step}, size, traffic); }))
        return "copy";
      if (results_differ([&](const Kernels& k, Storage* y, Sums) { k.add(x, dy, Out{y, step}, size, traffic); }))
        return "add";
    }
    return wide_sums_differ(n) ? "flush, merge, add_totals, add_sums or quotients" : "";
  }

  /// The same for n rows of `lanes` lanes, `step` apart.
  std::string on_lanes(std::int64_t n, std::int64_t lanes, std::int64_t step) const {
    const kernels::Extent size{n, lanes};
    const In x{data_.x.data() + start_, step}, dy{data_.dy.data() + start_ / 2, step};
    const auto array = [&](std::int64_t i) { return data_.scale.data() + i * 300 + start_ / 2; };
    const Normalizers by{array(0), array(1), array(2), 1, true};
    if (lanes >= kernels::most_rows && lanes <= kernels::most_lanes<Scalar> && n <= kernels::block_size) {
      const std::string difference = lane_sums_differ(x, dy, size, by);
      if (!difference.empty()) return difference;
    }
    for (const Affine& affine : affines_of(array(5), data_.shift.data() + start_ / 3, lanes)) {
      for (const kernels::Traffic traffic : traffics) {
        if (results_differ([&](const Kernels& k, Storage* y, Sums) {
              k.transform(x, Out{y, step}, size, by, affine, traffic);
            }))
          return "transform by column";
        if (fused_differs(x, dy, size, by, affine, traffic)) return "transform_fused or gate by column";
        for (const bool scale_first : {true, false}) {
          // What changes from row to row is scaled first.
          if (affine.shift != nullptr || (!scale_first && affine.row != 0)) continue;
          if (results_differ([&](const Kernels& k, Storage* y, Sums) {
                const Gradient gradient{by, array(3), array(4), affine, scale_first};
                k.gradient(x, dy, Out{y, step}, size, gradient, traffic);
              }))
            return "gradient by column";
        }
        if (affine.row == 0 && results_differ([&](const Kernels& k, Storage* y, Sums) {
              k.gradient_gated(x, dy, Out{y, step}, size, {by, array(3), array(4), affine, false}, traffic);
            }))
          return "gradient_gated";
      }
    }
    return "";
  }

 private:
  /// With a residual, an activation or both, by turns, and the gate of the same, with and without one.
  bool fused_differs(In x, In other, kernels::Extent size, const Normalizers& by, const Affine& affine,
                     kernels::Traffic traffic) const {
    const std::int64_t turn = (size.rows + size.columns + by.step + (affine.scale == nullptr ? 0 : 1)) % 3;
    const kernels::Fused<Storage, Scalar> fused{by, affine, turn == 0 ? In{nullptr, 0} : other, turn != 1};
    const kernels::Fused<Storage, Scalar> open{by, affine, turn == 0 ? x : In{nullptr, 0}, true};
    return results_differ([&](const Kernels& k, Storage* y, Sums) {
             k.transform_fused(x, Out{y, x.step}, size, fused, traffic);
           }) ||
           results_differ([&](const Kernels& k, Storage* y, Sums) {
             k.gate(x, other, Out{y, x.step}, size, open, traffic);
           });
  }

  /// Scale, shift, both and none: fixed, by row, by column, and by both, rows `step` apart.
  static std::vector<Affine> affines_of(const Scalar* scale, const Scalar* shift, std::int64_t step) {
    std::vector<Affine> all;
    for (const Scalar* first : {scale, static_cast<const Scalar*>(nullptr)}) {
      for (const Scalar* second : {shift, static_cast<const Scalar*>(nullptr)}) {
        for (const std::int64_t row : {std::int64_t{0}, std::int64_t{1}, step}) {
          for (const std::int64_t column : {0, 1}) all.push_back({first, second, row, column});
        }
      }
    }
    return all;
  }

  /// Rows that are `step` apart, and at offsets that are nothing of the kind, others in each tensor.
  std::string lane_sums_differ(In x, In dy, kernels::Extent size, const Normalizers& by) const {
    std::vector<std::int64_t> x_offsets, dy_offsets;
    for (std::int64_t r = 0; r < size.rows; ++r) {
      x_offsets.push_back((r * 7 + 3) % size.rows * x.step + r * r % 3);
      dy_offsets.push_back((size.rows - 1 - r) * x.step + r % 2);
    }
    for (const bool irregular : {false, true}) {
      using Lanes = typename Kernels::Lanes;
      const Lanes x_rows = irregular ? Lanes(x.data, x_offsets.data()) : Lanes(x.data, x.step),
                  dy_rows = irregular ? Lanes(dy.data, dy_offsets.data()) : Lanes(dy.data, dy.step);
      if (sums_differ([&](const Kernels& k, Sums s) { k.lane_sums(x_rows, size, s.plain); }))
        return irregular ? "lane_sums at offsets" : "lane_sums";
      if (sums_differ([&](const Kernels& k, Sums s) { k.lane_sweeps(x_rows, size, by.high, s); }))
        return irregular ? "lane_sweeps at offsets" : "lane_sweeps";
      for (const Affine& affine :
           {Affine{}, Affine{data_.shift.data(), nullptr, 1, 0}, Affine{data_.shift.data(), nullptr, 3, 0},
            Affine{data_.shift.data(), nullptr, 0, 0}}) {
        if (sums_differ([&](const Kernels& k, Sums s) { k.lane_gradient_sums(x_rows, dy_rows, size, by, affine, s); }))
          return irregular ? "lane_gradient_sums at offsets" : "lane_gradient_sums";
      }
      for (const Affine& affine : affines_of(data_.scale.data() + 1500 + start_, data_.shift.data() + start_ / 3, 0)) {
        if (affine.row == 0 && affine.column == 1 &&
            sums_differ([&](const Kernels& k, Sums s) { k.lane_gated_sums(x_rows, dy_rows, size, by, affine, s); }))
          return irregular ? "lane_gated_sums at offsets" : "lane_gated_sums";
      }
    }
    return "";
  }

  /// Runs `f(table, y, sums)` with each table; what lies before and behind is compared, too.
  template <typename F>
  bool results_differ(const F& f) const {
    constexpr std::size_t room = Buffers<Storage, Scalar>::room;
    std::vector<Storage> first(room + 64), second(room + 64);
    std::copy(data_.y.begin(), data_.y.end(), aligned(first));
    std::copy(data_.y.begin(), data_.y.end(), aligned(second));
    std::vector<Scalar> sums = data_.sums, products = data_.products, other_sums = sums, other_products = products;
    f(a_, aligned(first) + start_, Sums{sums.data() + 1, products.data() + 2});
    f(b_, aligned(second) + start_, Sums{other_sums.data() + 1, other_products.data() + 2});
    a_.fence();
    b_.fence();
    return !same_bits(aligned(first), aligned(second), room) || !same_bits(sums, other_sums) ||
           !same_bits(products, other_products);
  }
  template <typename F>
  bool sums_differ(const F& f) const {
    std::vector<Scalar> sums = data_.sums, products = data_.products, other_sums = sums, other_products = products;
    f(a_, Sums{sums.data() + 1, products.data() + 2});
    f(b_, Sums{other_sums.data() + 1, other_products.data() + 2});
    return !same_bits(sums, other_sums) || !same_bits(products, other_products);
  }
  bool wide_sums_differ(std::int64_t n) const {
    const auto run = [&](const Kernels& k) {
      std::vector<Wide<Scalar>> totals(4 * Buffers<Storage, Scalar>::room, Wide<Scalar>(0.1));
      std::vector<Scalar> sums = data_.sums;
      const core::GradientTotals<Scalar> all(totals.data(), static_cast<std::int64_t>(Buffers<Storage, Scalar>::room));
      k.flush(sums.data() + 1, n, all.sum, all.sum_lost);
      k.merge(all.sum + n, all.sum_lost == nullptr ? nullptr : all.sum_lost + n, n, all.sum, all.sum_lost);
      std::vector<Scalar> rounded = data_.scale, quotients = sums;
      k.add_totals(all.sum, all.sum_lost, n, rounded.data() + 3);
      k.add_sums(data_.products.data() + 2, n, rounded.data() + 3 + n);
      k.quotients(all.sum, all.sum_lost, n, Wide<Scalar>(n % 2 == 0 ? 7 : 32), quotients.data() + 1);
      for (const auto* of : {&sums, &rounded, &quotients}) {
        for (const Scalar each : *of) totals.push_back(static_cast<Wide<Scalar>>(each));
      }
      return totals;
    };
    return !same_bits(run(a_), run(b_));
  }

  const Kernels& a_;
  const Kernels& b_;
  const Buffers<Storage, Scalar>& data_;
  std::int64_t start_;
};

template <typename Storage, typename Scalar>
void check_blocks() {
  const auto reference = reference_table<Storage, Scalar>();
  const Buffers<Storage, Scalar> data(17);
  for (const auto& [name, table] : tables<Storage, Scalar>()) {
    for (std::int64_t n = 1; n <= kernels::block_size; ++n) {
      // One by one, several folded together, and a full sixteen; packed, so that streams are staged, and not.
      const std::int64_t rows = n < 300 ? 16 - n % 3 * 6 : 1 + n % 4;
      const std::int64_t step = n % 2 == 0 ? n : n + 3;
      const std::string difference = Comparison<Storage, Scalar>(reference, table, data, n % 19).on_rows(rows, n, step);
      INFO(name << ", " << rows << " rows of " << n << " values");
      REQUIRE(difference == "");
    }
    for (const std::int64_t n : {7, 15, 16, 31, 49, 63, 100, 196}) {
      const std::string difference = Comparison<Storage, Scalar>(reference, table, data, n % 5).on_rows(16, n, n);
      INFO(name << ", sixteen packed rows of " << n << " values");
      REQUIRE(difference == "");
    }
    for (std::int64_t lanes = 1; lanes <= 130; ++lanes) {
      for (const std::int64_t n : {lanes % 7 + 1, std::int64_t{17}, 129 / lanes + 30}) {
        const std::string difference =
            Comparison<Storage, Scalar>(reference, table, data, lanes % 19).on_lanes(n, lanes, lanes + 3);
        INFO(name << ", " << n << " rows of " << lanes << " lanes");
        REQUIRE(difference == "");
      }
    }
    // Also rows of whole cache lines, which are taken by fours, and some that are too long for that; half of them begin
    // within a line, all alike.
    for (const std::int64_t lanes : {16, 21, 32, 36, 48, 64, 96, 100, 272}) {
      for (const std::int64_t step : {lanes, lanes + 3, lanes + 64}) {
        for (std::int64_t n = 1; n * step < 4 * kernels::block_size && n <= 200; n += n < 20 ? 1 : 23) {
          const std::string difference =
              Comparison<Storage, Scalar>(reference, table, data, n % 2 * (n % 19)).on_lanes(n, lanes, step);
          INFO(name << ", " << n << " rows of " << lanes << " lanes, " << step << " apart");
          REQUIRE(difference == "");
        }
      }
    }
  }
}

TEST_CASE("Kernels of each instruction set have the bits of the reference") {
  SECTION("float") { check_blocks<float, float>(); }
  SECTION("double") { check_blocks<double, double>(); }
  SECTION("half") { check_blocks<Eigen::half, float>(); }
  SECTION("bfloat16") { check_blocks<Eigen::bfloat16, float>(); }
}

TEST_CASE("Conversions from and to 16 bits are those of Eigen, for every value") {
  // All 65,536 patterns go through each table, unchanged by scale 1 and shift 0; NaN stays NaN.
  const auto check = [](auto zero) {
    using Storage = decltype(zero);
    for (const auto& [name, table] : tables<Storage, float>()) {
      INFO(name);
      int wrong = 0;
      for (std::uint32_t first = 0; first < 65536; first += 1024) {
        std::vector<Storage> x(1024), y(1024);
        for (std::uint32_t i = 0; i < 1024; ++i) {
          const auto bits = static_cast<std::uint16_t>(first + i);
          std::memcpy(static_cast<void*>(&x[i]), &bits, sizeof bits);
        }
        const float zero_mean = 0, one = 1;
        table.transform({x.data(), 0}, {y.data(), 0}, {1, 1024}, {&zero_mean, &zero_mean, &one}, {}, {});
        for (std::size_t i = 0; i < 1024; ++i) {
          const float value = static_cast<float>(x[i]);
          wrong += std::isnan(value) ? !std::isnan(static_cast<float>(y[i])) : !same_bits(x[i], y[i]);
        }
      }
      CHECK(wrong == 0);
    }
  };
  check(Eigen::half());
  check(Eigen::bfloat16());
}

TEST_CASE("Any float becomes the nearest number of 16 bits, and NaN stays NaN, whatever it carries") {
  // Ties, what is too large or too small, and NaN of all kinds come as a shift: y = 0 + shift.
  std::vector<std::uint32_t> patterns{0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fffffff, 0xff800001,
                                      0xffffffff, 0x7f800000, 0x7f7fffff, 0x477ff000, 0x477fefff,
                                      0x3f808000, 0x3f818000, 0x3f801000, 0x3f803000, 0x33000000,
                                      0x33000001, 0x00008000, 0x00018000, 0x00000001};
  std::mt19937 random(16);
  while (patterns.size() < 4096) patterns.push_back(static_cast<std::uint32_t>(random()) | 1);
  const auto check = [&](auto zero) {
    using Storage = decltype(zero);
    const auto size = static_cast<std::int64_t>(patterns.size());
    std::vector<float> shift(patterns.size());
    std::memcpy(shift.data(), patterns.data(), patterns.size() * sizeof(float));
    const std::vector<Storage> x(patterns.size());
    for (const auto& [name, table] : tables<Storage, float>()) {
      INFO(name);
      std::vector<Storage> y(patterns.size());
      const float zero_mean = 0, one = 1;
      table.transform({x.data(), 0}, {y.data(), 0}, {1, size}, {&zero_mean, &zero_mean, &one},
                      {nullptr, shift.data(), 0, 1}, {});
      int wrong = 0;
      for (std::size_t i = 0; i < y.size(); ++i) {
        wrong += std::isnan(shift[i]) ? !std::isnan(static_cast<float>(y[i]))
                                      : !same_bits(y[i], static_cast<Storage>(shift[i]));
      }
      CHECK(wrong == 0);
    }
  };
  check(Eigen::half());
  check(Eigen::bfloat16());
}

TEST_CASE("max(y, 0) is +0 for all that is not above 0 and keeps NaN; a gradient passes where y is above 0") {
  const auto check = [](auto storage, auto scalar) {
    using Storage = decltype(storage);
    using Scalar = decltype(scalar);
    constexpr Scalar inf = std::numeric_limits<Scalar>::infinity(), nan = std::numeric_limits<Scalar>::quiet_NaN();
    const Scalar least = static_cast<Scalar>(std::numeric_limits<Storage>::denorm_min());
    // Half of the smallest number becomes 0 in 16 bits, and what is a little more becomes that number.
    const std::vector<Scalar> values{
        0, Scalar(-0.0), 1, -1, least, -least, least / 2, least * Scalar(0.51), inf, -inf, nan, -nan, 3, -3, 2, -2, 5};
    const auto n = static_cast<std::int64_t>(values.size());
    for (const auto& [name, table] : tables<Storage, Scalar>()) {
      INFO(name);
      const std::vector<Storage> x(values.size()), dy(values.size(), Storage(Scalar(7)));
      std::vector<Storage> y(values.size()), dx(values.size());
      const Scalar zero = 0, one = 1;
      const kernels::Affine<Scalar> affine{nullptr, values.data(), 0, 1};
      table.transform_fused({x.data(), 0}, {y.data(), 0}, {1, n}, {{&zero, &zero, &one}, affine, {nullptr, 0}, true},
                            {});
      table.gate({x.data(), 0}, {dy.data(), 0}, {dx.data(), 0}, {1, n},
                 {{&zero, &zero, &one}, affine, {nullptr, 0}, true}, {});
      int wrong = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const Storage truth = static_cast<Storage>(values[i] > 0 ? values[i] : Scalar(0));
        wrong += std::isnan(values[i]) ? !std::isnan(static_cast<Scalar>(y[i])) : !same_bits(y[i], truth);
        wrong += !same_bits(dx[i], static_cast<Scalar>(y[i]) > 0 ? dy[i] : Storage(Scalar(0)));
      }
      CHECK(wrong == 0);
    }
  };
  check(0.0F, 0.0F);
  check(0.0, 0.0);
  check(Eigen::half(), 0.0F);
  check(Eigen::bfloat16(), 0.0F);
}

}  // namespace

// Every instruction set's kernels give the bits of the reference, for each function, type and block length; and whole
// layers give the same bits whichever of them runs.

#include <cmath>
#include <cstring>
#include <eigennorm/eigennorm.hpp>
#include <eigennorm/kernels/copy.hpp>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "kernels/block_kernels.hpp"

namespace {

using namespace eigennorm;

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

template <typename T>
bool same_bits(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}
template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// Compares two tables, function by function. All start `start` values after an aligned place.
template <typename Storage, typename Scalar>
class Comparison {
 public:
  using Kernels = kernels::BlockKernels<Storage, Scalar>;

  Comparison(const Kernels& a, const Kernels& b, const Buffers<Storage, Scalar>& data, std::int64_t start)
      : a_(a), b_(b), data_(data), start_(start) {}

  /// The name of the first function that differs on `rows` rows of n values, at most a block, `step` apart.
  std::string on_rows(std::int64_t rows, std::int64_t n, std::int64_t step) const {
    const kernels::Rows<const Storage> x{data_.x.data() + start_, step},
        dy{data_.dy.data() + start_ / 2, step};
    const Scalar* scale = data_.scale.data() + start_;
    const Scalar* shift = data_.shift.data() + start_ / 3;
    std::vector<kernels::Normalizer<Scalar>> by;
    std::vector<kernels::Correction<Scalar>> correction;
    std::vector<Scalar> h;
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto part = static_cast<Scalar>(r) / 8;
      by.push_back(
          {r == 1 ? Scalar(0) : Scalar(5.1) + part, r == 1 ? Scalar(0) : Scalar(1e-8), Scalar(0.7) + part});
      correction.push_back({Scalar(0.1) - part, Scalar(-0.3) + part});
      h.push_back(Scalar(4.9) + part);
    }
    const Scalar* nothing = nullptr;
    for (const bool squares : {false, true}) {
      if (sums_differ([&](const Kernels& k, Scalar* s, Scalar*) { k.sums(x, rows, n, squares, s); }))
        return "sums";
    }
    if (sums_differ(
            [&](const Kernels& k, Scalar* s, Scalar*) { k.sweeps(x, rows, n, h.data(), s, s + rows); }))
      return "sweeps";
    if (sums_differ(
            [&](const Kernels& k, Scalar* s, Scalar* p) { k.add_position(x.data, dy.data, n, by[0], s, p); }))
      return "add_position";
    for (const Scalar* each : {scale, nothing}) {
      if (sums_differ([&](const Kernels& k, Scalar* s, Scalar*) {
            k.gradient_sums(x, dy, rows, n, by.data(), {each, nothing, 1, true}, s, s + rows);
          }))
        return "gradient_sums";
    }
    for (const bool stream : {false, true}) {
      for (const Scalar* first : {scale, nothing}) {
        for (const Scalar* second : {shift, nothing}) {
          for (const bool each : {false, true}) {
            if (results_differ([&](const Kernels& k, Storage* y, Scalar*, Scalar*) {
                  k.transform(x, {y, step}, rows, n, by.data(), {first, second, 1, each}, {stream, 64});
                }))
              return "transform";
            if (results_differ([&](const Kernels& k, Storage* y, Scalar*, Scalar*) {
                  k.gradient(x, dy, {y, step}, rows, n, by.data(), correction.data(),
                             {first, nothing, 1, each}, {stream, 64});
                }))
              return "gradient";
          }
        }
        if (results_differ([&](const Kernels& k, Storage* y, Scalar* s, Scalar* p) {
              k.gradient_pairs(x, dy, {y, step}, rows, n, by.data(), correction.data(), first, s, p,
                               {stream, 64});
            }))
          return "gradient_pairs";
      }
      if (results_differ([&](const Kernels& k, Storage* y, Scalar*, Scalar*) {
            k.copy(x, {y, step}, rows, n, {stream, 64});
          }))
        return "copy";
    }
    return wide_sums_differ(n) ? "flush or merge" : "";
  }

  /// The same for n rows of `lanes` lanes.
  std::string on_lanes(std::int64_t n, std::int64_t lanes) const {
    const std::int64_t step = lanes + 3;
    const kernels::Rows<const Storage> x{data_.x.data() + start_, step},
        dy{data_.dy.data() + start_ / 2, step};
    const auto array = [&](std::int64_t i) { return data_.scale.data() + i * 300 + start_ / 2; };
    const kernels::Lanes<Scalar> by{array(0), array(1), array(2), array(3), array(4), array(5), array(6)};
    const Scalar* rows = data_.shift.data();
    const Scalar* nothing = nullptr;
    if (lanes >= kernels::gathered_lanes) {
      if (sums_differ(
              [&](const Kernels& k, Scalar* s, Scalar* p) { k.lane_sweeps(x, n, lanes, by.high, s, p); }))
        return "lane_sweeps";
      for (const Scalar* each : {rows, nothing}) {
        if (sums_differ([&](const Kernels& k, Scalar* s, Scalar* p) {
              k.lane_gradient_sums(x, dy, n, lanes, by, each, s, p);
            }))
          return "lane_gradient_sums";
      }
    }
    const std::int64_t part = n / 2 / kernels::step_size * kernels::step_size;
    for (const Kernels* whole : {&a_, &b_}) {
      if (lanes != kernels::gathered_lanes) break;
      if (sums_differ([&](const Kernels& k, Scalar* s, Scalar* p) {
            if (&k == whole) return k.lane_sweeps(x, n, lanes, by.high, s, p);
            kernels::OpenTree<Scalar> trees[kernels::tree_lanes] = {};
            k.continue_lane_sweeps(x, part, by.high, 0, trees);
            k.continue_lane_sweeps({x(part), step}, n - part, by.high, part, trees);
            k.fold_lanes(trees, s, p);
          }))
        return "continue_lane_sweeps";
      for (const Scalar* each : {rows, nothing}) {
        if (sums_differ([&](const Kernels& k, Scalar* s, Scalar* p) {
              if (&k == whole) return k.lane_gradient_sums(x, dy, n, lanes, by, each, s, p);
              kernels::OpenTree<Scalar> trees[kernels::tree_lanes] = {};
              k.continue_lane_gradient_sums(x, dy, part, by, each, 0, trees);
              k.continue_lane_gradient_sums({x(part), step}, {dy(part), step}, n - part, by,
                                            kernels::at_feature(each, part), part, trees);
              k.fold_lanes(trees, s, p);
            }))
          return "continue_lane_gradient_sums";
      }
    }
    for (const bool stream : {false, true}) {
      for (const Scalar* first : {rows, nothing}) {
        for (const Scalar* second : {rows + 7, nothing}) {
          if (results_differ([&](const Kernels& k, Storage* y, Scalar*, Scalar*) {
                k.lane_transform(x, {y, step}, n, lanes, by, first, second, {stream, 64});
              }))
            return "lane_transform";
        }
        if (results_differ([&](const Kernels& k, Storage* y, Scalar*, Scalar*) {
              k.lane_gradient(x, dy, {y, step}, n, lanes, by, first, {stream, 64});
            }))
          return "lane_gradient";
      }
    }
    return "";
  }

 private:
  /// Runs `f(table, y, sums, products)` with each table; what lies before and behind is compared, too.
  template <typename F>
  bool results_differ(const F& f) const {
    std::vector<Storage> first = data_.y, second = first;
    std::vector<Scalar> sums = data_.sums, products = data_.products, other_sums = sums,
                        other_products = products;
    f(a_, first.data() + start_, sums.data() + 1, products.data() + 2);
    f(b_, second.data() + start_, other_sums.data() + 1, other_products.data() + 2);
    a_.fence();
    b_.fence();
    return !same_bits(first, second) || !same_bits(sums, other_sums) || !same_bits(products, other_products);
  }
  template <typename F>
  bool sums_differ(const F& f) const {
    return results_differ(
        [&](const Kernels& k, Storage*, Scalar* sums, Scalar* products) { f(k, sums, products); });
  }
  bool wide_sums_differ(std::int64_t n) const {
    const auto run = [&](const Kernels& k) {
      std::vector<Wide<Scalar>> totals(4 * Buffers<Storage, Scalar>::room, Wide<Scalar>(0.1));
      std::vector<Scalar> sums = data_.sums;
      const kernels::GradientTotals<Scalar> all(totals.data(),
                                                static_cast<std::int64_t>(Buffers<Storage, Scalar>::room));
      k.flush(sums.data() + 1, n, all.sum, all.sum_lost);
      k.merge(all.sum + n, all.sum_lost == nullptr ? nullptr : all.sum_lost + n, n, all.sum, all.sum_lost);
      for (const Scalar each : sums) totals.push_back(static_cast<Wide<Scalar>>(each));
      return totals;
    };
    return !same_bits(run(a_), run(b_));
  }

  const Kernels& a_;
  const Kernels& b_;
  const Buffers<Storage, Scalar>& data_;
  std::int64_t start_;
};

/// The tables that this processor can run.
template <typename Storage, typename Scalar>
std::vector<std::pair<std::string, kernels::BlockKernels<Storage, Scalar>>> tables() {
  std::vector<std::pair<std::string, kernels::BlockKernels<Storage, Scalar>>> all;
  const InstructionSet before = instruction_set();
  for (const auto& [set, name] :
       {std::pair{InstructionSet::baseline, "baseline"}, std::pair{InstructionSet::avx2, "avx2"},
        std::pair{InstructionSet::avx512, "avx512"}}) {
    limit_instruction_set(set);
    if (instruction_set() == set) all.emplace_back(name, kernels::block_kernels<Storage, Scalar>());
  }
  limit_instruction_set(before);
  return all;
}

template <typename Storage, typename Scalar>
void check_blocks() {
  const auto reference =
      kernels::BlockKernels<Storage, Scalar>::template of<kernels::reference::Functions<Storage, Scalar>>();
  const Buffers<Storage, Scalar> data(17);
  for (const auto& [name, table] : tables<Storage, Scalar>()) {
    for (std::int64_t n = 1; n <= kernels::block_size; ++n) {
      // One by one, several folded together, and a full sixteen; packed, so that streams are staged, and not.
      const std::int64_t rows = n < 300 ? 16 - n % 3 * 6 : 1 + n % 4;
      const std::int64_t step = n % 2 == 0 ? n : n + 3;
      const std::string difference =
          Comparison<Storage, Scalar>(reference, table, data, n % 19).on_rows(rows, n, step);
      INFO(name << ", " << rows << " rows of " << n << " values");
      REQUIRE(difference == "");
    }
    for (const std::int64_t n : {7, 15, 16, 31, 49, 63, 100, 196}) {
      const std::string difference =
          Comparison<Storage, Scalar>(reference, table, data, n % 5).on_rows(16, n, n);
      INFO(name << ", sixteen packed rows of " << n << " values");
      REQUIRE(difference == "");
    }
    for (std::int64_t lanes = 1; lanes <= 130; ++lanes) {
      for (const std::int64_t n : {lanes % 7 + 1, std::int64_t{17}, 129 / lanes + 30}) {
        const std::string difference =
            Comparison<Storage, Scalar>(reference, table, data, lanes % 19).on_lanes(n, lanes);
        INFO(name << ", " << n << " rows of " << lanes << " lanes");
        REQUIRE(difference == "");
      }
    }
    for (const std::int64_t lanes : {16, 21, 100}) {
      for (std::int64_t n = 1; n * (lanes + 3) < 4 * kernels::block_size; n += 3) {
        const std::string difference =
            Comparison<Storage, Scalar>(reference, table, data, 0).on_lanes(n, lanes);
        INFO(name << ", " << n << " rows of " << lanes << " lanes");
        REQUIRE(difference == "");
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
        const kernels::Normalizer<float> nothing{0, 0, 1};
        table.transform({x.data(), 0}, {y.data(), 0}, 1, 1024, &nothing, {nullptr, nullptr, 0, false}, {});
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
      const kernels::Normalizer<float> nothing{0, 0, 1};
      table.transform({x.data(), 0}, {y.data(), 0}, 1, size, &nothing, {nullptr, shift.data(), 0, true}, {});
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

/// Whether sixteen groups of one block, of values like these, are finished as the general code finishes them.
template <typename Storage, typename Scalar>
bool finishes_alike(const kernels::BlockKernels<Storage, Scalar>& table, const std::vector<Storage>& x,
                    std::int64_t n, Statistic statistic, Wide<Scalar> eps, int& left_alone) {
  alignas(64) Scalar h[16] = {}, first[16] = {}, second[16], high[16], low[16], rstd[16];
  alignas(64) Wide<Scalar> variance[16];
  const kernels::Rows<const Storage> rows{x.data(), n};
  if (kernels::is_centred(statistic)) {
    kernels::first_shifts(table, rows, 16, n, h);
    table.sweeps(rows, 16, n, h, first, second);
  } else {
    table.sums(rows, 16, n, true, second);
  }
  const auto count = static_cast<Wide<Scalar>>(n);
  const kernels::Rule<Scalar> rule{kernels::has_sigma(statistic), count,
                                   statistic == Statistic::sum_square ? Wide<Scalar>(1) : count, eps};
  const unsigned left = table.finish(rule, h, first, second, high, low, rstd, variance);
  for (unsigned r = 0; r < 16; ++r) {
    kernels::Summary<Scalar> summary;
    kernels::append_rows(table, statistic, {rows(r), 0}, 1, n, true, &summary);
    const kernels::GroupStatistics<Scalar> expected = kernels::finish(summary, statistic, eps);
    if ((left >> r & 1) != 0) {
      ++left_alone;
      continue;
    }
    const kernels::Normalizer<Scalar> by{high[r], low[r], rstd[r]};
    if (kernels::is_out_of_range(summary, statistic) || !same_bits(by.high, expected.normalizer.high) ||
        !same_bits(by.low, expected.normalizer.low) || !same_bits(by.rstd, expected.normalizer.rstd) ||
        !same_bits(variance[r], expected.variance))
      return false;
  }
  return true;
}

template <typename Storage, typename Scalar>
void check_finish() {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  for (const auto& [name, table] : tables<Storage, Scalar>()) {
    int left_alone = 0, all = 0;
    for (const std::int64_t n : {1, 2, 5, 16, 63, 64, 65, 100, 333, 1024}) {
      for (const double mean : {0.0, 1.0, -300.0, 60000.0}) {
        std::vector<Storage> x(static_cast<std::size_t>(16 * n));
        for (Storage& value : x) value = static_cast<Storage>(static_cast<Scalar>(mean + normal(random)));
        // Rows of one value, with an outlier in front, with a NaN and with tiny values among the others.
        const auto at = [n](std::int64_t row) { return static_cast<std::size_t>(row * n); };
        std::fill(x.begin() + static_cast<std::ptrdiff_t>(at(3)),
                  x.begin() + static_cast<std::ptrdiff_t>(at(4)), x[at(3)]);
        x[at(5)] = static_cast<Storage>(Scalar(30000));
        x[at(7)] = static_cast<Storage>(std::numeric_limits<Scalar>::quiet_NaN());
        for (std::size_t i = at(9); i < at(10); ++i)
          x[i] = static_cast<Storage>(static_cast<Scalar>(x[i]) * Scalar(1e-30));
        // And with squares a little below and above those that are in range.
        const Scalar edge =
            std::sqrt(std::numeric_limits<Scalar>::min() / std::numeric_limits<Scalar>::epsilon());
        for (std::size_t i = at(11); i < at(12); ++i)
          x[i] = static_cast<Storage>(static_cast<Scalar>(normal(random)) * edge * Scalar(0.5));
        for (std::size_t i = at(12); i < at(13); ++i)
          x[i] = static_cast<Storage>(static_cast<Scalar>(normal(random)) * edge * Scalar(3));
        for (const Statistic statistic :
             {Statistic::mean_variance, Statistic::mean, Statistic::mean_square, Statistic::sum_square}) {
          INFO(name << ", n " << n << ", mean " << mean << ", statistic " << static_cast<int>(statistic));
          REQUIRE(finishes_alike(table, x, n, statistic, Wide<Scalar>(1e-5), left_alone));
          all += 16;
        }
      }
    }
    // Otherwise nothing was compared.
    CHECK(left_alone < all / 3);
    CHECK(left_alone > 0);
  }
}

TEST_CASE("Statistics of short groups are finished as those of long ones") {
  SECTION("float") { check_finish<float, float>(); }
  SECTION("double") { check_finish<double, double>(); }
  SECTION("half") { check_finish<Eigen::half, float>(); }
}

/// What a layer makes of x and dy, forward, backward and in evaluation.
template <typename Tensor>
std::vector<float> everything(Normalization<float> layer, const Tensor& x, const Tensor& dy) {
  if (layer.scale.value.size() > 0) layer.scale.value.setLinSpaced(0.5F, 1.5F);
  if (layer.shift.value.size() > 0) layer.shift.value.setLinSpaced(-1.0F, 2.0F);
  const Tensor y = layer.forward(x), dx = layer.backward(x, dy), z = layer.evaluate(x);
  std::vector<float> all;
  for (const Tensor* each : {&y, &dx, &z}) all.insert(all.end(), each->data(), each->data() + each->size());
  for (const auto* each : {&layer.scale.grad, &layer.shift.grad})
    all.insert(all.end(), each->data(), each->data() + each->size());
  if (layer.running) {
    all.insert(all.end(), layer.running->mean.data(),
               layer.running->mean.data() + layer.running->mean.size());
    all.insert(all.end(), layer.running->variance.data(),
               layer.running->variance.data() + layer.running->variance.size());
  }
  return all;
}

/// Whether each instruction set gives the bits of the reference.
template <typename Tensor>
bool same_on_all(const Normalization<float>& layer, const Tensor& x, const Tensor& dy) {
  const InstructionSet best = instruction_set();
  limit_instruction_set(InstructionSet::reference);
  const std::vector<float> expected = everything(layer, x, dy);
  bool same = true;
  for (const InstructionSet set : {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512}) {
    limit_instruction_set(set);
    if (instruction_set() != set) continue;  // this processor lacks it
    same = same && same_bits(expected, everything(layer, x, dy));
  }
  limit_instruction_set(best);
  return same;
}

/// Every size up to two steps and a vector, and each edge beyond: of blocks, of what is transposed or transformed
/// together, of rows that are taken in column blocks.
std::vector<std::int64_t> sizes() {
  std::vector<std::int64_t> all;
  for (std::int64_t n = 1; n <= 150; ++n) all.push_back(n);
  for (const std::int64_t edge : {192, 256, 336, 384, 512, 768, 1008, 1024, 1344, 1536, 2048, 3072, 4096, 4128}) {
    for (std::int64_t n = edge - 2; n <= edge + 2; ++n) all.push_back(n);
    all.push_back(edge + 16);
    all.push_back(edge + 37);
  }
  return all;
}

TEST_CASE("Whole layers have the bits of the reference, for all sizes that matter and each geometry") {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  std::srand(3);
  // Also past the caches, where results of this size are not by themselves.
  for (const std::int64_t n : sizes()) {
    stream_results_from(n % 2 == 0 ? 0 : std::int64_t{1} << 40);
    const Matrix rows = Matrix::Random(3, n).array() + 3, d_rows = Matrix::Random(3, n);
    INFO(n);
    REQUIRE(same_on_all(LayerNorm<float>(n), rows, d_rows));
    REQUIRE(same_on_all(RMSNorm<float>(n), rows, d_rows));
    REQUIRE(same_on_all(WeightNorm<float>(3), rows, d_rows));
    REQUIRE(same_on_all(BatchNorm<float>(n), rows, d_rows));
    const Matrix columns = Matrix::Random(n, 3).array() + 3, d_columns = Matrix::Random(n, 3);
    if (n > 1) REQUIRE(same_on_all(BatchNorm<float>(3), columns, d_columns));
    if (n % 4 == 0) {
      const Matrix wide = Matrix::Random(n / 4 + 1, 18).array() + 3, d_wide = Matrix::Random(n / 4 + 1, 18);
      REQUIRE(same_on_all(BatchNorm<float>(18), wide, d_wide));
    }
    // Planes of n / 6, as channels first and last, of all layers for images.
    if (n % 6 != 0) continue;
    Tensor x(2, 6, n / 6, 1), dy(2, 6, n / 6, 1), last(2, n / 6, 1, 36), d_last(2, n / 6, 1, 36);
    x.setRandom();
    dy.setRandom();
    last.setRandom();
    d_last.setRandom();
    REQUIRE(same_on_all(BatchNorm<float>(6), x, dy));
    REQUIRE(same_on_all(GroupNorm<float>(2, 6), x, dy));
    REQUIRE(same_on_all(InstanceNorm<float>(6), x, dy));
    REQUIRE(same_on_all(LayerNorm<float>(6, over(1)), x, dy));
    REQUIRE(same_on_all(LayerNorm<float>({6, n / 6, 1}, over_last(3)), x, dy));
    REQUIRE(same_on_all(BatchNorm<float>(36, channels_on(-1)), last, d_last));
    REQUIRE(same_on_all(GroupNorm<float>(4, 36, channels_on(-1)), last, d_last));
    REQUIRE(same_on_all(InstanceNorm<float>(36, channels_on(-1)), last, d_last));
  }
  stream_results_from(4000000);
}

}  // namespace

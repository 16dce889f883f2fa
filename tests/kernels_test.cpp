// Every instruction set's kernels give the bits of the reference, for each function, type and block length; and whole
// layers give the same bits whichever of them runs.

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "kernels/instances.hpp"

namespace {

using namespace eigennorm;

/// Values and results of one block, each buffer with room for a misaligned start and a guard behind the end.
template <typename Storage, typename Scalar>
struct Buffers {
  static constexpr std::int64_t room = kernels::block_size + 64;
  std::vector<Storage> x = std::vector<Storage>(room), dy = x, y = x;
  std::vector<Scalar> scale = std::vector<Scalar>(room), shift = scale, sums = scale, products = scale;

  explicit Buffers(unsigned seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    for (std::size_t i = 0; i < x.size(); ++i) {
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

/// Compares all functions of two tables on blocks of `n` values; returns the name of the first that differs.
template <typename Storage, typename Scalar>
std::string first_difference(const kernels::BlockKernels<Storage, Scalar>& a,
                             const kernels::BlockKernels<Storage, Scalar>& b,
                             const Buffers<Storage, Scalar>& data, std::int64_t n, std::int64_t start) {
  const Storage* x = data.x.data() + start;
  const Storage* dy = data.dy.data() + start / 2;
  const Scalar* scale = data.scale.data() + start;
  const Scalar* shift = data.shift.data() + start / 3;
  const kernels::Normalizer<Scalar> by{Scalar(5.1), Scalar(1e-8), Scalar(0.7)};
  if (n <= kernels::step_size && !same_bits(a.sum(x, n), b.sum(x, n))) return "sum";
  if (!same_bits(a.sweep(x, n, Scalar(4.9)), b.sweep(x, n, Scalar(4.9)))) return "sweep";
  if (!same_bits(a.sum_of_squares(x, n), b.sum_of_squares(x, n))) return "sum_of_squares";
  for (const Scalar* each : {scale, static_cast<const Scalar*>(nullptr)}) {
    if (!same_bits(a.gradient_sums(x, dy, n, by, each), b.gradient_sums(x, dy, n, by, each)))
      return "gradient_sums";
  }
  const auto differs = [&](const auto& write) {
    std::vector<Storage> first = data.y, second = data.y;
    write(a, first.data() + start);
    write(b, second.data() + start);
    return !same_bits(first, second);  // what lies before and behind the block included
  };
  using Kernels = kernels::BlockKernels<Storage, Scalar>;
  for (const bool stream : {false, true}) {
    if (differs([&](const Kernels& k, Storage* y) {
          k.transform_one(x, y, n, by, Scalar(1.3), Scalar(0.2), stream);
        })) {
      return "transform_one";
    }
    if (differs([&](const Kernels& k, Storage* y) { k.transform_each(x, y, n, by, scale, shift, stream); }))
      return "transform_each";
    for (const Scalar* each : {scale, static_cast<const Scalar*>(nullptr)}) {
      if (differs([&](const Kernels& k, Storage* y) {
            k.gradient(x, dy, y, n, by, Scalar(0.1), Scalar(-0.3), each, Scalar(1.1), stream);
          })) {
        return "gradient";
      }
      if (differs([&](const Kernels& k, Storage* y) {
            k.fixed_gradient(dy, y, n, Scalar(0.7), each, Scalar(1.1), stream);
          })) {
        return "fixed_gradient";
      }
    }
    a.fence();
    b.fence();
  }
  std::vector<Scalar> sums = data.sums, products = data.products, other_sums = sums,
                      other_products = products;
  a.add_position(x, dy, n, by, sums.data(), products.data());
  b.add_position(x, dy, n, by, other_sums.data(), other_products.data());
  if (!same_bits(sums, other_sums) || !same_bits(products, other_products)) return "add_position";
  return "";
}

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
      const std::string difference = first_difference(reference, table, data, n, n % 19);
      INFO(name << ", " << n << " values");
      REQUIRE(difference == "");
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
        table.transform_one(x.data(), y.data(), 1024, {0, 0, 1}, 1, -0.0F, false);
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

TEST_CASE("Whole layers give the same bits on every instruction set") {
  const InstructionSet best = instruction_set();
  for (const std::int64_t features : {1, 7, 16, 63, 64, 65, 100, 768, 1023, 1024, 1025, 2047, 4100}) {
    using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Matrix x = Matrix::Random(9, features).array() + 3, dy = Matrix::Random(9, features);
    std::vector<Eigen::ArrayXf> results;
    for (const InstructionSet set :
         {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512}) {
      limit_instruction_set(set);
      std::vector<float> all;
      const auto run = [&](Normalization<float> layer) {
        layer.scale.value.setLinSpaced(0.5F, 1.5F);
        const Matrix y = layer.forward(x), dx = layer.backward(x, dy);
        all.insert(all.end(), y.data(), y.data() + y.size());
        all.insert(all.end(), dx.data(), dx.data() + dx.size());
        all.insert(all.end(), layer.scale.grad.data(), layer.scale.grad.data() + layer.scale.grad.size());
      };
      run(LayerNorm<float>(features));
      run(RMSNorm<float>(features));
      run(BatchNorm<float>(features));
      run(WeightNorm<float>(9));
      results.emplace_back(Eigen::Map<Eigen::ArrayXf>(all.data(), static_cast<Eigen::Index>(all.size())));
    }
    limit_instruction_set(best);
    INFO(features << " features");
    CHECK(std::memcmp(results[0].data(), results[1].data(),
                      static_cast<std::size_t>(results[0].size()) * sizeof(float)) == 0);
    CHECK(std::memcmp(results[0].data(), results[2].data(),
                      static_cast<std::size_t>(results[0].size()) * sizeof(float)) == 0);
  }
}

TEST_CASE("The instruction set can be lowered, not raised") {
  const InstructionSet best = instruction_set();
  limit_instruction_set(InstructionSet::baseline);
  CHECK(instruction_set() == InstructionSet::baseline);
  limit_instruction_set(InstructionSet::avx512);
  CHECK(instruction_set() == kernels::detected_instruction_set());
  limit_instruction_set(best);
}

}  // namespace

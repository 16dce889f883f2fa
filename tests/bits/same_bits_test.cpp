#include <vector>

#include "catch.hpp"
#include "support.hpp"

// The same data give the same bits: a sample alone and in any batch, at any position and alignment. And where
// all values of a group are the same, nothing but the shift is left.

using namespace test;
using namespace eigennorm;

namespace {

/// A layer that treats the samples on axis 0 apart, and the shape of one sample.
template <typename Scalar>
struct PerSample {
  const char* name;
  Normalization<Scalar> layer;
  Sizes sample;
};

template <typename Scalar>
std::vector<PerSample<Scalar>> layers_per_sample() {
  BatchNorm<Scalar> frozen(5);
  frozen.freeze();
  BatchNorm<Scalar> frozen_last(3, channels_on(-1));
  frozen_last.freeze();
  return {
      {"LayerNorm of 1", LayerNorm<Scalar>(1), {1}},
      {"LayerNorm of 3", LayerNorm<Scalar>(3), {3}},
      {"LayerNorm of 32", LayerNorm<Scalar>(32), {32}},
      {"LayerNorm of 65", LayerNorm<Scalar>(65), {65}},
      {"LayerNorm of 768", LayerNorm<Scalar>(768), {768}},
      {"LayerNorm of 1029", LayerNorm<Scalar>(1029), {1029}},
      {"LayerNorm over(1)", LayerNorm<Scalar>(7, over(1)), {7, 3, 4}},
      {"LayerNorm over_last(2)", LayerNorm<Scalar>({3, 4}, over_last(2)), {2, 3, 4}},
      {"RMSNorm of 100", RMSNorm<Scalar>(100), {100}},
      {"GroupNorm, channels first", GroupNorm<Scalar>(2, 6), {6, 5, 3}},
      {"GroupNorm, channels last", GroupNorm<Scalar>(3, 6, channels_on(-1)), {5, 3, 6}},
      {"InstanceNorm", InstanceNorm<Scalar>(3), {3, 4, 5}},
      {"InstanceNorm, channels last", InstanceNorm<Scalar>(3, channels_on(-1)), {4, 5, 3}},
      {"frozen BatchNorm", frozen, {5}},
      {"frozen BatchNorm, channels last", frozen_last, {4, 3}},
  };
}

/// The values of samples `first` to `last` of a batch.
Numbers samples(const Numbers& batch, std::size_t size, std::size_t first, std::size_t last) {
  return Numbers(batch.begin() + static_cast<std::ptrdiff_t>(first * size),
                 batch.begin() + static_cast<std::ptrdiff_t>(last * size));
}

/// Finite values from one end of a type to the other.
template <typename Data>
std::vector<Data> constants() {
  const auto largest = widened(std::numeric_limits<Data>::max());
  const auto smallest = widened(std::numeric_limits<Data>::min());
  std::vector<Data> result{std::numeric_limits<Data>::denorm_min()};
  for (const Real value : {Real(0), Real(1), Real(0.1), Real(-1) / 3, Real(1234), Real(-77.7), Real(0.001), Real(-4e4),
                           largest, -largest, largest * 0.37L, largest / 1000, std::sqrt(largest) * -1.1L, smallest,
                           smallest * 3.3L, smallest / -7, std::sqrt(smallest) * 1.7L}) {
    result.push_back(rounded<Data>(value));
  }
  return result;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a sample has the same bits alone and in any batch", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  constexpr std::size_t batch = 530;
  std::uint64_t seed = 0;
  for (auto& [name, start, sample_shape] : layers_per_sample<Scalar>()) {
    Sizes shape = sample_shape;
    shape.insert(shape.begin(), batch);
    const std::size_t size = reference::size_of(sample_shape);
    Random random(++seed);
    auto layer = start;
    randomize(layer, random);
    const TestType x(shape, random.normals(batch * size, 0.6));
    const TestType dy(shape, random.normals(batch * size));
    TestType y(shape), dx(shape);
    forward(layer, x, y);
    backward(layer, x, dy, dx);
    const Numbers all_x = x.numbers();
    const Numbers all_dy = dy.numbers();
    const Numbers all_y = y.numbers();
    const Numbers all_dx = dx.numbers();
    for (const std::size_t part : {1U, 2U, 3U, 7U, 255U, 256U, 257U}) {
      INFO(name << " in parts of " << part);
      std::size_t different = 0;
      for (std::size_t first = 0; first < batch; first += part) {
        const std::size_t last = std::min(first + part, batch);
        shape[0] = static_cast<std::ptrdiff_t>(last - first);
        const std::size_t offset = first % 16;
        const TestType part_x(shape, samples(all_x, size, first, last), offset);
        const TestType part_dy(shape, samples(all_dy, size, first, last), 15 - offset);
        TestType part_y(shape, (offset + 3) % 16);
        TestType part_dx(shape, (offset + 5) % 16);
        forward(layer, part_x, part_y);
        backward(layer, part_x, part_dy, part_dx);
        if (!same_bits(part_y, TestType(shape, samples(all_y, size, first, last)))) ++different;
        if (!same_bits(part_dx, TestType(shape, samples(all_dx, size, first, last)))) ++different;
      }
      CHECK(different == 0);
    }
  }
}

TEMPLATE_LIST_TEST_CASE("a constant group gives exactly the shift", "", AllFields) {
  using Data = typename TestType::Data;
  using Scalar = typename TestType::Scalar;
  Random random(200);
  for (const double eps : {0.0, 1e-5}) {
    for (std::ptrdiff_t count = 1; count <= 200; ++count) {
      Normalization<Scalar> rows = LayerNorm<Scalar>(count, eps);
      Normalization<Scalar> channels = BatchNorm<Scalar>(2, channels_on(1), eps);
      channels.running.reset();
      randomize(rows, random);
      randomize(channels, random);
      TestType x({count, 2}), y({count, 2}), dx({count, 2});
      TestType x_rows({3, count}), y_rows({3, count}), dx_rows({3, count});
      const TestType dy({count, 2}, random.normals(x.size()));
      const TestType dy_rows({3, count}, random.normals(x_rows.size()));
      for (const Data constant : constants<Data>()) {
        INFO(count << " times " << widened(constant) << ", eps " << eps);
        std::fill_n(x.data(), x.size(), constant);
        std::fill_n(x_rows.data(), x_rows.size(), constant);
        forward(channels, x, y);
        forward(rows, x_rows, y_rows);
        std::size_t wrong = 0;
        const auto by_channel = y.template map<2>();
        const auto by_row = y_rows.template map<2>();
        for (std::ptrdiff_t i = 0; i < count; ++i) {
          for (std::ptrdiff_t j = 0; j < 2; ++j) wrong += by_channel(i, j) != rounded<Data>(channels.shift.value[j]);
          for (std::ptrdiff_t j = 0; j < 3; ++j) wrong += by_row(j, i) != rounded<Data>(rows.shift.value[i]);
        }
        CHECK(wrong == 0);
        if (eps != 0) continue;
        // xhat is 0 and sigma is nothing to divide by: no gradient passes.
        channels.zero_grad();
        rows.zero_grad();
        backward(channels, x, dy, dx);
        backward(rows, x_rows, dy_rows, dx_rows);
        CHECK(dx.numbers() == Numbers(dx.size(), 0));
        CHECK(dx_rows.numbers() == Numbers(dx_rows.size(), 0));
        CHECK((channels.scale.grad == 0).all());
        CHECK((rows.scale.grad == 0).all());
      }
    }
  }
}

TEMPLATE_LIST_TEST_CASE("a long constant group gives exactly the shift", "", FloatingFields) {
  using Data = typename TestType::Data;
  using Scalar = typename TestType::Scalar;
  for (const std::ptrdiff_t count : {1023, 1024, 1025, 4097, 70001}) {
    Random random(201);
    Normalization<Scalar> layer = LayerNorm<Scalar>(count, 0.0);
    randomize(layer, random);
    TestType x({2, count}), y({2, count});
    for (const Data constant : constants<Data>()) {
      INFO(count << " times " << widened(constant));
      std::fill_n(x.data(), x.size(), constant);
      forward(layer, x, y);
      const auto by_row = y.template map<2>();
      std::size_t wrong = 0;
      for (std::ptrdiff_t i = 0; i < count; ++i) {
        for (std::ptrdiff_t j = 0; j < 2; ++j) wrong += by_row(j, i) != layer.shift.value[i];
      }
      CHECK(wrong == 0);
    }
  }
}

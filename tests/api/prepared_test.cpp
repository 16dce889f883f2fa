#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "problem.hpp"

// A prepared evaluation has the bits of `evaluate`, on every layer and layout, and knows the layer as it was.

using namespace test;
using namespace eigennorm;

namespace {

using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

using Fields = std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>, Field<double, Eigen::RowMajor>,
                          Field<Eigen::half, Eigen::RowMajor>>;

static_assert(noexcept(std::declval<const Prepared<float, float>&>()(nullptr, nullptr)));

}  // namespace

TEMPLATE_LIST_TEST_CASE("a prepared evaluation has the bits of evaluate", "", Fields) {
  for_every_problem<TestType>([](Problem<TestType>& problem) {
    evaluate(problem.layer, problem.x, problem.y);
    with_rank(problem.x.shape().size(), [&](auto rank) {
      TestType y(problem.x.shape()), in_place = problem.x;
      const auto prepared = problem.layer.prepare(problem.x.template map<rank>(), y.template map<rank>());
      for (int frame = 0; frame < 2; ++frame) {
        prepared(problem.x.data(), y.data());
        CHECK(y.numbers() == problem.y.numbers());
      }
      prepared(in_place.data(), in_place.data());
      CHECK(in_place.numbers() == problem.y.numbers());
    });
  });
}

TEST_CASE("a prepared evaluation has the bits of evaluate at every number of features") {
  Random random(7);
  for (const std::int64_t rows : {1, 2, 5, 40}) {
    for (std::int64_t n = 1; n <= 140; n += n < 70 ? 1 : 13) {
      INFO(rows << " x " << n);
      const RowMatrix x = RowMatrix::Random(rows, n);
      std::vector<Normalization<float>> layers = {BatchNorm<float>(n), LayerNorm<float>(n), RMSNorm<float>(n),
                                                  MeanOnlyBatchNorm<float>(n)};
      for (Normalization<float>& layer : layers) {
        randomize(layer, random);
        RowMatrix expected(rows, n), y(rows, n);
        layer.evaluate(x, expected);
        layer.prepare(x, y)(x.data(), y.data());
        REQUIRE(same_bits(y, expected));
      }
    }
  }
}

TEST_CASE("tensors of any strides can be prepared for") {
  RowMatrix all = RowMatrix::Random(9, 40), written = RowMatrix::Zero(9, 50);
  for (const Eigen::Index columns : {3, 16, 33}) {
    const auto x = all.block(1, 2, 7, columns);
    auto y = written.block(0, 5, 7, columns);
    BatchNorm<float> layer(columns);
    layer.running->mean.setRandom();
    layer.running->variance.setLinSpaced(0.25F, 4.0F);
    const RowMatrix expected = layer.evaluate(RowMatrix(x));
    const auto prepared = layer.prepare(x, y);
    written.setZero();
    prepared(x.data(), y.data());
    CHECK(same_bits(RowMatrix(y), expected));
    // Nothing beside it is written.
    y.setZero();
    CHECK(written.isZero(0));
  }
}

TEST_CASE("a prepared evaluation knows the layer as it was") {
  const RowMatrix x = RowMatrix::Random(1, 24);
  RowMatrix expected(1, 24), y(1, 24);
  std::optional<Prepared<float, float>> prepared;
  {
    BatchNorm<float> layer(24);
    layer.running->mean.setRandom();
    layer.scale.value.setRandom();
    layer.evaluate(x, expected);
    prepared = layer.prepare(x, y);
    layer.scale.value.setZero();
    layer.running->variance.setConstant(7);
    layer.eps = 3;
  }
  const Prepared<float, float> copy = *prepared;
  prepared.reset();
  copy(x.data(), y.data());
  CHECK(same_bits(y, expected));
}

TEST_CASE("prepare refuses what evaluate refuses, and prepares for empty tensors") {
  BatchNorm<float> layer(4);
  RowMatrix x = RowMatrix::Random(3, 5), y(3, 5), none(0, 4);
  CHECK_THROWS_WITH(layer.prepare(x, y), "BatchNorm: made for 4 channels on axis 1, got an input of shape [3, 5]");
  layer.running->variance[2] = -1;
  x.resize(3, 4);
  y.resize(3, 4);
  CHECK_THROWS_WITH(layer.prepare(x, y),
                    "BatchNorm: expected a finite running variance of at least 0 for each of the 4 channels, got -1 "
                    "at index 2");
  layer.running->variance[2] = 1;
  layer.prepare(none, none)(nullptr, nullptr);
  Prepared<float, float>()(nullptr, nullptr);
}

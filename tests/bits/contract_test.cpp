// What layers give is what docs/arithmetic.md says, to the bit (contract.hpp). Without this a block of another
// length, or a sum in another order, would be as right as before, with other bits.

#include <string>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "contract.hpp"
#include "support.hpp"

using namespace test;
using namespace eigennorm;

namespace {

template <typename Data>
auto values_of(const Data& data) {
  return contract::Values<std::decay_t<decltype(*data.data())>>(data.data(), data.data() + data.size());
}

/// About a mean; in some groups with an outlier where a shift would be taken from.
Numbers with_outliers(const reference::Roles& roles, Random& random) {
  Numbers numbers = random.normals(roles.size(), 3);
  for (std::size_t i = 0; i < numbers.size(); i += 1001) numbers[i] = 500;
  return numbers;
}

/// Groups that begin far from where they go on, and change again, so that shifts are taken anew.
Numbers with_steps(const reference::Roles& roles, Random& random) {
  Numbers numbers = random.normals(roles.size(), 3);
  std::vector<std::size_t> seen(roles.groups);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::size_t place = seen[roles.group[i]]++;
    if (place < 64 || place / 1024 % 3 == 1) numbers[i] += 20;
  }
  return numbers;
}

template <typename S>
void check(const std::string& name, Normalization<S> layer, const reference::Formula& formula, const Sizes& shape,
           Statistic statistic = Statistic::mean_variance) {
  INFO(name << " of " << sizeof(S) << " bytes");
  if (layer.running) layer.running.reset();
  Random random(shape.size() + reference::size_of(shape));
  randomize(layer, random);
  using Tensor = Field<S, Eigen::RowMajor>;
  const reference::Roles roles(formula, shape);
  for (const Numbers& numbers : {with_outliers(roles, random), with_steps(roles, random)}) {
    const Tensor x(shape, numbers), dy(shape, random.normals(numbers.size()));
    Tensor y(shape), dx(shape);
    forward(layer, x, y);
    layer.zero_grad();
    backward(layer, x, dy, dx);
    const contract::Contract<S> truth(formula, shape, statistic, layer, values_of(x), values_of(dy));
    CHECK(same_bits(values_of(y), truth.y));
    CHECK(same_bits(values_of(dx), truth.dx));
    CHECK(same_bits(values_of(layer.scale.grad), truth.dscale));
    if (layer.shift.grad.size() > 0) CHECK(same_bits(values_of(layer.shift.grad), truth.dshift));
  }
}

template <typename S>
void check_running(Normalization<S> layer, const reference::Formula& formula, const Sizes& shape) {
  INFO(sizeof(S) << " bytes");
  CAPTURE(shape);
  Random random(shape.size() + reference::size_of(shape));
  randomize(layer, random);
  using Tensor = Field<S, Eigen::RowMajor>;
  const reference::Roles roles(formula, shape);
  const Numbers numbers = with_outliers(roles, random);
  const Tensor x(shape, numbers), dy(shape, random.normals(numbers.size()));
  const contract::RunningContract<S> truth(formula, shape, layer, values_of(x), values_of(dy));
  Tensor y(shape), dx(shape);
  evaluate(layer, x, y);
  CHECK(same_bits(values_of(y), truth.y));
  Normalization<S> frozen = layer;
  frozen.freeze();
  forward(frozen, x, y);
  CHECK(same_bits(values_of(y), truth.y));
  backward(frozen, x, dy, dx);
  CHECK(same_bits(values_of(dx), truth.dx));
  forward(layer, x, y);
  CHECK(same_bits(values_of(layer.running->mean), truth.mean));
  CHECK(same_bits(values_of(layer.running->variance), truth.variance));
}

template <typename S>
void check_all_running() {
  const reference::Formula rows{{0}, {1}}, planes{{0, 2}, {1}}, instances{{2}, {1}};
  for (const std::ptrdiff_t channels : {1, 5, 16, 17, 63, 64, 65, 256, 257, 512, 513, 600, 1023, 1024, 1025, 2049})
    check_running<S>(BatchNorm<S>(channels), rows, {40, channels});
  for (const std::ptrdiff_t n : {2, 1025, 70001}) check_running<S>(BatchNorm<S>(3), rows, {n, 3});
  for (const std::ptrdiff_t channels : {1, 40, 200}) {
    for (const std::ptrdiff_t plane : {2, 7, 49, 200, 1025})
      check_running<S>(BatchNorm<S>(channels), planes, {3, channels, plane});
  }
  InstanceNorm<S> instance(40);
  instance.running.emplace(40);
  check_running<S>(instance, instances, {3, 40, 7});
}

template <typename S>
void check_all() {
  using reference::Formula;
  using reference::Kind;
  const auto formula = [](reference::Axes averaged, reference::Axes features, std::ptrdiff_t groups = 1) {
    return Formula{std::move(averaged), std::move(features), Kind::mean_variance, 0, groups};
  };
  for (const std::ptrdiff_t n : {2, 17, 63, 64, 65, 128, 200, 1023, 1024, 1025, 3000}) {
    CAPTURE(n);
    check<S>("LayerNorm of rows", LayerNorm<S>(n), formula({1}, {1}), {3, n});
    check<S>("LayerNorm of columns", LayerNorm<S>(n, over(0)), formula({0}, {0}), {n, 3});
    check<S>("RMSNorm", RMSNorm<S>(n), formula({1}, {1}), {3, n}, Statistic::mean_square);
    check<S>("RMSNorm of 17 columns", RMSNorm<S>(n, over(0)), formula({0}, {0}), {n, 17}, Statistic::mean_square);
    check<S>("WeightNorm", WeightNorm<S>(3), formula({1}, {0}), {3, n}, Statistic::sum_square);
    check<S>("WeightNorm of 17 columns", WeightNorm<S>(17, outputs_on(1)), formula({0}, {1}), {n, 17},
             Statistic::sum_square);
    check<S>("BatchNorm, N x C", BatchNorm<S>(3), formula({0}, {1}), {n, 3});
    check<S>("BatchNorm, N x 17", BatchNorm<S>(17), formula({0}, {1}), {n, 17});
    check<S>("BatchNorm, NCL", BatchNorm<S>(2), formula({0, 2}, {1}), {3, 2, n});
    check<S>("InstanceNorm", InstanceNorm<S>(2), formula({2}, {1}), {3, 2, n});
    check<S>("GroupNorm", GroupNorm<S>(2, 6), formula({1, 2}, {1}, 2), {3, 6, n});
    check<S>("GroupNorm, channels last", GroupNorm<S>(2, 6, channels_on(-1)), formula({1, 2}, {2}, 2),
             {3, n / 6 + 1, 6});
    check<S>("LayerNorm of channels first", LayerNorm<S>(5, over(1)), formula({1}, {1}), {2, 5, n});
  }
  // Many channels of few values, side by side.
  for (const std::ptrdiff_t plane : {2, 7, 49, 200}) {
    CAPTURE(plane);
    check<S>("BatchNorm, small planes", BatchNorm<S>(40), formula({0, 2}, {1}), {3, 40, plane});
    check<S>("InstanceNorm, small planes", InstanceNorm<S>(40), formula({2}, {1}), {3, 40, plane});
    check<S>("GroupNorm, small planes", GroupNorm<S>(20, 40), formula({1, 2}, {1}, 20), {3, 40, plane});
    check<S>("LayerNorm of 40 channels first", LayerNorm<S>(40, over(1)), formula({1}, {1}), {3, 40, plane});
  }
  // Several segments.
  for (const std::ptrdiff_t n : {65537, 140001}) {
    CAPTURE(n);
    check<S>("LayerNorm of one row", LayerNorm<S>(n), formula({1}, {1}), {1, n});
    check<S>("RMSNorm of one row", RMSNorm<S>(n), formula({1}, {1}), {1, n}, Statistic::mean_square);
    check<S>("BatchNorm of columns", BatchNorm<S>(2), formula({0}, {1}), {n, 2});
    check<S>("GroupNorm of one group", GroupNorm<S>(1, 2), formula({1, 2}, {1}), {1, 2, n});
    check<S>("GroupNorm of many channels", GroupNorm<S>(1, n / 40), formula({1, 2}, {1}), {1, n / 40, 40});
  }
  // Many rows: pairs, sixteens and parts.
  for (const std::ptrdiff_t rows : {15, 16, 17, 31, 32, 33, 1023, 1024, 1025, 2100})
    check<S>("LayerNorm of " + std::to_string(rows) + " rows", LayerNorm<S>(5), formula({1}, {1}), {rows, 5});
  for (const std::ptrdiff_t n : {100, 200, 400, 1500})
    check<S>("LayerNorm of 20 rows", LayerNorm<S>(n), formula({1}, {1}), {20, n});
  for (const std::ptrdiff_t samples : {1, 7, 20, 70})
    check<S>("GroupNorm, samples", GroupNorm<S>(2, 4), formula({1, 2}, {1}, 2), {samples, 4, 1500});
}

}  // namespace

TEST_CASE("layers do what the contract says, to the bit") {
  SECTION("float") { check_all<float>(); }
  SECTION("double") { check_all<double>(); }
}

TEST_CASE("running statistics do what the contract says, to the bit") {
  SECTION("float") { check_all_running<float>(); }
  SECTION("double") { check_all_running<double>(); }
}

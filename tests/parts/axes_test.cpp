#include <array>
#include <cstdint>
#include <list>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"

// How axes and extents are named, and what is refused.

using namespace eigennorm;

namespace {

// Of a tensor whose extents are 2, 3, 4, ...
std::uint32_t mask(const AxisSet& axes, int rank) {
  const std::array<std::int64_t, max_rank> extents{2, 3, 4, 5, 6, 7, 8, 9};
  return axes.mask(rank, {extents.data(), rank}, "Owner");
}

std::string text(const core::TextPart& piece) {
  std::string text;
  piece.append_to(text);
  return text;
}

std::string text(const AxisSet& axes) { return text(axes.text()[0]) + text(axes.text()[1]); }

template <typename Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "not refused";
}

}  // namespace

TEST_CASE("axis sets become bits of logical axes") {
  CHECK(mask(over(1), 4) == 0b0010);
  CHECK(mask(over(-1), 4) == 0b1000);
  CHECK(mask(over(-4), 4) == 0b0001);
  CHECK(mask(over(2, 0), 4) == 0b0101);
  CHECK(mask(over(0, -1), 2) == 0b11);
  CHECK(mask(over(0, 1, 2, 3, 4, 5, 6, 7), 8) == 0xFF);
  CHECK(mask(over(std::vector<int>{0, 2}), 3) == 0b101);
  CHECK(mask(over(std::list<std::int64_t>{-1}), 3) == 0b100);
  CHECK(mask(over(std::array<std::size_t, 2>{1, 2}), 3) == 0b110);
  CHECK(mask(over(std::vector<int>{}), 3) == 0);
  CHECK(mask(over_last(1), 1) == 0b1);
  CHECK(mask(over_last(2), 4) == 0b1100);
  CHECK(mask(over_last(8), 8) == 0xFF);
  CHECK_THROWS_AS(over_last(0), std::invalid_argument);
  CHECK(mask(all_but(1), 4) == 0b1101);
  CHECK(mask(all_but(-1), 4) == 0b0111);
  CHECK(mask(all_but(0, 1), 4) == 0b1100);
  CHECK(mask(all_but(), 3) == 0b111);
  CHECK(mask(all_but(over(0, 1)), 4) == 0b1100);
  CHECK(mask(all_but(no_axes), 8) == 0xFF);
  CHECK(mask(no_axes, 5) == 0);
  CHECK(mask(AxisSet(), 5) == 0);
  CHECK(mask(join(over(0), over(-1)), 4) == 0b1001);
  CHECK(mask(join(no_axes, over(2)), 4) == 0b0100);
}

TEST_CASE("two lists share an axis as far as their numbers say so") {
  CHECK(over(1).shared_with(over(0, 1)) == 1);
  CHECK(over(-1).shared_with(over(0, -1)) == -1);
  CHECK(!over(1).shared_with(over(0)));
  CHECK(!over(1).shared_with(over(-1)));
  CHECK(!over(1).shared_with(no_axes));
  CHECK(!over(1).shared_with(all_but(1)));
  CHECK(!over_last(1).shared_with(over(1)));
}

TEST_CASE("the vocabulary of the layers names axes") {
  CHECK(mask(channels_on(1).axes, 4) == 0b0010);
  CHECK(mask(channels_on(-1).axes, 4) == 0b1000);
  CHECK(mask(samples_on(0).axes, 4) == 0b0001);
  CHECK(mask(samples_on().axes, 4) == 0);
  CHECK(mask(samples_on(0, 1).axes, 4) == 0b0011);
  CHECK(mask(outputs_on(1).axes, 2) == 0b10);
}

TEST_CASE("an axis that the tensor has not, or has once only, is refused when the rank is known") {
  for (const int axis : {4, 5, 100, -5, -100}) {
    const std::string refused = refusal([&] { mask(over(axis), 4); });
    CAPTURE(axis, refused);
    CHECK(refused == "Owner: expected an input with axis " + std::to_string(axis) + ", got shape [2, 3, 4, 5]");
  }
  CHECK(refusal([] { mask(over_last(3), 2); }) == "Owner: expected an input of at least 3 axes, got shape [2, 3]");
  CHECK(refusal([] { mask(over_last(1), 0); }) == "Owner: expected an input of at least 1 axis, got shape []");
  CHECK(refusal([] { mask(over(1, -2), 3); }) ==
        "Owner: expected different axes, got axis 1 twice in [1, -2] for an input of shape [2, 3, 4]");
  CHECK_THROWS_AS(mask(all_but(3), 3), std::invalid_argument);
  CHECK_THROWS_AS(mask(over_last(3), 2), std::invalid_argument);
  CHECK_THROWS_AS(mask(over_last(-1), 2), std::invalid_argument);
  CHECK_THROWS_AS(mask(over(1, 1), 3), std::invalid_argument);
  CHECK_THROWS_AS(mask(all_but(2, -1), 3), std::invalid_argument);
  CHECK_THROWS_AS(mask(join(over(1), over(-2)), 3), std::invalid_argument);
  // The same axes are distinct in a tensor of another rank.
  CHECK(mask(join(over(1), over(-2)), 4) == 0b0110);
}

TEST_CASE("sets that cannot be made") {
  CHECK_THROWS_AS(over(std::vector<int>(9, 0)), std::invalid_argument);
  CHECK_THROWS_AS(over(0, 1, 2, 3, 4, 5, 6, 7, 8), std::invalid_argument);
  CHECK_THROWS_AS(all_but(over_last(1)), std::invalid_argument);
  CHECK_THROWS_AS(join(over_last(1), over(0)), std::invalid_argument);
  CHECK_THROWS_AS(Extents(std::vector<int>(9, 1)), std::invalid_argument);
}

TEST_CASE("axis sets show themselves in error texts") {
  CHECK(text(over(1)) == "axis 1");
  CHECK(text(over(1, -2)) == "axes [1, -2]");
  CHECK(text(over_last(1)) == "the last axis");
  CHECK(text(over_last(2)) == "the last axes, as many as 2");
  CHECK(text(all_but(1)) == "all axes but [1]");
  CHECK(text(all_but(0, 1)) == "all axes but [0, 1]");
}

TEST_CASE("extents come from an integer, a list or a range") {
  const auto list = [](const Extents& extents) { return std::vector<std::int64_t>(extents.begin(), extents.end()); };
  CHECK(list(Extents(7)) == std::vector<std::int64_t>{7});
  CHECK(list(Extents(std::size_t{7})) == std::vector<std::int64_t>{7});
  CHECK(list({28, 29}) == std::vector<std::int64_t>{28, 29});
  CHECK(list(std::vector<int>{2, 3, 4}) == std::vector<std::int64_t>{2, 3, 4});
  CHECK(list(std::array<long, 2>{5, 6}) == std::vector<std::int64_t>{5, 6});
  // In one list, of different types, without a cast.
  const std::size_t rows = 28;
  const Eigen::Index columns = 29;
  CHECK(list({rows, columns, 3, std::uint8_t{4}}) == std::vector<std::int64_t>{28, 29, 3, 4});
  CHECK(list(Extents{rows}) == std::vector<std::int64_t>{28});
  CHECK(list(Extents{}).empty());
  CHECK(Extents({2, 3, 4}).product() == 24);
  CHECK(Extents(64).product() == 64);
  CHECK(Extents{}.product() == 1);
  CHECK(text(Extents(64).text()) == "64");
  CHECK(text(Extents({3, 4}).text()) == "[3, 4]");
}

TEST_CASE("an axis cannot be given where another kind of axis, or a number, belongs") {
  STATIC_REQUIRE(std::is_constructible_v<BatchNorm<float>, int, Channels>);
  STATIC_REQUIRE(std::is_constructible_v<BatchNorm<float>, int, Channels, double>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<BatchNorm<float>, int, Samples>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<BatchNorm<float>, int, Outputs>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<BatchNorm<float>, int, AxisSet>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<BatchNorm<float>, double>);
  STATIC_REQUIRE(std::is_constructible_v<GroupNorm<float>, int, int, Channels, Samples>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<GroupNorm<float>, int, int, Samples, Channels>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<GroupNorm<float>, int, double>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<InstanceNorm<float>, int, Samples, Channels>);
  STATIC_REQUIRE(std::is_constructible_v<LayerNorm<float>, int, AxisSet>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<LayerNorm<float>, int, Channels>);
  STATIC_REQUIRE(std::is_constructible_v<WeightNorm<float>, int, Outputs>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<WeightNorm<float>, int, Channels>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<int, BatchNorm<float>>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<int, LayerNorm<float>>);
}

// Each layer is a member of a class here, which takes braces, and its eps is the last number.
TEST_CASE("eps follows the extents or the axes that are named") {
  const struct {
    BatchNorm<float> batch{64, 1e-3}, batch_last{64, channels_on(-1), 1e-3};
    InstanceNorm<float> instance{8, 1e-3}, instance_last{8, channels_on(-1), 1e-3},
        instance_samples{8, channels_on(-1), samples_on(0, 1), 1e-3};
    GroupNorm<float> group{8, 64, 1e-3}, group_last{8, 64, channels_on(-1), 1e-3},
        group_samples{8, 64, channels_on(-1), samples_on(0, 1), 1e-3};
    LayerNorm<float> layer{64, 1e-3}, layer_two{{28, 28}, 1e-3}, layer_over{64, over(1), 1e-3};
    RMSNorm<float> rms{64, 1e-3}, rms_two{{28, 28}, 1e-3}, rms_over{64, over(1), 1e-3};
  } net;
  const std::vector<std::pair<const Normalization<float>*, std::int64_t>> layers = {
      {&net.batch, 64},           {&net.batch_last, 64},     {&net.instance, 8},    {&net.instance_last, 8},
      {&net.instance_samples, 8}, {&net.group, 64},          {&net.group_last, 64}, {&net.group_samples, 64},
      {&net.layer, 64},           {&net.layer_two, 28 * 28}, {&net.layer_over, 64}, {&net.rms, 64},
      {&net.rms_two, 28 * 28},    {&net.rms_over, 64}};
  for (const auto& [layer, features] : layers) {
    CHECK(layer->eps == 1e-3);
    CHECK(layer->features() == features);
  }
  CHECK(BatchNorm<float>(64, 1e-3F).eps == static_cast<double>(1e-3F));
  // The axes that are named come with it.
  Eigen::Tensor<float, 3> x(2, 3, 64);
  x.setConstant(1);
  CHECK(net.batch_last.evaluate(x).size() == x.size());
  CHECK(net.group_last.evaluate(x).size() == x.size());
  CHECK(refusal([&] { net.batch.evaluate(x); }).find("on axis 1, got") != std::string::npos);
}

namespace {

template <typename Integer>
void check_integers() {
  const Integer n = 6, m = 8;
  const std::vector<std::pair<Normalization<float>, std::int64_t>> layers = {{BatchNorm<float>(n), 6},
                                                                             {BatchNorm<float>{n}, 6},
                                                                             {MeanOnlyBatchNorm<float>{n}, 6},
                                                                             {InstanceNorm<float>{n}, 6},
                                                                             {GroupNorm<float>{n, n}, 6},
                                                                             {WeightNorm<float>{n}, 6},
                                                                             {LayerNorm<float>(n), 6},
                                                                             {LayerNorm<float>{n}, 6},
                                                                             {LayerNorm<float>({n, m}), 48},
                                                                             {LayerNorm<float>{n, m}, 48},
                                                                             {LayerNorm<float>{n, 1e-3}, 6},
                                                                             {LayerNorm<float>{n, 3}, 18},
                                                                             {RMSNorm<float>(n), 6},
                                                                             {RMSNorm<float>{n}, 6},
                                                                             {RMSNorm<float>({n, m}), 48},
                                                                             {RMSNorm<float>{n, m}, 48},
                                                                             {RMSNorm<float>{n, 1e-3}, 6},
                                                                             {LayerNorm<float>(std::vector{n, m}), 48},
                                                                             {LayerNorm<float>{std::array{n, m}}, 48}};
  for (const auto& [layer, features] : layers) CHECK(layer.features() == features);
}

}  // namespace

TEST_CASE("extents and numbers of channels are integers of any type, in braces too") {
  check_integers<int>();
  check_integers<std::int64_t>();
  check_integers<std::size_t>();
  check_integers<unsigned>();
  check_integers<std::uint8_t>();
  check_integers<long long>();
}

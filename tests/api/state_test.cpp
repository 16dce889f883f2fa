#include <cstdint>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "support.hpp"
#include "watch.hpp"

// What a file has to keep, and that nothing else is needed to go on training as if there had been no file.

using namespace eigennorm;
using watch::bits;
using watch::state_sizes;
using watch::StateSizes;

namespace {

template <typename Scalar>
StateSizes parameters_of(Normalization<Scalar>& layer) {
  StateSizes sizes;
  layer.for_each_parameter(
      [&](std::string_view name, Parameter<Scalar>& p) { sizes.emplace_back(name, p.value.size()); });
  return sizes;
}

// Name, number of values, values.
template <typename Scalar>
void write(std::ostream& stream, const Normalization<Scalar>& layer) {
  layer.for_each_state([&](std::string_view name, const auto& values) {
    using Value = typename std::decay_t<decltype(values)>::Scalar;
    stream << name << '\n' << values.size() << '\n';
    stream.write(reinterpret_cast<const char*>(values.data()),
                 values.size() * static_cast<std::int64_t>(sizeof(Value)));
  });
}

template <typename Scalar>
bool read(std::istream& stream, Normalization<Scalar>& layer) {
  bool matches = true;
  layer.for_each_state([&](std::string_view expected, auto values) {
    using Value = typename decltype(values)::Scalar;
    std::string name, count;
    std::getline(stream, name);
    std::getline(stream, count);
    matches = matches && name == expected && count == std::to_string(values.size());
    stream.read(reinterpret_cast<char*>(values.data()), values.size() * static_cast<std::int64_t>(sizeof(Value)));
  });
  return matches && stream.good();
}

template <typename Plain>
Plain random(Plain plain, std::uint64_t seed) {
  test::Random numbers(seed);
  for (Eigen::Index i = 0; i < plain.size(); ++i) {
    plain.data()[i] = static_cast<typename Plain::Scalar>(numbers.normal() + 0.1 * static_cast<double>(i % 7));
  }
  return plain;
}

// One step of plain gradient descent; returns every bit of what came out.
template <typename Scalar, typename Plain>
watch::Bytes train(Normalization<Scalar>& layer, const Plain& prototype, std::uint64_t step) {
  const Plain x = random(prototype, 2 * step), dy = random(prototype, 2 * step + 1);
  const Plain y = layer.forward(x);
  layer.zero_grad();
  const Plain dx = layer.backward(x, dy);
  layer.for_each_parameter([](auto, Parameter<Scalar>& p) { p.value -= Scalar(0.05) * p.grad; });
  watch::Bytes all = bits(y);
  watch::append(all, bits(dx));
  watch::append(all, bits(layer));
  watch::append(all, bits(Plain(layer.evaluate(x))));
  return all;
}

// `make` gives a new layer, settings included: those are code, not state.
template <typename Make, typename Plain>
void check_round_trip(Make make, const Plain& prototype) {
  auto layer = make();
  for (std::uint64_t step = 0; step < 7; ++step) train(layer, prototype, step);
  std::stringstream file;
  write(file, layer);
  auto restored = make();
  REQUIRE(read(file, restored));
  CHECK(file.peek() == std::char_traits<char>::eof());
  for (std::uint64_t step = 7; step < 17; ++step) {
    CAPTURE(step);
    CHECK(train(restored, prototype, step) == train(layer, prototype, step));
  }
}

}  // namespace

TEST_CASE("the state of every layer, by name and size") {
  CHECK(state_sizes(BatchNorm<float>(6)) ==
        StateSizes{{"scale", 6}, {"shift", 6}, {"running_mean", 6}, {"running_variance", 6}, {"batches", 1}});
  CHECK(state_sizes(MeanOnlyBatchNorm<float>(6)) == StateSizes{{"shift", 6}, {"running_mean", 6}, {"batches", 1}});
  CHECK(state_sizes(LayerNorm<double>({3, 4})) == StateSizes{{"scale", 12}, {"shift", 12}});
  CHECK(state_sizes(GroupNorm<float>(2, 6)) == StateSizes{{"scale", 6}, {"shift", 6}});
  CHECK(state_sizes(InstanceNorm<float>(6)) == StateSizes{{"scale", 6}, {"shift", 6}});
  CHECK(state_sizes(RMSNorm<float>(5)) == StateSizes{{"scale", 5}});
  CHECK(state_sizes(WeightNorm<float>(10)) == StateSizes{{"scale", 10}});
  CHECK(state_sizes(WeightNorm<float>(whole_tensor)) == StateSizes{{"scale", 1}});

  InstanceNorm<float> tracking(6);
  tracking.running.emplace(6);
  CHECK(state_sizes(tracking).size() == 5);
  BatchNorm<float> bare(6);
  bare.use_scale(false);
  bare.use_shift(false);
  bare.running.reset();
  CHECK(state_sizes(bare).empty());
}

TEST_CASE("the parameters of every layer, absent ones skipped") {
  BatchNorm<float> batch_norm(6);
  CHECK(parameters_of(batch_norm) == StateSizes{{"scale", 6}, {"shift", 6}});
  MeanOnlyBatchNorm<float> mean_only(6);
  CHECK(parameters_of(mean_only) == StateSizes{{"shift", 6}});
  RMSNorm<float> rms(5);
  CHECK(parameters_of(rms) == StateSizes{{"scale", 5}});
  LayerNorm<float> layer_norm(4);
  layer_norm.use_scale(false);
  CHECK(parameters_of(layer_norm) == StateSizes{{"shift", 4}});
  layer_norm.use_shift(false);
  CHECK(parameters_of(layer_norm).empty());
}

TEST_CASE("the maps are the layer's own memory") {
  BatchNorm<double> layer(3);
  layer.for_each_state([](std::string_view name, auto values) {
    using Value = typename decltype(values)::Scalar;
    if (name == "batches") {
      CHECK(std::is_same_v<Value, std::int64_t>);
      values(0) = 42;
    } else {
      CHECK(std::is_same_v<Value, double>);
      for (Eigen::Index i = 0; i < values.size(); ++i)
        values(i) = static_cast<Value>(name.size() + static_cast<std::size_t>(i));
    }
  });
  CHECK(layer.scale.value(2) == 7);
  CHECK(layer.shift.value(0) == 5);
  CHECK(layer.running->mean(1) == 13);
  CHECK(layer.running->variance(1) == 17);
  CHECK(layer.running->batches == 42);
  layer.for_each_parameter([](std::string_view, Parameter<double>& p) { p.value.setConstant(-1); });
  CHECK((layer.scale.value == -1).all());
  // Of a const layer they are read only.
  const BatchNorm<double>& reading = layer;
  reading.for_each_state(
      [](std::string_view, auto values) { CHECK(std::is_const_v<std::remove_pointer_t<decltype(values.data())>>); });
}

TEST_CASE("a visitor takes its map or parameter by value or by reference, of a const layer too") {
  BatchNorm<double> layer(3);
  layer.for_each_state([](std::string_view, auto& values) { values.setConstant(5); });
  layer.for_each_state([](std::string_view, auto&& values) { CHECK((values == 5).all()); });
  CHECK((layer.scale.value == 5).all());
  CHECK(layer.running->batches == 5);
  const BatchNorm<double>& reading = layer;
  reading.for_each_state([](std::string_view, auto& values) {
    CHECK((values == 5).all());
    CHECK(std::is_const_v<std::remove_pointer_t<decltype(values.data())>>);
  });
  std::vector<std::string> names;
  reading.for_each_parameter([&](std::string_view name, auto& parameter) {
    CHECK(std::is_same_v<decltype(parameter), const Parameter<double>&>);
    CHECK((parameter.value == 5).all());
    names.emplace_back(name);
  });
  CHECK(names == std::vector<std::string>{"scale", "shift"});
  // A visitor may count as it goes.
  int calls = 0;
  auto count = [calls](std::string_view, const Parameter<double>&) mutable { return ++calls; };
  reading.for_each_parameter(count);
  CHECK(count("", layer.scale) == 3);
}

TEST_CASE("written, read into a new layer, trained on: the same bits") {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Images = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  using Columns = Eigen::Tensor<double, 4>;
  const Images images(2, 6, 3, 4);
  check_round_trip([] { return BatchNorm<float>(6); }, images);
  check_round_trip(
      [] {
        BatchNorm<double> layer(6, channels_on(1), 1e-3);
        // The weight of the next batch is a matter of how many there were: the counter is state.
        layer.running->averaging = cumulative();
        return layer;
      },
      Columns(2, 6, 3, 4));
  check_round_trip([] { return MeanOnlyBatchNorm<float>(6); }, images);
  check_round_trip([] { return LayerNorm<float>({3, 4}); }, images);
  check_round_trip([] { return LayerNorm<double>({3, 4}); }, Columns(2, 6, 3, 4));
  check_round_trip([] { return LayerNorm<long double>(5); },
                   Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>(4, 5));
  check_round_trip([] { return GroupNorm<float>(3, 6); }, images);
  check_round_trip(
      [] {
        InstanceNorm<float> layer(6);
        layer.running.emplace(6);
        return layer;
      },
      images);
  check_round_trip([] { return RMSNorm<float>(9); }, Rows(5, 9));
  check_round_trip([] { return WeightNorm<float>(9, outputs_on(1)); }, Rows(5, 9));
  check_round_trip([] { return WeightNorm<float>(whole_tensor); }, Rows(5, 9));
}

TEST_CASE("what a damaged file brought is refused at the next step, and a whole one helps") {
  using Matrix = Eigen::MatrixXf;
  for (const std::string_view spoiled : {"running_mean", "running_variance", "batches"}) {
    BatchNorm<float> layer(3);
    for (std::uint64_t step = 0; step < 3; ++step) train(layer, Matrix(5, 3), step);
    std::stringstream file;
    write(file, layer);
    layer.for_each_state([&](std::string_view name, auto values) {
      using Value = typename decltype(values)::Scalar;
      if (name == spoiled)
        values(0) = std::numeric_limits<Value>::has_infinity ? -std::numeric_limits<Value>::infinity()
                                                             : std::numeric_limits<Value>::max();
    });
    const Matrix x = random(Matrix(5, 3), 7);
    CHECK(watch::refused(
              "BatchNorm", {"expected"}, [&] { layer.forward(x); }, layer) == "");
    CHECK(watch::refused(
              "BatchNorm", {"expected"}, [&] { layer.evaluate(x); }, layer) == "");
    CHECK(layer.running->rejected_batches == 0);
    REQUIRE(read(file, layer));
    layer.forward(x);
    CHECK(layer.running->batches == 4);
  }
}

TEST_CASE("without the counter a cumulative average would go astray") {
  // The round trip above can tell: this is what it would compare.
  using Matrix = Eigen::MatrixXd;
  BatchNorm<double> layer(3);
  layer.running->averaging = cumulative();
  for (std::uint64_t step = 0; step < 7; ++step) train(layer, Matrix(5, 3), step);
  BatchNorm<double> forgetful = layer;
  forgetful.running->batches = 0;
  CHECK(train(forgetful, Matrix(5, 3), 7) != train(layer, Matrix(5, 3), 7));
}

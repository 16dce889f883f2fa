#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>
#include <eigennorm/safetensors.hpp>

#include "catch.hpp"
#include "support.hpp"
#include "watch.hpp"

// Layers into a file and back: names, sizes, types; and that a layer is as it was where anything is wrong.

using namespace eigennorm;
using Catch::Matchers::ContainsSubstring;
using watch::bits;

namespace {

std::vector<std::string> keys(const SafeTensors& file) {
  std::vector<std::string> names;
  for (const StoredTensor& tensor : file.tensors()) names.push_back(tensor.name);
  return names;
}

std::vector<std::int64_t> shape(const SafeTensors& file, const std::string& name) { return file.at(name).shape; }

template <typename Layer>
Layer trained(Layer layer, std::uint64_t seed = 1) {
  test::Random random(seed);
  test::randomize(layer, random);
  if (layer.running) layer.running->batches = 17;
  return layer;
}

// `fresh` is made as `layer` was.
template <typename Layer>
void check_round_trip(const Layer& layer, Layer fresh, const Names& names, bool with_batches = true) {
  SafeTensors file;
  save(layer, file, "a.b.", names);
  const std::vector<unsigned char> bytes = file.bytes();
  load(fresh, SafeTensors::from_memory(bytes.data(), bytes.size()), "a.b.", names);
  if (!with_batches && fresh.running) fresh.running->batches = layer.running->batches;
  CHECK(bits(fresh) == bits(layer));
}

void check_unchanged(BatchNorm<float>& layer, const SafeTensors& file, const std::string& text,
                     const Names& names = pytorch_names()) {
  const watch::Bytes before = bits(layer);
  CHECK_THROWS_WITH(load(layer, file, "bn1.", names), ContainsSubstring(text));
  CHECK_THROWS_AS(load(layer, file, "bn1.", names), std::invalid_argument);
  CHECK(bits(layer) == before);
}

SafeTensors good_file() {
  SafeTensors file;
  save(trained(BatchNorm<float>(4)), file, "bn1.");
  return file;
}

// The good file, one tensor of it another one.
template <typename X>
SafeTensors with(const std::string& name, const X& x) {
  SafeTensors file = good_file();
  file.remove(name);
  file.add(name, x);
  return file;
}

}  // namespace

TEST_CASE("every layer goes into a file and back, to the bit") {
  for (const Names& names : {pytorch_names(), flax_names(), keras_names()}) {
    const bool counts = !names.keys("batches").empty();
    check_round_trip(trained(BatchNorm<float>(5)), BatchNorm<float>(5), names, counts);
    check_round_trip(trained(BatchNorm<double>(5)), BatchNorm<double>(5), names, counts);
    check_round_trip(trained(MeanOnlyBatchNorm<float>(5)), MeanOnlyBatchNorm<float>(5), names, counts);
    check_round_trip(trained(LayerNorm<float>({3, 4})), LayerNorm<float>({3, 4}), names);
    check_round_trip(trained(RMSNorm<double>(7)), RMSNorm<double>(7), names);
    check_round_trip(trained(GroupNorm<float>(2, 6)), GroupNorm<float>(2, 6), names);
    check_round_trip(trained(InstanceNorm<float>(6)), InstanceNorm<float>(6), names);
    InstanceNorm<float> tracking(6);
    tracking.running.emplace(6);
    check_round_trip(trained(tracking), tracking, names, counts);
    check_round_trip(trained(tracking), InstanceNorm<float>(6), names, counts);  // the file has running statistics
  }
  LayerNorm<float> bare(4);
  bare.use_shift(false);
  check_round_trip(trained(bare), bare, pytorch_names());
  check_round_trip(
      trained(BatchNorm<float>(5)), BatchNorm<float>(5),
      {{"scale", "s"}, {"shift", "t"}, {"running_mean", "m"}, {"running_variance", "v"}, {"batches", "n"}});
}

TEST_CASE("what is written has PyTorch's names, types and shapes") {
  SafeTensors file;
  save(trained(BatchNorm<float>(5)), file, "features.1.");
  save(trained(LayerNorm<double>({3, 4})), file, "ln.");
  save(trained(MeanOnlyBatchNorm<float>(5)), file, "mean.");
  CHECK(keys(file) == std::vector<std::string>{"features.1.bias", "features.1.num_batches_tracked",
                                               "features.1.running_mean", "features.1.running_var", "features.1.weight",
                                               "ln.bias", "ln.weight", "mean.bias", "mean.num_batches_tracked",
                                               "mean.running_mean"});
  CHECK(file.at("features.1.num_batches_tracked").type == "I64");
  CHECK(shape(file, "features.1.num_batches_tracked").empty());
  CHECK(file.at("features.1.weight").type == "F32");
  CHECK(shape(file, "features.1.weight") == std::vector<std::int64_t>{5});
  CHECK(file.at("ln.weight").type == "F64");
  CHECK(shape(file, "ln.weight") == std::vector<std::int64_t>{3, 4});
  CHECK_THROWS_WITH(save(BatchNorm<float>(5), file, "features.1."), ContainsSubstring("not there yet"));
  CHECK(keys(file).size() == 10);
  CHECK_THROWS_WITH(save(BatchNorm<float>(5), file, "x.", {{"scale", "s"}}),
                    "BatchNorm: save: expected names with a key for shift, got none");
  CHECK(keys(file).size() == 10);
  CHECK_THROWS_WITH(Names({{"weight", "w"}}), ContainsSubstring("Names: expected scale, shift"));
}

TEST_CASE("WeightNorm: g has its axis, both spellings are read, the bias of the layer is no leftover") {
  test::Random random(3);
  Eigen::Tensor<float, 3, Eigen::RowMajor> v(4, 4, 3), into(4, 4, 3);
  for (Eigen::Index i = 0; i < v.size(); ++i) v.data()[i] = static_cast<float>(random.normal());
  const WeightNorm<float> first = trained(WeightNorm<float>(4)), second = trained(WeightNorm<float>(4, outputs_on(1)));
  const WeightNorm<float> whole = trained(WeightNorm<float>(whole_tensor));
  SafeTensors file;
  save(first, v, file, "first.");
  save(second, v, file, "second.");
  save(whole, v, file, "whole.");
  file.add("first.bias", Eigen::VectorXf(Eigen::VectorXf::Zero(4)));
  CHECK(shape(file, "first.weight_g") == std::vector<std::int64_t>{4, 1, 1});
  CHECK(shape(file, "second.weight_g") == std::vector<std::int64_t>{1, 4, 1});
  CHECK(shape(file, "whole.weight_g").empty());
  CHECK(shape(file, "first.weight_v") == std::vector<std::int64_t>{4, 4, 3});

  WeightNorm<float> layer(4);
  load(layer, into, file, "first.");
  CHECK(bits(layer) == bits(first));
  CHECK(bits(into) == bits(v));
  WeightNorm<float> of_whole(whole_tensor);
  load(of_whole, into, file, "whole.");
  CHECK(of_whole.scale.value[0] == whole.scale.value[0]);

  // As many values, but those of another axis.
  into.setZero();
  CHECK_THROWS_WITH(load(layer, into, file, "second."),
                    ContainsSubstring("\"second.weight_g\": expected shape [4, 1, 1], got [1, 4, 1]"));
  Eigen::Tensor<float, 3, Eigen::RowMajor> other(4, 3, 4);
  CHECK_THROWS_WITH(load(layer, other, file, "first."),
                    ContainsSubstring("\"first.weight_v\": expected shape [4, 3, 4], got [4, 4, 3]"));
  CHECK_THROWS_WITH(save(LayerNorm<float>(4), v, file, "x."), ContainsSubstring("expected a WeightNorm beside its v"));
  CHECK_THROWS_WITH(load(layer, into, file, "none."), ContainsSubstring("\"none.parametrizations.weight.original0\""));
  CHECK(bits(layer) == bits(first));
  CHECK(Eigen::Map<const Eigen::ArrayXf>(into.data(), into.size()).isZero(0));

  SafeTensors newer;
  for (const auto& [from, to] : {std::pair("weight_g", "original0"), std::pair("weight_v", "original1")}) {
    StoredTensor tensor = file.at(std::string("first.") + from);
    tensor.name = std::string("c.parametrizations.weight.") + to;
    newer.add(tensor);
  }
  WeightNorm<float> of_newer(4);
  Eigen::Tensor<float, 3> columns(4, 4, 3);
  load(of_newer, columns, newer, "c.");
  CHECK(bits(of_newer) == bits(first));
  CHECK(columns(3, 1, 2) == v(3, 1, 2));
}

TEST_CASE("16 bits, doubles and other shapes become a layer's floats") {
  SafeTensors file;
  const Eigen::Vector3d scale(1.5, -2, 0.25), shift(1, 2, 3);
  file.add("n.weight", Eigen::Matrix<Eigen::bfloat16, 3, 1>(scale.cast<Eigen::bfloat16>()));
  file.add("n.bias", Eigen::Matrix<double, 1, 3>(shift.transpose()));
  file.add("n.running_mean", "F16", {1, 3, 1, 1}, std::vector<unsigned char>(6, 0));
  file.add("n.running_var", Eigen::Vector3f(1, 2, 3));
  file.add("n.num_batches_tracked", "I32", {1}, {5, 0, 0, 0});
  BatchNorm<float> layer(3);
  load(layer, file, "n.");
  CHECK(layer.scale.value.matrix() == scale.cast<float>());
  CHECK(layer.shift.value.matrix() == shift.cast<float>());
  CHECK(layer.running->mean.isZero(0));
  CHECK(layer.running->batches == 5);
  file.remove("n.num_batches_tracked");
  layer.running->batches = 9;
  load(layer, file, "n.");
  CHECK(layer.running->batches == 9);
}

TEST_CASE("whatever is wrong, one error says it all and the layer is as it was") {
  BatchNorm<float> layer = trained(BatchNorm<float>(4), 2);
  layer.forward(test::random_matrix(6, 4, 3));
  layer.backward(test::random_matrix(6, 4, 3), test::random_matrix(6, 4, 4));

  SafeTensors misspelled = good_file();
  StoredTensor weight = misspelled.at("bn1.weight");
  misspelled.remove("bn1.weight");
  weight.name = "bn1.weigth";
  misspelled.add(weight);
  check_unchanged(layer, misspelled,
                  "BatchNorm: file in memory: expected \"bn1.weight\" of 4 values, got none (nearest: \"bn1.weigth\"); "
                  "expected nothing else under \"bn1.\", got \"bn1.weigth\"");
  check_unchanged(layer, with("bn1.bias", Eigen::VectorXf(Eigen::VectorXf::Zero(3))),
                  "\"bn1.bias\": expected 4 values, got shape [3]");
  check_unchanged(layer, with("bn1.weight", Eigen::Vector4i(1, 2, 3, 4)),
                  "\"bn1.weight\": expected F64, F32, F16 or BF16, got I32");
  check_unchanged(layer, with("bn1.weight", Eigen::Vector4d(1, 1e300, 3, 4)),
                  "\"bn1.weight\": expected values in the range of F32, got one beyond it at index 1");
  check_unchanged(layer, with("bn1.running_var", Eigen::Vector4f(1, 2, -3, 4)),
                  "\"bn1.running_var\": expected finite values of at least 0, got -3 at index 2");
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  check_unchanged(layer, with("bn1.running_var", Eigen::Vector4f(1, nan, 3, 4)), "of at least 0, got nan at index 1");
  check_unchanged(layer, with("bn1.running_mean", Eigen::Vector4f(1, 2, 3, infinity)),
                  "\"bn1.running_mean\": expected finite values, got inf at index 3");
  check_unchanged(layer, with("bn1.num_batches_tracked", Eigen::Vector2i(1, 2)), "expected one value, got shape [2]");
  check_unchanged(layer, with("bn1.num_batches_tracked", Eigen::Matrix<std::int64_t, 1, 1>(-1)),
                  "expected a number of batches from 0 to 2^63 - 2, got -1");
  check_unchanged(layer, with("bn1.num_batches_tracked", Eigen::Matrix<float, 1, 1>(1)), "expected integers, got F32");
  check_unchanged(layer, SafeTensors(), "expected \"bn1.running_var\" of 4 values, got none");
  check_unchanged(layer, good_file(), "expected names with a key for shift, got none", {{"scale", "weight"}});

  SafeTensors more = good_file();
  more.add("bn1.extra", Eigen::Vector2f(1, 2));
  more.add("bn10.weight", Eigen::Vector2f(1, 2));  // not under the prefix
  check_unchanged(layer, more, "expected nothing else under \"bn1.\", got \"bn1.extra\"");
  load(layer, more, "bn1.", pytorch_names(), Leftovers::allowed);
  CHECK(layer.running->batches == 17);

  LayerNorm<float> without(4);
  CHECK_THROWS_WITH(load(without, good_file(), "bn1."), ContainsSubstring("got \"bn1.running_mean\""));
}

TEST_CASE("a layer whose running statistics are broken is mended by a file") {
  BatchNorm<float> layer(4);
  layer.running->mean[2] = std::numeric_limits<float>::quiet_NaN();
  load(layer, good_file(), "bn1.");
  layer.check();
  layer.running->mean[2] = std::numeric_limits<float>::quiet_NaN();
  SafeTensors file;
  CHECK_THROWS_WITH(save(layer, file, ""), ContainsSubstring("expected a finite running mean"));
  CHECK(file.tensors().empty());
  BatchNorm<float> moved = std::move(layer);
  CHECK_THROWS_WITH(load(layer, good_file(), "bn1."), ContainsSubstring("moved away"));
}

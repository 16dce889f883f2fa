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

TEST_CASE("as many values of another shape are another layer's") {
  SafeTensors file;
  file.add("a.weight", Eigen::MatrixXf(test::random_matrix(3, 2, 1)));
  file.add("a.bias", Eigen::MatrixXf(test::random_matrix(2, 3, 2)));
  LayerNorm<float> plane({2, 3});
  CHECK_THROWS_WITH(load(plane, file, "a."),
                    "LayerNorm: file in memory: \"a.weight\": expected shape [2, 3], got [3, 2]");
  file.remove("a.weight");
  file.add("a.weight", Eigen::VectorXf(Eigen::VectorXf::LinSpaced(6, 1, 6)));
  load(plane, file, "a.");
  CHECK(plane.scale.value[5] == 6);
  CHECK(plane.shift.value[1] == test::random_matrix(2, 3, 2)(0, 1));

  file.add("b.weight", Eigen::MatrixXf(test::random_matrix(8, 8, 3)));
  RMSNorm<float> rows(64);
  CHECK_THROWS_WITH(load(rows, file, "b."), ContainsSubstring("\"b.weight\": expected shape [64], got [8, 8]"));
  BatchNorm<float> layer(4);
  for (const char* state : {"weight", "bias", "running_mean", "running_var"})
    file.add(std::string("c.") + state, Eigen::Matrix2f(Eigen::Matrix2f::Ones()));
  CHECK_THROWS_WITH(load(layer, file, "c."), ContainsSubstring("\"c.running_var\": expected shape [4], got [2, 2]"));

  file.add("d.weight_g", Eigen::Matrix2f(Eigen::Matrix2f::Ones()));
  file.add("d.weight_v", Eigen::MatrixXf(test::random_matrix(4, 3, 4)));
  WeightNorm<float> weight(4);
  Eigen::MatrixXf v(4, 3);
  CHECK_THROWS_WITH(load(weight, v, file, "d."),
                    ContainsSubstring("\"d.weight_g\": expected shape [4, 1], got [2, 2]"));
}

TEST_CASE("Flax's WeightNorm is read by names of one's own, for its g and v lie apart") {
  const Eigen::MatrixXf kernel = test::random_matrix(3, 4, 5);  // inputs x outputs
  SafeTensors file;
  file.add("Dense_1/kernel", kernel);
  file.add("Dense_1/bias", Eigen::VectorXf(Eigen::VectorXf::Zero(4)));
  file.add("WeightNorm_0/Dense_1/kernel/scale", Eigen::VectorXf(Eigen::VectorXf::LinSpaced(4, 1, 4)));
  WeightNorm<float> layer(4, outputs_on(-1));
  Eigen::MatrixXf v(3, 4);
  const Names names{{"v", "Dense_1/kernel"}, {"g", "WeightNorm_0/Dense_1/kernel/scale"}};
  load(layer, v, file, "", names, Leftovers::allowed);
  CHECK(v == kernel);
  CHECK(layer.scale.value[3] == 4);
  for (const Names& other : {flax_names(), keras_names()})
    CHECK_THROWS_WITH(load(layer, v, file, "", other), ContainsSubstring("expected names with a key for g, got none"));
}

TEST_CASE("of a layer that cannot be saved, nothing is added") {
  SafeTensors file = good_file();
  const std::vector<unsigned char> before = file.bytes();
  CHECK_THROWS_WITH(save(BatchNorm<float>(4), file, "x.",
                         {{"scale", "a"}, {"shift", "a"}, {"running_mean", "m"}, {"running_variance", "v"}}),
                    ContainsSubstring("\"x.a\": expected a name that is not there yet"));
  CHECK(file.bytes() == before);
  if (std::numeric_limits<long double>::max_exponent > std::numeric_limits<double>::max_exponent) {
    LayerNorm<long double> layer(2);
    layer.scale.value[1] = std::numeric_limits<long double>::max();
    CHECK_THROWS_WITH(
        save(layer, file, "y."),
        "LayerNorm: save: \"y.weight\": expected values in the range of F64, got one beyond it at index 1");
    CHECK(file.bytes() == before);
  }
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
  check_unchanged(
      layer, misspelled,
      "BatchNorm: file in memory: expected \"bn1.weight\" of shape [4], got none (nearest: \"bn1.weigth\"); "
      "expected nothing else under \"bn1.\", got \"bn1.weigth\"");
  check_unchanged(layer, with("bn1.bias", Eigen::VectorXf(Eigen::VectorXf::Zero(3))),
                  "\"bn1.bias\": expected shape [4], got [3]");
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
  check_unchanged(layer, SafeTensors(), "expected \"bn1.running_var\" of shape [4], got none");
  check_unchanged(layer, good_file(), "expected names with a key for shift, got none", {{"scale", "weight"}});

  SafeTensors of_data_parallel;
  const SafeTensors good = good_file();
  for (StoredTensor tensor : good.tensors()) {
    tensor.name = "module." + tensor.name;
    of_data_parallel.add(tensor);
  }
  check_unchanged(layer, of_data_parallel, "\"bn1.weight\" of shape [4], got none (nearest: \"module.bn1.weight\")");

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

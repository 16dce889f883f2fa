#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <eigennorm/eigennorm.hpp>
#include <eigennorm/safetensors.hpp>

#include "catch.hpp"
#include "net_layers.hpp"
#include "support.hpp"
#include "vectors.hpp"

// Files of nets that PyTorch trained: what they hold, and that the layers read from them give PyTorch's answers.

using namespace eigennorm;
using nets::Numbers;
using nets::Real;
using test::worst;

namespace {

const std::string folder = std::string(nets::folder) + "safetensors/";

std::string decoded(const std::string& percent) {
  std::string text;
  for (std::size_t i = 0; i < percent.size(); ++i) {
    if (percent[i] != '%') {
      text += percent[i];
      continue;
    }
    text += static_cast<char>(std::stoi(percent.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  return text;
}

// Each value by its type's own reader, widened.
std::vector<double> values_of(const StoredTensor& tensor) {
  std::vector<double> values;
  const auto put = [&](auto value) {
    if constexpr (std::is_arithmetic_v<decltype(value)>) values.push_back(static_cast<double>(value));
  };
  if (!core::decode<double>(tensor, put).empty() && !core::decode<std::int64_t>(tensor, put).empty() &&
      !core::decode<bool>(tensor, put).empty()) {
    throw std::logic_error("a type that no case has had so far");
  }
  return values;
}

bool same_bits(double a, double b) { return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof a) == 0; }

void check_file(const vectors::Case& c) {
  const SafeTensors file = SafeTensors::read(folder + c.text("file"));
  const std::vector<std::string> types = vectors::detail::split(c.text("types"), ',');
  REQUIRE(file.tensors().size() == c.tensors.size());
  REQUIRE(types.size() == c.tensors.size());
  for (std::size_t i = 0; i < types.size(); ++i) {
    const StoredTensor& tensor = file.tensors()[i];
    const vectors::Tensor& truth = c.tensors[i];
    CAPTURE(tensor.name);
    CHECK(tensor.name == truth.name);
    CHECK(tensor.type == types[i]);
    CHECK(tensor.shape == truth.shape);
    const std::vector<double> values = values_of(tensor);
    REQUIRE(values.size() == truth.data.size());
    for (std::size_t k = 0; k < values.size(); ++k) CHECK(same_bits(values[k], truth.data[k]));
  }
  std::size_t metadata = 0;
  for (const auto& [key, value] : c.attributes) {
    if (key.compare(0, 5, "meta.") != 0) continue;
    ++metadata;
    CHECK(file.metadata().at(decoded(key.substr(5))) == decoded(value));
  }
  CHECK(file.metadata().size() == metadata);
}

template <typename Scalar>
Normalization<Scalar> layer_of(const vectors::Case& c) {
  const std::string& kind = c.text("layer");
  const double eps = c.number("epsilon");
  const vectors::Shape& shape = c.in("x").shape;
  if (kind == "batchnorm") return BatchNorm<Scalar>(shape[1], eps);
  if (kind == "instancenorm") return InstanceNorm<Scalar>(shape[1], eps);
  if (kind == "groupnorm") return GroupNorm<Scalar>(c.integer("groups"), shape[1], eps);
  if (kind == "layernorm") return LayerNorm<Scalar>(shape.back(), eps);
  if (kind == "rmsnorm") return RMSNorm<Scalar>(shape.back(), eps);
  throw std::logic_error(c.id + ": unknown layer");
}

// y is made of |xhat| (+ 1 where the mean is x's own) times |gamma|, and of |beta|.
template <typename Scalar>
Numbers scale_of_y(const vectors::Case& c, const Normalization<Scalar>& layer, const Numbers& y) {
  const bool by_channel = c.has("channel_axis");
  const bool one = !layer.running && c.text("layer") != "rmsnorm";
  const vectors::Shape& shape = c.in("x").shape;
  const std::vector<std::size_t> channels = by_channel ? nets::channels_of(shape) : std::vector<std::size_t>();
  Numbers scale;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const auto k = static_cast<Eigen::Index>(by_channel ? channels[i] : i % static_cast<std::size_t>(shape.back()));
    const Real gamma = layer.scale.value[k], beta = layer.shift.value.size() > 0 ? layer.shift.value[k] : 0;
    const Real xhat = gamma == 0 ? 0 : std::abs((y[i] - beta) / gamma);
    scale.push_back((xhat + (one ? 1 : 0)) * std::abs(gamma) + std::abs(beta));
  }
  return scale;
}

template <typename Scalar, typename Data, int Rank>
void check_layer(const vectors::Case& c) {
  const SafeTensors file = SafeTensors::read(folder + c.text("file"));
  Normalization<Scalar> layer = layer_of<Scalar>(c);
  layer.use_scale(c.integer("affine") == 1);
  layer.use_shift(c.integer("bias") == 1);
  load(layer, file, c.text("prefix") + ".");
  CHECK(layer.running.has_value() == c.has("batches"));
  if (layer.running) CHECK(layer.running->batches == c.integer("batches"));
  const vectors::Shape& shape = c.in("x").shape;
  const Numbers truth = nets::numbers(c, "ref", "y");
  const auto x = nets::tensor_of<Eigen::Tensor<Data, Rank, Eigen::RowMajor>>(shape, nets::numbers(c.in("x")));
  const auto turned = nets::tensor_of<Eigen::Tensor<Data, Rank>>(shape, nets::numbers(c.in("x")));
  const test::Tolerance limits = nets::tolerance(c);
  const Numbers scale = scale_of_y(c, layer, truth);
  CHECK(worst(nets::values_of(layer.evaluate(x)), truth, scale, limits) <= limits.limit);
  CHECK(worst(nets::values_of(layer.evaluate(turned)), truth, scale, limits) <= limits.limit);
}

template <typename Scalar, typename Data>
void check_layer(const vectors::Case& c) {
  switch (c.in("x").shape.size()) {
    case 2:
      return check_layer<Scalar, Data, 2>(c);
    case 3:
      return check_layer<Scalar, Data, 3>(c);
    default:
      return check_layer<Scalar, Data, 4>(c);
  }
}

// The v that is read may have either storage order.
template <int Rank, int Order>
void check_weight_norm(const vectors::Case& c) {
  const SafeTensors file = SafeTensors::read(folder + c.text("file"));
  const std::string prefix = c.text("prefix") + ".";
  const vectors::Tensor& w_truth = *c.find("ref", "w");
  WeightNorm<float> layer(w_truth.shape[0]);
  auto v = nets::tensor_of<Eigen::Tensor<float, Rank, Order>>(w_truth.shape, Numbers(w_truth.data.size(), 0));
  load(layer, v, file, prefix);
  const Numbers w = nets::values_of(layer.evaluate(v)), truth = nets::numbers(w_truth);
  const test::Tolerance of_layers = nets::tolerance(c), of_products = nets::tolerance(c, true);
  CHECK(worst(w, truth, nets::magnitudes(truth), of_layers) <= of_layers.limit);

  const nets::Convolution conv(c, c.text("of"), w_truth.shape);
  const Eigen::VectorXd bias = file.get<Eigen::VectorXd>(prefix + "bias");
  const Numbers b(bias.data(), bias.data() + bias.size()), x = nets::numbers(c.in("x"));
  const vectors::Shape& shape = c.in("x").shape;
  const Numbers y = nets::rounded(c, nets::apply(conv, x, shape, w, b));
  const Numbers scale = nets::apply(conv, nets::magnitudes(x), shape, nets::magnitudes(w), nets::magnitudes(b));
  CHECK(worst(y, nets::numbers(c, "ref", "y"), scale, of_products) <= of_products.limit);
}

// Linear layers and BatchNorms by turns. Beside x goes the size of its summands.
void check_net(const vectors::Case& c) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const SafeTensors file = SafeTensors::read(folder + c.text("file"));
  const std::vector<std::string> linear = vectors::detail::split(c.text("linear"), ',');
  const std::vector<std::string> norms = vectors::detail::split(c.text("batchnorm"), ',');
  const std::vector<std::string> eps = vectors::detail::split(c.text("epsilon"), ',');
  const vectors::Tensor& given = c.in("x");
  Matrix x(given.shape[0], given.shape[1]);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(given.data[static_cast<std::size_t>(i)]);
  Matrix size = x.cwiseAbs();
  for (std::size_t i = 0; i < linear.size(); ++i) {
    const Matrix weight = file.get<Matrix>(linear[i] + ".weight");
    const Eigen::RowVectorXf bias = file.get<Eigen::RowVectorXf>(linear[i] + ".bias");
    x = ((x * weight.transpose()).rowwise() + bias).eval();
    size = ((size * weight.cwiseAbs().transpose()).rowwise() + bias.cwiseAbs()).eval();
    if (i == norms.size()) break;
    BatchNorm<float> layer(x.cols(), std::stod(eps[i]));
    load(layer, file, norms[i] + ".");
    x = layer.evaluate(x).cwiseMax(0.0F).eval();
    const Eigen::ArrayXf factor = layer.scale.value.abs() / (layer.running->variance + float(layer.eps)).sqrt();
    size = ((size.rowwise() + layer.running->mean.abs().matrix().transpose()) * factor.matrix().asDiagonal()).eval();
    size = (size.rowwise() + layer.shift.value.abs().matrix().transpose()).eval();
  }
  const auto list = [](const Matrix& m) { return Numbers(m.data(), m.data() + m.size()); };
  const test::Tolerance limits = nets::tolerance(c, true);
  CHECK(worst(list(x), nets::numbers(c, "ref", "y"), list(size), limits) <= limits.limit);
}

void check(const vectors::Case& c) {
  const std::string& kind = c.text("layer");
  if (kind == "malformed") {
    CHECK_THROWS_AS(SafeTensors::read(folder + c.text("file")), std::invalid_argument);
  } else if (kind == "file") {
    check_file(c);
  } else if (kind == "net") {
    if (c.find("ref", "y") != nullptr) check_net(c);
  } else if (kind == "weightnorm") {
    c.text("of") == "linear" ? check_weight_norm<2, Eigen::RowMajor>(c) : check_weight_norm<3, Eigen::RowMajor>(c);
    c.text("of") == "linear" ? check_weight_norm<2, Eigen::ColMajor>(c) : check_weight_norm<3, Eigen::ColMajor>(c);
  } else if (c.dtype == "f64") {
    check_layer<double, double>(c);
  } else if (c.dtype == "f16") {
    check_layer<float, Eigen::half>(c);
  } else if (c.dtype == "bf16") {
    check_layer<float, Eigen::bfloat16>(c);
  } else {
    check_layer<float, float>(c);
  }
}

}  // namespace

TEST_CASE("files of trained nets hold what was stored, and their layers give the stored answers") {
  const std::vector<vectors::Case> cases = vectors::load(folder + "manifest.txt");
  CHECK(cases.size() == 50);
  for (const vectors::Case& c : cases) {
    CAPTURE(c.id);
    check(c);
  }
}

TEST_CASE("what was read and is written has the same tensors") {
  for (const char* name : {"types", "odd_layout", "transformer_bf16", "convnet_f32"}) {
    const SafeTensors file = SafeTensors::read(folder + "files/" + name + ".safetensors");
    const std::vector<unsigned char> bytes = file.bytes();
    const SafeTensors again = SafeTensors::from_memory(bytes.data(), bytes.size());
    REQUIRE(again.tensors().size() == file.tensors().size());
    for (std::size_t i = 0; i < file.tensors().size(); ++i) {
      const StoredTensor &a = file.tensors()[i], &b = again.tensors()[i];
      CHECK((a.name == b.name && a.type == b.type && a.shape == b.shape && a.size == b.size));
      CHECK(std::equal(a.bytes, a.bytes + a.size, b.bytes));
    }
    CHECK(again.metadata() == file.metadata());
    CHECK(again.bytes() == bytes);
  }
}

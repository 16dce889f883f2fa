#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>
#include <eigennorm/fold.hpp>

#include "catch.hpp"
#include "net_layers.hpp"
#include "support.hpp"
#include "vectors.hpp"

// A folded layer is the layer and its normalization in one: answers of data/nets, then what the interface promises.

using namespace eigennorm;
using nets::Numbers;
using nets::Real;
using test::worst;

namespace {

template <typename Scalar>
BatchNorm<Scalar> layer_of(const vectors::Case& c) {
  BatchNorm<Scalar> layer(c.integer("out_channels"), c.number("epsilon"));
  const auto assign = [&](const char* state, const char* name) {
    const std::vector<double>& given = c.in(name).data;
    const std::vector<Scalar> values(given.begin(), given.end());
    layer.assign(state, values.data(), static_cast<std::int64_t>(values.size()));
  };
  assign("running_mean", "running_mean");
  assign("running_variance", "running_var");
  if (c.integer("affine") == 1) {
    assign("scale", "gamma");
    assign("shift", "beta");
  } else {
    layer.use_scale(false);
    layer.use_shift(false);
  }
  return layer;
}

struct Scales {
  Numbers bias, y;
};

Scales scales(const vectors::Case& c, const nets::Convolution& conv) {
  const auto channels = static_cast<std::size_t>(c.integer("out_channels"));
  const Numbers gamma = nets::input_or(c, "gamma", channels, 1), beta = nets::input_or(c, "beta", channels, 0);
  const Numbers mean = nets::numbers(c.in("running_mean")), variance = nets::numbers(c.in("running_var"));
  const Numbers bias = nets::input_or(c, "bias", channels, 0);
  Scales result;
  Numbers s;
  for (std::size_t i = 0; i < channels; ++i) {
    s.push_back(std::abs(gamma[i]) / std::sqrt(variance[i] + static_cast<Real>(c.number("epsilon"))));
    result.bias.push_back((std::abs(bias[i]) + std::abs(mean[i])) * s[i] + std::abs(beta[i]));
  }
  result.y = nets::apply(conv, nets::magnitudes(nets::numbers(c.in("x"))), c.in("x").shape,
                         nets::magnitudes(nets::numbers(c.in("weight"))), Numbers(channels, 0));
  const std::vector<std::size_t> channel = nets::channels_of(c.find("ref", "y")->shape);
  for (std::size_t i = 0; i < result.y.size(); ++i) result.y[i] = result.y[i] * s[channel[i]] + result.bias[channel[i]];
  return result;
}

template <typename Scalar, int Rank, int Order>
void check(const vectors::Case& c) {
  using Tensor = Eigen::Tensor<Scalar, Rank, Order>;
  const BatchNorm<Scalar> layer = layer_of<Scalar>(c);
  const nets::Convolution conv(c, c.text("layer"), c.in("weight").shape);
  const auto weight = nets::tensor_of<Tensor>(c.in("weight").shape, nets::numbers(c.in("weight")));
  const Outputs outputs = conv.transposed ? outputs_on(1) : outputs_on(0);
  Numbers folded_weight, folded_bias;
  const auto keep = [&](const auto& folded) {
    folded_weight = nets::values_of(folded.weight);
    folded_bias = test::Numbers(folded.bias.data(), folded.bias.data() + folded.bias.size());
  };
  if (const vectors::Tensor* given = c.find("in", "bias")) {
    Eigen::Matrix<Scalar, Eigen::Dynamic, 1> bias(conv.outputs);
    for (Eigen::Index i = 0; i < bias.size(); ++i) bias[i] = static_cast<Scalar>(given->data[std::size_t(i)]);
    keep(fold(layer, weight, bias, outputs, conv.groups));
  } else {
    keep(fold(layer, weight, outputs, conv.groups));
  }
  const Numbers truth = nets::numbers(c, "ref", "folded_weight");
  const test::Tolerance of_layers = nets::tolerance(c), of_products = nets::tolerance(c, true);
  CHECK(worst(folded_weight, truth, nets::magnitudes(truth), of_layers) <= of_layers.limit);
  const Scales scale = scales(c, conv);
  CHECK(worst(folded_bias, nets::numbers(c, "ref", "folded_bias"), scale.bias, of_layers) <= of_layers.limit);
  const Numbers y =
      nets::rounded(c, nets::apply(conv, nets::numbers(c.in("x")), c.in("x").shape, folded_weight, folded_bias));
  CHECK(worst(y, nets::numbers(c, "ref", "y"), scale.y, of_products) <= of_products.limit);
}

template <int Rank>
void check_orders(const vectors::Case& c) {
  if (c.dtype == "f64") {
    check<double, Rank, Eigen::RowMajor>(c);
    check<double, Rank, Eigen::ColMajor>(c);
  } else {
    check<float, Rank, Eigen::RowMajor>(c);
    check<float, Rank, Eigen::ColMajor>(c);
  }
}

BatchNorm<float> trained(Eigen::Index channels) {
  BatchNorm<float> layer(channels);
  test::Random random(5);
  test::randomize(layer, random);
  return layer;
}

}  // namespace

TEST_CASE("folding agrees with the stored answers") {
  const std::vector<vectors::Case> cases = vectors::load(std::string(nets::folder) + "fold/manifest.txt");
  CHECK(cases.size() == 13);
  for (const vectors::Case& c : cases) {
    CAPTURE(c.id);
    switch (c.in("weight").shape.size()) {
      case 2:
        check_orders<2>(c);
        break;
      case 3:
        check_orders<3>(c);
        break;
      default:
        check_orders<4>(c);
    }
  }
}

TEST_CASE("a convolution over volumes folds like a matrix of its rows") {
  const BatchNorm<float> layer = trained(3);
  Eigen::Tensor<float, 5, Eigen::RowMajor> volume(3, 2, 2, 3, 2);
  volume.setRandom();
  const Eigen::Map<const Eigen::Matrix<float, 3, 24, Eigen::RowMajor>> rows(volume.data());
  const auto folded = fold(layer, volume);
  const auto flat = fold(layer, rows);
  CHECK(Eigen::Map<const Eigen::Matrix<float, 3, 24, Eigen::RowMajor>>(folded.weight.data()) == flat.weight);
  CHECK(folded.bias == flat.bias);
}

TEST_CASE("a folded MeanOnlyBatchNorm moves the bias alone") {
  MeanOnlyBatchNorm<double> layer(4);
  layer.running->mean << 1, -2, 3, 0.5;
  layer.shift.value << 4, 5, -6, 7;
  const Eigen::MatrixXd weight = Eigen::MatrixXd::Random(4, 3);
  const Eigen::RowVectorXd bias = Eigen::RowVectorXd::Random(4);
  const auto [w, b] = fold(layer, weight, bias);
  CHECK(w == weight);
  CHECK(b ==
        Eigen::RowVectorXd(bias - layer.running->mean.matrix().transpose() + layer.shift.value.matrix().transpose()));
}

TEST_CASE("folding takes views, 16 bits, outputs on other axes and vectors of any kind") {
  const BatchNorm<float> layer = trained(4);
  const Eigen::MatrixXf large = Eigen::MatrixXf::Random(9, 12);
  const auto block = large.block(2, 3, 4, 5);
  const Eigen::MatrixXf copy = block;
  const Eigen::VectorXf bias = Eigen::VectorXf::Random(8);
  const Eigen::Map<const Eigen::VectorXf, 0, Eigen::InnerStride<2>> strided(bias.data(), 4);
  const Eigen::VectorXf packed = strided;
  const auto folded = fold(layer, copy, packed);
  const auto of_views = fold(layer, block, strided);
  CHECK(of_views.weight == folded.weight);
  CHECK(of_views.bias == folded.bias);

  const Eigen::MatrixXf turned = copy.transpose();  // inputs x outputs
  const auto last = fold(layer, turned, packed, outputs_on(-1));
  CHECK(last.weight == folded.weight.transpose());
  CHECK(last.bias == folded.bias);

  const Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic> halves = copy.cast<Eigen::half>();
  const Eigen::Matrix<Eigen::half, Eigen::Dynamic, 1> half_bias = packed.cast<Eigen::half>();
  const auto of_halves = fold(layer, halves, half_bias);
  const auto of_floats = fold(layer, Eigen::MatrixXf(halves.cast<float>()), Eigen::VectorXf(half_bias.cast<float>()));
  CHECK(of_halves.weight == of_floats.weight.cast<Eigen::half>());
  CHECK(of_halves.bias == of_floats.bias.cast<Eigen::half>());

  InstanceNorm<float> instance(4);
  instance.scale = layer.scale;
  instance.shift = layer.shift;
  instance.running = layer.running;
  CHECK(fold(instance, copy, packed).weight == folded.weight);
}

TEST_CASE("a running variance of 0 without eps folds to what evaluate gives: the shift") {
  BatchNorm<float> layer(2, 0.0);
  layer.running->variance << 0, 4;
  layer.shift.value << 3, 1;
  const Eigen::MatrixXf weight = Eigen::MatrixXf::Ones(2, 2);
  const auto folded = fold(layer, weight);
  CHECK(folded.weight.row(0).isZero(0));
  CHECK(folded.bias[0] == 3);
  CHECK(folded.weight(1, 0) == 0.5F);
}

TEST_CASE("what cannot be folded is refused") {
  using Catch::Matchers::ContainsSubstring;
  const BatchNorm<float> layer = trained(6);
  const Eigen::MatrixXf weight = Eigen::MatrixXf::Random(6, 4);
  const Eigen::VectorXf bias = Eigen::VectorXf::Random(6), short_bias = Eigen::VectorXf::Random(5);
  Eigen::Tensor<float, 3> transposed(4, 3, 2);
  CHECK_THROWS_WITH(fold(LayerNorm<float>(6), weight),
                    "fold: expected a layer with running statistics, got a LayerNorm that has none");
  BatchNorm<float> without = layer;
  without.running.reset();
  CHECK_THROWS_WITH(fold(without, weight), ContainsSubstring("got a BatchNorm that has none"));
  CHECK_THROWS_WITH(fold(layer, Eigen::MatrixXf(weight.topRows(5))),
                    "fold: expected a weight of 6 outputs on axis 0, got shape [5, 4]");
  CHECK_THROWS_WITH(fold(layer, weight, short_bias), "fold: expected a bias of 6 values on one axis, got shape [5, 1]");
  CHECK_THROWS_WITH(fold(layer, weight, bias, outputs_on(0), 4),
                    "fold: expected a number of groups that divides 6 channels, got 4");
  CHECK_THROWS_WITH(fold(layer, weight, bias, outputs_on(0), 0), ContainsSubstring("groups that divides"));
  CHECK_THROWS_WITH(fold(layer, transposed, bias, outputs_on(1), 3),
                    "fold: expected a weight of 2 outputs a group on axis 1, got shape [4, 3, 2]");
  CHECK_NOTHROW(fold(layer, transposed, bias, outputs_on(1), 2));
  Eigen::Tensor<float, 3> last(4, 2, 3);
  CHECK_THROWS_WITH(fold(layer, last, bias, outputs_on(-1), 2),
                    "fold: expected groups only of PyTorch's transposed convolutions, outputs on axis 1, got 2 with "
                    "outputs on axis 2");
  Eigen::Tensor<float, 3> odd(5, 3, 2);
  CHECK_THROWS_WITH(fold(layer, odd, bias, outputs_on(1), 2),
                    ContainsSubstring("inputs on axis 0 that 2 groups divide"));
  CHECK_THROWS_WITH(fold(layer, weight, bias, outputs_on(2)), ContainsSubstring("expected an input with axis 2"));
  BatchNorm<float> rectified = layer;
  rectified.activation = Activation::relu;
  CHECK_THROWS_WITH(fold(rectified, weight),
                    "fold: expected a layer without an activation, which no weight can hold, got relu");
  BatchNorm<float> broken = layer;
  broken.running->variance[1] = -1;
  CHECK_THROWS_WITH(fold(broken, weight), ContainsSubstring("running variance of at least 0"));
}

#include <functional>
#include <string>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

// The invariances of Ba, Kiros and Hinton (2016), Table 1: which changes of weights and data a normalized
// linear layer does not notice. eps is 0, since any other breaks the scalings a little.

using namespace test;
using Eigen::MatrixXd;

namespace {

/// Weights (outputs x inputs) and data (samples x inputs).
struct Net {
  MatrixXd weights, data;
};

struct Gradients {
  MatrixXd weights, data;
};

MatrixXd normals(Eigen::Index rows, Eigen::Index columns, std::uint64_t seed) {
  Random random(seed);
  MatrixXd result(rows, columns);
  for (double& value : result.reshaped()) value = random.normal();
  return result;
}

Net start() { return {normals(6, 7, 1), normals(9, 7, 2)}; }

/// For every sample and output something non-trivial, as a loss would send back.
MatrixXd incoming() { return normals(9, 6, 3); }

/// A linear layer under a normalization of its outputs.
template <typename Layer>
struct NormalizedOutputs {
  Layer layer;

  MatrixXd output(const Net& net) {
    const MatrixXd summed = net.data * net.weights.transpose();
    return layer.forward(summed);
  }
  Gradients backward(const Net& net) {
    const MatrixXd summed = net.data * net.weights.transpose();
    layer.forward(summed);
    const MatrixXd gradient = layer.backward(summed, incoming());
    return {gradient.transpose() * net.data, gradient * net.weights};
  }
};

/// A linear layer under a normalization of its weights.
struct NormalizedWeights {
  eigennorm::WeightNorm<double> layer{6};

  MatrixXd output(const Net& net) { return net.data * layer.forward(net.weights).transpose(); }
  Gradients backward(const Net& net) {
    const MatrixXd weights = layer.forward(net.weights);
    const MatrixXd gradient = incoming().transpose() * net.data;
    return {layer.backward(net.weights, gradient), incoming() * weights};
  }
};

NormalizedOutputs<eigennorm::BatchNorm<double>> batch_norm() {
  return {eigennorm::BatchNorm<double>(6, eigennorm::channels_on(1), 0.0)};
}
NormalizedOutputs<eigennorm::LayerNorm<double>> layer_norm() { return {eigennorm::LayerNorm<double>(6, 0.0)}; }

struct Change {
  const char* name;
  std::function<void(Net&)> apply;
  bool batch_norm, weight_norm, layer_norm;  // invariant?
};

const std::vector<Change>& table() {
  static const std::vector<Change> changes{
      {"weight matrix scaled", [](Net& net) { net.weights *= 3.7; }, true, true, true},
      {"weight matrix shifted", [](Net& net) { net.weights.rowwise() += normals(1, 7, 4).row(0); }, false, false, true},
      {"one weight vector scaled", [](Net& net) { net.weights.row(2) *= 3.7; }, true, true, false},
      {"data set scaled", [](Net& net) { net.data *= 3.7; }, true, false, true},
      {"data set shifted", [](Net& net) { net.data.rowwise() += normals(1, 7, 5).row(0); }, true, false, false},
      {"one case scaled", [](Net& net) { net.data.row(4) *= 3.7; }, false, false, true},
  };
  return changes;
}

template <typename Method>
void check_cell(Method method, const Change& change, bool invariant) {
  INFO(change.name << (invariant ? ": must not count" : ": must count"));
  Net net = start();
  const MatrixXd before = method.output(net);
  change.apply(net);
  const double difference = (method.output(net) - before).cwiseAbs().maxCoeff();
  if (invariant) {
    CHECK(difference <= 1e-12);
  } else {
    CHECK(difference >= 0.05);
  }
}

template <typename Method>
void check_gradient_law(Method method) {
  const double factor = 3.7;
  Net net = start();
  const Gradients before = method.backward(net);
  net.weights *= factor;
  const Gradients after = method.backward(net);
  CHECK((after.weights * factor - before.weights).cwiseAbs().maxCoeff() <= 1e-12);
  CHECK((after.data - before.data).cwiseAbs().maxCoeff() <= 1e-12);
  CHECK(before.weights.cwiseAbs().maxCoeff() >= 0.1);
  CHECK(before.data.cwiseAbs().maxCoeff() >= 0.1);
}

}  // namespace

TEST_CASE("invariances of batch normalization") {
  for (const Change& change : table()) check_cell(batch_norm(), change, change.batch_norm);
}

TEST_CASE("invariances of weight normalization") {
  for (const Change& change : table()) check_cell(NormalizedWeights{}, change, change.weight_norm);
}

TEST_CASE("invariances of layer normalization") {
  for (const Change& change : table()) check_cell(layer_norm(), change, change.layer_norm);
}

TEST_CASE("weights k times as large have gradients 1/k as large, and the data's stay") {
  check_gradient_law(batch_norm());
  check_gradient_law(layer_norm());
  check_gradient_law(NormalizedWeights{});
}

TEMPLATE_LIST_TEST_CASE("a power of two changes no bit", "", FloatingFields) {
  using Scalar = typename TestType::Scalar;
  using namespace eigennorm;
  std::vector<Normalization<Scalar>> layers;
  layers.push_back(BatchNorm<Scalar>(5, channels_on(1), 0.0));
  layers.push_back(LayerNorm<Scalar>(200, 0.0));
  layers.push_back(LayerNorm<Scalar>(5, over(1), 0.0));
  layers.push_back(RMSNorm<Scalar>(200, 0.0));
  layers.push_back(GroupNorm<Scalar>(5, 5, channels_on(1), samples_on(0), 0.0));
  layers.push_back(WeightNorm<Scalar>(3));
  const Sizes shape{3, 5, 200};
  for (auto& layer : layers) {
    if (layer.running) layer.running.reset();
    Random random(6);
    const Numbers numbers = random.normals(3000, 0.4);
    const TestType x(shape, numbers);
    TestType y(shape);
    forward(layer, x, y);
    for (const int exponent : {-20, -3, 1, 7, 30}) {
      INFO("times 2^" << exponent);
      Numbers scaled = x.numbers();
      for (Real& value : scaled) value = std::ldexp(value, exponent);
      TestType y_scaled(shape);
      forward(layer, TestType(shape, scaled), y_scaled);
      CHECK(same_bits(y_scaled, y));
    }
  }
}

#include <cstdint>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "watch.hpp"

// Tensors without elements: y is empty, gradients and running statistics stay as they were. A layer without
// features cannot be made.

using namespace eigennorm;
using watch::bits;
using watch::refused;

namespace {

struct Case {
  std::string name;
  std::vector<int> features;
  Normalization<float> layer;
};

// For tensors of shape [3, 6, 4, 5].
std::vector<Case> cases() {
  InstanceNorm<float> tracking(6);
  tracking.running.emplace(6);
  BatchNorm<float> frozen(6);
  frozen.freeze();
  return {
      {"BatchNorm", {1}, BatchNorm<float>(6)},
      {"frozen BatchNorm", {1}, frozen},
      {"BatchNorm, channels last", {3}, BatchNorm<float>(5, channels_on(-1))},
      {"MeanOnlyBatchNorm", {1}, MeanOnlyBatchNorm<float>(6)},
      {"LayerNorm", {3}, LayerNorm<float>(5)},
      {"LayerNorm of two axes", {2, 3}, LayerNorm<float>({4, 5})},
      {"LayerNorm, channels first", {1}, LayerNorm<float>(6, over(1))},
      {"GroupNorm", {1}, GroupNorm<float>(3, 6)},
      {"GroupNorm, channels last", {3}, GroupNorm<float>(5, 5, channels_on(-1))},
      {"InstanceNorm", {1}, InstanceNorm<float>(6)},
      {"InstanceNorm with running statistics", {1}, tracking},
      {"RMSNorm", {3}, RMSNorm<float>(5)},
      {"WeightNorm", {0}, WeightNorm<float>(3)},
      {"WeightNorm of columns", {3}, WeightNorm<float>(5, outputs_on(3))},
      {"WeightNorm of the whole", {}, WeightNorm<float>(whole_tensor)},
  };
}

bool contains(const std::vector<int>& axes, int axis) {
  for (const int each : axes) {
    if (each == axis) return true;
  }
  return false;
}

template <typename Tensor>
void check_empty(Normalization<float> layer, const Tensor& x) {
  layer.scale.grad.setConstant(3);
  layer.shift.grad.setConstant(4);
  const auto scale = bits(layer.scale.grad), shift = bits(layer.shift.grad);
  const auto running = layer.running ? bits(*layer.running) : watch::Bytes();
  const Tensor y = layer.forward(x);
  CHECK(y.size() == 0);
  CHECK(y.dimensions() == x.dimensions());
  CHECK(Tensor(layer.evaluate(x)).size() == 0);
  CHECK_FALSE(layer.moments().empty());
  const Tensor dx = layer.backward(x, x);
  CHECK(dx.size() == 0);
  CHECK(dx.dimensions() == x.dimensions());
  CHECK(bits(layer.scale.grad) == scale);
  CHECK(bits(layer.shift.grad) == shift);
  if (layer.running) CHECK(bits(*layer.running) == running);
  Moments<float> own;
  Tensor into(x.dimensions());
  layer.forward(x, into, {{}, &own});
  layer.backward(x, x, into, {{}, &own});
  // The layer is as good as new.
  Tensor full(3, 6, 4, 5);
  full.setRandom();
  CHECK_NOTHROW(layer.forward(full));
  CHECK_NOTHROW(layer.backward(full, full));
}

}  // namespace

TEMPLATE_TEST_CASE_SIG("every axis in turn without extent", "", ((int Order), Order), Eigen::RowMajor,
                       Eigen::ColMajor) {
  using Tensor = Eigen::Tensor<float, 4, Order>;
  for (const Case& c : cases()) {
    for (int axis = 0; axis < 4; ++axis) {
      CAPTURE(c.name, axis);
      Eigen::array<Eigen::Index, 4> extents = {3, 6, 4, 5};
      extents[static_cast<std::size_t>(axis)] = 0;
      const Tensor x(extents);
      if (!contains(c.features, axis)) {
        check_empty(c.layer, x);
        continue;
      }
      // The layer has features, x has none.
      Normalization<float> layer = c.layer;
      const Normalization<float> before = layer;
      CHECK_THROWS_AS(layer.forward(x), std::invalid_argument);
      CHECK_THROWS_AS(layer.evaluate(x), std::invalid_argument);
      CHECK(bits(layer) == bits(before));
    }
  }
}

TEST_CASE("a batch of no samples does not hide a wrong shape") {
  BatchNorm<float> layer(6);
  const Eigen::Tensor<float, 4> x(0, 5, 4, 5);
  CHECK(refused(
            "BatchNorm", {"6", "[0, 5, 4, 5]"}, [&] { layer.forward(x); }, layer) == "");
}

TEST_CASE("no value is not one value: an empty batch asks for no variance") {
  InstanceNorm<float> layer(6);
  layer.running.emplace(6);
  check_empty(layer, Eigen::Tensor<float, 4>(0, 6, 1, 1));
}

TEST_CASE("matrices and vectors without rows or columns") {
  LayerNorm<float> layer(4);
  const Eigen::MatrixXf columns(0, 4);
  CHECK(layer.forward(columns).cols() == 4);
  CHECK(layer.backward(columns, columns).rows() == 0);
  CHECK(layer.evaluate(columns).size() == 0);
  const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows(0, 4);
  CHECK(layer.forward(rows).size() == 0);
  CHECK(layer.evaluate(Eigen::MatrixXf(3, 4).topRows(0)).size() == 0);
  BatchNorm<float> batch_norm(4);
  CHECK(batch_norm.forward(columns).size() == 0);
  CHECK(batch_norm.running->batches == 0);
  WeightNorm<float> weights(3);
  const Eigen::MatrixXf no_inputs(3, 0);
  CHECK(weights.forward(no_inputs).size() == 0);
  weights.scale_from(no_inputs);
  CHECK((weights.scale.value == 0).all());
  WeightNorm<float> whole(whole_tensor);
  const Eigen::VectorXf nothing;
  CHECK(whole.forward(nothing).size() == 0);
  const Eigen::Tensor<float, 1> no_values(0);
  CHECK(whole.forward(no_values).size() == 0);
}

TEST_CASE("a layer without features cannot be made") {
  CHECK(refused("BatchNorm", {"0"}, [] { BatchNorm<float>(0); }) == "");
  CHECK(refused("MeanOnlyBatchNorm", {"0"}, [] { MeanOnlyBatchNorm<float>(0); }) == "");
  CHECK(refused("LayerNorm", {"0"}, [] { LayerNorm<float>(0); }) == "");
  CHECK(refused("LayerNorm", {"[28, 0]"}, [] { LayerNorm<float>({28, 0}); }) == "");
  CHECK(refused("GroupNorm", {"0"}, [] { GroupNorm<float>(1, 0); }) == "");
  CHECK(refused("InstanceNorm", {"0"}, [] { InstanceNorm<float>(0); }) == "");
  CHECK(refused("RMSNorm", {"0"}, [] { RMSNorm<float>(0); }) == "");
  CHECK(refused("WeightNorm", {"0"}, [] { WeightNorm<float>(0); }) == "");
}

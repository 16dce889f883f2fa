#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "support.hpp"
#include "watch.hpp"

// Wrong use, by name. Each must end in std::invalid_argument whose text begins with the layer or function
// and says what was expected and what came; afterwards every bit of outputs, gradients, running statistics
// and moments is as it was, and the layer goes back as if nothing had been.

using namespace eigennorm;
using watch::bits;
using watch::refused;

namespace {

using Matrix = Eigen::MatrixXf;
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Parts = std::initializer_list<std::string>;

template <typename Plain>
Plain random(Plain plain, std::uint64_t seed) {
  test::Random numbers(seed);
  for (Eigen::Index i = 0; i < plain.size(); ++i) plain.data()[i] = static_cast<float>(numbers.normal());
  return plain;
}

// A layer in the middle of its training, with everything that a wrong call could harm.
template <typename Plain>
struct Bench {
  Normalization<float> layer;
  Plain x, dy, y, dx;
  Moments<float> own;

  Bench(const Normalization<float>& made, const Plain& prototype)
      : layer(made), x(random(prototype, 1)), dy(random(prototype, 2)), y(prototype), dx(prototype) {
    test::Random numbers(3);
    test::randomize(layer, numbers);
    layer.forward(x, y, {{}, &own});
    layer.forward(x, y);
    layer.backward(x, dy, dx);
  }
};

template <typename Plain>
watch::Bytes bits(const Bench<Plain>& bench) {
  watch::Bytes all = watch::bits(bench.layer);
  for (const Plain* plain : {&bench.x, &bench.dy, &bench.y, &bench.dx}) watch::append(all, watch::bits(*plain));
  watch::append(all, watch::bits(bench.own));
  return all;
}

// What backward does next: all that it depends on, whether it can be seen from outside or not.
template <typename Plain>
watch::Bytes future(Bench<Plain> bench) {
  watch::Bytes all;
  for (Moments<float>* moments : {static_cast<Moments<float>*>(nullptr), &bench.own}) {
    try {
      watch::append(all, watch::bits(Plain(bench.layer.backward(bench.x, bench.dy, {{}, moments}))));
    } catch (const std::invalid_argument&) {
      all.push_back(0);
    }
  }
  watch::append(all, bits(bench));
  return all;
}

template <typename Plain, typename Call>
void misuse(const std::string& name, Bench<Plain> bench, const std::string& owner, Parts parts, Call call) {
  CAPTURE(name);
  const watch::Bytes before = bits(bench), future_before = future(bench);
  CHECK(refused(owner, parts, [&] { call(bench); }) == "");
  CHECK(bits(bench) == before);
  CHECK(future(bench) == future_before);
}

// For what fails before there is anything to harm.
template <typename Call>
void misuse(const std::string& name, const std::string& owner, Parts parts, Call call) {
  CAPTURE(name);
  CHECK(refused(owner, parts, call) == "");
}

Bench<Matrix> batch_bench() { return {BatchNorm<float>(3), Matrix(6, 3)}; }
Bench<Tensor> image_bench() { return {BatchNorm<float>(3), Tensor(2, 3, 4, 5)}; }
Bench<Matrix> layer_bench() { return {LayerNorm<float>(3), Matrix(6, 3)}; }

const float not_a_number = std::numeric_limits<float>::quiet_NaN();
const std::int64_t last_count = std::numeric_limits<std::int64_t>::max();
const double infinite = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("inputs of a wrong shape") {
  misuse("wrong number of channels", batch_bench(), "BatchNorm", {"3 channels", "axis 1", "[6, 4]"},
         [](auto& b) { b.layer.forward(Matrix(6, 4), Matrix(6, 4)); });
  misuse("wrong number of channels, returning form", batch_bench(), "BatchNorm", {"3 channels", "[6, 4]"},
         [](auto& b) { b.layer.forward(Matrix(6, 4)); });
  misuse("wrong number of channels in evaluate", batch_bench(), "BatchNorm", {"3 channels", "[6, 4]"},
         [](auto& b) { b.layer.evaluate(Matrix(6, 4)); });
  misuse("channels last given to channels first", image_bench(), "BatchNorm", {"3 channels", "axis 1", "[2, 4, 5, 3]"},
         [](auto& b) { b.layer.forward(Tensor(2, 4, 5, 3)); });
  misuse("wrong number of channels in GroupNorm", Bench<Tensor>(GroupNorm<float>(3, 6), Tensor(2, 6, 4, 5)),
         "GroupNorm", {"6 channels", "[2, 9, 4, 5]"}, [](auto& b) { b.layer.forward(Tensor(2, 9, 4, 5)); });
  misuse("wrong number of channels in InstanceNorm", Bench<Tensor>(InstanceNorm<float>(3), Tensor(2, 3, 4, 5)),
         "InstanceNorm", {"3 channels", "[2, 1, 4, 5]"}, [](auto& b) { b.layer.forward(Tensor(2, 1, 4, 5)); });
  misuse("wrong last axis", layer_bench(), "LayerNorm", {"3", "last axis", "[6, 4]"},
         [](auto& b) { b.layer.forward(Matrix(6, 4)); });
  misuse("feature extents in the wrong order", Bench<Tensor>(LayerNorm<float>({4, 5}), Tensor(2, 3, 4, 5)), "LayerNorm",
         {"[4, 5]", "last axes", "[2, 3, 5, 4]"}, [](auto& b) { b.layer.forward(Tensor(2, 3, 5, 4)); });
  misuse("a tensor of as many features, otherwise arranged",
         Bench<Tensor>(LayerNorm<float>({4, 5}), Tensor(2, 3, 4, 5)), "LayerNorm", {"[4, 5]", "[2, 3, 2, 10]"},
         [](auto& b) { b.layer.evaluate(Tensor(2, 3, 2, 10)); });
  misuse("wrong last axis in RMSNorm", Bench<Matrix>(RMSNorm<float>(3), Matrix(6, 3)), "RMSNorm", {"3", "[3, 6]"},
         [](auto& b) { b.layer.forward(Matrix(3, 6)); });
  misuse("a vector where rows are expected", layer_bench(), "LayerNorm", {"3", "[3, 1]", "over(0)"},
         [](auto& b) { b.layer.forward(Eigen::VectorXf(3)); });
  const auto vector_into = [](const std::string& name, const Normalization<float>& layer, const std::string& hint) {
    misuse("a vector into " + name, name, {"[3, 1]", "(a vector is a matrix of one column here: use " + hint + ")"},
           [layer]() mutable { layer.evaluate(Eigen::VectorXf(3)); });
  };
  vector_into("BatchNorm", BatchNorm<float>(3), "channels_on(0)");
  vector_into("MeanOnlyBatchNorm", MeanOnlyBatchNorm<float>(3), "channels_on(0)");
  vector_into("InstanceNorm", InstanceNorm<float>(3), "channels_on(0), samples_on(1)");
  vector_into("InstanceNorm", InstanceNorm<float>(3, channels_on(1), samples_on()), "channels_on(0)");
  vector_into("GroupNorm", GroupNorm<float>(1, 3), "channels_on(0), samples_on(1)");
  vector_into("GroupNorm", GroupNorm<float>(1, 3, channels_on(1), samples_on()), "channels_on(0)");
  vector_into("WeightNorm", WeightNorm<float>(3, outputs_on(1)), "outputs_on(0)");
  vector_into("LayerNorm", LayerNorm<float>(3), "over(0)");
  vector_into("RMSNorm", RMSNorm<float>(3), "over(0)");
  vector_into("Normalization", Normalization<float>(over(0), over(1), 3, Statistic::mean_variance, 1e-5), "over(0)");
  misuse("wrong number of outputs", Bench<Matrix>(WeightNorm<float>(6), Matrix(6, 3)), "WeightNorm",
         {"6 outputs", "axis 0", "[3, 6]"}, [](auto& b) { b.layer.forward(Matrix(3, 6)); });
  misuse("wrong shape in the generic layer",
         Bench<Matrix>(Normalization<float>(over(0), over(1), 3, Statistic::mean_variance, 1e-5), Matrix(6, 3)),
         "Normalization", {"3", "[6, 4]"}, [](auto& b) { b.layer.forward(Matrix(6, 4)); });
}

TEST_CASE("axes that the input does not have") {
  const Matrix x = Matrix::Ones(4, 3);
  misuse("rank too small", "BatchNorm", {"axis 2", "shape [4, 3]"},
         [&] { BatchNorm<float>(3, channels_on(2)).forward(x); });
  misuse("rank 1", "BatchNorm", {"axis 1", "shape [3]"},
         [] { BatchNorm<float>(3).forward(Eigen::Tensor<float, 1>(3)); });
  misuse("axis before the first", "BatchNorm", {"axis -3", "shape [4, 3]"},
         [&] { BatchNorm<float>(3, channels_on(-3)).forward(x); });
  misuse("axis far out of range", "LayerNorm", {"axis 100", "shape [4, 3]"},
         [&] { LayerNorm<float>(3, over(100)).forward(x); });
  misuse("axis far out of range, evaluate", "LayerNorm", {"axis -100", "shape [4, 3]"},
         [&] { LayerNorm<float>(3, over(-100)).evaluate(x); });
  misuse("more last axes than there are", "LayerNorm", {"at least 3 axes", "shape [4, 3]"}, [&] {
    LayerNorm<float>({2, 4, 3}).forward(x);
  });
  misuse("samples out of range", "GroupNorm", {"axis 5", "shape [4, 3]"},
         [&] { GroupNorm<float>(1, 3, channels_on(1), samples_on(5)).forward(x); });
  misuse("outputs out of range", "WeightNorm", {"axis 2", "shape [4, 3]"},
         [&] { WeightNorm<float>(3, outputs_on(2)).forward(x); });
  misuse("an axis twice", "LayerNorm", {"axis 1 twice", "[1, -1]", "shape [4, 3]"},
         [&] { LayerNorm<float>(3, over(1, -1)).forward(x); });
  misuse("channels on the sample axis of GroupNorm, as this rank has it", "GroupNorm", {"channel", "axis 1", "[4, 3]"},
         [&] { GroupNorm<float>(1, 3, channels_on(1), samples_on(-1)).forward(x); });
  misuse("channels on the sample axis of InstanceNorm, as this rank has it", "InstanceNorm", {"axis 1 twice", "[4, 3]"},
         [&] { InstanceNorm<float>(3, channels_on(1), samples_on(-1)).forward(x); });
  misuse("more extents than axes", "LayerNorm", {"[3, 2]", "axis 1", "[4, 3]"}, [&] {
    LayerNorm<float>({3, 2}, over(1)).forward(x);
  });
}

TEST_CASE("layers that cannot be made") {
  misuse("negative number of channels", "BatchNorm", {"-3"}, [] { BatchNorm<float>(-3); });
  misuse("negative extent", "LayerNorm", {"[28, -28]"}, [] { LayerNorm<float>({28, -28}); });
  misuse("negative number of outputs", "WeightNorm", {"-1"}, [] { WeightNorm<float>(-1); });
  misuse("groups that do not divide", "GroupNorm", {"64", "3"}, [] { GroupNorm<float>(3, 64); });
  misuse("more groups than channels", "GroupNorm", {"4", "8"}, [] { GroupNorm<float>(8, 4); });
  misuse("no groups", "GroupNorm", {"0"}, [] { GroupNorm<float>(0, 64); });
  misuse("a negative number of groups", "GroupNorm", {"-2"}, [] { GroupNorm<float>(-2, 64); });
  misuse("groups and channels the wrong way round", "GroupNorm", {"8", "64"}, [] { GroupNorm<float>(64, 8); });
  misuse("channels on the sample axis of GroupNorm", "GroupNorm", {"different axes", "axis 0 for both"},
         [] { GroupNorm<float>(2, 8, channels_on(0), samples_on(0)); });
  misuse("channels on the sample axis that GroupNorm has by default", "GroupNorm",
         {"axis 0 for both", "by default on axis 0"}, [] { GroupNorm<float>(2, 8, channels_on(0)); });
  misuse("channels on a sample axis of GroupNorm, from the end", "GroupNorm", {"axis -1 for both"},
         [] { GroupNorm<float>(2, 8, channels_on(-1), samples_on(0, -1)); });
  misuse("channels on the sample axis of InstanceNorm", "InstanceNorm", {"different axes", "axis 0 for both"},
         [] { InstanceNorm<float>(8, channels_on(0), samples_on(0)); });
  misuse("channels on a sample axis of InstanceNorm, from the end", "InstanceNorm", {"axis -1 for both"},
         [] { InstanceNorm<float>(8, channels_on(-1), samples_on(0, -1), 1e-3); });
  misuse("eps negative, after the channels", "BatchNorm", {"eps", "-0.1"}, [] { BatchNorm<float>(3, -0.1); });
  misuse("eps negative", "BatchNorm", {"eps", "-0.1"}, [] { BatchNorm<float>(3, channels_on(1), -0.1); });
  misuse("eps NaN", "LayerNorm", {"eps", "nan"}, [] { LayerNorm<float>(3, static_cast<double>(not_a_number)); });
  misuse("eps infinite", "RMSNorm", {"eps", "inf"}, [] { RMSNorm<float>({3}, infinite); });
  misuse("a negative number of running statistics", "RunningStatistics", {"-1"}, [] { RunningStatistics<float>(-1); });
  misuse("more than eight axes", "over", {"8"}, [] { over(0, 1, 2, 3, 4, 5, 6, 7, 8); });
  misuse("more than eight extents", "Extents", {"8"}, [] { LayerNorm<float>(std::vector<int>(9, 2)); });
}

TEST_CASE("outputs and gradients of a wrong shape") {
  misuse("y of another shape", batch_bench(), "BatchNorm", {"y", "[6, 3]", "[5, 3]"},
         [](auto& b) { b.layer.forward(b.x, b.y.topRows(5)); });
  misuse("y of the same size, transposed", batch_bench(), "BatchNorm", {"y", "[6, 3]", "[3, 6]"},
         [](auto& b) { b.layer.forward(b.x, Eigen::Map<Matrix>(b.y.data(), 3, 6)); });
  misuse("y of another shape in evaluate", batch_bench(), "BatchNorm", {"y", "[6, 3]", "[6, 2]"},
         [](auto& b) { b.layer.evaluate(b.x, b.y.leftCols(2)); });
  misuse("y of another rank", image_bench(), "BatchNorm", {"y", "[2, 3, 4, 5]", "[2, 3, 20]"}, [](auto& b) {
    b.layer.forward(b.x, Eigen::TensorMap<Eigen::Tensor<float, 3, Eigen::RowMajor>>(b.y.data(), 2, 3, 20));
  });
  misuse("dy of another shape", batch_bench(), "BatchNorm", {"dy", "[6, 3]", "[5, 3]"},
         [](auto& b) { b.layer.backward(b.x, b.dy.topRows(5), b.dx); });
  misuse("dy of another shape, returning form", layer_bench(), "LayerNorm", {"dy", "[6, 3]", "[6, 4]"},
         [](auto& b) { b.layer.backward(b.x, Matrix(6, 4)); });
  misuse("dx of another shape", batch_bench(), "BatchNorm", {"dx", "[6, 3]", "[6, 4]"},
         [](auto& b) { b.layer.backward(b.x, b.dy, Matrix(6, 4)); });
  misuse("an empty output", image_bench(), "BatchNorm", {"y", "[2, 3, 4, 5]", "[0, 0, 0, 0]"},
         [](auto& b) { b.layer.forward(b.x, Tensor()); });
}

TEST_CASE("tensors that share memory") {
  misuse("forward in place", batch_bench(), "BatchNorm", {"x and y", "one tensor"},
         [](auto& b) { b.layer.forward(b.x, b.x); });
  misuse("forward over part of x", batch_bench(), "BatchNorm", {"x and y", "partial overlap"},
         [](auto& b) { b.layer.forward(b.x.topRows(4), b.x.bottomRows(4)); });
  misuse("evaluate over part of x", batch_bench(), "BatchNorm", {"x and y", "partial overlap"},
         [](auto& b) { b.layer.evaluate(b.x.topRows(4), b.x.bottomRows(4)); });
  misuse("dx over x", batch_bench(), "BatchNorm", {"x and dx", "one tensor"},
         [](auto& b) { b.layer.backward(b.x, b.dy, b.x); });
  misuse("dx over part of x", image_bench(), "BatchNorm", {"x and dx", "partial overlap"}, [](auto& b) {
    std::vector<float> memory(240);
    Eigen::TensorMap<Tensor> x(memory.data(), 2, 3, 4, 5), dx(memory.data() + 60, 2, 3, 4, 5);
    x = b.x;
    b.layer.backward(x, b.dy, dx);
  });
  misuse("dx over part of dy", image_bench(), "BatchNorm", {"dy and dx", "partial overlap"}, [](auto& b) {
    std::vector<float> memory(240);
    Eigen::TensorMap<Tensor> dy(memory.data(), 2, 3, 4, 5), dx(memory.data() + 1, 2, 3, 4, 5);
    b.layer.backward(b.x, dy, dx);
  });
  misuse("an output whose rows overlap", batch_bench(), "BatchNorm", {"y", "strides [1, 5]", "[6, 3]"}, [](auto& b) {
    using Overlapping = Eigen::Map<Matrix, 0, Eigen::OuterStride<>>;
    b.layer.forward(b.x, Overlapping(b.y.data(), 6, 3, Eigen::OuterStride<>(5)));
  });
  misuse("a negative stride", layer_bench(), "LayerNorm", {"strides of at least 0", "-6"}, [](auto& b) {
    using Backwards = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;
    b.layer.forward(Backwards(b.x.data() + 12, 6, 3, Eigen::OuterStride<>(-6)), b.y);
  });
}

TEST_CASE("verbs in a wrong order") {
  misuse("backward before forward", "BatchNorm", {"forward before backward", "none"}, [] {
    BatchNorm<float> layer(3);
    layer.backward(Matrix(6, 3), Matrix(6, 3));
  });
  misuse("moments before forward", "BatchNorm::moments", {"forward", "none"}, [] { BatchNorm<float>(3).moments(); });
  misuse("backward with another x", batch_bench(), "BatchNorm", {"[6, 3]", "[5, 3]"},
         [](auto& b) { b.layer.backward(b.x.topRows(5), b.dy.topRows(5)); });
  misuse("backward with x of another rank", image_bench(), "BatchNorm", {"[2, 3, 4, 5]", "[2, 3, 20]"}, [](auto& b) {
    const Eigen::Tensor<float, 3, Eigen::RowMajor> other(2, 3, 20);
    b.layer.backward(other, other);
  });
  misuse("backward in another storage order", layer_bench(), "LayerNorm", {"storage order"}, [](auto& b) {
    const Rows x = b.x, dy = b.dy;
    b.layer.backward(x, dy);
  });
  misuse("backward after a forward into other moments", batch_bench(), "BatchNorm", {"forward before backward"},
         [](auto& b) {
           Normalization<float> layer = b.layer;
           Moments<float> elsewhere;
           layer.forward(b.x, Matrix(6, 3), {{}, &elsewhere});
           layer.backward(b.x, b.dy);
         });
  misuse("moments after a forward into other moments", batch_bench(), "BatchNorm::moments", {"forward"}, [](auto& b) {
    Normalization<float> layer = b.layer;
    Moments<float> elsewhere;
    layer.forward(b.x, Matrix(6, 3), {{}, &elsewhere});
    layer.moments();
  });
  misuse("backward with moments that no forward filled", batch_bench(), "BatchNorm",
         {"forward before backward", "no forward"}, [](auto& b) {
           Moments<float> none;
           b.layer.backward(b.x, b.dy, b.dx, {{}, &none});
         });
  misuse("backward with the moments of another x", batch_bench(), "BatchNorm", {"[4, 3]", "[6, 3]"}, [](auto& b) {
    Moments<float> other;
    Normalization<float>(b.layer).forward(Matrix(Matrix::Random(4, 3)), Matrix(4, 3), {{}, &other});
    b.layer.backward(b.x, b.dy, b.dx, {{}, &other});
  });
  misuse("backward with the moments of another kind of layer", batch_bench(), "BatchNorm", {"another kind of layer"},
         [](auto& b) {
           Moments<float> other;
           LayerNorm<float>(3).forward(b.x, Matrix(6, 3), {{}, &other});
           b.layer.backward(b.x, b.dy, b.dx, {{}, &other});
         });
  misuse("backward with the moments of another statistic", layer_bench(), "LayerNorm", {"another kind of layer"},
         [](auto& b) {
           Moments<float> other;
           RMSNorm<float>(3).forward(b.x, Matrix(6, 3), {{}, &other});
           b.layer.backward(b.x, b.dy, b.dx, {{}, &other});
         });
  misuse("backward with the moments of another number of groups",
         Bench<Tensor>(GroupNorm<float>(3, 6), Tensor(2, 6, 4, 5)), "GroupNorm", {"another kind of layer"},
         [](auto& b) {
           Moments<float> other;
           GroupNorm<float>(2, 6).forward(b.x, Tensor(b.x.dimensions()), {{}, &other});
           b.layer.backward(b.x, b.dy, b.dx, {{}, &other});
         });
  misuse("evaluate with moments", batch_bench(), "BatchNorm", {"no moments in evaluate"}, [](auto& b) {
    b.layer.evaluate(b.x, b.y, {{}, &b.own});
  });
}

TEST_CASE("one value for a variance that moves the running one") {
  misuse("a batch of one sample", batch_bench(), "BatchNorm", {"more than one value", "[1, 3]"},
         [](auto& b) { b.layer.forward(b.x.topRows(1)); });
  misuse("one sample of one pixel", image_bench(), "BatchNorm", {"more than one value", "[1, 3, 1, 1]"},
         [](auto& b) { b.layer.forward(Tensor(1, 3, 1, 1)); });
  misuse("one value into other moments", batch_bench(), "BatchNorm", {"more than one value", "[1, 3]"}, [](auto& b) {
    b.layer.forward(b.x.topRows(1), b.y.topRows(1), {{}, &b.own});
  });
  Bench<Matrix> moving = batch_bench();
  moving.layer.running->use_in_forward = true;
  misuse("one value, normalized by running statistics that move", moving, "BatchNorm",
         {"more than one value", "[1, 3]"}, [](auto& b) { b.layer.forward(b.x.topRows(1)); });
  Bench<Matrix> biased = batch_bench();
  biased.layer.running->estimator = Estimator::biased;
  misuse("one value, biased variance", biased, "BatchNorm", {"more than one value", "[1, 3]"},
         [](auto& b) { b.layer.forward(b.x.topRows(1)); });
  InstanceNorm<float> tracking(3);
  tracking.running.emplace(3);
  misuse("instances of one pixel", Bench<Tensor>(tracking, Tensor(2, 3, 4, 5)), "InstanceNorm",
         {"more than one value", "[2, 3, 1, 1]"}, [](auto& b) { b.layer.forward(Tensor(2, 3, 1, 1)); });
}

namespace {

// A setting is checked by each verb.
template <typename Plain, typename Spoil>
void wrong_setting(const std::string& name, Bench<Plain> bench, const std::string& owner, Parts parts, Spoil spoil) {
  spoil(bench.layer);
  misuse(name + ", forward", bench, owner, parts, [](auto& b) { b.layer.forward(b.x, b.y); });
  misuse(name + ", evaluate", bench, owner, parts, [](auto& b) { b.layer.evaluate(b.x, b.y); });
  misuse(name + ", evaluate in place", bench, owner, parts, [](auto& b) { b.layer.evaluate(b.x, b.x); });
}

}  // namespace

TEST_CASE("settings that went wrong after construction") {
  wrong_setting("eps negative", batch_bench(), "BatchNorm", {"eps", "-1"}, [](auto& l) { l.eps = -1; });
  wrong_setting("eps NaN", layer_bench(), "LayerNorm", {"eps", "nan"},
                [](auto& l) { l.eps = static_cast<double>(not_a_number); });
  wrong_setting("eps infinite", layer_bench(), "LayerNorm", {"eps", "inf"}, [](auto& l) { l.eps = infinite; });
  wrong_setting("a scale of a wrong size", batch_bench(), "BatchNorm", {"3 values of scale", "4"}, [](auto& l) {
    l.scale.value.resize(4);
    l.scale.grad.resize(4);
    l.scale.value.setOnes();
    l.scale.grad.setOnes();
  });
  wrong_setting("a shift of a wrong size", layer_bench(), "LayerNorm", {"3 values of shift", "2"}, [](auto& l) {
    l.shift.value.setOnes(2);
    l.shift.grad.setOnes(2);
  });
  wrong_setting("a g of a wrong size", Bench<Matrix>(WeightNorm<float>(6), Matrix(6, 3)), "WeightNorm",
                {"6 values of scale", "3"}, [](auto& l) {
                  l.scale.value.setOnes(3);
                  l.scale.grad.setOnes(3);
                });
  wrong_setting("a g for each row of a whole tensor", Bench<Matrix>(WeightNorm<float>(whole_tensor), Matrix(6, 3)),
                "WeightNorm", {"1 values of scale", "6"}, [](auto& l) {
                  l.scale.value.setOnes(6);
                  l.scale.grad.setOnes(6);
                });
  wrong_setting("a gradient of scale of a wrong size", batch_bench(), "BatchNorm", {"gradients", "scale", "3", "2"},
                [](auto& l) { l.scale.grad.setOnes(2); });
  wrong_setting("a gradient of shift of a wrong size", batch_bench(), "BatchNorm", {"gradients", "shift", "3", "0"},
                [](auto& l) { l.shift.grad.resize(0); });
  wrong_setting("a gradient without a value", layer_bench(), "LayerNorm", {"gradients", "scale", "0", "3"},
                [](auto& l) { l.scale.value.resize(0); });
  wrong_setting("a running mean of a wrong size", batch_bench(), "BatchNorm", {"3 means", "4"},
                [](auto& l) { l.running->mean.setOnes(4); });
  wrong_setting("a running variance of a wrong size", batch_bench(), "BatchNorm", {"3 variances", "2"},
                [](auto& l) { l.running->variance.setOnes(2); });
  wrong_setting("no running variance", batch_bench(), "BatchNorm", {"3 variances", "0"},
                [](auto& l) { l.running->variance.resize(0); });
  wrong_setting("a running variance of a mean alone", Bench<Matrix>(MeanOnlyBatchNorm<float>(3), Matrix(6, 3)),
                "MeanOnlyBatchNorm", {"0 variances", "3"}, [](auto& l) { l.running->variance.setOnes(3); });
  wrong_setting("running statistics of another number of channels", batch_bench(), "BatchNorm", {"3 means", "5"},
                [](auto& l) { l.running.emplace(5); });
  wrong_setting("running statistics on LayerNorm", layer_bench(), "LayerNorm", {"no running statistics"},
                [](auto& l) { l.running.emplace(3); });
  wrong_setting("running statistics on RMSNorm", Bench<Matrix>(RMSNorm<float>(3), Matrix(6, 3)), "RMSNorm",
                {"no running statistics"}, [](auto& l) { l.running.emplace(3); });
  wrong_setting("running statistics on GroupNorm", Bench<Tensor>(GroupNorm<float>(3, 6), Tensor(2, 6, 4, 5)),
                "GroupNorm", {"no running statistics"}, [](auto& l) { l.running.emplace(6); });
  wrong_setting("running statistics on WeightNorm", Bench<Matrix>(WeightNorm<float>(6), Matrix(6, 3)), "WeightNorm",
                {"no running statistics"}, [](auto& l) { l.running.emplace(6); });
}

TEST_CASE("running statistics that are none are refused by every call that uses or moves them") {
  const auto wrong = [](const std::string& name, Parts parts, auto spoil) {
    wrong_setting(name, batch_bench(), "BatchNorm", parts, spoil);
    wrong_setting(name + ", images", image_bench(), "BatchNorm", parts, spoil);
    wrong_setting(name + ", frozen", batch_bench(), "BatchNorm", parts, [&](auto& l) {
      l.freeze();
      spoil(l);
    });
    wrong_setting(name + ", in use while it moves", batch_bench(), "BatchNorm", parts, [&](auto& l) {
      l.running->use_in_forward = true;
      spoil(l);
    });
  };
  wrong("a negative variance", {"running variance of at least 0", "3 channels", "-1 at index 2"},
        [](auto& l) { l.running->variance(2) = -1; });
  wrong("a variance of -eps", {"running variance of at least 0", "-1e-05 at index 0"},
        [](auto& l) { l.running->variance(0) = -1e-5F; });
  wrong("a variance of NaN", {"finite running variance", "nan at index 1"},
        [](auto& l) { l.running->variance(1) = not_a_number; });
  wrong("an infinite variance", {"finite running variance", "inf at index 1"},
        [](auto& l) { l.running->variance(1) = static_cast<float>(infinite); });
  wrong("a mean of NaN", {"finite running mean", "3 channels", "nan at index 0"},
        [](auto& l) { l.running->mean.setConstant(not_a_number); });
  wrong("an infinite mean", {"finite running mean", "-inf at index 2"},
        [](auto& l) { l.running->mean(2) = -static_cast<float>(infinite); });
  wrong("no more batches can be counted", {"numbers of batches", "got 9223372036854775807"},
        [](auto& l) { l.running->batches = last_count; });
  wrong("no more rejected batches can be counted", {"numbers of batches", "got 9223372036854775807"},
        [](auto& l) { l.running->rejected_batches = last_count; });
  wrong("fewer than no batches", {"batches", "got -1"}, [](auto& l) { l.running->batches = -1; });
  wrong("fewer than no rejected batches", {"rejected batches", "got -2"},
        [](auto& l) { l.running->rejected_batches = -2; });
  wrong_setting("a mean of NaN, without a variance", Bench<Matrix>(MeanOnlyBatchNorm<float>(3), Matrix(6, 3)),
                "MeanOnlyBatchNorm", {"running mean", "nan at index 1"},
                [](auto& l) { l.running->mean(1) = not_a_number; });
}

TEST_CASE("the first bad one of many running values is named, wherever it is") {
  for (const Eigen::Index channels : {1, 2, 3, 4, 5, 7, 8, 9, 64, 67}) {
    for (Eigen::Index bad = 0; bad < channels; ++bad) {
      for (const bool of_mean : {false, true}) {
        RunningStatistics<float> running(channels);
        running.variance.setConstant(-0.0F);  // which is 0
        running.check("Owner", "channels");
        (of_mean ? running.mean : running.variance).tail(channels - bad).setConstant(not_a_number);
        CHECK(refused(
                  "Owner", {"nan at index " + std::to_string(bad)}, [&] { running.check("Owner", "channels"); },
                  running) == "");
        if (of_mean) continue;
        running.variance.tail(channels - bad).setConstant(-1);
        CHECK(refused(
                  "Owner", {"-1 at index " + std::to_string(bad)}, [&] { running.check("Owner", "channels"); },
                  running) == "");
      }
    }
  }
  // The largest and the smallest that are.
  RunningStatistics<double> limits(4);
  limits.mean << -std::numeric_limits<double>::max(), std::numeric_limits<double>::max(), -0.0, 5e-324;
  limits.variance << std::numeric_limits<double>::max(), 5e-324, 0, 1;
  limits.check("Owner", "channels");
  RunningStatistics<long double> wide(4);
  wide.variance(3) = -1;
  CHECK(refused("Owner", {"-1 at index 3"}, [&] { wide.check("Owner", "channels"); }) == "");
  wide.mean(2) = std::numeric_limits<long double>::infinity();
  CHECK(refused("Owner", {"inf at index 2"}, [&] { wide.check("Owner", "channels"); }) == "");
}

TEST_CASE("a momentum that is none is refused where it is written") {
  for (const double momentum : {1.5, -0.1, static_cast<double>(not_a_number), infinite}) {
    char text[32];
    std::snprintf(text, sizeof text, "from 0 to 1, got %g", momentum);
    misuse("of the new value", batch_bench(), "momentum_of_new", {text},
           [momentum](auto& b) { b.layer.running->averaging = momentum_of_new(momentum); });
    misuse("kept", batch_bench(), "momentum_kept", {text},
           [momentum](auto& b) { b.layer.running->averaging = momentum_kept(momentum); });
  }
}

TEST_CASE("settings are checked by backward too") {
  const auto wrong = [](const std::string& name, Parts parts, auto spoil) {
    Bench<Matrix> bench = batch_bench();
    spoil(bench.layer);
    misuse(name, bench, "BatchNorm", parts, [](auto& b) { b.layer.backward(b.x, b.dy, b.dx); });
  };
  wrong("eps negative, backward", {"eps", "-1"}, [](auto& l) { l.eps = -1; });
  wrong("a scale of a wrong size, backward", {"3 values of scale", "4"}, [](auto& l) {
    l.scale.value.setOnes(4);
    l.scale.grad.setOnes(4);
  });
  wrong("a gradient of a wrong size, backward", {"gradients", "shift", "3", "2"},
        [](auto& l) { l.shift.grad.setOnes(2); });
}

TEST_CASE("running statistics where there are none") {
  misuse("freeze without running statistics", layer_bench(), "LayerNorm::freeze", {"running statistics", "none"},
         [](auto& b) { b.layer.freeze(); });
  misuse("unfreeze without running statistics", layer_bench(), "LayerNorm::unfreeze", {"running statistics", "none"},
         [](auto& b) { b.layer.unfreeze(); });
  misuse("an estimate of another size", batch_bench(), "RunningStatistics::assign", {"3 means", "4"}, [](auto& b) {
    b.layer.running->assign({Vector<float>::Ones(4), Vector<float>::Ones(4)});
  });
  misuse("an estimate without a variance", batch_bench(), "RunningStatistics::assign", {"3 variances", "0"},
         [](auto& b) {
           b.layer.running->assign({Vector<float>::Ones(3), Vector<float>()});
         });
  misuse("an estimate with a negative variance", batch_bench(), "RunningStatistics::assign",
         {"variance of at least 0", "3 features", "-1 at index 0"}, [](auto& b) {
           b.layer.running->assign({Vector<float>::Ones(3), Vector<float>::Constant(3, -1)});
         });
  misuse("an estimate without a mean", batch_bench(), "RunningStatistics::assign", {"finite mean", "nan at index 0"},
         [](auto& b) {
           b.layer.running->assign({Vector<float>::Constant(3, not_a_number), Vector<float>::Ones(3)});
         });
}

TEST_CASE("scale_from a tensor of another shape") {
  WeightNorm<float> layer(6);
  layer.scale.value.setLinSpaced(6, 1, 2);
  layer.scale.grad.setConstant(7);
  const Matrix x = Matrix::Random(6, 3);
  layer.forward(x);
  CHECK(refused(
            "WeightNorm", {"6 outputs", "[3, 6]"}, [&] { layer.scale_from(Matrix(Matrix::Random(3, 6))); }, layer) ==
        "");
}

TEST_CASE("an error in a layer does not outlive its cause") {
  Bench<Matrix> bench = batch_bench(), fresh = batch_bench();
  bench.layer.eps = -1;
  CHECK_THROWS_AS(bench.layer.forward(bench.x), std::invalid_argument);
  bench.layer.eps = fresh.layer.eps;
  CHECK(bits(Matrix(bench.layer.forward(bench.x))) == bits(Matrix(fresh.layer.forward(fresh.x))));
  CHECK(bits(bench) == bits(fresh));
}

// Streaming stores keep no order with the stores by which one thread tells another that it is done: a task that streams
// must end with a fence. Where one is missing the values are right nearly always, so the kernels are watched instead.

#include <cstdint>
#include <cstring>
#include <eigennorm/core/forward.hpp>
#include <eigennorm/core/gradient.hpp>
#include <eigennorm/eigennorm.hpp>
#include <functional>
#include <limits>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "kernels/block_kernels.hpp"

namespace {

using namespace eigennorm;
using Kernels = kernels::BlockKernels<float, float>;
using In = Kernels::In;
using Out = Kernels::Out;
using By = kernels::Normalizers<float>;
using Affine = kernels::Affine<float>;
using Gradient = kernels::Gradient<float>;
using kernels::Extent;
using kernels::Traffic;

bool streamed = false, unfenced = false;
int calls_that_streamed = 0;

const Kernels& real() { return kernels::block_kernels<float, float>(); }

void note(Traffic traffic) {
  streamed = streamed || traffic.stream();
  unfenced = unfenced || traffic.stream();
}

/// The kernels in use, which say whether they streamed and were fenced.
Kernels watched() {
  Kernels table = real();
  table.transform = [](In x, Out y, Extent size, const By& by, const Affine& affine, Traffic traffic) {
    note(traffic);
    real().transform(x, y, size, by, affine, traffic);
  };
  table.gradient = [](In x, In dy, Out dx, Extent size, const Gradient& by, Traffic traffic) {
    note(traffic);
    real().gradient(x, dy, dx, size, by, traffic);
  };
  table.gradient_pairs = [](In x, In dy, Out dx, Extent size, const Gradient& by, kernels::Sums<float> sums,
                            Traffic traffic) {
    note(traffic);
    real().gradient_pairs(x, dy, dx, size, by, sums, traffic);
  };
  table.copy = [](In x, Out y, Extent size, Traffic traffic) {
    note(traffic);
    real().copy(x, y, size, traffic);
  };
  table.fence = [] { unfenced = false; };
  return table;
}

/// A pool of two, one after the other, that looks after each task.
struct LookingPool {
  int numThreads() const { return 2; }
  int currentThreadId() const { return -1; }
  void parallelFor(Eigen::Index n, const Eigen::TensorOpCost&,
                   const std::function<void(Eigen::Index, Eigen::Index)>& work) const {
    for (const Eigen::Index half : {Eigen::Index{0}, Eigen::Index{1}}) {
      work(half * (n / 2), half == 0 ? n / 2 : n);
      CHECK_FALSE(unfenced);
    }
  }
};

struct Case {
  const char* name;
  Geometry geometry;
  std::vector<std::int64_t> shape;
};

std::vector<Case> cases() {
  const auto all_channels_apart = [](std::int64_t channels) { return Geometry{all_but(1), over(1), channels, 0}; };
  return {
      {"rows", {over(1), over(1), 512, 0}, {100, 512}},
      {"long rows", {over(1), over(1), 9000, 0}, {40, 9000}},
      {"one row", {over(1), over(1), 200000, 0}, {1, 200000}},
      {"columns", {over(0), over(0), 70000, 0}, {70000, 3}},
      {"channels first", {over(1), over(1), 24, 0}, {2, 24, 40, 40}},
      {"planes", all_channels_apart(8), {4, 8, 40, 40}},
      {"small planes", all_channels_apart(40), {30, 40, 7, 7}},
      {"tiny planes", all_channels_apart(300), {70, 300, 2, 1}},
      {"few channels last", {all_but(3), over(3), 3, 0}, {4, 100, 100, 3}},
      {"channels last", {all_but(3), over(3), 70, 0}, {4, 30, 30, 70}},
      {"instances", {over(2, 3), over(1), 2, 0}, {2, 2, 300, 300}},
      {"groups", {all_but(0), over(1), 8, 2}, {4, 8, 60, 60}},
      {"groups, channels last", {all_but(0), over(3), 8, 2}, {4, 60, 60, 8}},
      {"groups of large planes", {all_but(0), over(1), 4, 2}, {1, 4, 300, 300}},
  };
}

/// Forward, forward by given statistics and backward, each by batch and frozen where it can be.
void check(const Case& which, const Device& device) {
  Shape shape;
  Strides strides{};
  shape.rank = static_cast<int>(which.shape.size());
  std::int64_t size = 1;
  for (std::size_t axis = which.shape.size(); axis-- > 0; size *= which.shape[axis]) {
    shape[static_cast<int>(axis)] = which.shape[axis];
    strides[axis] = size;
  }
  const core::Partition partition =
      core::partition(which.geometry, shape, Order::row_major, {strides, strides, strides});
  const auto groups = static_cast<std::size_t>(partition.groups.kept.size);
  const auto features = static_cast<std::size_t>(which.geometry.extents.product());
  std::vector<float> x(static_cast<std::size_t>(size), 1.0F), dy = x, result = x;
  for (std::size_t i = 0; i < x.size(); i += 3) x[i] = 2.0F;
  std::vector<float> high(groups), low(groups), rstd(groups), scale(features, 1.0F), gradient(features);
  const Kernels table = watched();
  const auto looked_at = [&](const char* what, const auto& call) {
    INFO(which.name << ", " << what);
    streamed = false;
    call();
    calls_that_streamed += streamed;
    CHECK_FALSE(unfenced);
  };
  const core::MomentsView<float> moments{high.data(), low.data(), rstd.data(), nullptr};
  core::ForwardCall<float, float> call{
      &partition, Statistic::mean_variance, 1e-5, x.data(), result.data(), scale.data(), nullptr, moments, &table};
  looked_at("forward", [&] { core::forward(call, device); });
  for (const bool frozen : {false, true}) {
    if (frozen && !partition.features_kept) continue;
    looked_at(frozen ? "frozen backward" : "backward", [&] {
      core::BackwardCall<float, float> back{
          &partition, Statistic::mean_variance, frozen, x.data(), dy.data(), result.data(), scale.data(), moments,
          &table};
      std::vector<double> scratch(static_cast<std::size_t>(core::gradient_scratch<float>(partition, true, frozen)));
      core::backward(back, core::AffineGradients<float>{gradient.data(), gradient.data()}, scratch.data(), device);
    });
  }
  if (!partition.features_kept) return;
  looked_at("by given statistics", [&] {
    core::forward_given(call, core::Given<float>{scale.data(), scale.data(), nullptr}, device);
  });
}

}  // namespace

TEST_CASE("whoever streams results fences before anybody is told of them") {
  stream_results_from(0);
  const LookingPool pool;
  for (const Case& which : cases()) {
    check(which, Device());
    check(which, Device(pool));
  }
  stream_results_from(4000000);
  CHECK(calls_that_streamed >= 70);
}

TEST_CASE("nobody streams results that are smaller than asked") {
  stream_results_from(std::numeric_limits<std::int64_t>::max());
  calls_that_streamed = 0;
  for (const Case& which : cases()) check(which, Device());
  CHECK(calls_that_streamed == 0);
}

TEMPLATE_TEST_CASE("streamed rows may begin anywhere", "", float, double, Eigen::half) {
  using Scalar = std::conditional_t<std::is_same_v<TestType, double>, double, float>;
  using Matrix = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  constexpr Eigen::Index rows = 9, columns = 256;
  Matrix x(rows, columns);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<TestType>(static_cast<float>(i % 7));
  const auto forward_into = [&](Matrix& memory, Eigen::Index begin) {
    BatchNorm<Scalar> layer(columns);
    layer.forward(x, memory.block(0, begin, rows, columns));
  };
  // The rows of the first are a whole number of cache lines apart, those of the others are not.
  for (Eigen::Index apart = columns; apart < columns + 26; ++apart) {
    for (Eigen::Index begin = 0; begin <= apart - columns; ++begin) {
      CAPTURE(apart, begin);
      Matrix streamed_y = Matrix::Zero(rows, apart), y = streamed_y;
      stream_results_from(0);
      forward_into(streamed_y, begin);
      stream_results_from(std::numeric_limits<std::int64_t>::max());
      forward_into(y, begin);
      CHECK(streamed_y == y);
    }
  }
  stream_results_from(4000000);
}

TEST_CASE("what begins within an element is not streamed") {
  // (The processor faults where a streaming store is not aligned.)
  constexpr std::int64_t rows = 3, columns = 100;
  const std::vector<float> x(rows * columns, 3.0F), parameters(rows * columns, 2.0F);
  std::vector<unsigned char> memory(x.size() * sizeof(float) + 64);
  for (const bool by_column : {false, true}) {
    const By by{parameters.data(), parameters.data(), parameters.data(), 0, by_column};
    for (const std::size_t past : {1, 2, 3}) {
      CAPTURE(by_column, past);
      auto* const y = reinterpret_cast<float*>(memory.data() + past);
      const In in{x.data(), columns};
      real().transform(in, {y, columns}, {rows, columns}, by, {}, {true, 0});
      std::vector<float> written(x.size());
      std::memcpy(written.data(), memory.data() + past, x.size() * sizeof(float));
      CHECK(written == std::vector<float>(x.size(), -2.0F));
      const Gradient gradient{by, parameters.data(), parameters.data(), {}, false};
      real().gradient(in, in, {y, columns}, {rows, columns}, gradient, {true, 0});
      std::memcpy(written.data(), memory.data() + past, x.size() * sizeof(float));
      // (3 - (2 + xhat * 2)) * 2 with xhat = (3 - 2 - 2) * 2
      CHECK(written == std::vector<float>(x.size(), 10.0F));
    }
  }
}

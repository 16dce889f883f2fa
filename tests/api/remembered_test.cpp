#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "support.hpp"
#include "watch.hpp"

// A layer remembers the loops of its last calls, and 1 / sigma of its running statistics. Nobody can tell: each call
// does what it does on a copy, which remembers nothing, bit by bit; and what is wrong is refused as if it were new.

using namespace eigennorm;
using watch::bits;
using watch::refused;

namespace {

using Strided = Eigen::Map<Eigen::MatrixXf, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

/// A matrix of 48 x 64 at most, somewhere in memory of its own: by columns or rows, with gaps or without.
struct Somewhere {
  std::vector<float> memory = std::vector<float>(2 * 64 * 130, 0.5F);
  Eigen::Index outer = 0, inner = 0;

  Somewhere(int layout, Eigen::Index rows, Eigen::Index columns, test::Random& numbers) {
    const Eigen::Index gap = layout >= 2 ? 3 : 0, step = layout >= 4 ? 2 : 1;
    const bool by_rows = layout % 2 != 0;
    inner = by_rows ? step * columns + gap : step;
    outer = by_rows ? step : step * rows + gap;
    for (float& each : memory) each = static_cast<float>(numbers.normal());
  }
  Strided map(Eigen::Index rows, Eigen::Index columns) {
    return {memory.data(), rows, columns, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(outer, inner)};
  }
};

std::vector<Normalization<float>> layers(Eigen::Index features) {
  return {LayerNorm<float>(features),
          LayerNorm<float>(features, over(1)),
          RMSNorm<float>(features),
          BatchNorm<float>(features),
          MeanOnlyBatchNorm<float>(features),
          GroupNorm<float>(2, features),
          InstanceNorm<float>(features, channels_on(1), samples_on())};
}

/// A BatchNorm that knows its shape and its roots.
BatchNorm<float> known(const Eigen::MatrixXf& x) {
  BatchNorm<float> layer(x.cols());
  layer.forward(x);
  layer.evaluate(x);
  layer.evaluate(x);
  return layer;
}

}  // namespace

TEST_CASE("calls of changing shapes and layouts are those of a layer that remembers nothing") {
  test::Random numbers(7);
  for (Normalization<float> layer : layers(6)) {
    test::randomize(layer, numbers);
    for (int call = 0; call < 150; ++call) {
      const auto pick = [&](int n) { return static_cast<int>(numbers.uniform() * n); };
      const Eigen::Index rows = std::vector<Eigen::Index>{2, 5, 6, 48}[static_cast<std::size_t>(pick(4))];
      // (Mostly all alike, as is remembered.)
      const int layout = pick(6), other = pick(3) == 0 ? pick(6) : layout;
      Somewhere x(layout, rows, 6, numbers), dy(layout, rows, 6, numbers), y(other, rows, 6, numbers),
          dx(other, rows, 6, numbers), again_y = y, again_dx = dx;
      Normalization<float> fresh = layer;
      CAPTURE(call, rows, layout, other);
      if (pick(2) == 0) {
        layer.evaluate(x.map(rows, 6), y.map(rows, 6));
        fresh.evaluate(x.map(rows, 6), again_y.map(rows, 6));
      } else {
        layer.forward(x.map(rows, 6), y.map(rows, 6));
        fresh.forward(x.map(rows, 6), again_y.map(rows, 6));
        Normalization<float> back = fresh;
        layer.backward(x.map(rows, 6), dy.map(rows, 6), dx.map(rows, 6));
        back.backward(x.map(rows, 6), dy.map(rows, 6), again_dx.map(rows, 6));
        fresh = back;
      }
      REQUIRE(y.memory == again_y.memory);
      REQUIRE(dx.memory == again_dx.memory);
      REQUIRE(bits(layer) == bits(fresh));
    }
  }
}

TEST_CASE("a layer that becomes another one forgets") {
  const Eigen::MatrixXf x = test::random_matrix(6, 6, 1);
  for (const Normalization<float>& first : layers(6)) {
    for (const Normalization<float>& second : layers(6)) {
      Normalization<float> layer = first;
      layer.forward(x);
      layer.evaluate(x);
      layer = second;
      CHECK(bits(layer.evaluate(x)) == bits(second.evaluate(x)));
      Normalization<float> moved = second;
      moved.evaluate(x);
      layer = first;
      layer.evaluate(x);
      layer = std::move(moved);
      CHECK(bits(layer.evaluate(x)) == bits(second.evaluate(x)));
    }
  }
}

TEST_CASE("running statistics that change by any road are those by which a layer evaluates") {
  const Eigen::MatrixXf x = test::random_matrix(3, 40, 1), batch = 2 * test::random_matrix(9, 40, 2);
  const Vector<float> values = Vector<float>::LinSpaced(40, 1, 2);
  // Each on a layer of its own: one that is known to have changed would hide the next.
  const auto is_fresh = [&](const auto& change) {
    BatchNorm<float> layer = known(batch);
    const Eigen::MatrixXf before = layer.evaluate(x);
    change(layer);
    // A copy finds everything anew.
    const BatchNorm<float> copy = layer;
    const Eigen::MatrixXf expected = copy.evaluate(x), first = layer.evaluate(x), second = layer.evaluate(x);
    return bits(before) != bits(expected) && bits(first) == bits(expected) && bits(second) == bits(expected);
  };
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.running->variance[7] = 9; }));
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.running->mean[39] = -3; }));
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.eps = 0.25; }));
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.forward(batch); }));
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.assign("running_variance", values.data(), 40); }));
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.running->assign({2 * values, values}); }));
  CHECK(is_fresh(
      [&](BatchNorm<float>& layer) { layer.for_each_state([](std::string_view, auto map) { map.setConstant(5); }); }));
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.running.emplace(40); }));
  RunningStatistics<float> other(40);
  other.mean.setConstant(2);
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.running = other; }));
  CHECK(is_fresh([&](BatchNorm<float>& layer) { layer.running = RunningStatistics<float>(other); }));
}

TEST_CASE("what is wrong is refused by a layer that knows its tensors and statistics, too") {
  const Eigen::MatrixXf x = test::random_matrix(9, 8, 1);
  const auto refuses = [&](const std::string& part, const auto& harm) {
    BatchNorm<float> layer = known(x);
    harm(layer);
    CHECK(refused(
              "BatchNorm", {part}, [&] { layer.evaluate(x); }, layer) == "");
    CHECK(refused(
              "BatchNorm", {part}, [&] { layer.forward(x); }, layer) == "");
  };
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  refuses("running mean", [&](BatchNorm<float>& layer) { layer.running->mean[3] = nan; });
  refuses("running variance", [&](BatchNorm<float>& layer) { layer.running->variance[0] = -1; });
  refuses("got 8 and 7", [&](BatchNorm<float>& layer) { layer.running->variance = Vector<float>::Ones(7); });
  refuses("batches", [&](BatchNorm<float>& layer) { layer.running->batches = -1; });
  refuses("values of scale", [&](BatchNorm<float>& layer) { layer.scale.value = Vector<float>::Ones(7); });
  refuses("eps", [&](BatchNorm<float>& layer) { layer.eps = -1; });

  BatchNorm<float> layer = known(x);
  Eigen::MatrixXf wide = test::random_matrix(9, 20, 3), y(9, 8), few(9, 7);
  layer.evaluate(wide.leftCols(8), wide.rightCols(8));
  const auto is_refused = [&](const std::string& part, const auto& call) {
    return refused("BatchNorm", {part}, call, layer, wide) == "";
  };
  CHECK(is_refused("partial overlap", [&] { layer.evaluate(wide.leftCols(8), wide.middleCols(4, 8)); }));
  CHECK(is_refused("one tensor", [&] { layer.forward(wide.leftCols(8), wide.leftCols(8)); }));
  CHECK(is_refused("x's shape", [&] { layer.evaluate(x, few); }));
  CHECK(is_refused("x's shape", [&] { layer.evaluate(few, y); }));
  // Alike, and all places are one: nothing was written there.
  float one = 0;
  const Strided same(&one, 9, 8, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(0, 0));
  Strided to = same;
  for (int time = 0; time < 2; ++time) {
    CHECK(is_refused("overlap each other", [&] { layer.evaluate(same, to); }));
    CHECK(is_refused("overlap each other", [&] { layer.forward(same, to); }));
  }
  CHECK(one == 0);
}

TEST_CASE("first evaluations on several threads at once have the bits of one") {
  const Eigen::MatrixXf frame = test::random_matrix(1, 64, 4), batch = test::random_matrix(16, 64, 5);
  for (int round = 0; round < 20; ++round) {
    BatchNorm<float> trained(64);
    trained.forward(Eigen::MatrixXf(2 * batch));
    const BatchNorm<float> copy = trained, layer = trained;
    const Eigen::MatrixXf of_frame = copy.evaluate(frame), of_batch = copy.evaluate(batch);
    std::vector<int> wrong(4, 0);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < wrong.size(); ++i) {
      threads.emplace_back([&, i] {
        for (int call = 0; call < 50; ++call) {
          const bool of_one = (static_cast<std::size_t>(call) + i) % 2 == 0;
          const Eigen::MatrixXf y = layer.evaluate(of_one ? frame : batch);
          wrong[i] += y == (of_one ? of_frame : of_batch) ? 0 : 1;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(4, 0));
  }
}

#define EIGEN_USE_THREADS  // for Eigen::ThreadPoolDevice

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "large_layers.hpp"
#include "pool.hpp"
#include "support.hpp"

// What a thread sanitizer is given to watch (scripts/test.sh --long builds this with one), and again and again the
// same bits.

using namespace test;
using namespace eigennorm;

namespace {

using Float = Field<float, Eigen::RowMajor>;

/// What a training step leaves.
struct Step {
  Float y, dx;
  Vector<float> dscale, dshift;
  std::optional<RunningStatistics<float>> running;

  Step(Normalization<float> layer, const Float& x, const Float& dy, const Context<float>& context)
      : y(x.shape()), dx(x.shape()) {
    forward(layer, x, y, context);
    backward(layer, x, dy, dx, context);
    dscale = layer.scale.grad;
    dshift = layer.shift.grad;
    running = layer.running;
  }

  bool same(const Step& other) const {
    return same_bits(y, other.y) && same_bits(dx, other.dx) && same_bits(dscale, other.dscale) &&
           same_bits(dshift, other.dshift) &&
           (!running ||
            (same_bits(running->mean, other.running->mean) && same_bits(running->variance, other.running->variance)));
  }
};

/// Just above the size from which on calls are shared out.
std::vector<Large<float>> shared_layers() {
  return {
      {"LayerNorm", LayerNorm<float>(96), {400, 96}},
      {"LayerNorm of long rows", LayerNorm<float>(9000), {4, 9000}},
      {"LayerNorm of columns", LayerNorm<float>(400, over(0)), {400, 96}},
      {"LayerNorm of one row", LayerNorm<float>(70000), {1, 70000}},
      {"RMSNorm", RMSNorm<float>(33), {1200, 33}},
      {"BatchNorm, NCHW", BatchNorm<float>(3), {5, 3, 50, 50}},
      {"BatchNorm, short planes", BatchNorm<float>(100), {8, 100, 7, 7}},
      {"BatchNorm, N x C", BatchNorm<float>(130), {300, 130}},
      {"GroupNorm, NCHW", GroupNorm<float>(4, 32), {3, 32, 20, 20}},
      {"GroupNorm, NHWC", GroupNorm<float>(4, 32, channels_on(-1)), {3, 20, 20, 32}},
      {"InstanceNorm", InstanceNorm<float>(10), {4, 10, 30, 30}},
      {"WeightNorm", WeightNorm<float>(300), {300, 128}},
  };
}

/// Takes so many steps of each layer, on pools of 1 to 8 threads in turn, and returns how many there were.
int repeat_steps(const std::vector<Large<float>>& layers, int repeats) {
  std::vector<std::unique_ptr<Pool>> pools;
  for (int threads = 1; threads <= 8; ++threads) pools.push_back(std::make_unique<Pool>(threads));
  int steps = 0;
  for (const Large<float>& each : layers) {
    INFO(each.name);
    Random random(7);
    auto layer = each.layer;
    randomize(layer, random);
    const Float x(each.shape, random.normals(reference::size_of(each.shape), 0.6));
    const Float dy(each.shape, random.normals(reference::size_of(each.shape)));
    const Step serial(layer, x, dy, {});
    for (int repeat = 0; repeat < repeats; ++repeat) {
      const Pool& pool = *pools[static_cast<std::size_t>(repeat) % pools.size()];
      INFO(pool.threads().NumThreads() << " threads, repeat " << repeat);
      REQUIRE(serial.same(Step(layer, x, dy, {pool.device()})));
      ++steps;
    }
  }
  return steps;
}

}  // namespace

TEST_CASE("two thousand training steps on pools of 1 to 8 threads: no race, always the same bits") {
  CHECK(repeat_steps(shared_layers(), 168) >= 2000);
}

TEST_CASE("a hundred steps of large layers on pools of 1 to 8 threads: the same bits") {
  CHECK(repeat_steps(large_layers<float>(), 100) >= 1700);
}

TEST_CASE("one const layer, evaluated by four threads at once") {
  for (const Large<float>& each : shared_layers()) {
    INFO(each.name);
    const std::size_t size = reference::size_of(each.shape);
    Random random(9);
    auto trained = each.layer;
    randomize(trained, random);
    Float x(each.shape, random.normals(size, 0.6)), y(each.shape);
    forward(trained, x, y, {});
    const Normalization<float>& layer = trained;
    // Each thread has data of its own, so that a memory which they share would show.
    std::vector<int> wrong(4, 0);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < wrong.size(); ++t) {
      const Float own(each.shape, random.normals(size, static_cast<double>(t)));
      Float expected(each.shape);
      evaluate(layer, own, expected, {});
      threads.emplace_back([&layer, &wrong, own, expected, t] {
        Float result(own.shape());
        for (int repeat = 0; repeat < 10; ++repeat) {
          evaluate(layer, own, result, {});
          wrong[t] += same_bits(result, expected) ? 0 : 1;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(4, 0));
  }
}

TEST_CASE("layers of different threads have nothing in common") {
  const std::vector<Large<float>> layers = shared_layers();
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&layers, &wrong, t] {
      // Every thread is at another layer.
      for (std::size_t i = 0; i < layers.size(); ++i) {
        const Large<float>& each = layers[(i + t * 3) % layers.size()];
        Random random(11 + t);
        auto layer = each.layer;
        randomize(layer, random);
        const Float x(each.shape, random.normals(reference::size_of(each.shape), 0.6));
        const Float dy(each.shape, random.normals(reference::size_of(each.shape)));
        const Step first(layer, x, dy, {});
        for (int repeat = 0; repeat < 10; ++repeat) wrong[t] += first.same(Step(layer, x, dy, {})) ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("a call from inside the pool's own workers stays on them, and does not wait for others") {
  // All workers of a pool of two call at once: would they wait for tasks on the same pool, nobody was left to run
  // those.
  Pool pool(2);
  for (const Large<float>& each : shared_layers()) {
    INFO(each.name);
    const std::size_t size = reference::size_of(each.shape);
    Random random(10);
    auto layer = each.layer;
    randomize(layer, random);
    std::vector<Float> x, dy;
    std::vector<Step> serial;
    for (int t = 0; t < 2; ++t) {
      x.emplace_back(each.shape, random.normals(size, t));
      dy.emplace_back(each.shape, random.normals(size));
      serial.emplace_back(layer, x.back(), dy.back(), Context<float>());
    }
    Eigen::Barrier done(2);
    std::vector<int> same(2, 0);
    for (std::size_t t = 0; t < same.size(); ++t) {
      pool.threads().Schedule([&, t] {
        same[t] = serial[t].same(Step(layer, x[t], dy[t], {pool.device()})) ? 1 : 0;
        done.Notify();
      });
    }
    done.Wait();
    CHECK(same == std::vector<int>(2, 1));
  }
}

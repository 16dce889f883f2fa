#define EIGEN_USE_THREADS  // for Eigen::ThreadPoolDevice

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <eigennorm/core/tiles.hpp>

#include "catch.hpp"
#include "large_layers.hpp"
#include "support.hpp"

// The same data give the same bits on the calling thread and on any pool.

using namespace test;
using namespace eigennorm;

namespace {

template <typename FieldType>
using LayerOf = Normalization<typename FieldType::Scalar>;

/// Counts what it is given to do, so that a test knows whether anything went to other threads.
class CountingPool : public Eigen::ThreadPoolInterface {
 public:
  explicit CountingPool(int threads) : pool_(threads) {}

  void Schedule(std::function<void()> task) override {
    ++scheduled_;
    pool_.Schedule(std::move(task));
  }
  void ScheduleWithHint(std::function<void()> task, int start, int end) override {
    ++scheduled_;
    pool_.ScheduleWithHint(std::move(task), start, end);
  }
  int NumThreads() const override { return pool_.NumThreads(); }
  int CurrentThreadId() const override { return pool_.CurrentThreadId(); }

  int scheduled() const { return scheduled_; }

 private:
  Eigen::ThreadPool pool_;
  std::atomic<int> scheduled_{0};
};

/// All that a training step and an evaluation leave behind.
template <typename FieldType>
struct Outcome {
  FieldType evaluated, y, dx;
  LayerOf<FieldType> layer;

  Outcome(const LayerOf<FieldType>& start, const FieldType& x, const FieldType& dy,
          const Context<typename FieldType::Scalar>& context)
      : evaluated(x.shape()), y(x.shape()), dx(x.shape()), layer(start) {
    evaluate(layer, x, evaluated, context);
    forward(layer, x, y, context);
    backward(layer, x, dy, dx, context);
  }

  void check_same(const Outcome& other) const {
    using Scalar = typename FieldType::Scalar;
    CHECK(same_bits(evaluated, other.evaluated));
    CHECK(same_bits(y, other.y));
    CHECK(same_bits(dx, other.dx));
    CHECK(same_bits<Scalar>(layer.scale.grad, other.layer.scale.grad));
    CHECK(same_bits<Scalar>(layer.shift.grad, other.layer.shift.grad));
    CHECK(same_bits<Scalar>(layer.moments().rstd(), other.layer.moments().rstd()));
    if (!layer.running) return;
    CHECK(same_bits<Scalar>(layer.running->mean, other.layer.running->mean));
    CHECK(same_bits<Scalar>(layer.running->variance, other.layer.running->variance));
  }
};

using Fields =
    std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>, Field<double, Eigen::RowMajor>,
               Field<double, Eigen::ColMajor>, Field<Eigen::bfloat16, Eigen::RowMajor>>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("the number of threads changes no bit", "", Fields) {
  using Scalar = typename TestType::Scalar;
  std::uint64_t seed = 100;
  std::vector<std::unique_ptr<CountingPool>> pools;
  for (int threads = 1; threads <= 8; ++threads) pools.push_back(std::make_unique<CountingPool>(threads));
  for (auto& [name, start, shape] : large_layers<Scalar>()) {
    INFO(name);
    Random random(++seed);
    auto layer = start;
    randomize(layer, random);
    const std::size_t size = reference::size_of(shape);
    REQUIRE(size > 256 * 1024);
    const TestType x(shape, random.normals(size, 0.6));
    const TestType dy(shape, random.normals(size));
    const Outcome<TestType> serial(layer, x, dy, {});
    const Eigen::DefaultDevice default_device;
    serial.check_same(Outcome<TestType>(layer, x, dy, {default_device}));
    for (const auto& pool : pools) {
      INFO(pool->NumThreads() << " threads");
      const Eigen::ThreadPoolDevice device(pool.get(), pool->NumThreads());
      const int before = pool->scheduled();
      serial.check_same(Outcome<TestType>(layer, x, dy, {device}));
      if (pool->NumThreads() > 1) CHECK(pool->scheduled() > before);
    }
  }
}

namespace {

/// A pool of two that does something else before and between the halves of its work, on the same thread.
struct InterruptedPool {
  std::function<void()> meanwhile;

  int numThreads() const { return 2; }
  int currentThreadId() const { return -1; }
  void parallelFor(Eigen::Index n, const Eigen::TensorOpCost&,
                   const std::function<void(Eigen::Index, Eigen::Index)>& work) const {
    meanwhile();
    work(0, n / 2);
    meanwhile();
    work(n / 2, n);
  }
};

}  // namespace

TEST_CASE("the calls of two layers, one inside the other, do not meet") {
  // As those of two threads may: what one of them uses on the way must be its own.
  using Tensor = Field<double, Eigen::RowMajor>;
  for (const auto& [name, layer, shape] : large_layers<double>()) {
    INFO(name);
    Random random(7);
    const std::size_t size = reference::size_of(shape);
    const Tensor x(shape, random.normals(size)), dy(shape, random.normals(size));
    const Outcome<Tensor> alone(layer, x, dy, {});
    Normalization<double> other = layer;
    Tensor other_y(shape), other_dx(shape);
    int calls = 0;
    const InterruptedPool pool{[&] {
      ++calls;
      forward(other, dy, other_y);
      backward(other, dy, x, other_dx);
    }};
    alone.check_same(Outcome<Tensor>(layer, x, dy, {pool}));
    CHECK(calls > 0);
  }
}

TEST_CASE("segments are merged in order, wave after wave") {
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  for (const Device& device : {Device(), Device(pool)}) {
    for (const std::int64_t lanes : {1, 3, 16, 64}) {
      const std::int64_t segments = 2500 / lanes + 7;
      INFO(segments << " segments of " << lanes << " lanes");
      std::vector<std::vector<std::int64_t>> merged(static_cast<std::size_t>(lanes));
      std::vector<std::int64_t> waiting(1024);
      core::for_each_segment(
          device, segments, lanes, static_cast<std::int64_t>(waiting.size()),
          [&](std::int64_t first, std::int64_t last, std::int64_t at) {
            for (std::int64_t i = 0; i < (last - first) * lanes; ++i)
              waiting[static_cast<std::size_t>(at + i)] = first * lanes + i;
          },
          [&](std::int64_t lane, std::int64_t segment, std::int64_t at) {
            CHECK(segment == static_cast<std::int64_t>(merged[static_cast<std::size_t>(lane)].size()));
            merged[static_cast<std::size_t>(lane)].push_back(waiting[static_cast<std::size_t>(at)]);
          });
      int wrong = 0;
      for (std::int64_t lane = 0; lane < lanes; ++lane) {
        const auto& mine = merged[static_cast<std::size_t>(lane)];
        REQUIRE(static_cast<std::int64_t>(mine.size()) == segments);
        for (std::int64_t i = 0; i < segments; ++i)
          wrong += mine[static_cast<std::size_t>(i)] != i * lanes + lane;
      }
      CHECK(wrong == 0);
    }
  }
}

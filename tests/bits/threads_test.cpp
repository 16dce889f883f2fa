#define EIGEN_USE_THREADS  // for Eigen::ThreadPoolDevice

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <eigennorm/core/schedule.hpp>

#include "catch.hpp"
#include "large_layers.hpp"
#include "pool.hpp"
#include "support.hpp"

// The same data give the same bits on the calling thread and on any pool.

using namespace test;
using namespace eigennorm;

namespace {

template <typename FieldType>
using LayerOf = Normalization<typename FieldType::Scalar>;

/// Counts what it is given to do, so that a test knows whether anything went to other threads.
class CountingThreads : public Eigen::ThreadPoolInterface {
 public:
  explicit CountingThreads(int number) : threads_(number) {}

  void Schedule(std::function<void()> task) override {
    ++scheduled_;
    threads_.Schedule(std::move(task));
  }
  void ScheduleWithHint(std::function<void()> task, int start, int end) override {
    ++scheduled_;
    threads_.ScheduleWithHint(std::move(task), start, end);
  }
  int NumThreads() const override { return threads_.NumThreads(); }
  int CurrentThreadId() const override { return threads_.CurrentThreadId(); }

  int scheduled() const { return scheduled_; }

 private:
  Eigen::ThreadPool threads_;
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
    CHECK(same_bits(evaluated, other.evaluated));
    CHECK(same_bits(y, other.y));
    CHECK(same_bits(dx, other.dx));
    CHECK(same_bits(layer.scale.grad, other.layer.scale.grad));
    CHECK(same_bits(layer.shift.grad, other.layer.shift.grad));
    CHECK(same_bits(layer.moments().rstd(), other.layer.moments().rstd()));
    if (!layer.running) return;
    CHECK(same_bits(layer.running->mean, other.layer.running->mean));
    CHECK(same_bits(layer.running->variance, other.layer.running->variance));
  }
};

using Fields = std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>, Field<double, Eigen::RowMajor>,
                          Field<double, Eigen::ColMajor>, Field<Eigen::bfloat16, Eigen::RowMajor>>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("the number of threads changes no bit", "", Fields) {
  using Scalar = typename TestType::Scalar;
  std::uint64_t seed = 100;
  std::vector<std::unique_ptr<BasicPool<CountingThreads>>> pools;
  for (int number = 1; number <= 8; ++number) {
    pools.push_back(std::make_unique<BasicPool<CountingThreads>>(number));
  }
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
      const CountingThreads& threads = pool->threads();
      INFO(threads.NumThreads() << " threads");
      const int before = threads.scheduled();
      serial.check_same(Outcome<TestType>(layer, x, dy, {pool->device()}));
      if (threads.NumThreads() > 1) CHECK(threads.scheduled() > before);
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

namespace {

/// What a task that only remembers is given: how many segments it has, and where it leaves which were merged.
struct RecordingCall {
  const core::Partition* partition;
  std::int64_t segments;
  std::vector<std::vector<std::int64_t>>* merged;  ///< by lane, the number of each value that was merged
  std::int64_t* written;
  std::int64_t* finished;
  bool stream = false;
  const kernels::BlockKernels<float, float>* kernels = nullptr;
};

/// A task whose "sums" are lists: what segment s leaves for lane t is the number s * lanes + t.
class RecordingTask {
 public:
  using W = double;

  struct Sums {
    static constexpr std::int64_t numbers = 2;  // the number itself, and its negative
    std::vector<std::vector<std::int64_t>> of;

    void clear(std::int64_t = 0) { of.assign(static_cast<std::size_t>(kernels::most_lanes<float>), {}); }
    void add(const Sums& next, std::int64_t lanes) {
      for (std::size_t t = 0; t < static_cast<std::size_t>(lanes); ++t)
        of[t].insert(of[t].end(), next.of[t].begin(), next.of[t].end());
    }
    void put(W* to, std::int64_t lanes) const {
      for (std::int64_t t = 0; t < lanes; ++t) {
        to[t] = static_cast<W>(of[static_cast<std::size_t>(t)].at(0));
        to[lanes + t] = -to[t];
      }
    }
    void get(const W* from, core::Segment to) {
      of.resize(static_cast<std::size_t>(kernels::most_lanes<float>));
      const std::int64_t lanes = to.last - to.first;
      for (std::int64_t t = 0; t < lanes; ++t) {
        // Torn otherwise.
        const bool whole = from[lanes + t] == -from[t];
        of[static_cast<std::size_t>(to.first + t)].push_back(whole ? static_cast<std::int64_t>(from[t]) : -1);
      }
    }
    void count_is(std::int64_t) {}
  };

  RecordingTask(const RecordingCall& call, std::int64_t) : call_(call) {}

  using Summing = RecordingTask;
  static std::int64_t segments(const RecordingCall& call) { return call.segments; }
  static std::int64_t values_in(const RecordingCall&, std::int64_t segment) { return segment; }
  static bool writes() { return true; }
  void begin(std::int64_t, const core::Tile& tile) { tile_ = &tile; }
  void sum(std::int64_t segment, Sums& sums) const {
    for (std::int64_t t = 0; t < tile_->lanes; ++t)
      sums.of[static_cast<std::size_t>(t)].push_back(segment * kernels::most_lanes<float> + tile_->base.group + t);
  }
  void finish(const Sums& sums) {
    ++*call_.finished;
    *call_.merged = sums.of;
  }
  void write(std::int64_t first, std::int64_t last) const {
    static std::mutex one_at_a_time;
    const std::lock_guard<std::mutex> lock(one_at_a_time);
    *call_.written += last - first;
  }

 private:
  const RecordingCall& call_;
  const core::Tile* tile_ = nullptr;
};

}  // namespace

TEST_CASE("segments are merged in order, wave after wave, and each lane is summed once") {
  const Pool pool(3);
  for (const Device& device : {Device(), Device(pool.device())}) {
    // Far more than can wait at a time; and one, whose lanes are shared out.
    for (const auto& [lanes, segments] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 2507}, {3, 840}, {16, 163}, {64, 46}, {1, 1}, {16, 1}, {31, 1}, {32, 1}, {49, 1}, {64, 1}}) {
      INFO(segments << " segments of " << lanes << " lanes");
      core::Partition partition;
      partition.groups.kept.append({lanes, {1, 1, 1}, 1, 0});
      partition.groups.interleaved = true;
      partition.count = 3 * core::segment_size + 5;
      std::vector<std::vector<std::int64_t>> merged;
      std::int64_t written = 0, finished = 0;
      const RecordingCall call{&partition, segments, &merged, &written, &finished};
      core::run_shared<RecordingTask>(call, 0, lanes, device);
      CHECK(finished == 1);
      CHECK(written == partition.count);
      int wrong = 0;
      for (std::int64_t lane = 0; lane < lanes; ++lane) {
        const auto& mine = merged[static_cast<std::size_t>(lane)];
        REQUIRE(static_cast<std::int64_t>(mine.size()) == segments);
        for (std::int64_t i = 0; i < segments; ++i) {
          wrong += mine[static_cast<std::size_t>(i)] != i * kernels::most_lanes<float> + lane;
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("tiles of groups side by side are wide enough for kernels of lanes, whatever the pool") {
  for (std::int64_t channels = kernels::most_rows; channels <= 200; ++channels) {
    Shape shape;
    shape.rank = 2;
    shape[0] = 40;
    shape[1] = channels;
    const Strides strides{channels, 1};
    const core::Partition partition =
        core::partition({over(0), over(1), channels}, shape, Order::row_major, {strides, strides, strides});
    const core::Layout layout(partition.groups, 0, 2);
    for (int threads = 1; threads <= 20; ++threads) {
      CAPTURE(channels, threads);
      const std::int64_t width = core::tile_width<float>(partition, layout, 0, threads);
      CHECK(width >= kernels::most_rows);
      CHECK(width <= kernels::most_lanes<float>);
    }
  }
}

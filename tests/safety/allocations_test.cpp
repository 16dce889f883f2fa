#define EIGEN_USE_THREADS  // for Eigen::ThreadPoolDevice

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <eigennorm/core/layer_facts.hpp>

#include "catch.hpp"
#include "fused.hpp"
#include "large_layers.hpp"
#include "masked.hpp"
#include "pool.hpp"
#include "support.hpp"

// Whoever calls a layer in a loop that must not wait for the heap can rely on it: after the first call of a shape
// nothing is allocated, and by evaluate never. On a pool, Eigen allocates its tasks; the library adds nothing. Every
// malloc of the process is counted, operator new among them, since Eigen's own check sees neither its thread pool nor
// the standard library.

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

std::atomic<long> allocations{0};

}  // namespace

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) noexcept {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) noexcept {
  ++allocations;
  return __libc_realloc(memory, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  ++allocations;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  ++allocations;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
  ++allocations;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr;
}
}

using namespace test;
using namespace eigennorm;

namespace {

template <typename F>
long allocations_of(const F& f) {
  const long before = allocations;
  f();
  return allocations - before;
}

/// A pool that counts the parallel sections it is given.
class CountingDevice {
 public:
  explicit CountingDevice(int threads) : pool_(threads) {}

  int numThreads() const { return pool_.device().numThreads(); }
  int currentThreadId() const { return pool_.device().currentThreadId(); }
  void parallelFor(Eigen::Index n, const Eigen::TensorOpCost& cost,
                   std::function<void(Eigen::Index, Eigen::Index)> f) const {
    ++sections_;
    pool_.device().parallelFor(n, cost, std::move(f));
  }
  long sections() const { return sections_; }

 private:
  Pool pool_;
  mutable std::atomic<long> sections_{0};
};

/// Layers whose calls go every way through the library: small, and large enough for threads.
template <typename Scalar>
std::vector<Large<Scalar>> layers() {
  std::vector<Large<Scalar>> all = large_layers<Scalar>();
  all.push_back({"LayerNorm of one row", LayerNorm<Scalar>(64), {1, 64}});
  all.push_back({"LayerNorm of short rows", LayerNorm<Scalar>(7), {20, 7}});
  all.push_back({"BatchNorm of a small batch", BatchNorm<Scalar>(10), {6, 10}});
  all.push_back({"BatchNorm of short planes", BatchNorm<Scalar>(64), {9, 64, 7, 7}});
  all.push_back({"BatchNorm of a small batch, renormalized", BatchNorm<Scalar>(10), {6, 10}});
  all.back().layer.running->renormalize = Renormalization{3, 5};
  all.push_back({"RMSNorm of rows", RMSNorm<Scalar>(300), {50, 300}});
  return all;
}

}  // namespace

TEST_CASE("what is counted: malloc and operator new") {
  CHECK(allocations_of([] {
          void* volatile memory = std::malloc(1);  // nobody may leave it out
          std::free(memory);
        }) == 1);
  CHECK(allocations_of([] { ::operator delete(::operator new(1)); }) == 1);
}

using Fields = std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>, Field<double, Eigen::RowMajor>,
                          Field<Eigen::bfloat16, Eigen::RowMajor>>;

TEMPLATE_LIST_TEST_CASE("nothing is allocated after the first call of a shape, and never by evaluate", "", Fields) {
  using Scalar = typename TestType::Scalar;
  for (auto& [name, start, shape] : layers<Scalar>()) {
    INFO(name);
    Random random(1);
    auto layer = start;
    const TestType x(shape, random.normals(reference::size_of(shape), 0.6));
    const TestType dy(shape, random.normals(reference::size_of(shape)));
    TestType y(shape), dx(shape);
    const auto evaluate_once = [&] { evaluate(layer, x, y, {}); };
    const auto step = [&] {
      forward(layer, x, y, {});
      backward(layer, x, dy, dx, {});
    };
    CHECK(allocations_of(evaluate_once) == 0);
    step();
    CHECK(allocations_of(step) == 0);
    CHECK(allocations_of(evaluate_once) == 0);
    // With all that can be fused, too.
    if (core::LayerFacts::statistic(layer) != Statistic::sum_square) {
      layer.activation = Activation::relu;
      TestType sum(shape), dsum(shape);
      Context<Scalar> behind, before;
      view(behind.residual, dy);
      before = behind;
      view(behind.residual_gradient, dsum);
      view(before.added, sum);
      view(before.added_gradient, dy);
      const auto fused_step = [&] {
        forward(layer, x, y, behind);
        backward(layer, x, dy, dx, behind);
        evaluate(layer, x, y, behind);
        forward(layer, x, y, before);
        backward(layer, sum, dy, dx, before);
        evaluate(layer, x, y, before);
      };
      fused_step();
      CHECK(allocations_of(fused_step) == 0);
    }
    with_rank(shape.size(), [&](auto rank) {
      const auto prepared = layer.prepare(x.template map<rank>(), y.template map<rank>());
      CHECK(allocations_of([&] { prepared(x.data(), y.data()); }) == 0);
    });
  }
}

/// Layers on sequences, which have samples on axis 0 and positions on axis 2, if there is one.
template <typename Scalar>
std::vector<Large<Scalar>> layers_on_sequences() {
  return {{"BatchNorm", BatchNorm<Scalar>(8), {16, 8, 30}},
          {"frozen BatchNorm", BatchNorm<Scalar>(8), {16, 8, 30}},
          {"BatchNorm, renormalized", BatchNorm<Scalar>(8), {16, 8, 30}},
          {"LayerNorm", LayerNorm<Scalar>(64), {20, 64}},
          {"LayerNorm of channels", LayerNorm<Scalar>(8, over(1)), {16, 8, 30}},
          {"GroupNorm", GroupNorm<Scalar>(4, 8), {5, 8, 30}},
          {"InstanceNorm", InstanceNorm<Scalar>(8), {5, 8, 30}}};
}

TEMPLATE_LIST_TEST_CASE("with valid positions nothing is allocated after the first call of a shape, or of a thread", "",
                        Fields) {
  using Scalar = typename TestType::Scalar;
  Random random(1);
  for (auto& [name, layer, shape] : layers_on_sequences<Scalar>()) {
    if (std::string(name) == "frozen BatchNorm") layer.freeze();
    if (std::string(name) == "BatchNorm, renormalized") layer.running->renormalize = Renormalization{3, 5};
    for (const Kinds kind : {Kinds::lengths, Kinds::random}) {
      INFO(name << ", " << (kind == Kinds::lengths ? "lengths" : "random"));
      std::vector<bool> varies(shape.size(), true);
      varies[1] = false;
      const MaskField<Eigen::RowMajor> mask(make_mask(shape, varies, kind, random));
      Context<Scalar> context;
      context.valid = mask.valid();
      const TestType x(shape, random.normals(reference::size_of(shape))),
          dy(shape, random.normals(reference::size_of(shape)));
      TestType y(shape), dx(shape);
      const auto step = [&, &layer = layer] {
        forward(layer, x, y, context);
        backward(layer, x, dy, dx, context);
      };
      step();
      CHECK(allocations_of(step) == 0);
      // With all that can be fused, too.
      layer.activation = Activation::relu;
      TestType sum(shape), dsum(shape);
      Context<Scalar> behind = context, before;
      view(behind.residual, dy);
      before = behind;
      view(behind.residual_gradient, dsum);
      view(before.added, sum);
      view(before.added_gradient, dy);
      const auto fused_step = [&, &layer = layer] {
        forward(layer, x, y, behind);
        backward(layer, x, dy, dx, behind);
        forward(layer, x, y, before);
        backward(layer, sum, dy, dx, before);
      };
      fused_step();
      CHECK(allocations_of(fused_step) == 0);
      layer.activation = Activation::none;
      long again = -1;
      std::thread([&, &layer = layer] {
        const auto evaluate_once = [&] { evaluate(layer, x, y, context); };
        evaluate_once();
        again = allocations_of(evaluate_once);
      }).join();
      CHECK(again == 0);
    }
  }
}

TEST_CASE(
    "a layer that goes back and forth between shapes allocates when it sees a larger one first, and never "
    "again") {
  using Float = Field<float, Eigen::RowMajor>;
  struct Shapes {
    const char* name;
    Normalization<float> layer;
    std::vector<Sizes> shapes;  // of ascending numbers of groups
  };
  InstanceNorm<float> tracking(8);
  tracking.running.emplace(8);
  const std::vector<Shapes> all = {
      {"LayerNorm", LayerNorm<float>(64), {{1, 64}, {7, 64}, {30, 2, 64}, {500, 64}}},
      {"GroupNorm", GroupNorm<float>(4, 8), {{1, 8, 5, 5}, {2, 8, 9, 9}, {16, 8, 3, 3}}},
      {"InstanceNorm", tracking, {{1, 8, 5, 5}, {2, 8, 9, 9}, {16, 8, 3, 3}}},
      {"BatchNorm", BatchNorm<float>(8), {{2, 8}, {3, 8, 5, 5}, {400, 8}}},
  };
  for (const auto& [name, start, shapes] : all) {
    for (const bool largest_first : {false, true}) {
      INFO(name << (largest_first ? ", largest first" : ", smallest first"));
      auto layer = start;
      eigennorm::Moments<float> own;
      struct Step {
        Float x, dy, y, dx;
      };
      std::vector<Step> steps;
      Random random(1);
      for (const Sizes& shape : shapes) {
        const Float x(shape, random.normals(reference::size_of(shape), 0.6));
        steps.push_back({x, x, x, x});
      }
      if (largest_first) std::reverse(steps.begin(), steps.end());
      const auto run = [&](Step& step) {
        forward<float>(layer, step.x, step.y, {{}, &own});
        forward<float>(layer, step.x, step.y, {});
        backward<float>(layer, step.x, step.dy, step.dx, {});
      };
      for (std::size_t i = 0; i < steps.size(); ++i) {
        // (What backward needs room for is not a matter of groups alone.)
        const long first = allocations_of([&] { forward<float>(layer, steps[i].x, steps[i].y, {{}, &own}); });
        if (largest_first && i > 0) CHECK(first == 0);
        run(steps[i]);
      }
      for (int round = 0; round < 3; ++round) {
        for (Step& step : steps) CHECK(allocations_of([&] { run(step); }) == 0);
        for (auto step = steps.rbegin(); step != steps.rend(); ++step) CHECK(allocations_of([&] { run(*step); }) == 0);
      }
    }
  }
}

TEST_CASE("a stream of single observations allocates with the first, and so do batches") {
  const Eigen::RowVectorXf row = Eigen::RowVectorXf::Random(17);
  const Eigen::MatrixXf batch = Eigen::MatrixXf::Random(30, 17);
  PopulationStatistics<float> population(17);
  const auto observe_row = [&] { population.observe(row, channels_on(1)); };
  const auto observe_batch = [&] { population.observe(batch, channels_on(1)); };
  observe_row();
  for (int i = 0; i < 5; ++i) CHECK(allocations_of(observe_row) == 0);
  observe_batch();
  for (int i = 0; i < 5; ++i) {
    CHECK(allocations_of(observe_batch) == 0);
    CHECK(allocations_of(observe_row) == 0);
  }
  BatchNorm<float> layer(17);
  layer.forward(batch);
  CHECK(allocations_of([&] { population.observe(layer.moments()); }) == 0);
}

TEST_CASE("on a pool only Eigen allocates: at most four times for each thread of a parallel section") {
  using Float = Field<float, Eigen::RowMajor>;
  for (const int threads : {1, 2, 4}) {
    const CountingDevice device(threads);
    for (auto& [name, start, shape] : layers<float>()) {
      INFO(name << ", " << threads << " threads");
      Random random(1);
      auto layer = start;
      const Float x(shape, random.normals(reference::size_of(shape), 0.6));
      const Float dy(shape, random.normals(reference::size_of(shape)));
      Float y(shape), dx(shape);
      const auto step = [&] {
        evaluate(layer, x, y, {device});
        forward(layer, x, y, {device});
        backward(layer, x, dy, dx, {device});
      };
      step();
      const long before = device.sections();
      const long counted = allocations_of(step);
      CHECK(counted <= 4 * threads * (device.sections() - before));
    }
  }
}

namespace {

/// Two members of one process, whose records are copied into memory that stays.
class Pair {
 public:
  void send(int from, const Peers::Record& record) {
    const std::lock_guard<std::mutex> lock(mutex_);
    box_[from].assign(record.begin(), record.end());
    full_[from] = true;
    changed_.notify_all();
  }
  void receive(int from, Peers::Record& record) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return full_[from]; });
    record.assign(box_[from].begin(), box_[from].end());
    full_[from] = false;
  }
  /// Waits for the other.
  void meet() {
    std::unique_lock<std::mutex> lock(mutex_);
    const int round = met_++ / 2;
    changed_.notify_all();
    changed_.wait(lock, [&] { return met_ / 2 > round; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Peers::Record box_[2];
  bool full_[2] = {false, false};
  int met_ = 0;
};

class OneOfPair : public Peers {
 public:
  OneOfPair(Pair& pair, int number) : pair_(pair), number_(number) {}
  int members() const override { return 2; }
  int member() const override { return number_; }
  void send(int, const Record& record) override { pair_.send(number_, record); }
  void receive(int from, Record& record) override { pair_.receive(from, record); }

 private:
  Pair& pair_;
  int number_;
};

}  // namespace

TEST_CASE("nothing is allocated after the first call of a spread batch, also where groups are out of range") {
  Pair pair;
  long counted[2] = {-1, -1};
  const auto work = [&](int number) {
    OneOfPair peers(pair, number);
    Context<float> context;
    context.peers = &peers;
    BatchNorm<float> layer(20);
    Eigen::MatrixXf x = Eigen::MatrixXf::Random(number == 0 ? 30 : 7, 20);
    x.col(3).setZero();
    x.col(4) *= 1e25F;
    Eigen::MatrixXf y = x, dx = x;
    const auto step = [&] {
      layer.forward(x, y, context);
      layer.backward(x, y, dx, context);
    };
    step();
    pair.meet();
    // (Of both at once.)
    counted[number] = allocations_of([&] {
      for (int i = 0; i < 5; ++i) step();
      pair.meet();
    });
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  CHECK(counted[0] == 0);
  CHECK(counted[1] == 0);
}

#else

TEST_CASE("allocations are counted with glibc, and without sanitizers") { SUCCEED(); }

#endif

#define EIGEN_USE_THREADS  // for Eigen::TensorOpCost

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iomanip>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <eigennorm/core/layer_facts.hpp>

#include "cases.hpp"
#include "catch.hpp"
#include "fused.hpp"
#include "members.hpp"
#include "support.hpp"

// Whoever runs a layer on a thread of his own can rely on it: no verb takes 64 KB of stack, on the calling thread or
// on one of a pool. So it runs where threads have 128 KB, as with musl. LayerNorm's backward of 64 x 48 took 175 KB
// once. The stacks here are painted before and looked at afterwards; below them lies a page that nobody may touch.

using namespace test;
using namespace eigennorm;

using reference::Sizes;

namespace {

constexpr std::size_t kilobyte = 1024;
constexpr std::size_t promised = 64 * kilobyte;

// Sanitizers put red zones around every array and keep the variables of all scopes apart, and without optimization
// every small function has a frame: frames of these builds say nothing about those of users. There the same calls run
// on a stack that is large enough, and only their results are looked at, by the sanitizer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
constexpr bool counts = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool counts = false;
#else
constexpr bool counts = true;
#endif
#else
constexpr bool counts = true;
#endif

constexpr std::size_t stack_size = (counts ? 96 : 2048) * kilobyte;

/// A stack of which one can tell how deep it was used.
class PaintedStack {
 public:
  PaintedStack()
      : memory_(mmap(nullptr, page + stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED || mprotect(memory_, page, PROT_NONE) != 0)
      throw std::runtime_error("no memory for a stack");
    if (counts) std::memset(bottom(), paint, stack_size);
  }
  ~PaintedStack() { munmap(memory_, page + stack_size); }
  PaintedStack(const PaintedStack&) = delete;
  PaintedStack& operator=(const PaintedStack&) = delete;

  /// Runs `work` in a thread on this stack.
  void start(std::function<void()> work) {
    work_ = std::move(work);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, bottom(), stack_size) != 0 ||
        pthread_create(&thread_, &attributes, run, this) != 0)
      throw std::runtime_error("no thread on a small stack");
    pthread_attr_destroy(&attributes);
  }
  /// Waits for its end; returns how many bytes of stack it took.
  std::size_t join() {
    pthread_join(thread_, nullptr);
    const unsigned char* end = bottom() + stack_size;
    const unsigned char* deepest =
        std::find_if(bottom(), bottom() + stack_size, [](unsigned char byte) { return byte != paint; });
    return counts && deepest < end ? static_cast<std::size_t>(top_ - deepest) : 0;
  }

 private:
  static constexpr std::size_t page = 4096;
  static constexpr unsigned char paint = 0xa5;

  unsigned char* bottom() const { return static_cast<unsigned char*>(memory_) + page; }

  static void* run(void* self) {
    auto& stack = *static_cast<PaintedStack*>(self);
    stack.top_ = static_cast<const unsigned char*>(__builtin_frame_address(0));
    stack.work_();
    return nullptr;
  }

  void* memory_;
  pthread_t thread_{};
  std::function<void()> work_;
  const unsigned char* top_ = nullptr;
};

std::size_t stack_of(std::function<void()> work) {
  PaintedStack stack;
  stack.start(std::move(work));
  return stack.join();
}

/// A pool whose threads are made for each section, on painted stacks.
class PaintedPool {
 public:
  explicit PaintedPool(int threads) : threads_(threads) {}

  int numThreads() const { return threads_; }
  int currentThreadId() const { return -1; }
  void parallelFor(Eigen::Index n, const Eigen::TensorOpCost&,
                   const std::function<void(Eigen::Index, Eigen::Index)>& work) const {
    std::vector<std::unique_ptr<PaintedStack>> stacks;
    for (int i = 0; i < threads_; ++i) {
      const Eigen::Index first = n * i / threads_, last = n * (i + 1) / threads_;
      if (first == last) continue;
      stacks.push_back(std::make_unique<PaintedStack>());
      stacks.back()->start([=, &work] { work(first, last); });
    }
    for (const auto& stack : stacks) deepest_ = std::max(deepest_, stack->join());
  }
  std::size_t deepest() const { return deepest_; }

 private:
  int threads_;
  mutable std::size_t deepest_ = 0;
};

/// What was found, by verb and type, for whoever wants to know: EIGENNORM_STACK_FIGURES in the environment prints it.
std::map<std::string, std::pair<std::size_t, std::string>> figures;

void found(const std::string& verb, const std::string& type, const std::string& name, std::size_t bytes) {
  auto& figure = figures[type + ", " + verb];
  if (bytes > figure.first) figure = {bytes, name};
  INFO(name << ", " << verb << " of " << type << ": " << bytes << " bytes");
  CHECK(bytes < promised);
}

template <typename Data>
std::string name_of() {
  if constexpr (std::is_same_v<Data, float>) return "float";
  if constexpr (std::is_same_v<Data, double>) return "double";
  if constexpr (std::is_same_v<Data, long double>) return "long double";
  return std::is_same_v<Data, Eigen::half> ? "half" : "bfloat16";
}

/// Every verb of a layer, on the calling thread and on two others; `call(layer, verb, context)` makes the call.
template <typename Scalar, typename Call>
void check_verbs(const std::string& type, const std::string& name, const Normalization<Scalar>& start,
                 const Call& call) {
  const std::vector<std::string> verbs = {"forward", "backward", "evaluate"};
  for (const bool frozen : {false, true}) {
    if (frozen && !start.running) continue;
    for (const bool alone : {true, false}) {
      Normalization<Scalar> layer = start;
      if (frozen) layer.freeze();
      const PaintedPool pool(2);
      const Context<Scalar> context = alone ? Context<Scalar>{} : Context<Scalar>{pool};
      for (std::size_t verb = 0; verb < verbs.size(); ++verb)
        found(verbs[verb], type, name, stack_of([&] { call(layer, verb, context); }));
      found("threads of a pool", type, name, pool.deepest());
    }
  }
}

/// Any numbers will do, about 0.6 of what they spread.
Numbers numbers(std::size_t size, double spread) {
  Numbers result(size);
  for (std::size_t i = 0; i < size; ++i) result[i] = spread * (static_cast<double>(i * 7919 % 1009) / 300 - 1);
  return result;
}

template <typename Scalar>
bool is_weight_norm(const Normalization<Scalar>& layer) {
  return core::LayerFacts::statistic(layer) == Statistic::sum_square;
}

template <typename FieldType, typename Scalar>
void check_layer(const std::string& name, const Normalization<Scalar>& layer, const Sizes& shape, double size) {
  const std::size_t values = reference::size_of(shape);
  const FieldType x(shape, numbers(values, size)), dy(shape, numbers(values, 1));
  FieldType y(shape), dx(shape), sum(shape);
  // Alone, with what is fused behind the norm, and before it.
  for (const int fused : {0, 1, 2}) {
    if (fused != 0 && is_weight_norm(layer)) continue;
    check_verbs(name_of<typename FieldType::Data>(), name, layer,
                [&](Normalization<Scalar>& mine, std::size_t verb, const Context<Scalar>& given) {
                  static Context<Scalar> context;  // not on the stack
                  context = given;
                  if (fused != 0) {
                    mine.activation = Activation::relu;
                    view(context.residual, dy);
                  }
                  if (fused == 2) view(context.added, sum);
                  if (verb == 0) forward(mine, x, y, context);
                  if (verb == 1) backward(mine, fused == 2 ? sum : x, dy, dx, context);
                  if (verb == 2) evaluate(mine, x, y, context);
                });
  }
}

template <typename Scalar>
struct Sized {
  const char* name;
  Normalization<Scalar> layer;
  Sizes shape;
};

/// Every road: groups that are rows, short, long, and longer than accumulators go; groups side by side, and some of
/// them; groups in segments; scale and shift within groups, by runs or not.
template <typename Scalar>
std::vector<Sized<Scalar>> layers() {
  return {
      {"LayerNorm of one huge row", LayerNorm<Scalar>(140003), {1, 140003}},
      {"LayerNorm of two huge columns", LayerNorm<Scalar>(70003, over(0)), {70003, 2}},
      {"LayerNorm of columns", LayerNorm<Scalar>(1703, over(0)), {1703, 101}},
      {"LayerNorm over(1)", LayerNorm<Scalar>(96, over(1)), {4, 96, 12, 13}},
      {"BatchNorm of 3 channels, NCHW", BatchNorm<Scalar>(3), {16, 3, 68, 68}},
      {"BatchNorm of 3 channels, NHWC", BatchNorm<Scalar>(3, channels_on(-1)), {16, 68, 68, 3}},
      {"GroupNorm, NCHW", GroupNorm<Scalar>(4, 32), {3, 32, 33, 33}},
      {"GroupNorm, NHWC", GroupNorm<Scalar>(4, 32, channels_on(-1)), {3, 33, 33, 32}},
      {"InstanceNorm", InstanceNorm<Scalar>(17), {4, 17, 33, 33}},
      {"WeightNorm", WeightNorm<Scalar>(100), {100, 1000}},
      {"WeightNorm, whole tensor", WeightNorm<Scalar>(whole_tensor), {600, 300}},
      {"LayerNorm 64 x 48", LayerNorm<Scalar>(48), {64, 48}},
      {"LayerNorm 40 x 1000", LayerNorm<Scalar>(1000), {40, 1000}},
      {"LayerNorm 40 x 1024, whole blocks", LayerNorm<Scalar>(1024), {40, 1024}},
      {"LayerNorm 40 x 3000", LayerNorm<Scalar>(3000), {40, 3000}},
      {"LayerNorm 20 x 8192", LayerNorm<Scalar>(8192), {20, 8192}},
      {"LayerNorm 20 x 8193", LayerNorm<Scalar>(8193), {20, 8193}},
      {"LayerNorm over(0, 2)", LayerNorm<Scalar>({300, 40}, over(0, 2)), {300, 37, 40}},
      {"LayerNorm over(0, 2), channels last", LayerNorm<Scalar>({300, 7}, over(0, 2)), {300, 3, 7, 35}},
      {"LayerNorm over(0), short columns", LayerNorm<Scalar>(9, over(0)), {9, 6, 11}},
      {"BatchNorm of 20 long channels, N x C", BatchNorm<Scalar>(20), {70000, 20}},
      {"BatchNorm of 3 long channels, N x C", BatchNorm<Scalar>(3), {70000, 3}},
      {"BatchNorm of short planes", BatchNorm<Scalar>(40), {60, 40, 7, 7}},
      {"BatchNorm of many channels", BatchNorm<Scalar>(3000), {50, 3000}},
      {"GroupNorm, 20 samples", GroupNorm<Scalar>(4, 32), {20, 32, 9, 9}},
      {"GroupNorm, N x C", GroupNorm<Scalar>(8, 256), {300, 256}},
      {"GroupNorm of long planes", GroupNorm<Scalar>(2, 4), {2, 4, 200, 190}},
      {"InstanceNorm of 20 channels, NHWC", InstanceNorm<Scalar>(20, channels_on(-1)), {1, 270, 260, 20}},
      {"RMSNorm 40 x 1000", RMSNorm<Scalar>(1000), {40, 1000}},
      {"WeightNorm of a convolution", WeightNorm<Scalar>(40), {40, 30, 3, 3}},
      {"features elsewhere",
       Normalization<Scalar>(over(2), over(1), {3}, Statistic::mean_variance, 1e-5),
       {500, 3, 40}},
      {"features partly averaged",
       Normalization<Scalar>(over(1, 2), over(0, 1), {30, 4}, Statistic::mean_variance, 1e-5),
       {30, 4, 500}},
  };
}

using Fields =
    std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>, Field<double, Eigen::RowMajor>,
               Field<double, Eigen::ColMajor>, Field<long double, Eigen::RowMajor>, Field<long double, Eigen::ColMajor>,
               Field<Eigen::half, Eigen::RowMajor>, Field<Eigen::bfloat16, Eigen::ColMajor>>;

template <typename Data>
using LayerScalar = std::conditional_t<std::is_same_v<Data, long double>, long double, ScalarOf<Data>>;

}  // namespace

TEST_CASE("what is painted is found") {
  if (!counts) return;
  const auto deep = [](std::size_t size) {
    return stack_of([size] {
      const auto recurse = [](const auto& self, std::size_t left) -> int {
        volatile unsigned char frame[kilobyte] = {};
        return left <= kilobyte ? frame[0] : self(self, left - kilobyte) + frame[1];
      };
      (void)recurse(recurse, size);
    });
  };
  CHECK(deep(kilobyte) < 6 * kilobyte);
  CHECK(deep(70 * kilobyte) >= 70 * kilobyte);
}

TEMPLATE_LIST_TEST_CASE("no verb takes 64 KB of stack, on layers of all sizes", "", Fields) {
  using Scalar = LayerScalar<typename TestType::Data>;
  for (const auto& [name, layer, shape] : layers<Scalar>()) check_layer<TestType>(name, layer, shape, 1);
}

TEMPLATE_LIST_TEST_CASE("no verb takes 64 KB of stack, on the table of cases", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  for (const Case& which : cases()) {
    check_layer<TestType>(which.name, which.layer<Scalar>(), which.shape, 1);
    // Squares out of range.
    const double largest = static_cast<double>(std::numeric_limits<typename TestType::Data>::max());
    check_layer<TestType>(which.name + ", large", which.layer<Scalar>(), which.shape, largest / 100);
  }
}

TEMPLATE_TEST_CASE("no verb takes 64 KB of stack, on memory of any strides", "", float, double, long double,
                   Eigen::half) {
  using Scalar = LayerScalar<TestType>;
  using Matrix = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Strided = Eigen::Map<Matrix, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  const auto check = [](const std::string& name, const Normalization<Scalar>& layer, Eigen::Index rows,
                        Eigen::Index columns) {
    for (const bool dense_inside : {false, true}) {
      const Eigen::Index inner = dense_inside ? 1 : 2, outer = columns * inner + 3;
      std::array<Matrix, 5> memory;
      for (Matrix& each : memory) each = Matrix::Random(rows, outer);
      const auto map = [&](std::size_t i) { return Strided(memory[i].data(), rows, columns, {outer, inner}); };
      for (const int fused : {0, 1, 2}) {
        if (fused != 0 && is_weight_norm(layer)) continue;
        check_verbs(name_of<TestType>(), name + ", strided", layer,
                    [&](Normalization<Scalar>& mine, std::size_t verb, const Context<Scalar>& given) {
                      static Context<Scalar> context;  // not on the stack
                      context = given;
                      if (fused != 0) {
                        mine.activation = Activation::relu;
                        context.residual = map(2);
                      }
                      if (fused == 2) context.added = map(4);
                      if (verb == 0) mine.forward(map(0), map(1), context);
                      if (verb == 1) mine.backward(map(fused == 2 ? 4 : 0), map(2), map(3), context);
                      if (verb == 2) mine.evaluate(map(0), map(1), context);
                    });
      }
    }
  };
  for (const Eigen::Index columns : {5, 40, 1000, 3000, 9000})
    check("LayerNorm", LayerNorm<Scalar>(columns), 40, columns);
  for (const Eigen::Index columns : {3, 20, 100}) {
    check("BatchNorm", BatchNorm<Scalar>(columns), 1500, columns);
    check("LayerNorm over(0)", LayerNorm<Scalar>(1500, over(0)), 1500, columns);
    check("MeanOnlyBatchNorm", MeanOnlyBatchNorm<Scalar>(columns), 1500, columns);
    check("RMSNorm over(0)", RMSNorm<Scalar>(1500, over(0)), 1500, columns);
  }
  check("BatchNorm of long channels", BatchNorm<Scalar>(4), 70000, 4);
  check("GroupNorm", GroupNorm<Scalar>(8, 64), 300, 64);
  check("WeightNorm", WeightNorm<Scalar>(300), 300, 64);
}

TEST_CASE("how much it was") {
  if (std::getenv("EIGENNORM_STACK_FIGURES") == nullptr) return;
  for (const auto& [what, figure] : figures)
    std::cout << std::left << std::setw(40) << what << std::setw(8) << figure.first << figure.second << '\n';
}

TEST_CASE("no verb takes 64 KB of stack where a batch is spread, nor where groups are out of range") {
  for (const bool out_of_range : {false, true}) {
    Post post(2);
    std::size_t most = 0;
    std::string failures[2];
    {
      PaintedStack stacks[2];
      for (int i = 0; i < 2; ++i) {
        stacks[i].start([&, i] {
          try {
            Member peers(post, i);
            Context<double> context;
            context.peers = &peers;
            BatchNorm<double> layer(40);
            Eigen::MatrixXd x = Eigen::MatrixXd::Random(100, 40);
            if (out_of_range) x *= 1e300;
            Eigen::MatrixXd y(100, 40), dx(100, 40);
            layer.forward(x, y, context);
            layer.backward(x, y, dx, context);
          } catch (const std::exception& failure) {
            failures[i] = failure.what();
          }
        });
      }
      for (PaintedStack& stack : stacks) most = (std::max)(most, stack.join());
    }
    for (const std::string& failure : failures) CHECK(failure == "");
    CHECK(most < promised);
  }
}

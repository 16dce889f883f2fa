#include <cstdint>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "support.hpp"
#include "watch.hpp"

// What other libraries' layers are made of EigenNorm's by: parameters as one vector, state from plain arrays, all
// checks without a call; and layers in states that no call may accept.

using namespace eigennorm;
using test::random_matrix;
using watch::bits;

namespace {

using Matrix = Eigen::MatrixXf;

// Whether a call throws std::invalid_argument whose text begins with the first of these words and has all others.
template <typename Call>
bool refused(const Call& call, std::initializer_list<std::string> words) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    const std::string text = error.what();
    for (const std::string& word : words) {
      const std::size_t place = text.find(word);
      if (place == std::string::npos || (&word == words.begin() && place != 0)) {
        UNSCOPED_INFO("it says: " << text);
        return false;
      }
    }
    return true;
  }
  return false;
}

// Throws in its `fatal`-th section.
struct FailingPool {
  int fatal;
  mutable int sections = 0;

  int numThreads() const { return 4; }
  int currentThreadId() const { return -1; }
  template <typename F>
  void parallelFor(Eigen::Index n, const Eigen::TensorOpCost&, const F& f) const {
    if (++sections == fatal) throw std::runtime_error("a pool that failed");
    f(0, n);
  }
};

}  // namespace

TEST_CASE("all parameters and gradients go out and in as one vector") {
  BatchNorm<float> layer(3);
  CHECK(layer.parameter_count() == 6);
  CHECK(layer.parameters() == std::vector<float>{1, 1, 1, 0, 0, 0});
  layer.set_parameters({1, 2, 3, 4, 5, 6});
  CHECK(layer.scale.value[2] == 3);
  CHECK(layer.shift.value[0] == 4);
  CHECK(layer.gradients() == std::vector<float>(6, 0.0F));
  layer.set_gradients({6, 5, 4, 3, 2, 1});
  CHECK(layer.scale.grad[0] == 6);
  CHECK(layer.shift.grad[2] == 1);

  const auto before = bits(layer);
  CHECK(refused(
      [&] {
        layer.set_parameters({1, 2, 3});
      },
      {"BatchNorm::set_parameters: expected 3 values of scale and 3 of shift, got 3 in all"}));
  CHECK(refused([&] { layer.set_gradients(std::vector<float>(7)); }, {"BatchNorm::set_gradients", "got 7"}));
  CHECK(bits(layer) == before);

  RMSNorm<double> one(2);
  CHECK(one.parameters() == std::vector<double>{1, 1});
  one.use_scale(false);
  CHECK(one.parameter_count() == 0);
  CHECK(one.parameters().empty());
  one.set_parameters({});

  // A step of an optimizer that knows only vectors.
  const Matrix x = random_matrix(16, 3, 1), dy = random_matrix(16, 3, 2);
  layer.forward(x);
  layer.zero_grad();
  layer.backward(x, dy);
  BatchNorm<float> other = layer;
  std::vector<float> values = layer.parameters(), gradients = layer.gradients();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] -= 0.1F * gradients[i];
  layer.set_parameters(values);
  other.scale.value -= 0.1F * other.scale.grad;
  other.shift.value -= 0.1F * other.shift.grad;
  CHECK(bits(layer) == bits(other));
}

TEST_CASE("parameters of a const layer can be looked at") {
  const LayerNorm<float> layer(5);
  std::int64_t values = 0;
  layer.for_each_parameter([&](std::string_view, const Parameter<float>& p) { values += p.value.size(); });
  layer.for_each_parameter([&](std::string_view, const auto& p) { values += p.grad.size(); });
  CHECK(values == 20);
}

TEST_CASE("a visitor may take a state by any kind of reference") {
  BatchNorm<float> layer(3);
  int visits = 0;
  layer.for_each_state([&](std::string_view, auto& values) { visits += values.size() > 0; });
  layer.for_each_state([&](std::string_view, auto&& values) { visits += values.size() > 0; });
  layer.for_each_state([&](std::string_view, const auto& values) { visits += values.size() > 0; });
  layer.for_each_state([&](std::string_view, auto values) { visits += values.size() > 0; });
  std::as_const(layer).for_each_state([&](std::string_view, auto& values) { visits += values.size() > 0; });
  CHECK(visits == 25);
  layer.for_each_state([&](std::string_view name, auto& values) {
    if (name == "scale") values.setConstant(2);
  });
  CHECK((layer.scale.value == 2.0F).all());
}

TEST_CASE("each state is assigned from a plain array") {
  BatchNorm<float> layer(3);
  const float scale[] = {1, 2, 3}, shift[] = {4, 5, 6}, mean[] = {7, 8, 9}, variance[] = {0, 1, 2};
  layer.assign("scale", scale, 3);
  layer.assign("shift", shift, 3);
  layer.assign("running_mean", mean, 3);
  layer.assign("running_variance", variance, 3);
  for (int i = 0; i < 3; ++i) {
    CHECK(layer.scale.value[i] == scale[i]);
    CHECK(layer.shift.value[i] == shift[i]);
    CHECK(layer.running->mean[i] == mean[i]);
    CHECK(layer.running->variance[i] == variance[i]);
  }
  layer.check();

  const auto before = bits(layer);
  const float bad[] = {1, -1, 1}, lost[] = {1, 1, std::numeric_limits<float>::quiet_NaN()};
  CHECK(refused([&] { layer.assign("scale", scale, 2); }, {"BatchNorm::assign: expected 3 values of scale, got 2"}));
  CHECK(refused([&] { layer.assign("weight", scale, 3); }, {"BatchNorm::assign", "running_mean", "\"weight\""}));
  CHECK(refused([&] { layer.assign("running_variance", bad, 3); }, {"BatchNorm", "variance", "-1"}));
  CHECK(refused([&] { layer.assign("running_variance", lost, 3); }, {"BatchNorm", "variance", "nan"}));
  CHECK(refused([&] { layer.assign("running_mean", lost, 3); }, {"BatchNorm", "mean", "nan"}));
  LayerNorm<float> without(3);
  without.use_shift(false);
  CHECK(refused([&] { without.assign("shift", shift, 3); }, {"LayerNorm::assign", "\"shift\""}));
  CHECK(refused([&] { without.assign("running_mean", mean, 3); }, {"LayerNorm::assign", "\"running_mean\""}));
  CHECK(bits(layer) == before);
}

TEST_CASE("check() refuses what evaluate would, and does nothing else") {
  BatchNorm<float> layer(3);
  Matrix x = random_matrix(4, 3, 1), y(4, 3);
  layer.check();
  layer.check(x);
  layer.check(x, y);
  layer.check(x, x);
  layer.check(x.topRows(1));

  const auto before = bits(layer);
  CHECK(refused([&] { layer.check(Matrix(x.leftCols(2))); }, {"BatchNorm: made for 3 channels", "[4, 2]"}));
  CHECK(refused([&] { layer.check(x, Matrix(4, 2)); }, {"BatchNorm", "expected y of x's shape [4, 3]", "[4, 2]"}));
  CHECK(refused([&] { layer.check(x.topRows(3), x.bottomRows(3)); }, {"BatchNorm", "partial overlap"}));
  CHECK(bits(layer) == before);

  const auto broken = [&](auto&& breaks, std::initializer_list<std::string> words) {
    BatchNorm<float> wrong(3);
    breaks(wrong);
    CHECK(refused([&] { wrong.check(); }, words));
    CHECK(refused([&] { wrong.check(x); }, words));
    CHECK(refused([&] { wrong.check(x, y); }, words));
    CHECK(refused([&] { wrong.evaluate(x, y); }, words));
  };
  broken([](auto& l) { l.eps = -1; }, {"BatchNorm", "eps", "-1"});
  broken([](auto& l) { l.scale.value.resize(2); }, {"BatchNorm", "scale", "2"});
  broken([](auto& l) { l.shift.grad.resize(0); }, {"BatchNorm", "shift", "0"});
  broken([](auto& l) { l.running->mean.resize(4); }, {"BatchNorm", "4"});
  broken([](auto& l) { l.running->variance[1] = -1; }, {"BatchNorm", "variance", "-1"});
  broken([](auto& l) { l.running->batches = -5; }, {"BatchNorm", "batches", "-5"});
}

TEST_CASE("check() refuses running statistics that no call of the layer takes") {
  const auto refuses = [](Normalization<float> layer) {
    layer.running.emplace(4);
    return refused([&] { layer.check(); }, {"", "expected no running statistics"}) &&
           refused([&] { layer.evaluate(random_matrix(4, 4, 1)); }, {"", "expected no running statistics"});
  };
  CHECK(refuses(LayerNorm<float>(4)));
  CHECK(refuses(RMSNorm<float>(4)));
  CHECK(refuses(WeightNorm<float>(4)));
  InstanceNorm<float> tracking(4);
  tracking.running.emplace(4);
  tracking.check();
}

TEST_CASE("a layer that was moved from says so") {
  const Matrix x = random_matrix(4, 3, 1);
  BatchNorm<float> first(3);
  first.forward(x);
  BatchNorm<float> second = std::move(first);
  const std::initializer_list<std::string> words = {"BatchNorm: expected a layer, got one that was moved away"};
  CHECK(refused([&] { first.forward(x); }, words));      // NOLINT(bugprone-use-after-move)
  CHECK(refused([&] { first.evaluate(x); }, words));     // NOLINT(bugprone-use-after-move)
  CHECK(refused([&] { first.backward(x, x); }, words));  // NOLINT(bugprone-use-after-move)
  CHECK(refused([&] { first.check(); }, words));         // NOLINT(bugprone-use-after-move)
  CHECK(refused([&] { first.moments(); }, words));       // NOLINT(bugprone-use-after-move)
  const float values[] = {1, 1, 1};
  CHECK(refused([&] { first.assign("scale", values, 3); }, words));  // NOLINT(bugprone-use-after-move)
  const BatchNorm<float> copy = first;                               // NOLINT(bugprone-use-after-move)
  CHECK(refused([&] { copy.evaluate(x); }, words));
  second.backward(x, x);

  first = second;
  first.backward(x, x);
  std::vector<Normalization<float>> layers;
  for (int i = 0; i < 9; ++i) layers.push_back(first);
  layers.erase(layers.begin());
  for (Normalization<float>& layer : layers) layer.forward(x);
  std::swap(layers[0], layers[1]);
  layers[0].forward(x);
  layers[1].forward(x);
}

TEST_CASE("a device that throws in a forward leaves no moments to go back by") {
  // Many rows, so that the pool is asked; and few long groups, which take several sections.
  for (const bool frozen : {false, true}) {
    for (const std::int64_t columns : {2, 64}) {
      const Matrix x = random_matrix(400000 / columns, columns, 3), dy = x;
      BatchNorm<float> layer(columns);
      layer.forward(x);
      if (frozen) layer.freeze();
      Matrix y(x.rows(), x.cols()), dx = y;
      bool failed = false;
      for (int fatal = 1; fatal <= 3; ++fatal) {
        const FailingPool pool{fatal};
        BatchNorm<float> trained = layer;
        try {
          trained.forward(x, y, {pool});
        } catch (const std::runtime_error&) {
          failed = true;
          CHECK(refused([&] { trained.backward(x, dy, dx); }, {"BatchNorm: expected a forward before backward"}));
          CHECK(refused([&] { trained.moments(); }, {"BatchNorm::moments"}));
          CHECK(trained.running->batches == layer.running->batches);
          trained.forward(x, y);
          trained.backward(x, dy, dx);
        }
        Moments<float> own;
        trained.forward(x, y, {{}, &own});
        try {
          const FailingPool again{fatal};
          trained.forward(x, y, {again, &own});
        } catch (const std::runtime_error&) {
          CHECK(own.empty());
        }
      }
      CHECK(failed);
    }
  }
}

TEST_CASE("backward says that only forward leaves moments") {
  BatchNorm<float> layer(3);
  const Matrix x = random_matrix(4, 3, 1);
  layer.evaluate(x);
  CHECK(refused([&] { layer.backward(x, x); },
                {"BatchNorm: expected a forward before backward (evaluate leaves no moments)"}));
}

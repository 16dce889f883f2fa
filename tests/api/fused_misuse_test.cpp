#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "members.hpp"
#include "support.hpp"
#include "watch.hpp"

// Activations and residuals as a setting and as a part of a context: wrong use, by name; and what may be left out.

using namespace eigennorm;
using watch::refused;

namespace {

using Matrix = Eigen::MatrixXf;
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Texts = std::initializer_list<std::string>;

/// A layer that has gone forward with a residual, or a sum.
struct Bench {
  BatchNorm<float> layer{3};
  Matrix x = test::random_matrix(5, 3, 1), r = test::random_matrix(5, 3, 2), dy = test::random_matrix(5, 3, 3);
  Matrix y = Matrix::Zero(5, 3), dx = y, dr = y, sum = y;
  Context<float> context;

  explicit Bench(Activation activation = Activation::relu, bool before = false) {
    layer.activation = activation;
    context.residual = r;
    if (before) context.added = sum;
    layer.forward(x, y, context);
    if (!before) context.residual_gradient = dr;
  }

  template <typename Call>
  void wrong(const std::string& name, const Texts& parts, const Call& call) {
    INFO(name);
    CHECK(refused("BatchNorm", parts, call, layer, x, r, dy, y, dx, dr, sum) == "");
  }
};

}  // namespace

TEST_CASE("An activation is a setting like the others") {
  Bench bench;
  BatchNorm<float> layer(3);
  CHECK(layer.activation == Activation::none);
  CHECK(Normalization<float>(bench.layer).activation == Activation::relu);
  bench.layer.activation = static_cast<Activation>(7);
  const Texts parts{"expected an activation of none or relu", "7"};
  bench.wrong("forward", parts, [&] { bench.layer.forward(bench.x, bench.y); });
  bench.wrong("evaluate", parts, [&] { bench.layer.evaluate(bench.x, bench.y); });
  bench.wrong("backward", parts, [&] { bench.layer.backward(bench.x, bench.dy, bench.dx, bench.context); });
  bench.wrong("check", parts, [&] { bench.layer.check(); });
  bench.wrong("prepare", parts, [&] { bench.layer.prepare(bench.x, bench.y); });
}

TEST_CASE("A parameter that is normalized has no activation and no residual") {
  WeightNorm<float> layer(5);
  const Matrix v = test::random_matrix(5, 3, 1);
  Matrix w = Matrix::Zero(5, 3);
  Context<float> context;
  context.residual = v;
  CHECK(refused(
            "WeightNorm", {"expected no residual of a parameter", "got one"}, [&] { layer.forward(v, w, context); },
            layer, w) == "");
  CHECK(refused(
            "WeightNorm", {"expected no residual of a parameter", "got one"}, [&] { layer.evaluate(v, w, context); },
            layer, w) == "");
  layer.activation = Activation::relu;
  CHECK(refused(
            "WeightNorm", {"expected no activation of a parameter", "got relu"}, [&] { layer.forward(v, w); }, layer,
            w) == "");
}

TEST_CASE("A residual has the elements, the order and the shape of x") {
  Bench bench;
  const Eigen::MatrixXd twofold = bench.r.cast<double>();
  const Rows other_order = bench.r;
  const Matrix wide = test::random_matrix(5, 4, 1);
  const Eigen::Map<const Matrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> backwards(
      bench.r.data() + 4, 5, 3, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(5, -1));
  const auto all = [&](const char* name, const Texts& parts, const auto& residual) {
    Context<float> context;
    context.residual = residual;
    bench.wrong(name, parts, [&] { bench.layer.forward(bench.x, bench.y, context); });
    bench.wrong(name, parts, [&] { bench.layer.evaluate(bench.x, bench.y, context); });
    bench.wrong(name, parts, [&] { bench.layer.backward(bench.x, bench.dy, bench.dx, context); });
  };
  all("type", {"expected residual of the elements of x, float", "got double"}, twofold);
  all("order", {"expected residual in the storage order of x", "the other one"}, other_order);
  all("shape", {"expected residual of x's shape [5, 3]", "[5, 4]"}, wide);
  all("strides", {"expected strides of at least 0, got -1 on axis 0 of residual"}, backwards);
  // A vector goes with either order.
  LayerNorm<float> layer({1, 3}, over(0, 1));
  const Eigen::RowVectorXf row = bench.r.row(0), x = bench.x.row(0);
  Rows y(1, 3);
  Context<float> context;
  context.residual = row;
  layer.forward(x, y, context);
  CHECK(y.isApprox(layer.forward(x) + row));
}

TEST_CASE("What is written shares nothing with what is still read") {
  Bench bench;
  Context<float> context;
  context.residual = bench.y;
  bench.wrong("y of a forward whose backward takes the residual again",
              {"expected residual and y of forward", "one tensor"},
              [&] { bench.layer.forward(bench.x, bench.y, context); });
  Matrix room = Matrix::Zero(6, 3);
  context.residual = room.topRows(5);
  bench.wrong("a part of y", {"residual and y", "a partial overlap"},
              [&] { bench.layer.evaluate(bench.x, room.bottomRows(5), context); });
  context.residual = bench.r;
  for (auto* shared : {&bench.y, &room}) {
    context.added = Eigen::Ref<Matrix>(shared->topRows(5));
    if (shared == &bench.y) {
      bench.wrong("added and y", {"expected added and y to share no memory", "one tensor"},
                  [&] { bench.layer.forward(bench.x, bench.y, context); });
    } else {
      bench.wrong("a part of x", {"x and added", "a partial overlap"},
                  [&] { bench.layer.forward(room.bottomRows(5), bench.y, context); });
    }
  }
  const auto backward = [&] { bench.layer.backward(bench.x, bench.dy, bench.dx, bench.context); };
  bench.context.residual_gradient = bench.x;
  bench.wrong("x", {"x and residual_gradient", "one tensor"}, backward);
  bench.context.residual_gradient = bench.r;
  bench.wrong("r", {"residual and residual_gradient", "one tensor"}, backward);
  bench.context.residual_gradient = bench.dx;
  bench.wrong("dx", {"dx and residual_gradient", "one tensor"}, backward);
  bench.context.residual_gradient = bench.dr;
  bench.wrong("dx over the residual", {"residual and dx", "one tensor"},
              [&] { bench.layer.backward(bench.x, bench.dy, bench.r, bench.context); });
  bench.layer.backward(bench.x, bench.dy, bench.dx, bench.context);
}

TEST_CASE("Without an activation backward does not look at the residual, which y may have taken the place of") {
  Bench bench(Activation::none);
  Context<float> context;
  Matrix y = bench.r, dx = bench.r, other = bench.dx;
  context.residual = y;
  bench.layer.forward(bench.x, y, context);
  CHECK((y - bench.y).cwiseAbs().maxCoeff() == 0);
  bench.layer.backward(bench.x, bench.dy, dx, bench.context);
  CHECK((bench.dr - bench.dy).cwiseAbs().maxCoeff() == 0);
  context.residual_gradient = bench.dy;
  bench.layer.backward(bench.x, bench.dy, other, context);
  CHECK((dx - other).cwiseAbs().maxCoeff() == 0);
}

TEST_CASE("backward is called as its forward was") {
  Bench bench;
  const auto backward = [&](const Context<float>& context) {
    return [&bench, context] { bench.layer.backward(bench.x, bench.dy, bench.dx, context); };
  };
  bench.wrong("no residual", {"expected the residual of its forward in backward, one", "got none"}, backward({}));
  Context<float> with_sum = bench.context;
  with_sum.added = bench.sum;
  bench.wrong("a sum", {"expected no sum (Context::added) in backward", "got one"}, backward(with_sum));
  Context<float> more = bench.context;
  more.added_gradient = bench.dy;
  bench.wrong("a gradient of a sum", {"expected no added_gradient", "got one"}, backward(more));
  bench.layer.activation = Activation::none;
  bench.wrong("another activation", {"expected the activation of its forward in backward, relu", "another one"},
              backward(bench.context));
  bench.layer.activation = Activation::relu;
  bench.layer.backward(bench.x, bench.dy, bench.dx, bench.context);

  bench.layer.forward(bench.x, bench.y);
  bench.wrong("a residual", {"expected the residual of its forward in backward, none", "got one"},
              backward(bench.context));
  Context<float> gradient;
  gradient.residual_gradient = bench.dr;
  bench.wrong("its gradient", {"expected no residual_gradient where forward had no residual", "got one"},
              backward(gradient));
  bench.layer.backward(bench.x, bench.dy, bench.dx);
}

TEST_CASE("a sum that is kept is x of backward") {
  Bench bench(Activation::relu, true);
  Context<float> alone;
  alone.added = bench.sum;
  bench.wrong("no residual", {"expected a residual where the sum is kept", "got none"},
              [&] { bench.layer.forward(bench.x, bench.y, alone); });
  bench.wrong("x itself", {"expected the sum of its forward (Context::added) as x of backward", "another tensor"},
              [&] { bench.layer.backward(bench.x, bench.dy, bench.dx, bench.context); });
  Context<float> gradient = bench.context;
  gradient.residual_gradient = bench.dr;
  bench.wrong("a gradient of its own", {"expected no residual_gradient", "dx is that of both terms", "got one"},
              [&] { bench.layer.backward(bench.sum, bench.dy, bench.dx, gradient); });
  Context<float> taken = bench.context;
  taken.added_gradient = bench.dx;
  bench.wrong("dx", {"added_gradient and dx", "one tensor"},
              [&] { bench.layer.backward(bench.sum, bench.dy, bench.dx, taken); });
  const Eigen::MatrixXd twofold = bench.r.cast<double>();
  taken.added_gradient = twofold;
  bench.wrong("type", {"expected added_gradient of the elements of x, float", "got double"},
              [&] { bench.layer.backward(bench.sum, bench.dy, bench.dx, taken); });
  // The context of forward, or none.
  bench.layer.backward(bench.sum, bench.dy, bench.dx, bench.context);
  bench.layer.backward(bench.sum, bench.dy, bench.dr);
  CHECK((bench.dx - bench.dr).cwiseAbs().maxCoeff() == 0);
}

TEST_CASE("A spread batch: one activation on all members, and no sum that is kept") {
  for (const bool sum : {true, false}) {
    test::Post post(2);
    std::optional<Bench> benches[2];
    for (auto& bench : benches) bench.emplace();
    const auto failures = test::on_members(post, [&](Peers& peers) {
      const bool wrong = peers.member() == 1;
      Bench& bench = *benches[peers.member()];
      bench.context.residual_gradient = {};
      bench.context.peers = &peers;
      if (sum && wrong) bench.context.added = bench.sum;
      if (!sum && wrong) bench.layer.activation = Activation::none;
      bench.layer.forward(bench.x, bench.y, bench.context);
    });
    for (const std::string& failure : failures) {
      CHECK(failure.find("on member 1") != std::string::npos);
      CHECK(failure.find(sum ? "expected no sum to be kept" : "relu") != std::string::npos);
    }
    for (auto& bench : benches) CHECK((bench->sum.array() == 0).all());
  }
}

TEST_CASE("An empty batch changes nothing, and a residual of none is none") {
  BatchNorm<float> layer(3);
  layer.activation = Activation::relu;
  Matrix x(0, 3), r(0, 3), y(0, 3), dx(0, 3), dr(0, 3), sum(0, 3);
  Context<float> context;
  context.residual = r;
  context.residual_gradient = dr;
  layer.forward(x, y, context);
  layer.backward(x, y, dx, context);
  context.residual_gradient = {};
  context.added = sum;
  layer.forward(x, y, context);
  layer.backward(sum, y, dx, context);
  CHECK((layer.shift.grad == 0).all());
  const Matrix one = test::random_matrix(2, 3, 1);
  context = {};
  context.residual = core::AnyInput();
  layer.forward(one, context);
}

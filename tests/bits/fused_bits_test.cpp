#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "fused.hpp"
#include "pool.hpp"
#include "problem.hpp"
#include "same_bits.hpp"
#include "watch.hpp"

// What is fused with a call has the bits of plain calls and plain loops: of every layer and geometry, in every type and
// order, by whichever statistics.

using namespace test;
using eigennorm::Activation;

namespace {

enum class By { batch, corrected, running };

/// A problem with a residual, and a layer that is the same but for its activation.
template <typename FieldType>
struct FusedProblem {
  using Scalar = typename FieldType::Scalar;
  using Context = eigennorm::Context<Scalar>;

  FusedProblem(const Problem<FieldType>& of, By by, bool relu)
      : problem(of),
        plain(of.layer),
        fused(of.layer),
        residual(of.x.shape(), Random(of.x.size() + 77).normals(of.x.size())),
        y(of.x.shape()),
        dx(of.x.shape()) {
    if (plain.running) {
      // (One value has no variance to move a running one by.)
      if (problem.roles.count == 1) plain.running->update = false;
      if (by == By::running) plain.freeze();
      if (by == By::corrected) plain.running->renormalize = eigennorm::Renormalization{1.05, 0.3};
      fused.running = plain.running;
    }
    if (relu) fused.activation = Activation::relu;
  }

  const Problem<FieldType>& problem;
  eigennorm::Normalization<Scalar> plain, fused;
  FieldType residual, y, dx;
};

bool fits(const Formula& formula, std::size_t rank, bool has_running, By by) {
  if (by == By::batch) return true;
  if (!has_running || by == By::running) return has_running;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (reference::contains(formula.averaged, axis) == reference::contains(formula.features, axis)) return false;
  }
  return true;
}

template <typename Scalar>
bool same_layers(const eigennorm::Normalization<Scalar>& a, const eigennorm::Normalization<Scalar>& b) {
  return watch::bits(a) == watch::bits(b);
}

/// y, dx, gradients, moments, running values and the residual's gradient. `in_place`: residual_gradient is dy, or
/// otherwise dx is.
template <typename FieldType>
void check_behind(const Problem<FieldType>& problem, By by, bool relu, bool adds, bool in_place,
                  const eigennorm::Device& device = {}) {
  using Scalar = typename FieldType::Scalar;
  FusedProblem<FieldType> own(problem, by, relu);
  Field<Scalar, FieldType::order> unrounded(problem.x.shape());
  auto plain = own.plain;
  forward(plain, widened_field(problem.x), unrounded);
  const FieldType y = finished(unrounded, adds ? &own.residual : nullptr, relu, problem.y);
  eigennorm::Context<Scalar> context(device);
  if (adds) view(context.residual, own.residual);
  forward(own.fused, problem.x, own.y, context);
  CHECK(same_bits(own.y, y));

  const FieldType dy = relu ? gated(y, problem.dy) : problem.dy;
  FieldType dx(problem.x.shape()), dresidual = in_place ? problem.dy : FieldType(problem.x.shape());
  forward(own.plain, problem.x, dx);
  backward(own.plain, problem.x, dy, dx);
  if (adds) view(context.residual_gradient, dresidual);
  if (in_place && !adds) {
    own.dx = problem.dy;
    with_rank(own.dx.shape().size(), [&](auto rank) {
      own.fused.backward(problem.x.template map<rank>(), own.dx.template map<rank>(), own.dx.template map<rank>(),
                         context);
    });
  } else {
    backward(own.fused, problem.x, in_place ? dresidual : problem.dy, own.dx, context);
  }
  CHECK(same_bits(own.dx, dx));
  if (adds) CHECK(same_bits(dresidual, dy));
  CHECK(same_layers(own.fused, own.plain));
}

/// x + residual is kept and normalized. `in_place`: it takes the place of x.
template <typename FieldType>
void check_before(const Problem<FieldType>& problem, By by, bool relu, bool in_place,
                  const eigennorm::Device& device = {}) {
  using Scalar = typename FieldType::Scalar;
  FusedProblem<FieldType> own(problem, by, relu);
  const FieldType truth = sum_of(problem.x, own.residual);
  FieldType y(problem.x.shape()), dx(problem.x.shape()), sum = in_place ? problem.x : FieldType(problem.x.shape());
  auto plain = own.fused;
  forward(plain, truth, y);
  eigennorm::Context<Scalar> context(device);
  view(context.residual, own.residual);
  view(context.added, sum);
  forward(own.fused, in_place ? sum : problem.x, own.y, context);
  CHECK(same_bits(sum, truth));
  CHECK(same_bits(own.y, y));
  CHECK(same_layers(own.fused, plain));

  const FieldType more(problem.x.shape(), Random(5).normals(problem.x.size()));
  backward(plain, truth, problem.dy, dx);
  view(context.added_gradient, more);
  backward(own.fused, sum, problem.dy, own.dx, context);
  CHECK(same_bits(own.dx, sum_of(dx, more)));
  CHECK(same_layers(own.fused, plain));
  // Once more without what else the sum was used for.
  context.added_gradient = {};
  backward(own.fused, sum, problem.dy, own.dx, context);
  CHECK(same_bits(own.dx, dx));
}

template <typename FieldType, typename Check>
void for_all(const Check& check) {
  for_every_problem<FieldType>([&](const Problem<FieldType>& problem) {
    if (problem.formula.kind == Kind::sum_square) return;
    for (const By by : {By::batch, By::corrected, By::running}) {
      CAPTURE(static_cast<int>(by));
      if (fits(problem.formula, problem.x.shape().size(), problem.layer.running.has_value(), by)) check(problem, by);
    }
  });
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("An activation and a residual behind the norm", "", AllFields) {
  int checked = 0;
  for_all<TestType>([&](const Problem<TestType>& problem, By by) {
    check_behind(problem, by, true, false, checked % 2 == 0);
    check_behind(problem, by, true, true, checked % 2 == 0);
    check_behind(problem, by, false, true, checked % 2 == 0);
    ++checked;
  });
  CHECK(checked >= 200);
}

TEMPLATE_LIST_TEST_CASE("A sum that is kept and normalized", "", AllFields) {
  int checked = 0;
  for_all<TestType>([&](const Problem<TestType>& problem, By by) {
    check_before(problem, by, checked % 3 == 0, checked % 2 == 0);
    ++checked;
  });
  CHECK(checked >= 200);
}

TEST_CASE("On a pool there are the same bits") {
  using FieldType = Field<float, Eigen::RowMajor>;
  const Pool pool(3);
  std::uint64_t seed = 0;
  const auto check = [&](const Case& which) {
    CAPTURE(which.name);
    const Problem<FieldType> problem(which, 0.5, Random(++seed));
    for (const By by : {By::batch, By::corrected, By::running}) {
      if (!fits(problem.formula, problem.x.shape().size(), problem.layer.running.has_value(), by)) continue;
      check_behind(problem, by, true, true, false, pool.device());
      check_behind(problem, by, true, false, true, pool.device());
      check_before(problem, by, true, true, pool.device());
    }
  };
  const auto formula = [](reference::Axes averaged, int channel) {
    return Formula{std::move(averaged), {channel}, Kind::mean_variance, 1e-5};
  };
  using eigennorm::BatchNorm;
  using eigennorm::channels_on;
  // Large enough to be shared out: whole tiles, segments of few channels, lanes of one tile, runs that segments cut.
  check(row("NCHW", {9, 8, 75, 75}, formula({0, 2, 3}, 1), [](auto s) { return BatchNorm<decltype(s)>(8); }));
  check(
      row("three channels", {30, 3, 75, 75}, formula({0, 2, 3}, 1), [](auto s) { return BatchNorm<decltype(s)>(3); }));
  check(row("short runs", {21000, 5, 7}, formula({0, 2}, 1), [](auto s) { return BatchNorm<decltype(s)>(5); }));
  check(row("NHWC", {70, 33, 37, 5}, formula({0, 1, 2}, 3),
            [](auto s) { return BatchNorm<decltype(s)>(5, channels_on(-1)); }));
  check(row("rows", {700, 500}, Formula{{1}, {1}, Kind::mean_variance, 1e-5},
            [](auto s) { return eigennorm::LayerNorm<decltype(s)>(500); }));
  check(row("GroupNorm", {11, 32, 40, 40}, Formula{{1, 2, 3}, {1}, Kind::mean_variance, 1e-5, 4},
            [](auto s) { return eigennorm::GroupNorm<decltype(s)>(4, 32); }));
}

TEST_CASE("Evaluation has the bits of a plain loop, in place too, and so has a prepared one") {
  using FieldType = Field<float, Eigen::RowMajor>;
  for_every_problem<FieldType>([&](const Problem<FieldType>& problem) {
    if (problem.formula.kind == Kind::sum_square) return;
    FusedProblem<FieldType> own(problem, By::batch, true);
    FieldType plain(problem.x.shape()), x = problem.x, residual = own.residual, sum(problem.x.shape());
    evaluate(own.plain, problem.x, plain);
    eigennorm::Context<float> context;
    evaluate(own.fused, problem.x, own.y);
    const FieldType relu = finished<FieldType>(plain, nullptr, true, plain);
    CHECK(same_bits(own.y, relu));
    with_rank(x.shape().size(), [&](auto rank) {
      const auto map = x.template map<rank>();
      auto to = own.y.template map<rank>();
      const auto prepared = own.fused.prepare(map, to);
      prepared(x.data(), own.y.data());
    });
    CHECK(same_bits(own.y, relu));
    view(context.residual, residual);
    const FieldType truth = finished<FieldType>(plain, &own.residual, true, plain);
    // Into the residual, and into x.
    evaluate(own.fused, x, residual, context);
    CHECK(same_bits(residual, truth));
    residual = own.residual;
    view(context.residual, residual);
    with_rank(x.shape().size(),
              [&](auto rank) { own.fused.evaluate(x.template map<rank>(), x.template map<rank>(), context); });
    CHECK(same_bits(x, truth));
    const FieldType added = sum_of(problem.x, residual);
    evaluate(own.fused, added, plain);
    view(context.added, sum);
    evaluate(own.fused, problem.x, own.y, context);
    CHECK(same_bits(sum, added));
    CHECK(same_bits(own.y, plain));
  });
}

TEST_CASE("Strides do not matter, whatever tensor has them") {
  // Every second row and column of larger matrices, of either order, and a residual that repeats one row.
  const auto check = [](auto matrix, auto layer) {
    using Matrix = decltype(matrix);
    using Strided = Eigen::Map<Matrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
    constexpr Eigen::Index rows = 70, columns = 33;
    const Eigen::Index outer = Matrix::IsRowMajor ? 3 * columns : 3 * rows;
    const Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic> stride(outer, 2),
        repeated(Matrix::IsRowMajor ? 0 : 1, Matrix::IsRowMajor ? 1 : 0);
    std::vector<Matrix> room;
    std::vector<Strided> all;
    for (int i = 0; i < 6; ++i) room.push_back(Matrix::Random(3 * rows, 3 * columns));
    for (Matrix& each : room) all.emplace_back(each.data(), rows, columns, stride);
    const Strided row(room[0].data(), rows, columns, repeated);
    for (const Strided& residual : {all[1], row}) {
      layer.activation = Activation::relu;
      auto packed = layer;
      const Matrix x = all[0], r = residual, dy = all[2];
      Matrix y(rows, columns), dx = y, dr = y;
      eigennorm::Context<float> context, own;
      own.residual = r;
      own.residual_gradient = dr;
      packed.forward(x, y, own);
      packed.backward(x, dy, dx, own);
      context.residual = residual;
      context.residual_gradient = all[5];
      layer.forward(all[0], all[3], context);
      layer.backward(all[0], all[2], all[4], context);
      CHECK(same_bits(all[3], y));
      CHECK(same_bits(all[4], dx));
      CHECK(same_bits(all[5], dr));
      // The same sum, kept in the strided one.
      Matrix sum = y;
      own.added = sum;
      own.residual_gradient = {};
      packed.forward(x, y, own);
      packed.backward(sum, dy, dx, own);
      context.added = all[5];
      context.residual_gradient = {};
      layer.forward(all[0], all[3], context);
      layer.backward(all[5], all[2], all[4], context);
      CHECK(same_bits(all[3], y));
      CHECK(same_bits(all[5], sum));
      CHECK(same_bits(all[4], dx));
    }
  };
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  check(Eigen::MatrixXf(), eigennorm::Normalization<float>(eigennorm::BatchNorm<float>(33)));
  check(RowMajor(), eigennorm::Normalization<float>(eigennorm::BatchNorm<float>(33)));
  check(Eigen::MatrixXf(), eigennorm::Normalization<float>(eigennorm::LayerNorm<float>(33)));
  check(RowMajor(), eigennorm::Normalization<float>(eigennorm::LayerNorm<float>(33)));
}

TEST_CASE("In long double, and for one that repeats itself in a batch, there is the same loop") {
  using Matrix = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;
  const Eigen::MatrixXd numbers = Eigen::MatrixXd::Random(9, 12);
  const Matrix x = numbers.topRows(3).cast<long double>(), r = numbers.middleRows(3, 3).cast<long double>(),
               dy = numbers.bottomRows(3).cast<long double>();
  eigennorm::LayerNorm<long double> layer(12), plain = layer;
  layer.activation = Activation::relu;
  Matrix y(3, 12), dx(3, 12), dr(3, 12);
  eigennorm::Context<long double> context;
  context.residual = r;
  context.residual_gradient = dr;
  layer.forward(x, y, context);
  const Matrix truth = (plain.forward(x) + r).cwiseMax(0.0L);
  CHECK(same_bits(y, truth));
  layer.backward(x, dy, dx, context);
  const Matrix passed = (y.array() > 0).select(dy, Matrix::Zero(3, 12)), plain_dx = plain.backward(x, passed);
  CHECK(same_bits(dr, passed));
  CHECK(same_bits(dx, plain_dx));
}

/// N x C through ReLU, and by hand: what forward wrote says what passes.
template <typename Scalar>
void check_columns(Eigen::Index rows, Eigen::Index channels, bool shifted) {
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  INFO(rows << " x " << channels << " of " << sizeof(Scalar) << " bytes");
  const Matrix x = Matrix::Random(rows, channels), dy = Matrix::Random(rows, channels);
  eigennorm::BatchNorm<Scalar> layer(channels);
  layer.scale.value.setRandom();
  layer.shift.value.setRandom();
  if (!shifted) layer.use_shift(false);
  auto plain = layer;
  layer.activation = Activation::relu;
  const Matrix y = layer.forward(x), dx = layer.backward(x, dy);
  plain.forward(x);
  const Matrix passed = (y.array() > 0).select(dy, Matrix::Zero(rows, channels)), plain_dx = plain.backward(x, passed);
  CHECK(same_bits(dx, plain_dx));
  CHECK(same_bits(layer.scale.grad, plain.scale.grad));
  CHECK(same_bits(layer.shift.grad, plain.shift.grad));
}

TEMPLATE_TEST_CASE("Columns of all widths pass the gate alike", "", float, double, long double) {
  for (const bool streamed : {false, true}) {
    const auto before = eigennorm::kernels::streaming_limit().load();
    if (streamed) eigennorm::stream_results_from(0);
    for (const Eigen::Index channels : {15, 16, 17, 48, 70, 200, 209, 300, 450, 900}) {
      for (const Eigen::Index rows : {2, 100, 833}) check_columns<TestType>(rows, channels, rows != 100);
    }
    eigennorm::stream_results_from(before);
  }
}

TEST_CASE("0 passes no gradient, whatever makes it, and NaN stays NaN") {
  // y is shift + residual where x is constant: 0 from both, or from two that cancel, -0, and less.
  eigennorm::BatchNorm<float> layer(4);
  layer.activation = Activation::relu;
  layer.shift.value << 0.0F, 2.0F, -0.0F, -1.0F;
  Eigen::MatrixXf x = Eigen::MatrixXf::Constant(5, 4, 3), r = Eigen::MatrixXf::Zero(5, 4), y(5, 4), dr(5, 4), dx(5, 4);
  r.col(1).setConstant(-2);
  r.col(2).setConstant(-0.0F);
  const Eigen::MatrixXf dy = Eigen::MatrixXf::Constant(5, 4, 7);
  eigennorm::Context<float> context;
  context.residual = r;
  context.residual_gradient = dr;
  layer.forward(x, y, context);
  const Eigen::MatrixXf zero = Eigen::MatrixXf::Zero(5, 4);
  CHECK(same_bits(y, zero));
  layer.backward(x, dy, dx, context);
  CHECK(same_bits(dr, zero));
  CHECK((layer.shift.grad == 0).all());
  // The least above 0 passes all.
  r.setConstant(std::numeric_limits<float>::denorm_min());
  layer.shift.value.setZero();
  layer.forward(x, y, context);
  layer.backward(x, dy, dx, context);
  CHECK(same_bits(dr, dy));
  CHECK((layer.shift.grad == 35).all());
  r(2, 1) = std::numeric_limits<float>::quiet_NaN();
  layer.forward(x, y, context);
  CHECK(std::isnan(y(2, 1)));
  CHECK((y.array() == y.array()).count() == 19);
  layer.backward(x, dy, dx, context);
  CHECK(dr(2, 1) == 0);
}

TEST_CASE("In 16 bits the gate is that of what was stored: what was rounded to 0 passes nothing") {
  const auto check = [](auto zero) {
    using Data = decltype(zero);
    using Matrix = Eigen::Matrix<Data, Eigen::Dynamic, Eigen::Dynamic>;
    eigennorm::LayerNorm<float> layer(4);
    layer.activation = Activation::relu;
    const float least = static_cast<float>(std::numeric_limits<Data>::denorm_min());
    layer.shift.value << least / 2, least * 0.51F, -least / 2, least;
    const Matrix x = Matrix::Constant(2, 4, Data(1.0F)), dy = Matrix::Constant(2, 4, Data(3.0F));
    const Matrix y = layer.forward(x);
    layer.backward(x, dy);
    for (int i = 0; i < 4; ++i) {
      CHECK(same_bits(y(0, i), i == 1 || i == 3 ? Data(least) : Data(0.0F)));
      CHECK(layer.shift.grad[i] == (i == 1 || i == 3 ? 6 : 0));
    }
  };
  check(Eigen::half());
  check(Eigen::bfloat16());
}

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "net_layers.hpp"
#include "pool.hpp"
#include "problem.hpp"
#include "renormalized.hpp"
#include "spread_problem.hpp"
#include "vectors.hpp"
#include "watch.hpp"

// Batch Renormalization: stored answers, then every geometry, type and order against the formula. Without room for r
// and d it is BatchNorm, bit by bit.

using namespace test;
using eigennorm::Renormalization;

namespace {

/// Neutral, with some features clipped and some not, and without limits that matter.
constexpr Renormalization neutral{1, 0}, narrow{1.05, 0.3}, wide{1e30, 1e30};

/// Whether a feature has one group.
bool applies(const Formula& formula, std::size_t rank) {
  if (!formula.centred() || formula.groups != 1) return false;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (reference::contains(formula.averaged, axis) == reference::contains(formula.features, axis)) return false;
  }
  return true;
}

template <typename FieldType>
bool applies(const Problem<FieldType>& problem) {
  return problem.layer.running && applies(problem.formula, problem.x.shape().size());
}

template <typename FieldType>
void step(Problem<FieldType>& problem, const eigennorm::Context<typename FieldType::Scalar>& context = {}) {
  if (problem.formula.kind != Kind::mean && problem.roles.count == 1) problem.layer.running->update = false;
  forward(problem.layer, problem.x, problem.y, context);
  backward(problem.layer, problem.x, problem.dy, problem.dx, context);
}

/// Holds a step against the formula; `running` as it was before.
template <typename FieldType>
void check_step(const Problem<FieldType>& problem, const reference::Running& running, const Renormalization& limits) {
  using Data = typename FieldType::Data;
  const reference::Renormalized truth =
      reference::renormalized(problem.formula, problem.roles, parameters(problem.layer), running, problem.x_numbers,
                              problem.dy_numbers, limits);
  const Tolerance of_data = tolerance<Data>(), of_layer = tolerance<typename FieldType::Scalar>();
  CHECK(worst(problem.y.numbers(), truth.y, truth.scales.y, of_data) <= of_data.limit);
  CHECK(worst(problem.dx.numbers(), truth.gradients.x, truth.scales.dx, of_data) <= of_data.limit);
  const auto check_gradient = [&](const auto& parameter, const Numbers& value, const Numbers& scale) {
    if (parameter.value.size() > 0) CHECK(worst(numbers(parameter.grad), value, scale, of_layer) <= of_layer.limit);
  };
  check_gradient(problem.layer.scale, truth.gradients.scale, truth.scales.scale);
  check_gradient(problem.layer.shift, truth.gradients.shift, truth.scales.shift);
}

/// Whether y, dx, gradients, running values and what both keep in moments have the same bits.
template <typename FieldType>
bool same_step(const Problem<FieldType>& a, const Problem<FieldType>& b) {
  const auto &m = a.layer.moments(), &n = b.layer.moments();
  return same_bits(a.y, b.y) && same_bits(a.dx, b.dx) && same_bits(a.layer.scale.grad, b.layer.scale.grad) &&
         same_bits(a.layer.shift.grad, b.layer.shift.grad) && same_bits(m.mean(), n.mean()) &&
         same_bits(m.rstd(), n.rstd()) && same_bits(m.variance(), n.variance()) &&
         watch::bits(*a.layer.running) == watch::bits(*b.layer.running);
}

// ---- stored answers

template <typename Scalar, int Order>
void check_stored(const vectors::Case& c) {
  using FieldType = Field<Scalar, Order>;
  const Sizes shape(c.in("x").shape.begin(), c.in("x").shape.end());
  const int channel = c.integer("channel_axis");
  Formula formula{{}, {channel}, Kind::mean_variance, c.number("epsilon")};
  for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
    if (axis != channel) formula.averaged.push_back(axis);
  }
  eigennorm::BatchNorm<Scalar> layer(shape[static_cast<std::size_t>(channel)], eigennorm::channels_on(channel),
                                     c.number("epsilon"));
  for (const auto& [state, name] :
       {std::pair("scale", "gamma"), std::pair("shift", "beta"), std::pair("running_mean", "running_mean"),
        std::pair("running_variance", "running_var")}) {
    const std::vector<Scalar> values(c.in(name).data.begin(), c.in(name).data.end());
    layer.assign(state, values.data(), static_cast<std::int64_t>(values.size()));
  }
  const double momentum = c.number("momentum");
  layer.running->averaging = eigennorm::momentum_of_new(momentum);
  if (c.text("running_var") == "biased") layer.running->estimator = eigennorm::Estimator::biased;
  const Renormalization limits{c.number("r_max"), c.number("d_max")};
  layer.running->renormalize = limits;
  const reference::Roles roles(formula, shape);
  const Numbers x_numbers = nets::numbers(c.in("x")), dy_numbers = nets::numbers(c.in("dy"));
  const reference::Renormalized own = reference::renormalized(
      formula, roles, parameters(layer), running(layer), x_numbers, dy_numbers, limits, reference::of_stored_answers);
  const Numbers mean_scale =
      reference::running_mean_scale(roles, x_numbers, reference::magnitudes(running(layer).mean), momentum);
  const FieldType x(shape, x_numbers), dy(shape, dy_numbers);
  FieldType y(shape), dx(shape);
  forward(layer, x, y);
  backward(layer, x, dy, dx);
  const Tolerance limit = nets::tolerance(c);
  const auto check = [&](const char* name, const Numbers& got, const Numbers& scale) {
    INFO(name);
    CHECK(worst(got, nets::numbers(c, "ref", name), scale, limit) <= limit.limit);
  };
  Numbers d_scale = own.d_scale;
  for (std::size_t i = 0; i < d_scale.size(); ++i) d_scale[i] += own.r[i];
  check("r", Numbers(layer.moments().r().data(), layer.moments().r().data() + layer.features()), own.r);
  check("d", Numbers(layer.moments().d().data(), layer.moments().d().data() + layer.features()), d_scale);
  check("y", y.numbers(), own.scales.y);
  check("dx", dx.numbers(), own.scales.dx);
  check("dgamma", numbers(layer.scale.grad), own.scales.scale);
  check("dbeta", numbers(layer.shift.grad), own.scales.shift);
  check("new_running_mean", running(layer).mean, mean_scale);
  check("new_running_var", running(layer).variance, nets::magnitudes(nets::numbers(c, "ref", "new_running_var")));
}

}  // namespace

TEST_CASE("Batch Renormalization agrees with the stored answers") {
  const std::vector<vectors::Case> cases = vectors::load(std::string(nets::folder) + "renorm/manifest.txt");
  CHECK(cases.size() == 6);
  for (const vectors::Case& c : cases) {
    CAPTURE(c.id);
    if (c.dtype == "f64") {
      check_stored<double, Eigen::RowMajor>(c);
      check_stored<double, Eigen::ColMajor>(c);
    } else {
      check_stored<float, Eigen::RowMajor>(c);
      check_stored<float, Eigen::ColMajor>(c);
    }
  }
}

TEMPLATE_LIST_TEST_CASE("every geometry, type and order agrees with the formula", "", AllFields) {
  int checked = 0, clipped = 0, free = 0;
  for_every_problem<TestType>([&](const Problem<TestType>& whole) {
    if (!applies(whole)) return;
    for (const Renormalization& limits : {narrow, wide}) {
      CAPTURE(limits.r_max);
      Problem<TestType> problem = whole, plain = whole;
      problem.layer.running->renormalize = limits;
      const reference::Running before = running(problem.layer);
      step(problem);
      step(plain);
      check_step(problem, before, limits);
      // They have moved as those of BatchNorm.
      CHECK(watch::bits(*problem.layer.running) == watch::bits(*plain.layer.running));
      for (const auto r : problem.layer.moments().r()) ++(r == 1 / limits.r_max || r == limits.r_max ? clipped : free);
      ++checked;
    }
  });
  CHECK(checked >= 100);
  CHECK(clipped >= 100);
  CHECK(free >= 100);
}

TEMPLATE_LIST_TEST_CASE("r_max 1 and d_max 0 have the bits of BatchNorm", "", AllFields) {
  int checked = 0;
  for_every_problem<TestType>([&](const Problem<TestType>& whole) {
    if (!applies(whole)) return;
    Problem<TestType> problem = whole, plain = whole;
    problem.layer.running->renormalize = neutral;
    step(problem);
    step(plain);
    CHECK(same_step(problem, plain));
    CHECK((problem.layer.moments().r() == 1).all());
    CHECK((problem.layer.moments().d() == 0).all());
    CHECK(plain.layer.moments().r().size() == 0);
    ++checked;
  });
  CHECK(checked >= 50);
}

TEST_CASE("on a pool there are the same bits, and without scale and shift the same formula") {
  using FieldType = Field<float, Eigen::RowMajor>;
  const Pool pool(4);
  for_every_problem<FieldType>([&](const Problem<FieldType>& whole) {
    if (!applies(whole)) return;
    for (const bool parameters : {true, false}) {
      Problem<FieldType> problem = whole;
      problem.layer.running->renormalize = narrow;
      problem.layer.use_scale(parameters && problem.layer.scale.value.size() > 0);
      problem.layer.use_shift(parameters);
      Problem<FieldType> pooled = problem;
      const reference::Running before = running(problem.layer);
      step(problem);
      step(pooled, pool.device());
      CHECK(same_step(problem, pooled));
      check_step(problem, before, narrow);
    }
  });
}

TEST_CASE("dx is the slope of y where all are clipped, so that r and d stand still") {
  using FieldType = Field<double, Eigen::RowMajor>;
  const Renormalization limits{1.5, 0.25};
  for (const Case& which : batch_norm_cases()) {
    if (which.size() > 200 || !applies(which.formula, which.shape.size())) continue;
    CAPTURE(which.name);
    Problem<FieldType> problem(which, 0.5, Random(3));
    auto& statistics = *problem.layer.running;
    statistics.update = false;
    statistics.renormalize = limits;
    statistics.mean += 100;
    statistics.variance *= 100;
    step(problem);
    REQUIRE((problem.layer.moments().d() == -0.25).all());
    if (which.formula.kind != Kind::mean) REQUIRE((problem.layer.moments().r() == 1 / 1.5).all());
    const auto loss = [&](std::size_t i, Real move) {
      Numbers moved = problem.x_numbers;
      moved[i] += move;
      FieldType y(problem.x.shape());
      forward(problem.layer, FieldType(problem.x.shape(), moved), y);
      Real sum = 0;
      const Numbers values = y.numbers();
      for (std::size_t k = 0; k < values.size(); ++k) sum += problem.dy_numbers[k] * values[k];
      return sum;
    };
    const Numbers dx = problem.dx.numbers();
    constexpr Real h = 1.0 / 1024;
    for (std::size_t i = 0; i < dx.size(); ++i) {
      const Real slope = (8 * (loss(i, h) - loss(i, -h)) - (loss(i, 2 * h) - loss(i, -2 * h))) / (12 * h);
      CHECK(std::abs(slope - dx[i]) <= 1e-8L * (1 + std::abs(dx[i])));
    }
  }
}

TEMPLATE_LIST_TEST_CASE("a spread batch has the results of the whole one", "", FloatingFields) {
  std::uint64_t seed = 0;
  for (const Case& which : batch_norm_cases()) {
    if (which.size() > 8000) continue;
    CAPTURE(which.name);
    Problem<TestType> problem(which, 0.5, Random(++seed));
    problem.layer.running->renormalize = narrow;
    const std::ptrdiff_t samples = which.shape[reference::contains(which.formula.features, 0) ? 1 : 0];
    Spread<TestType> spread(problem, {0, samples / 2, samples - samples / 2});
    Post post(3);
    spread.step(post);
    for (const auto& share : spread.shares) CHECK(same_statistics(share.layer, spread.shares[0].layer));
    const reference::Running before = running(problem.layer);
    Problem<TestType> gathered = problem;
    spread.gather(gathered);
    check_step(gathered, before, narrow);
    step(problem);
    CHECK(running(problem.layer).mean.size() == running(gathered.layer).mean.size());
    CHECK(gathered.layer.running->batches == 1);
  }
}

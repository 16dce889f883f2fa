#include <cmath>
#include <vector>

#include "catch.hpp"
#include "problem.hpp"

// What holds exactly, or to a few units, whatever the data: no reference is needed to see it broken.

using namespace test;

namespace {

/// Data, and what each group of them has exactly.
struct Fill {
  Numbers mean, deviation;  // per group
  Numbers x;
};

/// As oneDNN's tests fill: a group is made of pairs, mean + deviation and mean - deviation, and where one value is
/// left over, the mean. Means are small integers and deviations powers of two, so every sum, of values or of squares,
/// is exact in any order.
Fill exact_fill(const reference::Roles& roles) {
  Fill fill;
  for (std::size_t group = 0; group < roles.groups; ++group) {
    fill.mean.push_back(static_cast<Real>(group % 7) - 3);
    fill.deviation.push_back(std::ldexp(Real(1), static_cast<int>(group % 4) - 2));
  }
  std::vector<std::size_t> seen(roles.groups);
  for (std::size_t i = 0; i < roles.size(); ++i) {
    const std::size_t group = roles.group[i];
    const std::size_t number = seen[group]++;
    const bool alone = number == roles.count - 1 && roles.count % 2 == 1;
    const Real sign = number % 2 == 0 ? 1 : -1;
    fill.x.push_back(fill.mean[group] + (alone ? 0 : sign * fill.deviation[group]));
  }
  return fill;
}

/// -2 to 2: their sums, and those of their products with -1, 0 or 1, are exact.
Numbers small_integers(std::size_t size, Random& random) {
  Numbers numbers(size);
  for (Real& number : numbers) number = std::floor(5 * static_cast<Real>(random.uniform())) - 2;
  return numbers;
}

template <typename Scalar>
eigennorm::Normalization<Scalar> without_eps(const Case& which, Random& random) {
  auto layer = which.layer<Scalar>();
  layer.eps = 0;
  randomize(layer, random);
  // Parameters of eight bits: their product with 1 and the sum of two are exact, too.
  for (auto* parameter : {&layer.scale.value, &layer.shift.value}) {
    for (Scalar& value : *parameter) value = std::round(value * 16) / 16;
  }
  return layer;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("data whose mean and variance are exact in any order give them exactly", "", AllFields) {
  using Data = typename TestType::Data;
  using Scalar = typename TestType::Scalar;
  std::uint64_t seed = 0;
  for (const Case& which : cases()) {
    INFO(which.name);
    Random random(++seed);
    const reference::Roles roles(which.formula, which.shape);
    const Fill fill = exact_fill(roles);
    auto layer = without_eps<Scalar>(which, random);
    if (layer.running) {
      layer.running->averaging = eigennorm::cumulative();
      layer.running->estimator = eigennorm::Estimator::biased;
    }
    const TestType x(which.shape, fill.x), dy(which.shape, small_integers(which.size(), random));
    TestType y(which.shape), dx(which.shape);
    forward(layer, x, y);
    std::size_t wrong = 0;
    // In Scalar: Wide shows the roundings of merging blocks of odd sizes, beyond what a result can.
    const auto mean = layer.moments().mean().template cast<Scalar>().eval();
    for (std::size_t group = 0; group < roles.groups && which.formula.centred(); ++group) {
      wrong += mean[static_cast<Eigen::Index>(group)] != static_cast<Scalar>(fill.mean[group]);
    }
    CHECK(wrong == 0);

    // Of an odd number of values the variance is not exact, but its sum is: one rounding is left, that of the quotient.
    const auto variance = layer.moments().variance().template cast<Scalar>().eval();
    const auto count = static_cast<Real>(roles.count);
    const Real pairs = roles.count % 2 == 0 ? count : count - 1;
    for (Eigen::Index group = 0; group < variance.size(); ++group) {
      const Real deviation = fill.deviation[static_cast<std::size_t>(group)];
      wrong += variance[group] != static_cast<Scalar>(deviation * deviation * pairs / count);
    }
    CHECK(wrong == 0);

    if (layer.running) {
      const auto kept = running(layer);
      const bool one_each = roles.groups == roles.features;
      for (std::size_t i = 0; one_each && i < roles.size(); ++i) {
        wrong += kept.mean[roles.feature[i]] != fill.mean[roles.group[i]];
        if (roles.count % 2 == 0 && which.formula.kind == Kind::mean_variance) {
          const Real deviation = fill.deviation[roles.group[i]];
          wrong += kept.variance[roles.feature[i]] != deviation * deviation;
        }
      }
      CHECK(wrong == 0);
    }
    if (which.formula.kind != Kind::mean_variance || roles.count % 2 == 1) continue;

    // Then xhat is 1 or -1, and sums of dy and of dy * xhat are integers.
    backward(layer, x, dy, dx);
    const reference::Parameters p = parameters(layer);
    const Numbers y_numbers = y.numbers(), dy_numbers = dy.numbers();
    Numbers dscale(roles.features), dshift(roles.features);
    for (std::size_t i = 0; i < roles.size(); ++i) {
      const std::size_t feature = roles.feature[i];
      const Real xhat = (fill.x[i] - fill.mean[roles.group[i]]) / fill.deviation[roles.group[i]];
      wrong += y_numbers[i] != widened(rounded<Data>(xhat * p.scale_of(feature) + p.shift_of(feature)));
      dscale[feature] += dy_numbers[i] * xhat;
      dshift[feature] += dy_numbers[i];
    }
    CHECK(wrong == 0);
    if (layer.scale.grad.size() > 0) CHECK(numbers(layer.scale.grad) == dscale);
    if (layer.shift.grad.size() > 0) CHECK(numbers(layer.shift.grad) == dshift);
  }
}

TEMPLATE_LIST_TEST_CASE("dx of a group sums to zero", "", FloatingFields) {
  using Data = typename TestType::Data;
  for_every_problem<TestType>([](Problem<TestType>& problem) {
    if (!problem.formula.centred()) return;
    forward(problem.layer, problem.x, problem.y);
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    const reference::Statistics batch = problem.batch();
    const Numbers dx = problem.dx.numbers(), scale = problem.scales(batch, false).dx;
    reference::Sums sums(problem.roles.groups), sizes(problem.roles.groups);
    for (std::size_t i = 0; i < dx.size(); ++i) {
      sums[problem.roles.group[i]].add(dx[i]);
      sizes[problem.roles.group[i]].add(scale[i]);
    }
    Real worst = 0;
    for (std::size_t group = 0; group < problem.roles.groups; ++group) {
      if (sizes[group].total() == 0) continue;
      worst = std::max(worst, std::abs(sums[group].total()) / sizes[group].total());
    }
    CHECK(worst <= 2 * tolerance<Data>().unit);
  });
}

TEMPLATE_LIST_TEST_CASE("evaluation on running statistics that are the batch's is training's forward", "",
                        FloatingFields) {
  using Data = typename TestType::Data;
  for_every_problem<TestType>([](Problem<TestType>& problem) {
    auto& layer = problem.layer;
    // InstanceNorm's are means over the samples: no batch has them.
    if (!layer.running || problem.roles.groups != problem.roles.features) return;
    layer.running->averaging = eigennorm::cumulative();
    layer.running->estimator = eigennorm::Estimator::biased;
    forward(layer, problem.x, problem.y);
    TestType evaluated(problem.x.shape());
    evaluate(layer, problem.x, evaluated);
    // A running mean has one Scalar's digits, the batch's has two: a value's own size counts.
    const reference::Statistics batch = problem.batch();
    const reference::Parameters given = parameters(layer);
    Numbers scale = problem.scales(batch, false).y;
    for (std::size_t i = 0; i < scale.size(); ++i) {
      const std::size_t group = problem.roles.group[i];
      scale[i] += std::abs(batch.mean(group) * batch.rstd[group]) * std::abs(given.scale_of(problem.roles.feature[i]));
    }
    CHECK(worst(evaluated.numbers(), problem.y.numbers(), scale, tolerance<Data>()) <= tolerance<Data>().limit);
  });
}

#include "catch.hpp"
#include "problem.hpp"

// Every layer and geometry of the table against the formula: evaluate, forward, backward, with batch and with
// running statistics, for both storage orders and all types of data.

using namespace test;

namespace {

template <typename FieldType>
void check_running_update(const Problem<FieldType>& problem, const reference::Running& before) {
  using Scalar = typename FieldType::Scalar;
  const Real momentum = 0.1;  // of the new value: the default
  const reference::Roles& roles = problem.roles;
  const auto truth = reference::moved(problem.formula, roles, problem.batch(), before, momentum);
  const auto got = running(problem.layer);
  const Numbers scale =
      reference::running_mean_scale(roles, problem.x_numbers, reference::magnitudes(before.mean), momentum);
  const Tolerance limits = tolerance<Scalar>();
  CHECK(worst(got.mean, truth.mean, scale, limits) <= limits.limit);
  if (problem.formula.kind == Kind::mean_variance) {
    CHECK(worst(got.variance, truth.variance, own_scale(truth.variance), limits) <= limits.limit);
  } else {
    CHECK(got.variance.empty());
  }
  CHECK(problem.layer.running->batches == 1);
  CHECK(problem.layer.running->rejected_batches == 0);
}

template <typename FieldType>
void check_moments(const Problem<FieldType>& problem) {
  using Scalar = typename FieldType::Scalar;
  using Wide = eigennorm::Wide<Scalar>;
  const auto& moments = problem.layer.moments();
  REQUIRE_FALSE(moments.empty());
  CHECK(static_cast<std::size_t>(moments.groups()) == problem.roles.groups);
  CHECK(static_cast<std::size_t>(moments.count()) == problem.roles.count);
  const reference::Statistics truth = problem.batch();
  const Tolerance limits = tolerance<Scalar>();
  if (problem.formula.centred()) {
    // Good to a unit of the data's spread, however large the mean itself is, as far as Wide can hold that.
    const Real held = std::numeric_limits<Wide>::epsilon() / limits.unit;
    Numbers scale;
    for (std::size_t group = 0; group < problem.roles.groups; ++group) {
      scale.push_back(std::sqrt(truth.variance[group]) + held * std::abs(truth.mean(group)));
    }
    Numbers means;
    for (std::size_t group = 0; group < problem.roles.groups; ++group) means.push_back(truth.mean(group));
    CHECK(worst(numbers<Wide>(moments.mean()), means, scale, limits) <= limits.limit);
  }
  if (problem.formula.kind != Kind::mean) {
    CHECK(worst(numbers<Scalar>(moments.rstd()), truth.rstd, own_scale(truth.rstd), limits) <= limits.limit);
  }
  // Variances are kept where running statistics may want them.
  const reference::Axes& features = problem.formula.features;
  const bool apart = std::none_of(features.begin(), features.end(),
                                  [&](int axis) { return reference::contains(problem.formula.averaged, axis); });
  if (problem.formula.kind == Kind::mean_variance && apart) {
    CHECK(worst(numbers<Wide>(moments.variance()), truth.variance, own_scale(truth.variance), limits) <= limits.limit);
  }
}

/// As `numbers`, times a power of two: nothing is rounded.
Numbers times(Numbers numbers, Real factor) {
  for (Real& number : numbers) number *= factor;
  return numbers;
}

/// To multiples of 1/16 below 8, so that the sum of two is exact in every type of data.
Numbers coarse(Numbers numbers) {
  for (Real& number : numbers) number = std::round(std::clamp(number, Real(-3), Real(3)) * 16) / 16;
  return numbers;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("forward normalizes with the batch's statistics", "", AllFields) {
  for_every_problem<TestType>([](Problem<TestType>& problem) {
    const bool tracks = problem.layer.running.has_value();
    const auto before = tracks ? running(problem.layer) : reference::Running{};
    forward(problem.layer, problem.x, problem.y);
    problem.check_output(problem.batch(), false);
    check_moments(problem);
    if (tracks) check_running_update(problem, before);
  });
}

TEMPLATE_LIST_TEST_CASE("evaluate uses running statistics, or the data's own where there are none", "", AllFields) {
  for_every_problem<TestType>([](Problem<TestType>& problem) {
    const auto& layer = problem.layer;
    evaluate(layer, problem.x, problem.y);
    if (layer.running) {
      problem.check_output(problem.fixed(), true);
    } else {
      problem.check_output(problem.batch(), false);
      TestType trained(problem.x.shape());
      forward(problem.layer, problem.x, trained);
      CHECK(same_bits(problem.y, trained));
    }
    TestType in_place = problem.x;
    evaluate(layer, in_place, in_place);
    CHECK(same_bits(in_place, problem.y));
  });
}

TEMPLATE_LIST_TEST_CASE("backward is the chain rule through the batch's statistics", "", AllFields) {
  for_every_problem<TestType>([](Problem<TestType>& problem) {
    forward(problem.layer, problem.x, problem.y);
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    const reference::Statistics batch = problem.batch();
    problem.check_gradients(batch, false);

    TestType again = problem.dy;
    backward(problem.layer, problem.x, again, again);
    CHECK(same_bits(again, problem.dx));
    problem.check_gradients(batch, false, 2);

    problem.layer.zero_grad();
    CHECK((problem.layer.scale.grad == 0).all());
    CHECK((problem.layer.shift.grad == 0).all());
    backward(problem.layer, problem.x, problem.dy, again);
    CHECK(same_bits(again, problem.dx));
    problem.check_gradients(batch, false);
  });
}

TEMPLATE_LIST_TEST_CASE("a frozen layer goes forward and backward with its running statistics", "", AllFields) {
  std::size_t seen = 0;
  for_every_problem<TestType>([&seen](Problem<TestType>& problem) {
    if (!problem.layer.running) return;
    ++seen;
    problem.layer.freeze();
    const reference::Statistics fixed = problem.fixed();
    forward(problem.layer, problem.x, problem.y);
    problem.check_output(fixed, true);
    TestType evaluated(problem.x.shape());
    evaluate(problem.layer, problem.x, evaluated);
    CHECK(same_bits(problem.y, evaluated));
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    problem.check_gradients(fixed, true);
    TestType in_place = problem.dy;
    backward(problem.layer, problem.x, in_place, in_place);
    CHECK(same_bits(in_place, problem.dx));
    problem.check_gradients(fixed, true, 2);
    CHECK(problem.fixed().origin == fixed.origin);
    CHECK(problem.fixed().variance == fixed.variance);
    CHECK(problem.layer.running->batches == 0);
  });
  CHECK(seen > 50);
}

TEMPLATE_LIST_TEST_CASE("backward is linear in dy", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  for_every_problem<TestType>([](Problem<TestType>& problem) {
    if (problem.x.size() > 5000) return;
    auto& layer = problem.layer;
    forward(layer, problem.x, problem.y);
    const auto gradients = [&](const Numbers& dy) {
      TestType dx(problem.x.shape());
      layer.zero_grad();
      backward(layer, problem.x, TestType(problem.x.shape(), dy), dx);
      return reference::Gradients{dx.numbers(), numbers(layer.scale.grad), numbers(layer.shift.grad)};
    };
    Random random(7);
    const Numbers first = coarse(problem.dy_numbers);
    const Numbers second = coarse(random.normals(problem.x.size()));
    Numbers both;
    for (std::size_t i = 0; i < first.size(); ++i) both.push_back(first[i] + second[i]);

    const auto of_first = gradients(first);
    const auto of_second = gradients(second);
    const auto of_both = gradients(both);
    const auto of_eightfold = gradients(times(first, 8));
    if (std::is_same_v<typename TestType::Data, Scalar>) CHECK(of_eightfold.x == times(of_first.x, 8));
    CHECK(of_eightfold.scale == times(of_first.scale, 8));
    CHECK(of_eightfold.shift == times(of_first.shift, 8));

    // Three results of the given precision meet, so the error may be that of three.
    const auto given = problem.batch();
    const auto scale_of = [&](const Numbers& dy) {
      return reference::natural_scales(problem.formula, problem.roles, given, parameters(layer), problem.x_numbers, dy,
                                       false);
    };
    const auto scale_first = scale_of(first);
    const auto scale_second = scale_of(second);
    const auto scale_both = scale_of(both);
    const auto check = [&](const Numbers& a, const Numbers& b, const Numbers& sum, const Numbers& a_scale,
                           const Numbers& b_scale, const Numbers& sum_scale, const Tolerance& limits) {
      Numbers truth;
      Numbers scale;
      for (std::size_t i = 0; i < sum.size(); ++i) {
        const Real roundings =
            limits.rounding * (std::abs(a[i]) + std::abs(b[i]) + std::abs(sum[i])) + 3 * limits.smallest;
        truth.push_back(a[i] + b[i]);
        scale.push_back(a_scale[i] + b_scale[i] + sum_scale[i] + 1.01L * roundings / (limits.limit * limits.unit));
      }
      const Tolerance sums{limits.unit, limits.limit};
      CHECK(worst(sum, truth, scale, sums) <= limits.limit);
    };
    check(of_first.x, of_second.x, of_both.x, scale_first.dx, scale_second.dx, scale_both.dx,
          tolerance<typename TestType::Data>());
    if (!of_both.scale.empty()) {
      check(of_first.scale, of_second.scale, of_both.scale, scale_first.scale, scale_second.scale, scale_both.scale,
            tolerance<Scalar>());
    }
    if (!of_both.shift.empty()) {
      check(of_first.shift, of_second.shift, of_both.shift, scale_first.shift, scale_second.shift, scale_both.shift,
            tolerance<Scalar>());
    }
  });
}

TEST_CASE("long double goes the generic way") {
  // The formula is evaluated in the same type, so no wider one can judge to the last bit.
  using namespace eigennorm;
  using Layer = Normalization<long double>;
  using Tensor = Eigen::Tensor<long double, 3, Eigen::RowMajor>;
  struct Setting {
    Layer layer;
    Formula formula;
  };
  const std::vector<Setting> settings{
      {BatchNorm<long double>(3), {{0, 2}, {1}, Kind::mean_variance, 1e-5}},
      {LayerNorm<long double>(7), {{2}, {2}, Kind::mean_variance, 1e-5}},
      {RMSNorm<long double>({3, 7}), {{1, 2}, {1, 2}, Kind::mean_square, 1e-5}},
      {WeightNorm<long double>(5), {{1, 2}, {0}, Kind::sum_square}},
      {MeanOnlyBatchNorm<long double>(3), {{0, 2}, {1}, Kind::mean}},
  };
  const Sizes shape{5, 3, 7};
  Random random(1);
  for (const Setting& setting : settings) {
    Layer layer = setting.layer;
    randomize(layer, random);
    const reference::Roles roles(setting.formula, shape);
    Tensor x(5, 3, 7), dy(5, 3, 7);
    for (Tensor* tensor : {&x, &dy}) {
      for (int i = 0; i < 105; ++i) tensor->data()[i] = 1000 + random.normal() + std::ldexp(random.normal(), -40);
    }
    const auto y = layer.forward(x);
    const auto dx = layer.backward(x, dy);
    const auto numbers_of = [](const Tensor& tensor) { return Numbers(tensor.data(), tensor.data() + tensor.size()); };
    const auto given = reference::statistics(setting.formula, roles, numbers_of(x));
    const auto scale = reference::natural_scales(setting.formula, roles, given, parameters(layer), numbers_of(x),
                                                 numbers_of(dy), false);
    const auto truth =
        reference::backward(setting.formula, roles, given, parameters(layer), numbers_of(x), numbers_of(dy), false);
    const Tolerance limits{std::ldexp(Real(1), -64), 32};
    CHECK(worst(numbers_of(y), reference::forward(roles, given, parameters(layer), numbers_of(x)), scale.y, limits) <=
          limits.limit);
    CHECK(worst(numbers_of(dx), truth.x, scale.dx, limits) <= limits.limit);
    if (layer.scale.value.size() > 0) {
      CHECK(worst(numbers(layer.scale.grad), truth.scale, scale.scale, limits) <= limits.limit);
    }
  }
}

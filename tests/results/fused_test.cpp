#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "fused.hpp"
#include "net_layers.hpp"
#include "problem.hpp"
#include "spread_problem.hpp"
#include "vectors.hpp"

// Activations, residuals and sums that are normalized: stored answers, slopes, and batches that are spread. (Bits:
// tests/bits/fused_bits_test.cpp.)

using namespace test;
using eigennorm::Activation;

namespace {

// ---- stored answers

struct Stored {
  const vectors::Case& c;
  std::string layer = c.text("layer"), form = c.text("form");
  Sizes shape = Sizes(c.in("x").shape.begin(), c.in("x").shape.end());
  Formula formula{{}, {}, layer == "rmsnorm" ? Kind::mean_square : Kind::mean_variance, c.number("epsilon")};
  bool by_running = c.integer("training") == 0;

  explicit Stored(const vectors::Case& of) : c(of) {
    const int rank = static_cast<int>(shape.size());
    if (layer == "batchnorm" || layer == "groupnorm") {
      const int channel = c.integer("channel_axis");
      formula.features = {channel};
      formula.groups = c.integer("groups", 1);
      for (int axis = layer == "groupnorm" ? 1 : 0; axis < rank; ++axis) {
        if (axis != channel || layer == "groupnorm") formula.averaged.push_back(axis);
      }
    } else {
      formula.averaged = formula.features = {c.integer("axis")};
    }
  }

  template <typename Scalar>
  eigennorm::Normalization<Scalar> make() const {
    using namespace eigennorm;
    const double eps = c.number("epsilon");
    const std::int64_t size = c.in("gamma").shape[0];
    if (layer == "layernorm") return LayerNorm<Scalar>(size, eps);
    if (layer == "rmsnorm") return RMSNorm<Scalar>(size, eps);
    if (layer == "groupnorm") return GroupNorm<Scalar>(formula.groups, size, channels_on(1), samples_on(0), eps);
    BatchNorm<Scalar> made(size, channels_on(c.integer("channel_axis")), eps);
    if (!by_running) made.running->averaging = momentum_of_new(c.number("momentum"));
    return std::move(made);
  }
};

template <typename Scalar>
void assign_state(const vectors::Case& c, eigennorm::Normalization<Scalar>& layer) {
  for (const auto& [state, name] :
       {std::pair("scale", "gamma"), std::pair("shift", "beta"), std::pair("running_mean", "running_mean"),
        std::pair("running_variance", "running_var")}) {
    if (c.find("in", name) == nullptr) continue;
    const std::vector<Scalar> values(c.in(name).data.begin(), c.in(name).data.end());
    layer.assign(state, values.data(), static_cast<std::int64_t>(values.size()));
  }
}

Numbers plus(Numbers a, const Numbers& b, Real factor = 1) {
  for (std::size_t i = 0; i < b.size(); ++i) a[i] += factor * b[i];
  return a;
}

/// Holds the results against the stored ones, by the scales of data/nets/README.md.
template <typename FieldType>
void check_stored(const Stored& stored) {
  using Scalar = typename FieldType::Scalar;
  const vectors::Case& c = stored.c;
  auto layer = stored.make<Scalar>();
  assign_state(c, layer);
  const bool before = stored.form == "add_norm", adds = before || stored.form == "norm_add_relu";
  if (!before) layer.activation = Activation::relu;
  const Numbers zero(reference::size_of(stored.shape), 0);
  const Numbers r = nets::input_or(c, "residual", zero.size(), 0), ds = nets::input_or(c, "ds", zero.size(), 0);
  const FieldType x(stored.shape, nets::numbers(c.in("x"))), residual(stored.shape, r), dsum(stored.shape, ds),
      dy(stored.shape, nets::numbers(c.in("dy")));
  FieldType y(stored.shape), dx = y, dresidual = y, sum = y;
  if (stored.by_running) layer.freeze();
  const auto own = parameters(layer);
  const reference::Roles roles(stored.formula, stored.shape);
  const Numbers normalized = before ? nets::numbers(c, "ref", "s") : x.numbers();
  const auto given = stored.by_running ? reference::from_running(stored.formula, roles, running(layer))
                                       : reference::statistics(stored.formula, roles, normalized);
  eigennorm::Context<Scalar> context;
  if (adds) view(context.residual, residual);
  if (before) view(context.added, sum);
  forward(layer, x, y, context);
  if (before && c.find("in", "ds") != nullptr) view(context.added_gradient, dsum);
  if (adds && !before) view(context.residual_gradient, dresidual);
  backward(layer, before ? sum : x, dy, dx, context);

  const Numbers y_truth = nets::numbers(c, "ref", "y");
  Numbers passed = nets::numbers(c.in("dy"));
  for (std::size_t i = 0; !before && i < passed.size(); ++i) passed[i] = y_truth[i] > 0 ? passed[i] : 0;
  const reference::Scales scales = reference::natural_scales(stored.formula, roles, given, own, normalized, passed,
                                                             stored.by_running, reference::of_stored_answers);
  Numbers y_scale = scales.y;
  for (std::size_t i = 0; i < y_scale.size(); ++i) {
    const Real factor = std::abs(own.scale_of(roles.feature[i])) * given.rstd[roles.group[i]];
    y_scale[i] += before ? std::abs(normalized[i]) * factor : std::abs(r[i]);
  }
  const Tolerance limit = nets::tolerance(c);
  const auto check = [&](const char* name, const Numbers& got, const Numbers& scale) {
    INFO(name);
    if (c.find("ref", name) != nullptr) CHECK(worst(got, nets::numbers(c, "ref", name), scale, limit) <= limit.limit);
  };
  const Numbers dx_scale = plus(scales.dx, nets::magnitudes(ds));
  check("y", y.numbers(), y_scale);
  check("dx", dx.numbers(), dx_scale);
  check("dgamma", numbers(layer.scale.grad), scales.scale);
  check("dbeta", numbers(layer.shift.grad), scales.shift);
  check("dresidual", before ? dx.numbers() : dresidual.numbers(), before ? dx_scale : nets::magnitudes(passed));
  check("s", sum.numbers(), nets::magnitudes(normalized));
  if (stored.by_running) return;
  if (!layer.running) return;
  check("new_running_var", running(layer).variance, nets::magnitudes(nets::numbers(c, "ref", "new_running_var")));
  check("new_running_mean", running(layer).mean,
        reference::running_mean_scale(roles, normalized, nets::magnitudes(nets::numbers(c.in("running_mean"))),
                                      c.number("momentum")));
}

/// The slopes of the loss sum(dy * y) by x, the residual, scale and shift.
struct Slopes {
  using FieldType = Field<double, Eigen::RowMajor>;

  Problem<FieldType> problem;
  Numbers residual;
  bool before;

  Real loss(const Numbers& x_numbers, const Numbers& r_numbers) {
    const FieldType x(problem.x.shape(), x_numbers), r(problem.x.shape(), r_numbers);
    FieldType y(problem.x.shape()), sum = y;
    eigennorm::Context<double> context;
    view(context.residual, r);
    if (before) view(context.added, sum);
    auto layer = problem.layer;
    forward(layer, x, y, context);
    Real total = 0;
    const Numbers values = y.numbers();
    for (std::size_t i = 0; i < values.size(); ++i) total += problem.dy_numbers[i] * values[i];
    return total;
  }
  template <typename Move>
  Real slope(const Move& move) {
    constexpr Real h = 1.0 / 65536;
    return (8 * (move(h) - move(-h)) - (move(2 * h) - move(-2 * h))) / (12 * h);
  }
  static void close(Real slope, Real got) { CHECK(std::abs(slope - got) <= 2e-7L * (1 + std::abs(got))); }

  void check() {
    FieldType r(problem.x.shape(), residual), dr = problem.y, sum = problem.y;
    eigennorm::Context<double> context;
    view(context.residual, r);
    if (before) view(context.added, sum);
    forward(problem.layer, problem.x, problem.y, context);
    // Far from the kink, so that no step crosses it.
    for (const Real value : problem.y.numbers()) REQUIRE((value == 0 || value > 0.01L));
    if (!before) view(context.residual_gradient, dr);
    backward(problem.layer, before ? sum : problem.x, problem.dy, problem.dx, context);
    const Numbers dx = problem.dx.numbers(), dresidual = before ? dx : dr.numbers();
    for (std::size_t i = 0; i < dx.size(); ++i) {
      const auto moved = [&](Numbers numbers, Real h) {
        numbers[i] += h;
        return numbers;
      };
      close(slope([&](Real h) { return loss(moved(problem.x_numbers, h), residual); }), dx[i]);
      close(slope([&](Real h) { return loss(problem.x_numbers, moved(residual, h)); }), dresidual[i]);
    }
    for (eigennorm::Parameter<double>* each : {&problem.layer.scale, &problem.layer.shift}) {
      for (Eigen::Index i = 0; i < each->value.size(); ++i) {
        const double value = each->value[i];
        const auto move = [&](Real h) {
          each->value[i] = value + static_cast<double>(h);
          return loss(problem.x_numbers, residual);
        };
        close(slope(move), each->grad[i]);
        each->value[i] = value;
      }
    }
  }
};

/// A residual that keeps all away from the kink.
Numbers away(const Problem<Slopes::FieldType>& problem, bool before, Random& random) {
  Numbers residual = random.normals(problem.x.size());
  if (before) return residual;
  for (int round = 0; round < 2; ++round) {
    auto layer = problem.layer;
    layer.activation = Activation::none;
    Slopes::FieldType r(problem.x.shape(), residual), y = r;
    eigennorm::Context<double> context;
    view(context.residual, r);
    forward(layer, problem.x, y, context);
    const Numbers values = y.numbers();
    for (std::size_t i = 0; i < residual.size(); ++i) {
      if (std::abs(values[i]) < 0.05L) residual[i] += 0.25L;
    }
  }
  return residual;
}

}  // namespace

TEST_CASE("Fused calls agree with the stored answers") {
  const std::vector<vectors::Case> cases = vectors::load(std::string(nets::folder) + "fused/manifest.txt");
  CHECK(cases.size() == 12);
  for (const vectors::Case& c : cases) {
    CAPTURE(c.id);
    const Stored stored(c);
    if (c.dtype == "f64") {
      check_stored<Field<double, Eigen::RowMajor>>(stored);
      check_stored<Field<double, Eigen::ColMajor>>(stored);
    } else {
      check_stored<Field<float, Eigen::RowMajor>>(stored);
      check_stored<Field<float, Eigen::ColMajor>>(stored);
    }
  }
}

TEST_CASE("Gradients are slopes, away from the kink") {
  std::uint64_t seed = 40;
  int checked = 0;
  for (const Case& which : cases()) {
    if (which.size() > 60 || which.formula.kind == Kind::sum_square) continue;
    CAPTURE(which.name);
    for (const int mode : {0, 1, 2}) {
      Random random(++seed);
      Slopes slopes{Problem<Slopes::FieldType>(which, 0.5, random), {}, mode == 2};
      auto& layer = slopes.problem.layer;
      if (layer.running) layer.running->update = false;
      // By its own statistics, by running ones, and of a sum. (A sum's own kink is not kept away from.)
      if (mode == 1 && layer.running) layer.freeze();
      if (mode != 2) layer.activation = Activation::relu;
      slopes.residual = away(slopes.problem, slopes.before, random);
      if (mode == 2) {
        // Without an activation nothing has to be far from 0.
        for (double& value : layer.shift.value) value = 30;
      }
      if (mode == 2 && layer.shift.value.size() == 0) continue;
      slopes.check();
      ++checked;
    }
  }
  CHECK(checked >= 40);
}

TEMPLATE_LIST_TEST_CASE("A spread batch passes the gradients of the whole one", "", FloatingFields) {
  using Scalar = typename TestType::Scalar;
  std::uint64_t seed = 0;
  for (const Case& which : batch_norm_cases()) {
    if (which.size() > 8000) continue;
    CAPTURE(which.name);
    Problem<TestType> problem(which, 0.5, Random(++seed));
    const Numbers r = Random(seed + 100).normals(problem.x.size());
    const std::ptrdiff_t samples = which.shape[reference::contains(which.formula.features, 0) ? 1 : 0];
    const Parts parts{0, samples / 2, samples - samples / 2};
    Spread<TestType> plain(problem, parts), fused(problem, parts);
    std::vector<TestType> residuals, gradients;
    std::ptrdiff_t first = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      residuals.emplace_back(fused.shares[i].x.shape(), samples_of(r, which.shape, fused.axis, first, parts[i]));
      gradients.emplace_back(fused.shares[i].x.shape());
      fused.shares[i].layer.activation = Activation::relu;
      first += parts[i];
    }
    Post post(3);
    const auto failures = on_members(post, [&](Peers& peers) {
      const auto member = static_cast<std::size_t>(peers.member());
      Share<TestType>&own = fused.shares[member], &other = plain.shares[member];
      eigennorm::Context<Scalar> context = own.context(peers);
      other.forward(peers);
      view(context.residual, residuals[member]);
      forward(own.layer, own.x, own.y, context);
      const TestType y = finished(other.y, &residuals[member], true, own.y);
      other.dy = gated(y, other.dy);
      view(context.residual_gradient, gradients[member]);
      backward(own.layer, own.x, own.dy, own.dx, context);
      other.backward(peers);
      if (!same_bits(own.y, y)) eigennorm::fail("another y");
      if (!same_bits(gradients[member], other.dy)) eigennorm::fail("another gradient of the residual");
      if (!same_bits(own.dx, other.dx)) eigennorm::fail("another dx");
      if (!same_bits(own.layer.shift.grad, other.layer.shift.grad)) eigennorm::fail("another dshift");
    });
    for (const std::string& failure : failures) CHECK(failure == "");
    CHECK(post.all_read());
  }
}

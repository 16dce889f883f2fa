#include <map>

#include "catch.hpp"
#include "problem.hpp"

// Derivatives, held against differences of the forward pass itself: every element of dx, dscale and dshift,
// for every layer and geometry, in double.

using namespace test;

namespace {

using Tensor = Field<double, Eigen::RowMajor>;
using Layer = eigennorm::Normalization<double>;

/// Of the natural scale. Differences are good to about 1e-11, the rest is room for the curvature of small
/// groups.
constexpr Real limit = 1e-8;

/// A power of two, so that x + step and x - step are hardly rounded.
constexpr double step = 1.0 / 1024;

Numbers output(Layer layer, const Sizes& shape, const Numbers& x) {
  const Tensor input(shape, x);
  Tensor y(shape);
  forward(layer, input, y);
  return y.numbers();
}

/// The layer as it is used for a difference: its forward leaves the running statistics alone.
Layer probe_of(const Layer& layer) {
  Layer probe = layer;
  if (probe.running) probe.running->update = false;
  return probe;
}

/// d/dt of <dy, y(x + t * direction)> at t = 0, of fourth order.
Real slope(const Layer& probe, const Sizes& shape, const Numbers& x, const Numbers& direction, const Numbers& dy) {
  const auto at = [&](Real t) {
    Numbers moved = x;
    for (std::size_t i = 0; i < x.size(); ++i) moved[i] += t * direction[i];
    return output(probe, shape, moved);
  };
  const Numbers far_left = at(-2 * step);
  const Numbers left = at(-step);
  const Numbers right = at(step);
  const Numbers far_right = at(2 * step);
  Real sum = 0;
  for (std::size_t i = 0; i < dy.size(); ++i) {
    sum += dy[i] * (8 * (right[i] - left[i]) - (far_right[i] - far_left[i]));
  }
  return sum / (12 * step);
}

/// d/dp of <dy, y> for a parameter p, in which y is linear.
Real slope(const Layer& layer, eigennorm::Parameter<double> Layer::*parameter, Eigen::Index feature, const Tensor& x,
           const Numbers& dy) {
  const auto at = [&](double move) {
    Layer probe = probe_of(layer);
    (probe.*parameter).value[feature] += move;
    return output(probe, x.shape(), x.numbers());
  };
  const Numbers left = at(-1);
  const Numbers right = at(1);
  Real sum = 0;
  for (std::size_t i = 0; i < dy.size(); ++i) sum += dy[i] * (right[i] - left[i]);
  return sum / 2;
}

/// The largest error of a gradient in units of its scale.
Real error(const Numbers& got, const Numbers& slopes, const Numbers& scale) {
  return worst(got, slopes, scale, Tolerance{1, limit});
}

/// Holds the gradients of `problem` (dx, and the layer's own) against differences.
void check_every_element(const Problem<Tensor>& problem, const reference::Scales& scales) {
  const Layer probe = probe_of(problem.layer);
  Numbers slopes(problem.x.size());
  for (std::size_t i = 0; i < slopes.size(); ++i) {
    Numbers direction(slopes.size(), 0);
    direction[i] = 1;
    slopes[i] = slope(probe, problem.x.shape(), problem.x_numbers, direction, problem.dy_numbers);
  }
  CHECK(error(problem.dx.numbers(), slopes, scales.dx) <= limit);

  const auto check_parameter = [&](eigennorm::Parameter<double> Layer::*parameter, const Numbers& scale) {
    const auto& grad = (problem.layer.*parameter).grad;
    if (grad.size() == 0) return;
    Numbers parameter_slopes;
    for (Eigen::Index feature = 0; feature < grad.size(); ++feature) {
      parameter_slopes.push_back(slope(problem.layer, parameter, feature, problem.x, problem.dy_numbers));
    }
    CHECK(error(numbers(grad), parameter_slopes, scale) <= limit);
  };
  check_parameter(&Layer::scale, scales.scale);
  check_parameter(&Layer::shift, scales.shift);
}

/// Rows small enough for a difference per element. Every kind of layer must be among them.
template <typename Check>
void for_every_small_problem(const Check& check) {
  std::map<std::string, int> seen;
  std::uint64_t seed = 300;
  for (const Case& which : cases()) {
    if (which.size() > 600) continue;
    INFO(which.name);
    Problem<Tensor> problem(which, 0.5, Random(++seed));
    check(problem);
    ++seen[which.name.substr(0, which.name.find_first_of(" ,"))];
  }
  for (const char* layer : {"BatchNorm", "MeanOnlyBatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm",
                            "WeightNorm", "Normalization"}) {
    INFO(layer);
    CHECK(seen[layer] >= 3);
  }
}

}  // namespace

TEST_CASE("gradients in training") {
  for_every_small_problem([](Problem<Tensor>& problem) {
    forward(problem.layer, problem.x, problem.y);
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    check_every_element(problem, problem.scales(problem.batch(), false));
  });
}

TEST_CASE("gradients with frozen statistics") {
  int frozen = 0;
  for_every_small_problem([&frozen](Problem<Tensor>& problem) {
    if (!problem.layer.running) return;
    ++frozen;
    problem.layer.freeze();
    forward(problem.layer, problem.x, problem.y);
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    check_every_element(problem, problem.scales(problem.fixed(), true));
  });
  CHECK(frozen >= 12);
}

TEST_CASE("gradients through running statistics that still move") {
  // forward takes the old running values and only then moves them; backward must use those that forward used.
  for_every_small_problem([](Problem<Tensor>& problem) {
    if (!problem.layer.running || problem.roles.count < 2) return;
    problem.layer.running->use_in_forward = true;
    const Layer before = problem.layer;
    const reference::Scales scales = problem.scales(problem.fixed(), true);
    forward(problem.layer, problem.x, problem.y);
    CHECK((problem.layer.running->mean != before.running->mean).any());
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    problem.layer.running = before.running;
    check_every_element(problem, scales);
  });
}

TEST_CASE("gradients through a caller's own moments") {
  // One layer is used three times before going back, as in a recurrent net; each step goes back through its
  // own moments.
  for_every_small_problem([](Problem<Tensor>& problem) {
    if (problem.layer.running) problem.layer.running->update = false;
    Random random(17);
    eigennorm::Moments<double> first, second;
    Problem<Tensor> earlier = problem;
    earlier.x = Tensor(problem.x.shape(), random.normals(problem.x.size(), -0.3, 1.7));
    earlier.x_numbers = earlier.x.numbers();
    auto& layer = problem.layer;
    forward(layer, earlier.x, problem.y, {{}, &first});
    forward(layer, problem.x, problem.y, {{}, &second});
    const Tensor last(problem.x.shape(), random.normals(problem.x.size(), 2.0, 0.5));
    forward(layer, last, problem.y);

    backward(layer, problem.x, problem.dy, problem.dx, {{}, &second});
    check_every_element(problem, problem.scales(problem.batch(), false));

    layer.zero_grad();
    backward(layer, earlier.x, earlier.dy, earlier.dx, {{}, &first});
    earlier.layer = layer;
    check_every_element(earlier, earlier.scales(earlier.batch(), false));
  });
}

TEST_CASE("backward is the transpose of the derivative of forward") {
  // <J u, dy> = <u, J' dy> along a random direction: for the large rows too.
  std::uint64_t seed = 400;
  for (const Case& which : cases()) {
    INFO(which.name);
    Random random(++seed);
    Problem<Tensor> problem(which, 0.5, random);
    const Numbers direction = random.normals(problem.x.size());
    forward(problem.layer, problem.x, problem.y);
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    const reference::Scales scales = problem.scales(problem.batch(), false);
    const Numbers dx = problem.dx.numbers();
    const Real along =
        slope(probe_of(problem.layer), problem.x.shape(), problem.x_numbers, direction, problem.dy_numbers);
    Real product = 0;
    Real scale = 0;
    for (std::size_t i = 0; i < dx.size(); ++i) {
      product += direction[i] * dx[i];
      scale += direction[i] * direction[i] * scales.dx[i] * scales.dx[i];
    }
    CHECK(std::abs(along - product) <= limit * std::sqrt(scale));
  }
}

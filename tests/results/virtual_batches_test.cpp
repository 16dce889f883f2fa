#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "natural_scales.hpp"
#include "net_layers.hpp"
#include "support.hpp"
#include "vectors.hpp"

// Virtual batches by the recipe of docs/conventions.md: parts of a batch with moments of their own, and one move of the
// running statistics for each, or one for all. Against stored answers.

using namespace eigennorm;
using nets::Numbers;
using nets::Real;
using test::worst;

namespace {

/// Samples [first, first + n) of numbers in logical order.
Numbers samples(const Numbers& of, std::size_t size, std::int64_t first, std::int64_t n) {
  const auto begin = of.begin() + first * static_cast<std::int64_t>(size);
  return {begin, begin + n * static_cast<std::int64_t>(size)};
}

void append(Numbers& to, const Numbers& more) { to.insert(to.end(), more.begin(), more.end()); }

/// What is one batch of a part.
struct Part {
  std::int64_t first, size;
};

std::vector<Part> parts_of(const vectors::Case& c) {
  std::vector<Part> parts;
  const std::int64_t all = c.in("x").shape[0], most = c.integer("virtual_batch");
  for (std::int64_t first = 0; first < all; first += most) parts.push_back({first, std::min(most, all - first)});
  return parts;
}

/// Natural scales: of a layer, part by part.
struct PartScales {
  Numbers y, dx, scale, shift, running_mean;
};

PartScales scales_of(const vectors::Case& c) {
  const vectors::Shape& shape = c.in("x").shape;
  reference::Formula formula{{0}, {1}, reference::Kind::mean_variance, c.number("epsilon")};
  for (int axis = 2; axis < static_cast<int>(shape.size()); ++axis) formula.averaged.push_back(axis);
  const reference::Parameters parameters{nets::numbers(c.in("gamma")), nets::numbers(c.in("beta"))};
  const Numbers x = nets::numbers(c.in("x")), dy = nets::numbers(c.in("dy"));
  const std::size_t channels = parameters.scale.size(), in_sample = x.size() / static_cast<std::size_t>(shape[0]);
  const std::vector<Part> parts = parts_of(c);
  const bool each = c.text("running_update") == "each";
  const Real momentum = c.number("momentum");
  PartScales result{
      {}, {}, Numbers(channels, 0), Numbers(channels, 0), reference::magnitudes(nets::numbers(c.in("running_mean")))};
  Numbers mean(channels, 0);
  for (const Part& part : parts) {
    reference::Sizes own(shape.begin(), shape.end());
    own[0] = part.size;
    const reference::Roles roles(formula, own);
    const Numbers px = samples(x, in_sample, part.first, part.size),
                  pdy = samples(dy, in_sample, part.first, part.size);
    const reference::Scales scales =
        reference::natural_scales(formula, roles, reference::statistics(formula, roles, px), parameters, px, pdy, false,
                                  reference::of_stored_answers);
    append(result.y, scales.y);
    append(result.dx, scales.dx);
    const Numbers of_mean = reference::mean_scale(roles.feature, channels, px);
    for (std::size_t i = 0; i < channels; ++i) {
      result.scale[i] += scales.scale[i];
      result.shift[i] += scales.shift[i];
      mean[i] += of_mean[i] / static_cast<Real>(parts.size());
    }
    if (each) result.running_mean = reference::running_mean_scale(roles, px, result.running_mean, momentum);
  }
  for (std::size_t i = 0; i < channels && !each; ++i)
    result.running_mean[i] = (1 - momentum) * result.running_mean[i] + momentum * mean[i];
  return result;
}

template <typename Scalar>
BatchNorm<Scalar> layer_of(const vectors::Case& c) {
  BatchNorm<Scalar> layer(c.in("x").shape[1], c.number("epsilon"));
  for (const auto& [state, name] :
       {std::pair("scale", "gamma"), std::pair("shift", "beta"), std::pair("running_mean", "running_mean"),
        std::pair("running_variance", "running_var")}) {
    const std::vector<Scalar> values(c.in(name).data.begin(), c.in(name).data.end());
    layer.assign(state, values.data(), static_cast<std::int64_t>(values.size()));
  }
  layer.running->averaging = momentum_of_new(c.number("momentum"));
  return layer;
}

/// The recipe on a row-major tensor of (samples, channels, positions).
template <typename Scalar>
void check(const vectors::Case& c) {
  using Tensor = Eigen::TensorMap<Eigen::Tensor<Scalar, 3, Eigen::RowMajor>>;
  const vectors::Shape& shape = c.in("x").shape;
  std::vector<Scalar> x(c.in("x").data.begin(), c.in("x").data.end()),
      dy(c.in("dy").data.begin(), c.in("dy").data.end());
  std::vector<Scalar> y(x.size()), dx(x.size());
  const auto in_sample = static_cast<std::int64_t>(x.size()) / shape[0], positions = in_sample / shape[1];
  const auto part = [&](std::vector<Scalar>& of, const Part& at) {
    return Tensor(of.data() + at.first * in_sample, at.size, shape[1], positions);
  };
  BatchNorm<Scalar> layer = layer_of<Scalar>(c);
  auto& running = *layer.running;
  running.update = c.text("running_update") == "each";
  const std::vector<Part> parts = parts_of(c);
  std::vector<Moments<Scalar>> moments(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) layer.forward(part(x, parts[i]), part(y, parts[i]), {{}, &moments[i]});
  for (std::size_t i = 0; i < parts.size(); ++i)
    layer.backward(part(x, parts[i]), part(dy, parts[i]), part(dx, parts[i]), {{}, &moments[i]});
  if (!running.update) {
    PopulationStatistics<Scalar> all;
    for (const Moments<Scalar>& each : moments) all.observe(each);
    const auto momentum = static_cast<Scalar>(c.number("momentum"));
    const auto [mean, variance] = all.algorithm2();
    running.assign(
        {(1 - momentum) * running.mean + momentum * mean, (1 - momentum) * running.variance + momentum * variance});
  }
  const PartScales scales = scales_of(c);
  const test::Tolerance limits = nets::tolerance(c);
  const auto judge = [&](const char* name, const Numbers& got, const Numbers& scale) {
    INFO(name);
    CHECK(worst(got, nets::numbers(c, "ref", name), scale, limits) <= limits.limit);
  };
  judge("y", Numbers(y.begin(), y.end()), scales.y);
  judge("dx", Numbers(dx.begin(), dx.end()), scales.dx);
  judge("dgamma", test::numbers(layer.scale.grad), scales.scale);
  judge("dbeta", test::numbers(layer.shift.grad), scales.shift);
  judge("new_running_mean", test::numbers(running.mean), scales.running_mean);
  judge("new_running_var", test::numbers(running.variance), nets::numbers(c, "ref", "new_running_var"));
}

}  // namespace

TEST_CASE("virtual batches agree with the stored answers") {
  const std::vector<vectors::Case> cases = vectors::load(std::string(nets::folder) + "ghost/manifest.txt");
  CHECK(cases.size() == 4);
  for (const vectors::Case& c : cases) {
    CAPTURE(c.id);
    if (c.dtype == "f64") {
      check<double>(c);
    } else {
      check<float>(c);
    }
  }
}

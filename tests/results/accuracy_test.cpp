// Speed is not paid for with accuracy: y, dx and rstd of LayerNorm and BatchNorm, in every layout, on data that are
// hard for one-pass and one-float statistics. Errors are scaled: the largest, over the largest magnitude of the
// truth.

#include <cmath>
#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"

namespace {

using namespace eigennorm;
using Real = long double;

constexpr double epsilon = 1e-5;

/// The data: means far from 0 compared with their spread, and an outlier where a shift would be taken from.
struct Input {
  std::string name;
  double mean, deviation;
  bool outlier;
};
const Input inputs[] = {
    {"N(0, 1)", 0, 1, false},         {"N(1000, 1)", 1000, 1, false},      {"N(1e4, 1)", 1e4, 1, false},
    {"1e4 + 0.1 N", 1e4, 0.1, false}, {"1e5 + 0.001 N", 1e5, 1e-3, false}, {"N(0, 1), first value 1000", 0, 1, true}};

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

/// A shape, the layer for it, and the group of each value in memory order.
struct Geometry {
  std::string name;
  std::array<Eigen::Index, 4> shape;
  Normalization<float> layer;
  std::size_t groups;
  std::function<std::size_t(std::size_t)> group;
};

Geometry layer_norm(Eigen::Index rows, Eigen::Index width) {
  return {"LayerNorm " + std::to_string(rows) + " x " + std::to_string(width),
          {rows, 1, 1, width},
          LayerNorm<float>(width),
          static_cast<std::size_t>(rows),
          [width](std::size_t i) { return i / static_cast<std::size_t>(width); }};
}

Geometry channels_first(Eigen::Index n, Eigen::Index c, Eigen::Index h, Eigen::Index w) {
  return {"BatchNorm NCHW, " + std::to_string(n) + " x " + std::to_string(c) + " x " + std::to_string(h) + " x " +
              std::to_string(w),
          {n, c, h, w},
          BatchNorm<float>(c),
          static_cast<std::size_t>(c),
          [c, hw = h * w](std::size_t i) { return i / static_cast<std::size_t>(hw) % static_cast<std::size_t>(c); }};
}

/// N x C where h and w are 1.
Geometry channels_last(Eigen::Index n, Eigen::Index h, Eigen::Index w, Eigen::Index c) {
  return {"BatchNorm " +
              (h * w == 1 ? "N x C, " + std::to_string(n)
                          : "NHWC, " + std::to_string(n) + " x " + std::to_string(h) + " x " + std::to_string(w)) +
              " x " + std::to_string(c),
          {n, h, w, c},
          BatchNorm<float>(c, channels_on(-1)),
          static_cast<std::size_t>(c),
          [c](std::size_t i) { return i % static_cast<std::size_t>(c); }};
}

std::vector<Geometry> geometries() {
  return {layer_norm(64, 768),
          layer_norm(500, 32),
          layer_norm(3, 262144),
          {"LayerNorm of channels first, 2 x 96 x 9 x 9",
           {2, 96, 9, 9},
           LayerNorm<float>(96, over(1)),
           162,
           [](std::size_t i) { return i / (96 * 81) * 81 + i % 81; }},
          channels_first(16, 3, 56, 56),
          channels_first(32, 40, 7, 7),
          channels_last(8, 40, 40, 24),
          channels_last(4096, 1, 1, 70)};
}

Real scaled_error(const float* values, const std::vector<Real>& truth) {
  Real worst = 0, largest = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<Real>(values[i]) - truth[i]));
    largest = std::max(largest, std::abs(truth[i]));
  }
  return worst / largest;
}

struct Errors {
  Real rstd, y, dx;
};

Errors errors_of(Geometry& geometry, const Input& input) {
  Tensor x(geometry.shape), dy(geometry.shape);
  const auto size = static_cast<std::size_t>(x.size());
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  std::vector<bool> seen(geometry.groups);
  for (std::size_t i = 0; i < size; ++i) {
    x.data()[i] = static_cast<float>(input.mean + input.deviation * normal(random));
    dy.data()[i] = static_cast<float>(normal(random));
    if (input.outlier && !seen[geometry.group(i)]) x.data()[i] = 1000;
    seen[geometry.group(i)] = true;
  }
  geometry.layer.eps = epsilon;
  const Tensor y = geometry.layer.forward(x), dx = geometry.layer.backward(x, dy);

  const auto per_group = static_cast<Real>(size / geometry.groups);
  std::vector<Real> mean(geometry.groups), variance(geometry.groups), rstd(geometry.groups), sum(geometry.groups),
      product(geometry.groups), true_y(size), true_dx(size);
  for (std::size_t i = 0; i < size; ++i) mean[geometry.group(i)] += static_cast<Real>(x.data()[i]) / per_group;
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t g = geometry.group(i);
    const Real deviation = static_cast<Real>(x.data()[i]) - mean[g];
    variance[g] += deviation * deviation / per_group;
  }
  for (std::size_t g = 0; g < geometry.groups; ++g) rstd[g] = 1 / std::sqrt(variance[g] + static_cast<Real>(epsilon));
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t g = geometry.group(i);
    true_y[i] = (static_cast<Real>(x.data()[i]) - mean[g]) * rstd[g];
    sum[g] += static_cast<Real>(dy.data()[i]) / per_group;
    product[g] += static_cast<Real>(dy.data()[i]) * true_y[i] / per_group;
  }
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t g = geometry.group(i);
    true_dx[i] = (static_cast<Real>(dy.data()[i]) - sum[g] - true_y[i] * product[g]) * rstd[g];
  }
  Errors errors{0, scaled_error(y.data(), true_y), scaled_error(dx.data(), true_dx)};
  for (std::size_t g = 0; g < geometry.groups; ++g) {
    const auto got = static_cast<Real>(geometry.layer.moments().rstd()[static_cast<Eigen::Index>(g)]);
    errors.rstd = std::max(errors.rstd, std::abs(got / rstd[g] - 1));
  }
  return errors;
}

TEST_CASE("Errors of y and dx are at most 1e-6 and of rstd 5e-7 of their scale, on hard data, in every layout") {
  for (Geometry& geometry : geometries()) {
    for (const Input& input : inputs) {
      INFO(geometry.name << ", " << input.name);
      const Errors errors = errors_of(geometry, input);
      CHECK(errors.y <= 1e-6L);
      CHECK(errors.dx <= 1e-6L);
      CHECK(errors.rstd <= 5e-7L);
    }
  }
}

// accuracy_test "[peers]": the library's rows of the table in docs/accuracy.md.
TEST_CASE("Errors at the shapes that other libraries were measured at", "[.][peers]") {
  for (Geometry& geometry : std::vector<Geometry>{layer_norm(64, 768), layer_norm(16, 262144),
                                                  channels_first(32, 64, 56, 56), channels_last(256, 1, 1, 1024),
                                                  channels_last(8192, 1, 1, 512), channels_last(32, 56, 56, 64)}) {
    std::printf("| %s", geometry.name.c_str());
    for (const Input& input : inputs) {
      const Errors errors = errors_of(geometry, input);
      std::printf(" | %.0Le / %.0Le / %.0Le", errors.rstd, errors.y, errors.dx);
    }
    std::printf(" |\n");
  }
}

}  // namespace

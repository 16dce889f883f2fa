// Speed is not paid for with accuracy: y, dx and rstd of LayerNorm and BatchNorm, in every layout, on data that are hard
// for one-pass and one-float statistics. Errors are scaled: the largest, over the largest magnitude of the truth.

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "kernels/instances.hpp"

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
const Input inputs[] = {{"N(0, 1)", 0, 1, false},
                        {"N(1000, 1)", 1000, 1, false},
                        {"N(1e4, 1)", 1e4, 1, false},
                        {"1e4 + 0.1 N", 1e4, 0.1, false},
                        {"1e5 + 0.001 N", 1e5, 1e-3, false},
                        {"N(0, 1), first value 1000", 0, 1, true}};

/// A shape, the layer for it, and the group of each value in memory order.
struct Geometry {
  std::string name;
  std::array<Eigen::Index, 4> shape;
  Normalization<float> layer;
  std::size_t groups;
  std::function<std::size_t(std::size_t)> group;
};

std::vector<Geometry> geometries() {
  return {
      {"LayerNorm 64 x 768",
       {64, 1, 1, 768},
       LayerNorm<float>(768),
       64,
       [](std::size_t i) { return i / 768; }},
      {"LayerNorm 500 x 32",
       {500, 1, 1, 32},
       LayerNorm<float>(32),
       500,
       [](std::size_t i) { return i / 32; }},
      {"LayerNorm 3 x 262144",
       {3, 1, 1, 262144},
       LayerNorm<float>(262144),
       3,
       [](std::size_t i) { return i / 262144; }},
      {"LayerNorm of channels first, 2 x 96 x 9 x 9",
       {2, 96, 9, 9},
       LayerNorm<float>(96, over(1)),
       162,
       [](std::size_t i) { return i / (96 * 81) * 81 + i % 81; }},
      {"BatchNorm NCHW, 16 x 3 x 56 x 56",
       {16, 3, 56, 56},
       BatchNorm<float>(3),
       3,
       [](std::size_t i) { return i / 3136 % 3; }},
      {"BatchNorm NCHW, 32 x 40 x 7 x 7",
       {32, 40, 7, 7},
       BatchNorm<float>(40),
       40,
       [](std::size_t i) { return i / 49 % 40; }},
      {"BatchNorm NHWC, 8 x 40 x 40 x 24",
       {8, 40, 40, 24},
       BatchNorm<float>(24, channels_on(-1)),
       24,
       [](std::size_t i) { return i % 24; }},
      {"BatchNorm N x C, 4096 x 70",
       {4096, 1, 1, 70},
       BatchNorm<float>(70, channels_on(-1)),
       70,
       [](std::size_t i) { return i % 70; }},
  };
}

Real scaled_error(const float* values, const std::vector<Real>& truth) {
  Real worst = 0, largest = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<Real>(values[i]) - truth[i]));
    largest = std::max(largest, std::abs(truth[i]));
  }
  return worst / largest;
}

TEST_CASE(
    "Errors of y and dx are at most 1e-6 and of rstd 5e-7 of their scale, on hard data, in every layout") {
  using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  for (Geometry& geometry : geometries()) {
    for (const Input& input : inputs) {
      INFO(geometry.name << ", " << input.name);
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
      std::vector<Real> mean(geometry.groups), variance(geometry.groups), rstd(geometry.groups),
          sum(geometry.groups), product(geometry.groups), true_y(size), true_dx(size);
      for (std::size_t i = 0; i < size; ++i)
        mean[geometry.group(i)] += static_cast<Real>(x.data()[i]) / per_group;
      for (std::size_t i = 0; i < size; ++i) {
        const std::size_t g = geometry.group(i);
        const Real deviation = static_cast<Real>(x.data()[i]) - mean[g];
        variance[g] += deviation * deviation / per_group;
      }
      for (std::size_t g = 0; g < geometry.groups; ++g)
        rstd[g] = 1 / std::sqrt(variance[g] + static_cast<Real>(epsilon));
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
      CHECK(scaled_error(y.data(), true_y) <= 1e-6L);
      CHECK(scaled_error(dx.data(), true_dx) <= 1e-6L);
      for (std::size_t g = 0; g < geometry.groups; ++g) {
        const Real error = std::abs(
            static_cast<Real>(geometry.layer.moments().rstd()[static_cast<Eigen::Index>(g)]) / rstd[g] - 1);
        if (error > 5e-7L) FAIL_CHECK("rstd of group " << g << " is off by " << static_cast<double>(error));
      }
    }
  }
}

}  // namespace

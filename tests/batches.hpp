#pragma once

#include <cstdint>
#include <eigennorm/eigennorm.hpp>

#include "support.hpp"

// What the tests of running statistics train on.

namespace test {

using Matrix = Eigen::MatrixXd;
using Tensor = Eigen::Tensor<double, 4, Eigen::RowMajor>;

// Rows are samples; no two channels have the same mean or spread.
inline Matrix batch(Eigen::Index rows, Eigen::Index channels, std::uint64_t seed) {
  Random random(seed);
  Matrix x(rows, channels);
  for (Eigen::Index c = 0; c < channels; ++c) {
    for (Eigen::Index r = 0; r < rows; ++r) {
      const auto number = static_cast<double>(c + 1);
      x(r, c) = number + (0.5 + number) * random.normal();
    }
  }
  return x;
}

inline Tensor images(std::uint64_t seed) {
  Random random(seed);
  Tensor x(4, 3, 2, 5);
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    const auto group = static_cast<double>(i / 10);
    x.data()[i] = group + (1 + group) * random.normal();
  }
  return x;
}

// A layer all of whose numbers are special.
inline eigennorm::BatchNorm<double> special_layer() {
  eigennorm::BatchNorm<double> layer(3);
  Random random(7);
  randomize(layer, random);
  return layer;
}

}  // namespace test

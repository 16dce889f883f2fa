#pragma once

#include <eigennorm/eigennorm.hpp>
#include <vector>

#include "reference.hpp"

// Layers whose calls are worth more than one thread.

namespace test {

using eigennorm::BatchNorm;
using eigennorm::channels_on;
using eigennorm::GroupNorm;
using eigennorm::InstanceNorm;
using eigennorm::LayerNorm;
using eigennorm::MeanOnlyBatchNorm;
using eigennorm::Normalization;
using eigennorm::over;
using eigennorm::RMSNorm;
using eigennorm::WeightNorm;
using eigennorm::whole_tensor;
using reference::Sizes;

template <typename Scalar>
struct Large {
  const char* name;
  Normalization<Scalar> layer;
  Sizes shape;
};

/// Each has more than 256 K values, so that it is worth more than one thread.
template <typename Scalar>
std::vector<Large<Scalar>> large_layers() {
  BatchNorm<Scalar> frozen(3);
  frozen.freeze();
  return {
      {"LayerNorm of rows", LayerNorm<Scalar>(128), {2100, 128}},
      {"LayerNorm of columns", LayerNorm<Scalar>(2703, over(0)), {2703, 101}},
      {"LayerNorm of one huge group", LayerNorm<Scalar>(400003), {1, 400003}},
      {"LayerNorm of two huge columns", LayerNorm<Scalar>(200003, over(0)), {200003, 2}},
      {"LayerNorm over(1)", LayerNorm<Scalar>(96, over(1)), {4, 96, 27, 27}},
      {"BatchNorm of 3 channels, NCHW", BatchNorm<Scalar>(3), {16, 3, 76, 76}},
      {"BatchNorm of 3 channels, NHWC", BatchNorm<Scalar>(3, channels_on(-1)), {16, 76, 76, 3}},
      {"BatchNorm of 61 channels, N x C", BatchNorm<Scalar>(61), {4500, 61}},
      {"BatchNorm of one channel", BatchNorm<Scalar>(1), {300007, 1}},
      {"frozen BatchNorm", frozen, {16, 3, 76, 76}},
      {"MeanOnlyBatchNorm", MeanOnlyBatchNorm<Scalar>(3), {16, 3, 76, 76}},
      {"GroupNorm, NCHW", GroupNorm<Scalar>(4, 32), {8, 32, 33, 33}},
      {"GroupNorm, NHWC", GroupNorm<Scalar>(4, 32, channels_on(-1)), {8, 33, 33, 32}},
      {"InstanceNorm", InstanceNorm<Scalar>(17), {4, 17, 64, 64}},
      {"RMSNorm of one huge group", RMSNorm<Scalar>(300007), {1, 300007}},
      {"WeightNorm", WeightNorm<Scalar>(300), {300, 1000}},
      {"WeightNorm, whole tensor", WeightNorm<Scalar>(whole_tensor), {600, 500}},
  };
}

}  // namespace test

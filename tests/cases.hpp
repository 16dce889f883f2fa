#pragma once

#include <eigennorm/eigennorm.hpp>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "reference.hpp"

// One row per layer and geometry. What a row says of axes and statistics is written out by hand and knows
// nothing of how the library finds them. A new layer or geometry is one more row: reference, gradients,
// views, threads and both storage orders then run by themselves.

namespace test {

using reference::Formula;
using reference::Kind;
using reference::Real;

struct Case {
  std::string name;
  reference::Sizes shape;
  Formula formula;
  eigennorm::Normalization<float> float_layer;
  eigennorm::Normalization<double> double_layer;

  template <typename Scalar>
  const eigennorm::Normalization<Scalar>& layer() const {
    if constexpr (std::is_same_v<Scalar, float>) {
      return float_layer;
    } else {
      return double_layer;
    }
  }

  std::size_t size() const { return reference::size_of(shape); }
};

/// `make(zero)` makes the layer for the scalar type of `zero`.
template <typename Make>
Case row(std::string name, reference::Sizes shape, Formula formula, const Make& make) {
  return {std::move(name), std::move(shape), std::move(formula), make(0.0F), make(0.0)};
}

inline std::vector<Case> batch_norm_cases() {
  using eigennorm::BatchNorm;
  using eigennorm::channels_on;
  const auto formula = [](reference::Axes averaged, int channel, Real epsilon = 1e-5) {
    return Formula{std::move(averaged), {channel}, Kind::mean_variance, epsilon};
  };
  return {
      row("BatchNorm N x C", {7, 5}, formula({0}, 1), [](auto s) { return BatchNorm<decltype(s)>(5); }),
      row("BatchNorm two samples", {2, 3}, formula({0}, 1), [](auto s) { return BatchNorm<decltype(s)>(3); }),
      row("BatchNorm one channel", {9, 1}, formula({0}, 1), [](auto s) { return BatchNorm<decltype(s)>(1); }),
      row("BatchNorm C x N", {4, 9}, formula({1}, 0), [](auto s) { return BatchNorm<decltype(s)>(4, channels_on(0)); }),
      row("BatchNorm NCL", {5, 3, 7}, formula({0, 2}, 1), [](auto s) { return BatchNorm<decltype(s)>(3); }),
      row("BatchNorm NCHW", {4, 3, 5, 2}, formula({0, 2, 3}, 1), [](auto s) { return BatchNorm<decltype(s)>(3); }),
      row("BatchNorm NCHW, eps 0", {3, 2, 3, 3}, formula({0, 2, 3}, 1, 0),
          [](auto s) { return BatchNorm<decltype(s)>(2, channels_on(1), 0.0); }),
      row("BatchNorm NHWC", {4, 5, 2, 3}, formula({0, 1, 2}, 3),
          [](auto s) { return BatchNorm<decltype(s)>(3, channels_on(-1)); }),
      row("BatchNorm NHWC, eps 0.1", {2, 3, 3, 5}, formula({0, 1, 2}, 3, 0.1),
          [](auto s) { return BatchNorm<decltype(s)>(5, channels_on(3), 0.1); }),
      row("BatchNorm NCDHW", {2, 3, 2, 3, 2}, formula({0, 2, 3, 4}, 1),
          [](auto s) { return BatchNorm<decltype(s)>(3); }),
      row("BatchNorm NDHWC", {2, 3, 2, 3, 4}, formula({0, 1, 2, 3}, 4),
          [](auto s) { return BatchNorm<decltype(s)>(4, channels_on(-1)); }),
      row("BatchNorm rank 6", {2, 2, 3, 1, 2, 3}, formula({0, 1, 3, 4, 5}, 2),
          [](auto s) { return BatchNorm<decltype(s)>(3, channels_on(2)); }),
      row("BatchNorm rank 8", {2, 1, 2, 3, 1, 2, 2, 2}, formula({0, 1, 2, 4, 5, 6, 7}, 3),
          [](auto s) { return BatchNorm<decltype(s)>(3, channels_on(3)); }),
      row("BatchNorm 67 channels", {9, 67}, formula({0}, 1), [](auto s) { return BatchNorm<decltype(s)>(67); }),
      row("BatchNorm 71 samples", {71, 3}, formula({0}, 1), [](auto s) { return BatchNorm<decltype(s)>(3); }),
      row("BatchNorm 129 samples", {129, 6}, formula({0}, 1), [](auto s) { return BatchNorm<decltype(s)>(6); }),
      row("BatchNorm 1030 channels", {3, 1030}, formula({0}, 1), [](auto s) { return BatchNorm<decltype(s)>(1030); }),
      row("BatchNorm 1217 samples", {1217, 2}, formula({0}, 1), [](auto s) { return BatchNorm<decltype(s)>(2); }),
      row("BatchNorm 1323 values a channel, NCHW", {3, 2, 21, 21}, formula({0, 2, 3}, 1),
          [](auto s) { return BatchNorm<decltype(s)>(2); }),
      row("BatchNorm 1323 values a channel, NHWC", {3, 21, 21, 3}, formula({0, 1, 2}, 3),
          [](auto s) { return BatchNorm<decltype(s)>(3, channels_on(-1)); }),
      row("BatchNorm 66600 values a channel, NHWC", {2, 150, 222, 2}, formula({0, 1, 2}, 3),
          [](auto s) { return BatchNorm<decltype(s)>(2, channels_on(-1)); }),
      row("MeanOnlyBatchNorm N x C", {6, 4}, Formula{{0}, {1}, Kind::mean},
          [](auto s) { return eigennorm::MeanOnlyBatchNorm<decltype(s)>(4); }),
      row("MeanOnlyBatchNorm one sample", {1, 4}, Formula{{0}, {1}, Kind::mean},
          [](auto s) { return eigennorm::MeanOnlyBatchNorm<decltype(s)>(4); }),
      row("MeanOnlyBatchNorm NCHW", {3, 4, 2, 5}, Formula{{0, 2, 3}, {1}, Kind::mean},
          [](auto s) { return eigennorm::MeanOnlyBatchNorm<decltype(s)>(4); }),
      row("MeanOnlyBatchNorm NHWC", {3, 2, 5, 4}, Formula{{0, 1, 2}, {3}, Kind::mean},
          [](auto s) { return eigennorm::MeanOnlyBatchNorm<decltype(s)>(4, channels_on(-1)); }),
      row("MeanOnlyBatchNorm 1100 values", {1100, 3}, Formula{{0}, {1}, Kind::mean},
          [](auto s) { return eigennorm::MeanOnlyBatchNorm<decltype(s)>(3); }),
  };
}

inline std::vector<Case> layer_norm_cases() {
  using eigennorm::LayerNorm;
  using eigennorm::over;
  using eigennorm::over_last;
  using eigennorm::RMSNorm;
  const auto formula = [](const reference::Axes& axes, Real epsilon = 1e-5) {
    return Formula{axes, axes, Kind::mean_variance, epsilon};
  };
  const auto rms_formula = [](const reference::Axes& axes, Real epsilon = 1e-5) {
    return Formula{axes, axes, Kind::mean_square, epsilon};
  };
  return {
      row("LayerNorm last axis", {4, 10}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(10); }),
      row("LayerNorm rank 1", {9}, formula({0}), [](auto s) { return LayerNorm<decltype(s)>(9); }),
      row("LayerNorm rank 3", {3, 2, 7}, formula({2}), [](auto s) { return LayerNorm<decltype(s)>(7); }),
      row("LayerNorm eps 0", {5, 8}, formula({1}, 0), [](auto s) { return LayerNorm<decltype(s)>(8, 0.0); }),
      row("LayerNorm eps 1e-3", {5, 8}, formula({1}, 1e-3), [](auto s) { return LayerNorm<decltype(s)>(8, 1e-3); }),
      row("LayerNorm one value", {5, 1}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(1); }),
      row("LayerNorm two values", {6, 2}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(2); }),
      row("LayerNorm 28 x 28", {2, 28, 28}, formula({1, 2}),
          [](auto s) {
            return LayerNorm<decltype(s)>({28, 28});
          }),
      row("LayerNorm 3 x 5, eps 1e-6", {4, 3, 5}, formula({1, 2}, 1e-6),
          [](auto s) {
            return LayerNorm<decltype(s)>({3, 5}, 1e-6);
          }),
      row("LayerNorm over(1), channels first", {2, 6, 3, 4}, formula({1}),
          [](auto s) { return LayerNorm<decltype(s)>(6, over(1)); }),
      row("LayerNorm over(1), 96 channels", {2, 96, 3, 3}, formula({1}),
          [](auto s) { return LayerNorm<decltype(s)>(96, over(1)); }),
      row("LayerNorm over(1), 131 positions", {1, 5, 131}, formula({1}),
          [](auto s) { return LayerNorm<decltype(s)>(5, over(1)); }),
      row("LayerNorm over(1, 2)", {2, 3, 4, 3}, formula({1, 2}),
          [](auto s) {
            return LayerNorm<decltype(s)>({3, 4}, over(1, 2));
          }),
      row("LayerNorm over(-2, -3)", {2, 3, 4, 3}, formula({1, 2}),
          [](auto s) {
            return LayerNorm<decltype(s)>({3, 4}, over(-2, -3));
          }),
      row("LayerNorm over(0)", {5, 8}, formula({0}), [](auto s) { return LayerNorm<decltype(s)>(5, over(0)); }),
      row("LayerNorm over(0, 2)", {3, 4, 5}, formula({0, 2}),
          [](auto s) {
            return LayerNorm<decltype(s)>({3, 5}, over(0, 2));
          }),
      row("LayerNorm over(0, 2, 4)", {2, 3, 3, 2, 2}, formula({0, 2, 4}),
          [](auto s) {
            return LayerNorm<decltype(s)>({2, 3, 2}, over(0, 2, 4));
          }),
      row("LayerNorm over_last(3)", {3, 2, 3, 4}, formula({1, 2, 3}),
          [](auto s) {
            return LayerNorm<decltype(s)>({2, 3, 4}, over_last(3));
          }),
      row("LayerNorm the whole tensor", {4, 6}, formula({0, 1}),
          [](auto s) {
            return LayerNorm<decltype(s)>({4, 6});
          }),
      row("LayerNorm rank 7", {2, 3, 1, 2, 2, 1, 5}, formula({6}), [](auto s) { return LayerNorm<decltype(s)>(5); }),
      row("LayerNorm rank 8", {2, 1, 3, 2, 1, 2, 2, 3}, formula({2, 7}),
          [](auto s) {
            return LayerNorm<decltype(s)>({3, 3}, over(2, 7));
          }),
      row("LayerNorm 63 values", {5, 63}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(63); }),
      row("LayerNorm 64 values", {5, 64}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(64); }),
      row("LayerNorm 65 values", {5, 65}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(65); }),
      row("LayerNorm 70 rows", {70, 3}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(3); }),
      row("LayerNorm 768 values", {6, 768}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(768); }),
      row("LayerNorm 1024 values", {2, 1024}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(1024); }),
      row("LayerNorm 1025 values", {2, 1025}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(1025); }),
      row("LayerNorm 2100 values, over(0)", {2100, 3}, formula({0}),
          [](auto s) { return LayerNorm<decltype(s)>(2100, over(0)); }),
      row("LayerNorm 1030 rows", {1030, 4}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(4); }),
      row("LayerNorm 70001 values", {1, 70001}, formula({1}), [](auto s) { return LayerNorm<decltype(s)>(70001); }),
      row("LayerNorm without parameters", {4, 10}, Formula{{1}, {1}, Kind::mean_variance, 1e-5},
          [](auto s) {
            LayerNorm<decltype(s)> layer(10);
            layer.use_scale(false);
            layer.use_shift(false);
            return layer;
          }),
      row("LayerNorm with a scale only", {4, 3, 5}, formula({2}),
          [](auto s) {
            LayerNorm<decltype(s)> layer(5);
            layer.use_shift(false);
            return layer;
          }),
      row("LayerNorm with a shift only", {4, 3, 5}, formula({1}),
          [](auto s) {
            LayerNorm<decltype(s)> layer(3, over(1));
            layer.use_scale(false);
            return layer;
          }),
      row("RMSNorm last axis", {4, 10}, rms_formula({1}), [](auto s) { return RMSNorm<decltype(s)>(10); }),
      row("RMSNorm rank 1", {11}, rms_formula({0}), [](auto s) { return RMSNorm<decltype(s)>(11); }),
      row("RMSNorm one value", {4, 1}, rms_formula({1}, 0.1), [](auto s) { return RMSNorm<decltype(s)>(1, 0.1); }),
      row("RMSNorm 3 x 5", {2, 3, 5}, rms_formula({1, 2}),
          [](auto s) {
            return RMSNorm<decltype(s)>({3, 5});
          }),
      row("RMSNorm over(1)", {2, 6, 3, 4}, rms_formula({1}), [](auto s) { return RMSNorm<decltype(s)>(6, over(1)); }),
      row("RMSNorm rank 5, eps 0", {2, 3, 2, 2, 7}, rms_formula({4}, 0),
          [](auto s) { return RMSNorm<decltype(s)>(7, 0.0); }),
      row("RMSNorm with a shift", {4, 6}, rms_formula({1}),
          [](auto s) {
            RMSNorm<decltype(s)> layer(6);
            layer.use_shift(true);
            return layer;
          }),
      row("RMSNorm 1500 values", {2, 1500}, rms_formula({1}), [](auto s) { return RMSNorm<decltype(s)>(1500); }),
  };
}

inline std::vector<Case> group_norm_cases() {
  using eigennorm::channels_on;
  using eigennorm::GroupNorm;
  using eigennorm::InstanceNorm;
  using eigennorm::samples_on;
  const auto formula = [](reference::Axes averaged, int channel, std::ptrdiff_t groups, Real epsilon = 1e-5) {
    return Formula{std::move(averaged), {channel}, Kind::mean_variance, epsilon, groups};
  };
  return {
      row("GroupNorm NCHW", {3, 6, 4, 2}, formula({1, 2, 3}, 1, 2),
          [](auto s) { return GroupNorm<decltype(s)>(2, 6); }),
      row("GroupNorm NHWC", {2, 3, 4, 6}, formula({1, 2, 3}, 3, 3),
          [](auto s) { return GroupNorm<decltype(s)>(3, 6, channels_on(-1)); }),
      row("GroupNorm channels in the middle", {2, 3, 6, 4}, formula({1, 2, 3}, 2, 2),
          [](auto s) { return GroupNorm<decltype(s)>(2, 6, channels_on(2)); }),
      row("GroupNorm N x C", {7, 6}, formula({1}, 1, 3), [](auto s) { return GroupNorm<decltype(s)>(3, 6); }),
      row("GroupNorm NLC", {2, 5, 6}, formula({1, 2}, 2, 3),
          [](auto s) { return GroupNorm<decltype(s)>(3, 6, channels_on(-1)); }),
      row("GroupNorm one group", {3, 4, 5}, formula({1, 2}, 1, 1), [](auto s) { return GroupNorm<decltype(s)>(1, 4); }),
      row("GroupNorm a group for every channel", {3, 4, 5}, formula({1, 2}, 1, 4),
          [](auto s) { return GroupNorm<decltype(s)>(4, 4); }),
      row("GroupNorm eps 1e-3", {2, 4, 3}, formula({1, 2}, 1, 2, 1e-3),
          [](auto s) { return GroupNorm<decltype(s)>(2, 4, channels_on(1), samples_on(0), 1e-3); }),
      row("GroupNorm two sample axes", {2, 2, 6, 3, 2}, formula({2, 3, 4}, 2, 2),
          [](auto s) { return GroupNorm<decltype(s)>(2, 6, channels_on(2), samples_on(0, 1)); }),
      row("GroupNorm samples last", {6, 4, 3}, formula({0, 1}, 0, 2),
          [](auto s) { return GroupNorm<decltype(s)>(2, 6, channels_on(0), samples_on(2)); }),
      row("GroupNorm no samples", {6, 7}, formula({0, 1}, 0, 3),
          [](auto s) { return GroupNorm<decltype(s)>(3, 6, channels_on(0), samples_on()); }),
      row("GroupNorm no samples, 40 positions", {6, 40}, formula({0, 1}, 0, 3),
          [](auto s) { return GroupNorm<decltype(s)>(3, 6, channels_on(0), samples_on()); }),
      row("GroupNorm 66 channels", {2, 66, 5}, formula({1, 2}, 1, 33),
          [](auto s) { return GroupNorm<decltype(s)>(33, 66); }),
      row("GroupNorm 1230 values, channels first", {2, 4, 15, 41}, formula({1, 2, 3}, 1, 2),
          [](auto s) { return GroupNorm<decltype(s)>(2, 4); }),
      row("GroupNorm 1230 values, channels last", {2, 15, 41, 4}, formula({1, 2, 3}, 3, 2),
          [](auto s) { return GroupNorm<decltype(s)>(2, 4, channels_on(-1)); }),
      row("InstanceNorm NCHW", {2, 3, 4, 5}, formula({2, 3}, 1, 1),
          [](auto s) { return InstanceNorm<decltype(s)>(3); }),
      row("InstanceNorm NHWC", {2, 4, 5, 3}, formula({1, 2}, 3, 1),
          [](auto s) { return InstanceNorm<decltype(s)>(3, channels_on(-1)); }),
      row("InstanceNorm NCL", {4, 3, 9}, formula({2}, 1, 1), [](auto s) { return InstanceNorm<decltype(s)>(3); }),
      row("InstanceNorm one value", {2, 3, 1}, formula({2}, 1, 1), [](auto s) { return InstanceNorm<decltype(s)>(3); }),
      row("InstanceNorm two sample axes", {2, 3, 2, 5}, formula({3}, 1, 1),
          [](auto s) { return InstanceNorm<decltype(s)>(3, channels_on(1), samples_on(0, 2)); }),
      row("InstanceNorm NCHW, running statistics", {3, 2, 4, 3}, formula({2, 3}, 1, 1),
          [](auto s) {
            InstanceNorm<decltype(s)> layer(2);
            layer.running.emplace(2);
            return layer;
          }),
      row("InstanceNorm NHWC, running statistics", {3, 4, 3, 2}, formula({1, 2}, 3, 1),
          [](auto s) {
            InstanceNorm<decltype(s)> layer(2, channels_on(-1));
            layer.running.emplace(2);
            return layer;
          }),
      row("InstanceNorm 1089 values", {2, 2, 33, 33}, formula({2, 3}, 1, 1),
          [](auto s) { return InstanceNorm<decltype(s)>(2); }),
  };
}

inline std::vector<Case> weight_norm_cases() {
  using eigennorm::outputs_on;
  using eigennorm::WeightNorm;
  using eigennorm::whole_tensor;
  const auto formula = [](reference::Axes averaged, reference::Axes outputs) {
    return Formula{std::move(averaged), std::move(outputs), Kind::sum_square};
  };
  return {
      row("WeightNorm axis 0", {5, 7}, formula({1}, {0}), [](auto s) { return WeightNorm<decltype(s)>(5); }),
      row("WeightNorm axis 1", {7, 5}, formula({0}, {1}),
          [](auto s) { return WeightNorm<decltype(s)>(5, outputs_on(1)); }),
      row("WeightNorm last axis", {3, 2, 4}, formula({0, 1}, {2}),
          [](auto s) { return WeightNorm<decltype(s)>(4, outputs_on(-1)); }),
      row("WeightNorm middle axis", {3, 4, 2}, formula({0, 2}, {1}),
          [](auto s) { return WeightNorm<decltype(s)>(4, outputs_on(1)); }),
      row("WeightNorm whole matrix", {4, 6}, formula({0, 1}, {}),
          [](auto s) { return WeightNorm<decltype(s)>(whole_tensor); }),
      row("WeightNorm whole vector", {13}, formula({0}, {}),
          [](auto s) { return WeightNorm<decltype(s)>(whole_tensor); }),
      row("WeightNorm every value its own output", {6}, formula({}, {0}),
          [](auto s) { return WeightNorm<decltype(s)>(6); }),
      row("WeightNorm convolution", {6, 3, 3, 3}, formula({1, 2, 3}, {0}),
          [](auto s) { return WeightNorm<decltype(s)>(6); }),
      row("WeightNorm 1200 inputs", {3, 1200}, formula({1}, {0}), [](auto s) { return WeightNorm<decltype(s)>(3); }),
      row("WeightNorm 1200 inputs, axis 1", {1200, 3}, formula({0}, {1}),
          [](auto s) { return WeightNorm<decltype(s)>(3, outputs_on(1)); }),
      row("WeightNorm 70 outputs", {70, 9}, formula({1}, {0}), [](auto s) { return WeightNorm<decltype(s)>(70); }),
  };
}

/// Geometries that no named layer has.
inline std::vector<Case> generic_cases() {
  using eigennorm::no_axes;
  using eigennorm::Normalization;
  using eigennorm::over;
  using eigennorm::Statistic;
  return {
      row("Normalization, two feature axes kept apart", {3, 7, 2}, Formula{{1}, {0, 2}, Kind::mean_variance, 1e-5},
          [](auto s) {
            using Scalar = decltype(s);
            Normalization<Scalar> layer(over(1), over(0, 2), {3, 2}, Statistic::mean_variance, 1e-5);
            layer.running.emplace(6);
            return layer;
          }),
      row("Normalization, features partly averaged", {3, 4, 5}, Formula{{1, 2}, {0, 1}, Kind::mean_variance, 1e-5},
          [](auto s) {
            return Normalization<decltype(s)>(over(1, 2), over(0, 1), {3, 4}, Statistic::mean_variance, 1e-5);
          }),
      row("Normalization, features elsewhere", {4, 3, 5}, Formula{{2}, {1}, Kind::mean_variance, 1e-5},
          [](auto s) { return Normalization<decltype(s)>(over(2), over(1), {3}, Statistic::mean_variance, 1e-5); }),
      row("Normalization, features on one of two averaged axes", {20, 2, 5},
          Formula{{1, 2}, {2}, Kind::mean_variance, 1e-5},
          [](auto s) { return Normalization<decltype(s)>(over(1, 2), over(2), {5}, Statistic::mean_variance, 1e-5); }),
      row("Normalization, one scale for all", {4, 6}, Formula{{1}, {}, Kind::mean_variance, 1e-5},
          [](auto s) { return Normalization<decltype(s)>(over(1), no_axes, 1, Statistic::mean_variance, 1e-5); }),
      row("Normalization, mean square per sample and channel", {2, 3, 4, 3},
          Formula{{2, 3}, {1}, Kind::mean_square, 1e-6},
          [](auto s) { return Normalization<decltype(s)>(over(2, 3), over(1), {3}, Statistic::mean_square, 1e-6); }),
      row("Normalization, mean alone, of each row", {5, 6}, Formula{{1}, {1}, Kind::mean},
          [](auto s) { return Normalization<decltype(s)>(over(1), over(1), {6}, Statistic::mean, 0.0); }),
      row("Normalization, mean square in groups of channels", {2, 6, 5},
          Formula{{1, 2}, {1}, Kind::mean_square, 1e-5, 3},
          [](auto s) {
            return Normalization<decltype(s)>(eigennorm::Geometry{over(1, 2), over(1), 6, 3, "GroupedRMS"},
                                              Statistic::mean_square, 1e-5);
          }),
  };
}

/// The whole table.
inline const std::vector<Case>& cases() {
  static const std::vector<Case> table = [] {
    std::vector<Case> all;
    for (const auto& part :
         {batch_norm_cases(), layer_norm_cases(), group_norm_cases(), weight_norm_cases(), generic_cases()}) {
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }();
  return table;
}

}  // namespace test

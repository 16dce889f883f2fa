#pragma once

#include <type_traits>

#include "eigennorm/normalization.hpp"

/// \file
/// BatchNorm and MeanOnlyBatchNorm.

namespace eigennorm {

/// Batch normalization (Ioffe & Szegedy 2015): each channel by its mean and variance over the batch and all positions.
///
///     y = scale[c] * (x - mean[c]) / sqrt(variance[c] + eps) + shift[c]
///
/// **Shapes.** x, y, dy, dx: any rank, the channels on any one axis: (N, C), NCHW (axis 1, the default),
/// NHWC (axis -1). scale, shift, running mean and running variance: one value for each channel.
///
/// **Conventions.** The variance in `forward` is biased (divided by the number of values M), eps is inside the root.
/// The running variance is unbiased unless `running->estimator` says otherwise. Momentum: see Averaging. Defaults:
/// axis 1, eps 1e-5, momentum_of_new(0.1), scale 1, shift 0, running mean 0 and variance 1, as in PyTorch.
/// `running.reset()`: keeps none, and `evaluate` uses x's own statistics. `running->renormalize`: see Renormalization.
///
/// **Errors.** One value per channel in `forward` while running statistics move: its variance is unknown. Otherwise
/// as Normalization.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   Eigen::Tensor<float, 4, Eigen::RowMajor> x(8, 3, 10, 10), dy(8, 3, 10, 10);   // N, C, H, W
///   x.setRandom();
///   dy.setRandom();
///   eigennorm::BatchNorm<float> layer(3);
///   auto y = layer.forward(x);
///   auto dx = layer.backward(x, dy);
///   auto z = layer.evaluate(x);   // by running statistics
/// }
/// \endcode
template <typename Scalar>
class BatchNorm : public Normalization<Scalar> {
 public:
  /// y = scale[c] * (x - mean[c]) / sqrt(variance[c] + epsilon) + shift[c], the channels c on `axis`.
  explicit BatchNorm(core::Integer channels, Channels axis = channels_on(1), double epsilon = 1e-5)
      : Normalization<Scalar>(Geometry{all_but(axis.axes), axis.axes, channels, 0, "BatchNorm", "channels"},
                              Statistic::mean_variance, epsilon) {
    this->running.emplace(channels);
  }

  /// The same with channels on axis 1: `BatchNorm<float>(64, 1e-3)`.
  explicit BatchNorm(core::Integer channels, double epsilon) : BatchNorm(channels, channels_on(1), epsilon) {}

  /// A bare integer is neither an axis nor an eps; the compiler says how both are written.
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  explicit BatchNorm(core::Integer channels, Number) : BatchNorm(channels) {
    static_assert(!sizeof(Number), "An axis is written channels_on(-1), eps as a floating-point number (1e-5).");
  }
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  BatchNorm(core::Integer channels, Channels axis, Number) : BatchNorm(channels, axis) {
    static_assert(!sizeof(Number), "eps is written as a floating-point number (1e-5).");
  }
};

/// Mean-only batch normalization (Salimans & Kingma 2016, section 4): each channel minus its mean over the batch.
///
///     y = x - mean[c] + shift[c]
///
/// Made to follow a layer whose weights are normalized by WeightNorm. Shapes as BatchNorm; there is no scale, no eps
/// and no running variance. One value per channel is allowed: y is the shift.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   const Eigen::MatrixXf x = Eigen::MatrixXf::Random(32, 4);
///   eigennorm::MeanOnlyBatchNorm<float> layer(4);
///   const Eigen::MatrixXf y = layer.forward(x);
/// }
/// \endcode
template <typename Scalar>
class MeanOnlyBatchNorm : public Normalization<Scalar> {
 public:
  explicit MeanOnlyBatchNorm(core::Integer channels, Channels axis = channels_on(1))
      : Normalization<Scalar>(Geometry{all_but(axis.axes), axis.axes, channels, 0, "MeanOnlyBatchNorm", "channels"},
                              Statistic::mean, 0) {
    this->use_scale(false);
    this->running.emplace(channels, Statistic::mean);
  }

  /// A bare number is no axis, and there is no eps; the compiler says so.
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  explicit MeanOnlyBatchNorm(core::Integer channels, Number) : MeanOnlyBatchNorm(channels) {
    static_assert(!sizeof(Number), "An axis is written channels_on(-1), and MeanOnlyBatchNorm has no eps.");
  }
};

}  // namespace eigennorm

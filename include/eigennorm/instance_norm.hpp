#pragma once

#include <type_traits>

#include "eigennorm/normalization.hpp"

/// \file
/// InstanceNorm.

namespace eigennorm {

/// Instance normalization (Ulyanov, Vedaldi & Lempitsky 2016): each channel of each sample by its own mean
/// and variance.
///
///     y = scale[c] * (x - mean[n, c]) / sqrt(variance[n, c] + eps) + shift[c]
///
/// **Shapes.** x, y, dy, dx: any rank; channels on axis 1 (default) or any other, samples on axis 0 (default) or any
/// number of axes. scale and shift: one value for each channel. eps: 1e-5.
///
/// **Running statistics** on request: `layer.running.emplace(channels)`. A batch's value is then the mean over its
/// samples, as in PyTorch.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   Eigen::Tensor<float, 4, Eigen::RowMajor> x(2, 3, 8, 8);
///   x.setRandom();
///   eigennorm::InstanceNorm<float> layer(3);
///   auto y = layer.forward(x);
/// }
/// \endcode
template <typename Scalar>
class InstanceNorm : public Normalization<Scalar> {
 public:
  /// Fails where an axis is written for channels and samples.
  explicit InstanceNorm(core::Integer channels, Channels axis = channels_on(1), Samples samples = samples_on(0),
                        double epsilon = 1e-5)
      : Normalization<Scalar>(
            Geometry{all_but(join(samples.axes, axis.axes)), axis.axes, channels, 0, "InstanceNorm", "channels", true},
            Statistic::mean_variance, epsilon) {
    core::check_apart(axis, samples, "InstanceNorm");
  }

  /// eps follows what is named: `InstanceNorm<float>(8, 1e-6)`, `InstanceNorm<float>(8, channels_on(-1), 1e-6)`.
  explicit InstanceNorm(core::Integer channels, double epsilon) : InstanceNorm(channels, channels_on(1), epsilon) {}
  explicit InstanceNorm(core::Integer channels, Channels axis, double epsilon)
      : InstanceNorm(channels, axis, samples_on(0), epsilon) {}

  /// A bare integer is neither an axis nor an eps; the compiler says how both are written.
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  explicit InstanceNorm(core::Integer channels, Number) : InstanceNorm(channels) {
    static_assert(!sizeof(Number), "An axis is written channels_on(-1), eps as a floating-point number (1e-5).");
  }
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  explicit InstanceNorm(core::Integer channels, Channels axis, Number) : InstanceNorm(channels, axis) {
    static_assert(!sizeof(Number),
                  "An axis of samples is written samples_on(0), eps as a floating-point number (1e-5).");
  }
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  InstanceNorm(core::Integer channels, Channels axis, Samples samples, Number) : InstanceNorm(channels, axis, samples) {
    static_assert(!sizeof(Number), "eps is written as a floating-point number (1e-5).");
  }
};

}  // namespace eigennorm

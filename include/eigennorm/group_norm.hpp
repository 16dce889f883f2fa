#pragma once

#include <cstdint>
#include <type_traits>

#include "eigennorm/normalization.hpp"

/// \file
/// GroupNorm.

namespace eigennorm {

/// Group normalization (Wu & He 2018): the channels of each sample in groups, each by its mean and variance over the
/// group's channels and all positions.
///
///     y = scale[c] * (x - mean[n, g]) / sqrt(variance[n, g] + eps) + shift[c],    g = c / (channels / groups)
///
/// **Shapes.** x, y, dy, dx: any rank; channels on axis 1 (default) or any other, samples on axis 0 (default) or any
/// number of axes. scale and shift: one value for each channel. eps: 1e-5. One group: LayerNorm over all but the
/// samples, with parameters per channel. As many groups as channels: InstanceNorm.
///
/// **Errors.** Groups that do not divide the channels; channels and samples on one axis.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   Eigen::Tensor<float, 4, Eigen::RowMajor> x(2, 6, 6, 8);   // N, H, W, C
///   x.setRandom();
///   eigennorm::GroupNorm<float> layer(4, 8, eigennorm::channels_on(-1));
///   auto y = layer.forward(x);
/// }
/// \endcode
template <typename Scalar>
class GroupNorm : public Normalization<Scalar> {
 public:
  /// Fails where groups do not divide the channels, and where an axis is written for channels and samples.
  GroupNorm(core::Integer groups, core::Integer channels, Channels axis = channels_on(1),
            Samples samples = samples_on(0), double epsilon = 1e-5)
      : Normalization<Scalar>(
            Geometry{all_but(samples.axes), axis.axes, channels, checked(groups), "GroupNorm", "channels", true},
            Statistic::mean_variance, epsilon) {
    core::check_apart(axis, samples, "GroupNorm");
  }

  /// eps follows what is named: `GroupNorm<float>(8, 64, 1e-6)`, `GroupNorm<float>(8, 64, channels_on(-1), 1e-6)`.
  GroupNorm(core::Integer groups, core::Integer channels, double epsilon)
      : GroupNorm(groups, channels, channels_on(1), epsilon) {}
  GroupNorm(core::Integer groups, core::Integer channels, Channels axis, double epsilon)
      : GroupNorm(groups, channels, axis, samples_on(0), epsilon) {}

  /// A bare integer is neither an axis nor an eps; the compiler says how both are written.
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  GroupNorm(core::Integer groups, core::Integer channels, Number) : GroupNorm(groups, channels) {
    static_assert(!sizeof(Number), "An axis is written channels_on(-1), eps as a floating-point number (1e-5).");
  }
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  GroupNorm(core::Integer groups, core::Integer channels, Channels axis, Number) : GroupNorm(groups, channels, axis) {
    static_assert(!sizeof(Number),
                  "An axis of samples is written samples_on(0), eps as a floating-point number (1e-5).");
  }
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  GroupNorm(core::Integer groups, core::Integer channels, Channels axis, Samples samples, Number)
      : GroupNorm(groups, channels, axis, samples) {
    static_assert(!sizeof(Number), "eps is written as a floating-point number (1e-5).");
  }

 private:
  static std::int64_t checked(std::int64_t groups) {
    if (groups < 1) core::fail_with({"GroupNorm: expected at least one group, got ", groups});
    return groups;
  }
};

}  // namespace eigennorm

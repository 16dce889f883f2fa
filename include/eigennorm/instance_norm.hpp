#pragma once

#include <cstdint>

#include "eigennorm/normalization.hpp"

/// \file
/// InstanceNorm.

namespace eigennorm {

/// Instance normalization (Ulyanov, Vedaldi & Lempitsky 2016): each channel of each sample by its own mean
/// and variance.
///
///     y = scale[c] * (x - mean[n, c]) / sqrt(variance[n, c] + eps) + shift[c]
///
/// **Shapes.** x, y, dy, dx: any rank; channels on axis 1 (default) or any other, samples on axis 0
/// (default) or any number
/// of axes. scale and shift: one value for each channel.
///
/// **Running statistics** on request: `layer.running.emplace(channels)`. A batch's value is then the mean
/// over its samples,
/// as in PyTorch.
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
  explicit InstanceNorm(std::int64_t channels, Channels axis = channels_on(1),
                        Samples samples = samples_on(0), double epsilon = 1e-5)
      : Normalization<Scalar>(Geometry{all_but(join(samples.axes, axis.axes)), axis.axes, channels, 0,
                                       "InstanceNorm", "channels"},
                              Statistic::mean_variance, epsilon) {
    core::check_apart(axis, samples, "InstanceNorm");
  }
};

}  // namespace eigennorm

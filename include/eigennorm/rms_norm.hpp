#pragma once

#include <initializer_list>
#include <type_traits>

#include "eigennorm/normalization.hpp"

/// \file
/// RMSNorm.

namespace eigennorm {

/// Root mean square normalization (Zhang & Sennrich 2019): LayerNorm without the mean.
///
///     y = scale[i] * x[i] / sqrt(mean(x^2) + eps)
///
/// Shapes, axes and eps (1e-5) as LayerNorm. A scale but no shift by default; `use_shift(true)` adds one.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   const Eigen::MatrixXf tokens = Eigen::MatrixXf::Random(6, 16);
///   eigennorm::RMSNorm<float> layer(16);
///   const Eigen::MatrixXf y = layer.forward(tokens);
/// }
/// \endcode
template <typename Scalar>
class RMSNorm : public Normalization<Scalar> {
 public:
  /// Over the last axes, as many as `extents` has.
  explicit RMSNorm(std::initializer_list<core::Integer> extents, double epsilon = 1e-5)
      : RMSNorm(Extents(extents), epsilon) {}
  explicit RMSNorm(const Extents& extents, double epsilon = 1e-5)
      : RMSNorm(extents, over_last(extents.size()), epsilon) {}

  /// A bare integer is neither an axis nor an eps; the compiler says how both are written.
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  explicit RMSNorm(const Extents& extents, Number) : RMSNorm(extents) {
    static_assert(!sizeof(Number),
                  "Two integers: write RMSNorm({28, 28}) for the extents of two axes, or eps as a "
                  "floating-point number.");
  }
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  explicit RMSNorm(std::initializer_list<core::Integer> extents, Number) : RMSNorm(extents) {
    static_assert(!sizeof(Number), "An axis is written over(1), eps as a floating-point number (1e-5).");
  }

  /// Over any axes.
  RMSNorm(Extents extents, AxisSet axes, double epsilon = 1e-5)
      : Normalization<Scalar>(Geometry{axes, axes, extents, 0, "RMSNorm"}, Statistic::mean_square, epsilon) {
    this->use_shift(false);
  }
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  RMSNorm(const Extents& extents, const AxisSet& axes, Number) : RMSNorm(extents, axes) {
    static_assert(!sizeof(Number), "eps is written as a floating-point number (1e-5).");
  }
};

}  // namespace eigennorm

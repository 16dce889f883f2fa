#pragma once

#include <initializer_list>
#include <type_traits>

#include "eigennorm/normalization.hpp"

/// \file
/// LayerNorm.

namespace eigennorm {

/// Layer normalization (Ba, Kiros & Hinton 2016): each sample by the mean and variance of its own features.
///
///     y = scale[i] * (x[i] - mean) / sqrt(variance + eps) + shift[i]
///
/// mean and variance over the feature axes; the variance is biased, eps inside the root.
///
/// **Shapes.** x, y, dy, dx: any rank; the features are the last axis, the last few, or any set. scale and shift: one
/// value for each feature, in logical order, last axis fastest.
///
/// | layer | normalizes over |
/// |---|---|
/// | `LayerNorm<float>(768)` | the last axis, of 768 |
/// | `LayerNorm<float>(768, 1e-6)` | the same, with that eps instead of 1e-5 |
/// | `LayerNorm<float>({28, 28})` | the last two axes together |
/// | `LayerNorm<float>(96, over(1))` | axis 1: channels first, as in ConvNeXt |
///
/// `use_scale(false)` and `use_shift(false)` leave either out. The same in training and inference; no
/// running statistics.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   const Eigen::MatrixXf tokens = Eigen::MatrixXf::Random(6, 16);   // one token a row
///   eigennorm::LayerNorm<float> layer(16);
///   const Eigen::MatrixXf y = layer.forward(tokens);
///   const Eigen::MatrixXf dx = layer.backward(tokens, y);
/// }
/// \endcode
template <typename Scalar>
class LayerNorm : public Normalization<Scalar> {
 public:
  /// Over the last axes, as many as `extents` has.
  explicit LayerNorm(std::initializer_list<core::Integer> extents, double epsilon = 1e-5)
      : LayerNorm(Extents(extents), epsilon) {}
  explicit LayerNorm(const Extents& extents, double epsilon = 1e-5)
      : LayerNorm(extents, over_last(extents.size()), epsilon) {}

  /// A bare integer is neither an axis nor an eps; the compiler says how both are written.
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  explicit LayerNorm(const Extents& extents, Number) : LayerNorm(extents) {
    static_assert(!sizeof(Number),
                  "Two integers: write LayerNorm({28, 28}) for the extents of two axes, or eps as a "
                  "floating-point number.");
  }
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  explicit LayerNorm(std::initializer_list<core::Integer> extents, Number) : LayerNorm(extents) {
    static_assert(!sizeof(Number), "An axis is written over(1), eps as a floating-point number (1e-5).");
  }

  /// Over any axes.
  LayerNorm(Extents extents, AxisSet axes, double epsilon = 1e-5)
      : Normalization<Scalar>(Geometry{axes, axes, extents, 0, "LayerNorm"}, Statistic::mean_variance, epsilon) {}
  template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
  LayerNorm(const Extents& extents, const AxisSet& axes, Number) : LayerNorm(extents, axes) {
    static_assert(!sizeof(Number), "eps is written as a floating-point number (1e-5).");
  }
};

}  // namespace eigennorm

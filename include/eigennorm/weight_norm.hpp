#pragma once

#include <type_traits>

#include "eigennorm/normalization.hpp"

/// \file
/// WeightNorm.

namespace eigennorm {

#include "eigennorm/kernels/strict_begin.inl"

/// Weight normalization (Salimans & Kingma 2016): a weight tensor as length times direction, for each output.
///
///     w = g[o] * v / |v[o]|,    g is `scale`, |v[o]| the Euclidean norm of all that belongs to output o
///
/// The layer works on a parameter, not on data: `w = forward(v)`, and from the gradient dw `dv = backward(v, dw)`,
/// which also adds to `scale.grad`. dv is orthogonal to v, so a plain gradient step never shortens v. There is no
/// eps; a row of zeros, or one whose norm is so small that 1 / |v[o]| is beyond Scalar (below 2.9e-39 for float,
/// 5.6e-309 for double), gives w = 0, dv = 0 and adds 0 to the gradient of g. The shift is the neuron's own bias and
/// is off.
///
/// **Shapes.** v, w, dw, dv: any rank; the outputs on axis 0 (default) or any other, or `whole_tensor` for
/// one norm and one g.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   const Eigen::MatrixXf v = Eigen::MatrixXf::Random(10, 64);   // outputs x inputs
///   eigennorm::WeightNorm<float> layer(10);
///   layer.scale_from(v);                          // w == v at the start
///   const Eigen::MatrixXf w = layer.forward(v);
///   const Eigen::MatrixXf dv = layer.backward(v, w);
/// }
/// \endcode
template <typename Scalar>
class WeightNorm : public Normalization<Scalar> {
 public:
  /// One norm, and one g, for each of `outputs`.
  explicit WeightNorm(core::Integer outputs, Outputs axis = outputs_on(0))
      : Normalization<Scalar>(Geometry{all_but(axis.axes), axis.axes, outputs, 0, "WeightNorm", "outputs"},
                              Statistic::sum_square, 0) {
    this->use_shift(false);
  }

  /// A bare number is no axis, and there is no eps; the compiler says so.
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  explicit WeightNorm(core::Integer outputs, Number) : WeightNorm(outputs) {
    static_assert(!sizeof(Number), "An axis is written outputs_on(0), and WeightNorm has no eps.");
  }

  /// One norm, and one g, for the whole tensor.
  explicit WeightNorm(WholeTensor)
      : Normalization<Scalar>(Geometry{all_but(), no_axes, 1, 0, "WeightNorm", "outputs"}, Statistic::sum_square, 0) {
    this->use_shift(false);
  }

  /// g becomes the norm of v, so that w is v; 0 for a row that counts as zeros. Fails as forward does.
  template <typename V>
  void scale_from(const V& v) {
    WeightNorm directions = *this;
    directions.use_scale(false);
    Moments<Scalar> moments;
    directions.forward(v, Context<Scalar>{{}, &moments});
    this->use_scale(true);
    for (std::int64_t i = 0; i < moments.groups(); ++i) {
      const Scalar rstd = moments.rstd()[i];
      this->scale.value[i] = rstd == 0 ? Scalar(0) : 1 / rstd;
    }
  }
};

#include "eigennorm/kernels/strict_end.inl"

}  // namespace eigennorm

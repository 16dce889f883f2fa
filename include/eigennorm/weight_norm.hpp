#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "eigennorm/core/overlap.hpp"
#include "eigennorm/core/vector_view.hpp"
#include "eigennorm/kernels/finite.hpp"
#include "eigennorm/kernels/wide.hpp"
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
///
///   eigennorm::WeightNorm<float> other(10);       // or g and a bias from a first batch
///   const Eigen::MatrixXf x = Eigen::MatrixXf::Random(32, 64), t = x * other.forward(v).transpose();
///   Eigen::RowVectorXf bias(10);
///   other.initialize(t, bias);
///   const Eigen::MatrixXf y = (x * other.forward(v).transpose()).rowwise() + bias;   // mean 0, variance 1
///   return y.colwise().mean().norm() < 1e-4F ? 0 : 1;
/// }
/// \endcode
template <typename Scalar>
class WeightNorm : public Normalization<Scalar> {
 public:
  /// One norm, and one g, for each of `outputs`.
  explicit WeightNorm(core::Integer outputs, Outputs axis = outputs_on(0))
      : Normalization<Scalar>(Geometry{all_but(axis.axes), axis.axes, outputs, 0, "WeightNorm", "outputs", true},
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
      : Normalization<Scalar>(Geometry{all_but(), no_axes, 1, 0, "WeightNorm", "outputs", true}, Statistic::sum_square,
                              0) {
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

  /// The start of Salimans & Kingma 2016, section 3, from a first batch: with mu and sigma the mean and the standard
  /// deviation (divided by their number, no eps) of a unit's pre-activations t over the batch and all positions,
  ///
  ///     g = 1 / sigma,  bias = -mu / sigma
  ///
  /// so that the unit's g t + bias have mean 0 and variance 1. t is what the linear layer or convolution makes of the
  /// batch by weights of length 1, w = v / |v|, and without a bias: a WeightNorm's whose scale is 1. Its outputs are on
  /// axis 1 unless `channels_on` says otherwise. bias: a vector of yours, one value an output.
  ///
  ///     const Eigen::MatrixXf t = x * layer.forward(v).transpose();   // with scale 1, as the layer is made
  ///     layer.initialize(t, bias);
  ///
  /// Fails, unchanged, where t or bias has another number of outputs, and where the t of a unit are all alike or not
  /// finite, or give a bias beyond its type.
  template <typename T, typename B>
  void initialize(const T& t, B&& bias, const Channels& channels = channels_on(1), const Device& device = {}) {
    if constexpr (core::check_input<T, Scalar>() && core::check_output<B, B, Scalar>()) {
      this->check();
      static constexpr const char* name = "WeightNorm::initialize";
      using Storage = core::Element<T>;
      using W = Wide<Scalar>;
      const auto written = core::output_view(bias);
      const std::int64_t step = core::vector_step(written, this->features(), name, "a bias");
      core::check_distinct(written.shape, written.strides, name, "bias");
      Moments<Scalar> moments;
      core::Calls<Storage, Scalar>::observe(
          core::view(t), Geometry{all_but(channels.axes), channels.axes, this->features(), 0, name, "outputs"},
          Statistic::mean_variance, device, moments);
      const Vector<W> mean = moments.mean(), variance = moments.variance();
      Vector<W> g(mean.size());
      std::vector<core::Element<B>> biases;
      for (std::int64_t i = 0; i < g.size(); ++i) {
        g[i] = W(1) / std::sqrt(variance[i]);
        if (moments.count() == 0 || !kernels::is_finite(static_cast<Scalar>(g[i])) || !kernels::is_finite(mean[i])) {
          core::fail_with({name, ": expected finite values that differ for each output, got a variance of ",
                           variance[i], " for output ", i});
        }
        biases.push_back(core::narrowed<core::Element<B>>(-mean[i] * g[i]));
        if (!kernels::is_finite(static_cast<Scalar>(biases.back())))
          core::fail_with(
              {name, ": expected a bias in the range of its type, got ", -mean[i] * g[i], " for output ", i});
      }
      this->use_scale(true);
      for (std::int64_t i = 0; i < g.size(); ++i) {
        this->scale.value[i] = static_cast<Scalar>(g[i]);
        written.data[i * step] = biases[static_cast<std::size_t>(i)];
      }
    }
  }
};

#include "eigennorm/kernels/strict_end.inl"

}  // namespace eigennorm

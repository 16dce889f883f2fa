#pragma once

#include <cstdint>
#include <vector>

#include "eigennorm/activation.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/statistic.hpp"

/// \file
/// Evaluation for frames in real time.

namespace eigennorm {

namespace core {
template <typename Storage, typename Scalar>
struct Calls;
}  // namespace core

/// `evaluate` of a trained layer on tensors of one shape and layout, one frame after another: axes, strides and
/// settings are checked once, and 1 / sigma of running statistics is computed once. Made by `Normalization::prepare`.
///
/// A call throws nothing, allocates nothing, takes no lock and stays on its thread, so it may be part of an audio
/// callback or a control loop; several threads may share one object. It has the bits of `evaluate`. The object is a
/// value of its own: it knows the layer as it was, whatever becomes of it. Without a layer it is that of an empty
/// tensor and does nothing.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
/// using namespace eigennorm;
///
/// int main() {
///   BatchNorm<float> trained(64);  // in earnest: after training, or read from a file
///   Eigen::RowVectorXf frame(64);
///   const auto normalize = trained.prepare(frame, frame);  // in place
///   for (int i = 0; i < 1000; ++i) {
///     frame.setRandom();  // the next frame comes in
///     normalize(frame.data(), frame.data());
///   }
/// }
/// \endcode
template <typename Storage, typename Scalar>
class Prepared {
 public:
  Prepared() { partition_.size = 0; }

  /// y = evaluate(x), where `x` and `y` point to the first elements of tensors laid out as those it was prepared for.
  /// They may be one, if those were laid out alike; otherwise they share no element.
  void operator()(const Storage* x, Storage* y) const noexcept { core::Calls<Storage, Scalar>::evaluate(*this, x, y); }

 private:
  friend struct core::Calls<Storage, Scalar>;

  core::Partition partition_;
  Statistic statistic_ = Statistic::mean_variance;
  double eps_ = 0;
  Activation activation_ = Activation::none;
  bool running_ = false;  ///< by running statistics
  std::vector<Scalar> scale_, shift_, mean_, rstd_;
};

namespace core {
template <typename X, typename Scalar>
using PreparedOf = Prepared<Element<X>, Scalar>;
}  // namespace core

}  // namespace eigennorm

#include "eigennorm/normalization.hpp"  // defines what a call does

#pragma once

#include "eigennorm/core/requirements.hpp"

#include <Eigen/Core>

/// \file
/// What a layer owns.

namespace eigennorm {

/// All storage that a layer owns. `DontAlign`, because alignment depends on compiler flags: a layer may be made in a
/// unit built with -march=native and destroyed in one built without.
template <typename Scalar>
using Vector = Eigen::Array<Scalar, Eigen::Dynamic, 1, Eigen::DontAlign>;

/// A trainable parameter: one value for each feature, the features in logical order, last axis fastest. Both members
/// empty: the layer goes without.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   eigennorm::LayerNorm<float> layer(64);
///   layer.scale.value -= 0.1f * layer.scale.grad;   // a gradient step
///   layer.zero_grad();
/// }
/// \endcode
template <typename Scalar>
struct Parameter {
  Vector<Scalar> value;
  Vector<Scalar> grad;  ///< backward adds to it; zero_grad() clears it
};

}  // namespace eigennorm

#pragma once

#include "eigennorm/core/error.hpp"
#include "eigennorm/kernels/finite.hpp"

/// \file
/// Batch Renormalization: how far a batch's own statistics may be from the running ones.

namespace eigennorm {

/// Batch Renormalization (Ioffe 2017), a setting of running statistics. Where `forward` uses those of the batch, it
/// corrects what comes of them towards what `evaluate` gives, within limits:
///
///     r = clip(sigma_B / sigma, 1 / r_max, r_max)         sigma_B, mu_B: of the batch
///     d = clip((mu_B - mu) / sigma, -d_max, d_max)        sigma, mu: the running ones, before this batch moves them
///     y = scale * (r * (x - mu_B) / sigma_B + d) + shift
///
/// both sigmas with the variance as it is and eps inside the root. For `backward` r and d are constants; it takes those
/// of its forward, which are in its Moments. Limits may change between steps: 1 and 0, the defaults, are plain
/// BatchNorm, bit by bit; without any limit y is that of `evaluate`. Frozen layers and `evaluate` know nothing of it,
/// and it is no state: a file does not keep it.
///
/// For layers whose groups are their features: BatchNorm on any axis, and MeanOnlyBatchNorm, whose sigmas are 1, so
/// that there is d alone. (InstanceNorm has several groups of each feature: `forward` fails.) For small batches, and
/// for batches whose samples are not drawn independently.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   eigennorm::BatchNorm<float> layer(3);
///   auto& limits = layer.running->renormalize.emplace();   // 1 and 0: BatchNorm
///   const Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 3);
///   layer.forward(x);
///   limits = {3, 5};                                       // r_max, d_max
///   layer.forward(x);
///   const bool corrected = (layer.moments().r() != 1).all() && (layer.moments().d() != 0).all();
///   layer.running->renormalize.reset();
///   return corrected ? 0 : 1;
/// }
/// \endcode
struct Renormalization {
  double r_max = 1;  ///< r is from 1 / r_max to r_max
  double d_max = 0;  ///< d is from -d_max to d_max

  /// Fails, in the name of `owner`, unless r_max is at least 1, d_max at least 0, and both are finite.
  void check(const char* owner) const {
    if (!kernels::is_finite(r_max) || r_max < 1)
      core::fail_with({owner, ": expected a finite r_max of at least 1, got ", r_max});
    if (!kernels::is_finite(d_max) || d_max < 0)
      core::fail_with({owner, ": expected a finite d_max of at least 0, got ", d_max});
  }
};

}  // namespace eigennorm

#pragma once

#include <optional>
#include <type_traits>

#include "eigennorm/core/any_view.hpp"
#include "eigennorm/core/device.hpp"
#include "eigennorm/core/peers.hpp"
#include "eigennorm/moments.hpp"
#include "eigennorm/valid.hpp"

/// \file
/// What a call is given beside its tensors.

namespace eigennorm {

/// Where a call runs, and where it keeps its moments: a device, `{device}`, `{device, &moments}` or `{{}, &moments}`.
///
/// **A batch that is spread** over processes or threads: each member of `peers` makes the same call with its part of
/// the batch, any number of samples, none included. Statistics are those of the whole. Only calls talk whose groups
/// reach across samples (BatchNorm, MeanOnlyBatchNorm): `forward` and `evaluate` by the batch's statistics, and their
/// `backward`. Gradients of scale and shift are those of the member's own part: their sum over the members is yours to
/// make, with those of all other parameters. What is wrong on one member is an error on all, which names it. All
/// happens on the calling thread.
///
/// **Valid positions** leave out the padding of a batch of sequences: see Valid. A call with them has the bits of the
/// call on the valid values alone, packed together in the order of memory; everywhere else y and dx are 0, and x and dy
/// are not looked at. Where groups stay within samples each is packed by itself, and its number of values is its own. A
/// group without any has no statistics and learns nothing; without any at all a batch is as an empty one. The mask may
/// not vary along channels; along the features of LayerNorm and RMSNorm it may: each value keeps its own scale, and one
/// that is absent adds nothing to its gradient. `backward` takes the mask of its forward again. WeightNorm and batches
/// that are spread over members take none. What is found of a mask is kept by the layer, and for `evaluate` by the
/// thread: the next call allocates nothing.
///
/// **A residual** is a tensor of yours, of x's shape, element type and storage order, that is added in the same pass:
///
///     y = activation(norm(x) + residual)                  residual alone
///     added = x + residual,  y = activation(norm(added))  with `added`, where the sum is written for you to keep
///
/// `backward` takes the residual again, after a forward with `added` the sum as its x. It writes the gradient of the
/// residual into `residual_gradient`; with `added` that of both terms is dx, to which it adds `added_gradient`, the
/// gradient that reaches the sum itself. The views are of tensors of yours, which have to be there at the call. With
/// valid positions nothing looks at a residual elsewhere, and what is written there is 0: the sum, also where it takes
/// the place of x or of the residual, and both gradients.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   eigennorm::BatchNorm<float> layer(3);
///   layer.activation = eigennorm::Activation::relu;
///   const Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 3), shortcut = Eigen::MatrixXf::Random(4, 3), dy = x;
///   Eigen::MatrixXf y(4, 3), dx(4, 3), dshortcut(4, 3);
///   eigennorm::Context<float> context;
///   context.residual = shortcut;
///   layer.forward(x, y, context);        // max(norm(x) + shortcut, 0)
///   context.residual_gradient = dshortcut;
///   layer.backward(x, dy, dx, context);
///   return (y.array() >= 0).all() ? 0 : 1;
/// }
/// \endcode
template <typename Scalar>
struct Context {
  Context() {}  // NOLINT(modernize-use-equals-default): of `{}` that would clear all bytes first, in every call
  Context(Device where, Moments<Scalar>* keep = nullptr)
      : device(where), moments(keep) {}  // NOLINT(google-explicit-constructor)
  template <typename Pool, typename = std::enable_if_t<std::is_convertible_v<const Pool&, Device>>>
  Context(const Pool& pool, Moments<Scalar>* keep = nullptr)
      : Context(Device(pool), keep) {}  // NOLINT(google-explicit-constructor)

  Device device;                       ///< default: the calling thread
  Moments<Scalar>* moments = nullptr;  ///< null: the layer's own
  Peers* peers = nullptr;              ///< null: the whole batch is here
  std::optional<Valid> valid;          ///< none: all positions are

  core::AnyInput residual;            ///< none: nothing is added
  core::AnyOutput residual_gradient;  ///< none: nobody wants it
  core::AnyOutput added;              ///< where the sum of x and the residual goes, if that is normalized
  core::AnyInput added_gradient;      ///< none: the sum is used by the norm alone
};

}  // namespace eigennorm

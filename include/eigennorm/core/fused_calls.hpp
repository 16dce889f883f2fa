#pragma once

#include <array>
#include <cstdint>

#include "eigennorm/core/any_view.hpp"
#include "eigennorm/core/calls.hpp"
#include "eigennorm/core/forward.hpp"
#include "eigennorm/core/fused.hpp"
#include "eigennorm/core/renormalize.hpp"

/// \file
/// What is fused with the calls of a layer: activations, residuals, and sums that are normalized.

namespace eigennorm::core {

/// A tensor of the context as one of x's elements; fails where it is not of x's element type, order and shape.
template <typename T, bool Written, typename X>
View<T> checked_view(const char* name, const AnyView<Written>& any, const View<X>& x, Order order, const char* role) {
  constexpr ViewedType type = viewed_type<std::remove_const_t<X>>;
  if (any.type() != type) {
    fail_with(
        {name, ": expected ", role, " of the elements of x, ", viewed_name(type), ", got ", viewed_name(any.type())});
  }
  const View<T> view = any.template as<T>();
  check_shape(name, x.shape, view.shape, role);
  if (view.order != order && view.order != Order::any && order != Order::any)
    fail_with({name, ": expected ", role, " in the storage order of x, got the other one"});
  if constexpr (Written) {
    check_distinct(view.shape, view.strides, name, role);
  } else {
    check_strides(view.shape, view.strides, name, role);
  }
  return view;
}

template <typename Storage, typename Scalar>
[[gnu::noinline]] void Calls<Storage, Scalar>::check_residual(const Layer& layer, const In& x, const Out& y,
                                                              const Context<Scalar>& context, bool evaluates) {
  const char* name = layer.name();
  if (layer.statistic_ == Statistic::sum_square)
    fail_with({name, ": expected no residual of a parameter that is normalized, got one"});
  if (!context.residual) fail_with({name, ": expected a residual where the sum is kept (Context::added), got none"});
  const Order order = order_of(x, y);
  const In residual = checked_view<const Storage>(name, context.residual, x, order, "residual");
  if (!context.added) {
    const bool again = !evaluates && layer.activation != Activation::none;
    return check_overlap(
        name, y, residual,
        again ? "residual and y of forward, whose backward takes the residual again," : "residual and y", !again);
  }
  const bool talks = context.peers != nullptr && !(evaluates && layer.running);
  if (talks && is_spread(layer, x.shape.rank, context))
    fail_with({name, ": expected no sum to be kept (Context::added) where the batch is spread, got one"});
  const Out sum = checked_view<Storage>(name, context.added, x, order, "added");
  check_overlap(name, sum, x, "x and added", true);
  check_overlap(name, sum, residual, "residual and added", true);
  check_overlap(name, y, sum, "added and y", false);
  check_overlap(name, y, residual, "residual and y", true);
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::fuse(const Layer& layer, const Context<Scalar>& context, Fusion<Storage>& fused,
                                  Forward& call) {
  fused.relu = layer.activation == Activation::relu;
  call.fused = &fused;
  if (!context.residual) return;
  const Storage* residual = context.residual.template as<const Storage>().data;
  if (!context.added) {
    fused.residual = residual;
    return;
  }
  fused.terms[0] = call.x;
  fused.terms[1] = residual;
  call.x = fused.sum = context.added.template as<Storage>().data;
  call.adds = true;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::remember_fused(const Layer& layer, const Context<Scalar>& context,
                                            Moments<Scalar>& moments) {
  moments.activation_ = layer.activation;
  moments.added_ = static_cast<bool>(context.added);
  moments.residual_ = context.residual && !context.added;
}

/// Fails unless backward is called as its forward was.
template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check_passed_on(const Layer& layer, const In& x, const In& dy, const Out& dx,
                                             const Context<Scalar>& context) {
  const char* name = layer.name();
  const Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  const auto word = [](bool is) { return is ? "one" : "none"; };
  if (moments.activation_ != layer.activation) {
    fail_with({name, ": expected the activation of its forward in backward, ",
               moments.activation_ == Activation::relu ? "relu" : "none", ", got another one"});
  }
  if (context.added && !moments.added_)
    fail_with({name, ": expected no sum (Context::added) in backward, as in its forward, got one"});
  const bool residual = context.residual && !context.added;
  if (residual != moments.residual_)
    fail_with({name, ": expected the residual of its forward in backward, ", word(moments.residual_), ", got ",
               word(residual)});
  if (context.residual_gradient && !moments.residual_) {
    fail_with({name, ": expected no residual_gradient where forward had no residual",
               moments.added_ ? " behind the norm (dx is that of both terms)" : "", ", got one"});
  }
  if (context.added_gradient && !moments.added_)
    fail_with({name, ": expected no added_gradient where forward kept no sum, got one"});
  if (!residual && !context.added && !context.added_gradient) return;
  check_gradients(name, x, dy, dx, context, layer.activation != Activation::none);
}

/// Of the tensors themselves. `again`: whether the residual is read.
template <typename Storage, typename Scalar>
[[gnu::noinline]] void Calls<Storage, Scalar>::check_gradients(const char* name, const In& x, const In& dy,
                                                               const Out& dx, const Context<Scalar>& context,
                                                               bool again) {
  const Order order = order_of(x, dy, dx);
  if (context.added) {
    const In sum = checked_view<const Storage>(name, context.added, x, order, "added");
    if (sum.data != x.data || core::overlap(context.added.template as<Storage>(), x) == Overlap::partial)
      fail_with({name, ": expected the sum of its forward (Context::added) as x of backward, got another tensor"});
  } else if (context.residual) {
    const In residual = checked_view<const Storage>(name, context.residual, x, order, "residual");
    if (again) check_overlap(name, dx, residual, "residual and dx", false);
    if (context.residual_gradient) {
      const Out gradient = checked_view<Storage>(name, context.residual_gradient, x, order, "residual_gradient");
      check_overlap(name, gradient, x, "x and residual_gradient", false);
      check_overlap(name, gradient, dy, "dy and residual_gradient", true);
      check_overlap(name, gradient, dx, "dx and residual_gradient", false);
      if (again) check_overlap(name, gradient, residual, "residual and residual_gradient", false);
    }
  }
  if (!context.added_gradient) return;
  const In gradient = checked_view<const Storage>(name, context.added_gradient, x, order, "added_gradient");
  check_overlap(name, dx, gradient, "added_gradient and dx", false);
}

/// What stands for dy once the activation is passed: where there is none, dy itself.
template <typename Storage, typename Scalar>
auto Calls<Storage, Scalar>::passed_on(const Layer& layer, const In& dy, const Out& dx, const Context<Scalar>& context)
    -> In {
  if (layer.activation == Activation::none) return dy;
  const Out to = context.residual_gradient ? context.residual_gradient.template as<Storage>() : dx;
  return {to.data, to.shape, to.strides, to.order};
}

/// The forward that finds y again, by the moments that are kept, and writes to `to` what `fused` makes of it.
template <typename Storage, typename Scalar>
auto Calls<Storage, Scalar>::gate_call(Layer& layer, Moments<Scalar>& moments, const core::Partition& partition,
                                       const In& x, const Out& to, const Fusion<Storage>& fused) -> Forward {
  Forward call = forward_call(layer, partition, x.data, to.data);
  call.moments = moments.view();
  call.fused = &fused;
  call.half = Half::results;
  const Corrections<Scalar> by = moments.corrections();
  if (!by.neutral(layer.features())) {
    layer.make_room(2 * layer.features());
    use_corrected(layer, by, call);
  }
  return call;
}

/// How dy is passed on: the tensors of that walk are x, the residual where the gate needs it, dy, and where it goes.
template <typename Storage, typename Scalar>
struct Calls<Storage, Scalar>::Passing {
  Out to;
  Fusion<Storage> fused;
  std::array<Strides, max_tensors> strides;

  Passing(const Layer& layer, const In& x, const In& dy, const Out& dx, const Context<Scalar>& context)
      : to(context.residual_gradient ? context.residual_gradient.template as<Storage>() : dx),
        strides{x.strides, dy.strides, to.strides} {
    fused.relu = layer.activation == Activation::relu;
    fused.dy = dy.data;
    if (!fused.relu || !context.residual || context.added) return;
    const In residual = context.residual.template as<const Storage>();
    fused.residual = residual.data;
    strides = {x.strides, residual.strides, dy.strides, to.strides};
  }
};

/// Passes dy through the activation, and on to the residual. (A pass of its own: gates belong to values, of which
/// sums and dx are made in several walks. Not inlined, so that what it needs of the stack is there only then.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void Calls<Storage, Scalar>::pass_on(Layer& layer, const In& x, const In& dy, const Out& dx,
                                                       const Context<Scalar>& context) {
  if (!passes_on(layer, context)) return;
  const Passing passing(layer, x, dy, dx, context);
  if (!passing.fused.relu && core::overlap(passing.to, dy) == Overlap::same) return;
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  const core::Partition partition = core::partition(layer.geometry_, x.shape, order_of(x, dy, dx), passing.strides);
  Forward call = gate_call(layer, moments, partition, x, passing.to, passing.fused);
  core::forward(call, context.device);
}

/// What adds `gradient`, which reaches the sum itself, to dx. (Of the walk's tensors the one that would be y is none.)
template <typename Storage, typename Scalar>
auto Calls<Storage, Scalar>::adding_call(const Layer& layer, const core::Partition& partition, const Out& dx,
                                         const In& gradient, Fusion<Storage>& fused) -> Forward {
  fused.terms[0] = dx.data;
  fused.terms[1] = gradient.data;
  fused.sum = dx.data;
  Forward call = forward_call(layer, partition, dx.data, nullptr);
  call.fused = &fused;
  return call;
}

/// Makes the sum of such a call, and nothing of it.
template <typename Storage, typename Scalar>
void add_alone(ForwardCall<Storage, Scalar>& call, const Device& device) {
  const Partition& partition = *call.partition;
  const Layout layout(partition.groups, 0, call.tensors());
  call.layout = &layout;
  const std::int64_t width = tile_width<Scalar>(partition, layout, 12 * block_size, device.threads_for(partition.size));
  add_all_terms(call, partition.groups, width, device);
  call.layout = nullptr;
}

/// Adds the gradient that reaches the sum itself to dx.
template <typename Storage, typename Scalar>
[[gnu::noinline]] void Calls<Storage, Scalar>::add_gradient(const Layer& layer, const In& x, const Out& dx,
                                                            const Context<Scalar>& context) {
  const In gradient = context.added_gradient.template as<const Storage>();
  const core::Partition partition = core::partition(layer.geometry_, x.shape, order_of(x, dx),
                                                    {dx.strides, dx.strides, dx.strides, gradient.strides});
  Fusion<Storage> fused;
  Forward call = adding_call(layer, partition, dx, gradient, fused);
  add_alone(call, context.device);
}

}  // namespace eigennorm::core

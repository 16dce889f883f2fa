#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "eigennorm/core/overlap.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/kernels/finite.hpp"
#include "eigennorm/normalization.hpp"

/// \file
/// All checks of a call, before anything changes.

namespace eigennorm {

// ---- of a layer

template <typename Scalar>
void Normalization<Scalar>::check() const {
  check_settings();
  check_running(geometry_.averaged == geometry_.features);
}

template <typename Scalar>
void Normalization<Scalar>::check_not_moved_from() const {
  if (moved_from_) core::fail_with({name(), ": expected a layer, got one that was moved away"});
}

template <typename Scalar>
void Normalization<Scalar>::check_settings() const {
  check_not_moved_from();
  if (!kernels::is_finite(eps) || eps < 0)
    core::fail_with({name(), ": expected a finite eps of at least 0, got ", eps});
  check_parameter(scale, "scale");
  check_parameter(shift, "shift");
  if (activation != Activation::none) check_activation();
  if (!running) return;
  running->averaging.check(name());
  if (running->renormalize) running->renormalize->check(name());
}

template <typename Scalar>
void Normalization<Scalar>::check_activation() const {
  if (activation != Activation::relu)
    core::fail_with({name(), ": expected an activation of none or relu, got number ", static_cast<int>(activation)});
  if (statistic_ == Statistic::sum_square)
    core::fail_with({name(), ": expected no activation of a parameter that is normalized, got relu"});
}

template <typename Scalar>
void Normalization<Scalar>::check_parameter(const Parameter<Scalar>& parameter, const char* role) const {
  const std::int64_t values = parameter.value.size();
  if (values != 0 && values != features()) {
    core::fail_with({name(), ": expected ", features(), " values of ", role, ", or none, got ", values});
  }
  if (parameter.grad.size() != values) {
    core::fail_with(
        {name(), ": expected as many gradients as values of ", role, ", ", values, ", got ", parameter.grad.size()});
  }
}

/// `features_averaged`: whether an axis is both averaged and one of the features. Returns 1 / sigma of the running
/// statistics where it is known.
template <typename Scalar>
const Scalar* Normalization<Scalar>::check_running(bool features_averaged) const {
  if (!running) return nullptr;
  if (!core::is_centred(statistic_) || features_averaged) {
    core::fail_with({name(),
                     ": expected no running statistics, which need a mean that is not averaged over the "
                     "features, got some"});
  }
  const std::int64_t variances = statistic_ == Statistic::mean_variance ? features() : 0;
  if (running->mean.size() != features() || running->variance.size() != variances) {
    core::fail_with({name(), ": expected running statistics of ", features(), " means and ", variances,
                     " variances, got ", running->mean.size(), " and ", running->variance.size()});
  }
  running->check_counts(name());
  const Scalar* const roots = running->known_roots(eps);
  if (roots == nullptr) running->check_values(name(), geometry_.noun);
  return roots;
}

template <typename Scalar>
void Normalization<Scalar>::check_moments(const Moments<Scalar>& moments, const Shape& shape, Order order,
                                          const core::Partition& partition, int members) const {
  if (moments.members_ != members) {
    core::fail_with(
        {name(), ": expected the peers of its forward in backward, ", moments.members_, " in all, got ", members});
  }
  if (moments.shape_ != shape) {
    core::fail_with({name(), ": expected the x of its forward, of shape ", moments.shape_.text(),
                     ", in backward, got shape ", shape.text()});
  }
  if (moments.order_ != order && moments.order_ != Order::any && order != Order::any) {
    core::fail_with({name(), ": expected the storage order of its forward in backward, got the other one"});
  }
  if (moments.averaged_axes_ != partition.averaged_axes || moments.feature_axes_ != partition.feature_axes ||
      moments.statistic_ != statistic_ || moments.channel_groups_ != geometry_.groups) {
    core::fail_with({name(), ": expected moments of a forward of this layer, got those of another kind of layer"});
  }
  if (moments.groups() != partition.groups.kept.size) {
    core::fail_with({name(), ": expected moments of ", partition.groups.kept.size, " groups, got ", moments.groups(),
                     " (moved away)"});
  }
}

// ---- of a call's tensors

namespace core {

inline void check_shape(const char* owner, const Shape& x, const Shape& other, const char* role) {
  if (x != other) fail_with({owner, ": expected ", role, " of x's shape ", x.text(), ", got ", other.text()});
}

template <typename A, typename B>
void check_overlap(const char* owner, const View<A>& written, const View<B>& read, const char* roles,
                   bool same_is_allowed) {
  const Overlap overlap = core::overlap(written, read);
  if (overlap == Overlap::none || (overlap == Overlap::same && same_is_allowed)) return;
  fail_with({owner, ": expected ", roles,
             same_is_allowed ? " to be one tensor or to share no memory" : " to share no memory", ", got ",
             overlap == Overlap::same ? "one tensor" : "a partial overlap"});
}

/// Every vector goes with either order; the first tensor that has one decides.
template <typename... Views>
Order order_of(const Views&... views) {
  Order order = Order::any;
  ((order = order == Order::any ? views.order : order), ...);
  return order;
}

/// Of the tensors of a forward or evaluation, as core/fused.hpp numbers them. (Inlined, however many calls there are: a
/// small batch would feel a copy.)
template <typename T, typename Scalar>
[[gnu::always_inline]] inline std::array<Strides, max_tensors> strides_of(const View<T>& x, const Strides& y,
                                                                          const Context<Scalar>& context) {
  if (!context.residual) return {x.strides, y};
  const Strides residual = context.residual.template as<T>().strides;
  if (context.added) return {context.added.template as<std::remove_const_t<T>>().strides, y, x.strides, residual};
  return {x.strides, residual, y};
}

/// Of tensors that all have the same, as many as there can be.
inline std::array<Strides, max_tensors> all_of(const Strides& strides) { return {strides, strides, strides, strides}; }

template <typename Storage, typename Scalar>
Loops Calls<Storage, Scalar>::check_forward(const Layer& layer, const In& x, const Out& y,
                                            const Context<Scalar>& context) {
  const char* name = layer.name();
  layer.check_settings();
  check_shape(name, x.shape, y.shape, "y");
  const Order order = order_of(x, y);
  const bool more = context.residual || context.added, alike = !more && are_alike(x.shape, x.strides, y.strides);
  const Partition* const known = alike ? layer.plans_.find_trained(x.shape, order, x.strides) : nullptr;
  if (known == nullptr) {
    check_strides(x.shape, x.strides, name, "x");
    check_distinct(y.shape, y.strides, name, "y");
  }
  check_overlap(name, y, x, "x and y of forward", false);
  if (more) check_residual(layer, x, y, context, false);
  Loops loops(known);
  if (known == nullptr) {
    loops = Loops(core::partition(layer.geometry_, x.shape, order,
                                  alike ? all_of(x.strides) : strides_of(x, y.strides, context)));
    if (alike) layer.plans_.keep_trained(x.shape, order, x.strides, loops.get());
  }
  const Partition& partition = loops.get();
  layer.check_running((partition.averaged_axes & partition.feature_axes) != 0);
  if (renormalizes(layer)) check_renormalization(layer, partition, x.shape);
  return loops;
}

/// Fails where a feature has several groups, and so could have several corrections.
template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check_renormalization(const Layer& layer, const core::Partition& partition,
                                                   const Shape& shape) {
  if ((partition.averaged_axes | partition.feature_axes) == (std::uint32_t{1} << shape.rank) - 1) return;
  fail_with({layer.name(), ": expected no renormalization where one of the ", layer.geometry_.noun,
             " has several groups, got some for an input of shape ", shape.text()});
}

/// Fails where one value for each group, in the whole batch, would move a running variance.
template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check_count(const Layer& layer, std::int64_t count, const Shape& shape, int members,
                                         const char* more) {
  if (!layer.running || !layer.running->update || layer.statistic_ != Statistic::mean_variance || count != 1) return;
  fail_with({layer.name(), ": expected more than one value for each of the ", layer.geometry_.noun,
             ", whose variance moves the running one, got ", members > 1 ? "one in the whole batch: here " : "",
             "an input of shape ", shape.text(), more});
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check_no_moments(const Layer& layer, const Context<Scalar>& context) {
  if (context.moments != nullptr)
    fail_with({layer.name(), ": expected no moments in evaluate, which keeps none, got some"});
}

template <typename Storage, typename Scalar>
auto Calls<Storage, Scalar>::check_evaluation(const Layer& layer, const In& x, const Out* y,
                                              const Context<Scalar>& context) -> Evaluation {
  const char* name = layer.name();
  layer.check_settings();
  const Order order = y == nullptr ? x.order : order_of(x, *y);
  const bool more = context.residual || context.added;
  const bool alike = y != nullptr && !more && x.shape == y->shape && are_alike(x.shape, x.strides, y->strides);
  const Partition* const known = alike ? layer.plans_.find(x.shape, order, x.strides) : nullptr;
  if (known == nullptr) check_strides(x.shape, x.strides, name, "x");
  if (y != nullptr) {
    check_shape(name, x.shape, y->shape, "y");
    if (known == nullptr) check_distinct(y->shape, y->strides, name, "y");
    check_overlap(name, *y, x, "x and y of evaluate", true);
    if (more) check_residual(layer, x, *y, context, true);
  }
  Evaluation result(known);
  if (known == nullptr) {
    const Strides written = y == nullptr ? Strides{} : y->strides;
    result.loops = Loops(
        core::partition(layer.geometry_, x.shape, order, alike ? all_of(x.strides) : strides_of(x, written, context)));
    if (alike) layer.plans_.keep_evaluated(x.shape, order, x.strides, result.loops.get());
  }
  const Partition& partition = result.loops.get();
  result.rstd = layer.check_running((partition.averaged_axes & partition.feature_axes) != 0);
  return result;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check(const Layer& layer, const In& x, const Out* y) {
  check_evaluation(layer, x, y, Context<Scalar>());
}

/// (Not inlined, so that what it needs of the stack is there only then.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] Loops Calls<Storage, Scalar>::check_backward(const Layer& layer, const In& x, const In& dy,
                                                               const Out& dx, const Context<Scalar>& context) {
  const char* name = layer.name();
  layer.check_settings();
  const Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  if (moments.empty()) {
    fail_with(
        {name, ": expected a forward before backward (evaluate leaves no moments), got ",
         context.moments == nullptr ? "none whose moments the layer keeps" : "moments that no forward has filled"});
  }
  check_shape(name, x.shape, dy.shape, "dy");
  check_shape(name, x.shape, dx.shape, "dx");
  const Order order = order_of(x, dy, dx);
  const bool alike = !context.residual_gradient && are_alike(x.shape, x.strides, dy.strides, dx.strides);
  const Partition* const known = alike ? layer.plans_.find_trained(x.shape, order, x.strides) : nullptr;
  if (known == nullptr) {
    check_strides(x.shape, x.strides, name, "x");
    check_strides(dy.shape, dy.strides, name, "dy");
    check_distinct(dx.shape, dx.strides, name, "dx");
  }
  check_overlap(name, dx, x, "x and dx of backward", false);
  check_overlap(name, dx, dy, "dy and dx of backward", true);
  Loops loops(known);
  if (known == nullptr) {
    loops = Loops(core::partition(
        layer.geometry_, x.shape, order,
        alike ? all_of(x.strides)
              : std::array<Strides, max_tensors>{x.strides, passed_on(layer, dy, dx, context).strides, dx.strides}));
    if (alike) layer.plans_.keep_trained(x.shape, order, x.strides, loops.get());
  }
  const Partition& partition = loops.get();
  layer.check_moments(moments, x.shape, order, partition,
                      is_spread_backward(layer, x.shape.rank, context) ? context.peers->members() : 1);
  if (!context.valid) check_valid_count(layer, context, partition.size);
  check_passed_on(layer, x, dy, dx, context);
  return loops;
}

/// Fails unless the mask goes with x.
template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check_valid(const char* name, const Geometry& geometry, const core::Partition& partition,
                                         const Shape& shape, const Valid& valid) {
  bool fits = valid.shape.rank == shape.rank;
  for (int axis = 0; fits && axis < shape.rank; ++axis)
    fits = valid.shape[axis] == shape[axis] || valid.shape[axis] == 1;
  if (!fits) {
    fail_with({name, ": expected valid positions of x's shape ", shape.text(),
               ", or of extent 1 where they are the same for all, got ", valid.shape.text()});
  }
  check_strides(valid.shape, valid.strides, name, "valid");
  const bool apart = (partition.averaged_axes & partition.feature_axes) == 0 || geometry.groups > 0;
  for (int axis = 0; apart && axis < shape.rank; ++axis) {
    if ((partition.feature_axes >> axis & 1U) == 0 || valid.shape[axis] == 1 || valid.strides[axis] == 0) continue;
    fail_with({name, ": expected valid positions that are the same for all ", geometry.noun, ", of extent 1 on axis ",
               axis, ", got ", valid.shape.text()});
  }
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check_valid_of(const Layer& layer, const core::Partition& partition, const Shape& shape,
                                            const Context<Scalar>& context) {
  if (layer.statistic_ == Statistic::sum_square) check_no_valid(layer, context);
  check_valid(layer.name(), layer.geometry_, partition, shape, *context.valid);
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check_valid_count(const Layer& layer, const Context<Scalar>& context,
                                               std::int64_t values) {
  const Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  if (moments.valid_ == values) return;
  if (context.valid && moments.valid_ == moments.shape_.size()) {
    fail_with({layer.name(), ": expected no valid positions in backward, as in its forward, got some, of ", values,
               " values"});
  }
  fail_with({layer.name(), ": expected the valid positions of its forward in backward, which are ", moments.valid_,
             " values, got ", context.valid ? "" : "none, for ", values, " values"});
}

/// What neither a layer on a parameter nor a spread batch takes.
template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check_no_valid(const Layer& layer, const Context<Scalar>& context) {
  if (!context.valid) return;
  fail_with(
      {layer.name(), ": expected no valid positions (Context::valid) ",
       layer.statistic_ == Statistic::sum_square ? "of a parameter that is normalized" : "where the batch is spread",
       ", got some"});
}

}  // namespace core
}  // namespace eigennorm

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "eigennorm/core/call_checks.hpp"
#include "eigennorm/core/forward.hpp"
#include "eigennorm/core/fused.hpp"
#include "eigennorm/core/given.hpp"
#include "eigennorm/core/gradient.hpp"
#include "eigennorm/core/layer.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/renormalize.hpp"
#include "eigennorm/kernels/dispatch.hpp"
#include "eigennorm/normalization.hpp"

/// \file
/// What the calls of a layer do: all checks first, then the work. Included by normalization.hpp, or compiled once in
/// the library.

namespace eigennorm::core {

template <typename Scalar>
const Scalar* data_or_null(const Vector<Scalar>& values) {
  return values.size() == 0 ? nullptr : values.data();
}

template <typename Storage, typename Scalar>
auto Calls<Storage, Scalar>::forward_call(const Layer& layer, const core::Partition& partition, const Storage* x,
                                          Storage* y) -> Forward {
  // (One by one: a list would clear all of it first, which takes as long as a short row.)
  Forward call;
  call.partition = &partition;
  call.statistic = layer.statistic_;
  call.eps = static_cast<Wide<Scalar>>(layer.eps);
  call.x = x;
  call.y = y;
  call.scale = data_or_null(layer.scale.value);
  call.shift = data_or_null(layer.shift.value);
  call.kernels = &kernels::block_kernels<Storage, Scalar>();
  return call;
}

template <typename Scalar>
Given<Scalar> given_by(const RunningStatistics<Scalar>& running) {
  return {running.mean.data(), data_or_null(running.variance), nullptr};
}

template <typename Storage, typename Scalar>
bool Calls<Storage, Scalar>::moves_running(const Layer& layer, const core::Partition& partition) {
  return layer.running && layer.running->update && partition.size > 0;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::forward(Layer& layer, const In& x, const Out& y, const Context<Scalar>& context) {
  if (context.peers != nullptr && is_spread(layer, x.shape.rank, context)) return spread_forward(layer, x, y, context);
  if (context.valid) return valid_forward(layer, x, y, context);
  const Loops loops = check_forward(layer, x, y, context);
  const core::Partition& partition = loops.get();
  if (partition.size > 0) check_count(layer, partition.count, x.shape, 1);
  const bool frozen = layer.running && layer.running->use_in_forward, moves = moves_running(layer, partition);
  const bool corrected = renormalizes(layer);
  // Where fixed statistics are in use while they move: those that y is made by. (No optional: all of it would be
  // cleared in each call.)
  std::unique_ptr<const RunningStatistics<Scalar>> used;
  if (frozen && moves) used = std::make_unique<RunningStatistics<Scalar>>(*layer.running);
  make_forward_room(layer, moves);
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  moments.prepare(partition, x.shape, order_of(x, y), layer.statistic_, layer.geometry_.groups,
                  kept_of(layer, partition));
  remember_fused(layer, context, moments);
  // Until all is done there are none: a device may throw.
  moments.source_ = layer.moments_.source_ = Moments<Scalar>::Source::none;
  if (partition.size == 0) {
    moments.clear();
  } else {
    Forward call = forward_call(layer, partition, x.data, y.data);
    call.moments = moments.view();
    std::optional<Fusion<Storage>> fused;
    if (fuses(layer, context)) fuse(layer, context, fused.emplace(), call);
    if (frozen) forward_given(call, given_by(*layer.running), context.device);
    call.adds = call.adds && !frozen;
    // y is made, and what follows are the batch's own statistics, to move the running ones; or y has to wait for them.
    if (frozen || corrected) call.y = nullptr;
    if (moves || !frozen) core::forward(call, context.device);
    if (corrected) {
      call.y = y.data;
      correct(layer, moments, call);
      core::forward(call, context.device);
    }
    if (moves) layer.update_running(moments);
    // Backward needs those that y was made by.
    if (used) forward_given(call, given_by(*used), context.device);
  }
  moments.source_ = frozen ? Moments<Scalar>::Source::running : Moments<Scalar>::Source::batch;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::evaluate(const Layer& layer, const In& x, const Out& y, const Context<Scalar>& context) {
  if (context.peers != nullptr && !layer.running && is_spread(layer, x.shape.rank, context))
    return spread_evaluate(layer, x, y, context);
  if (context.valid) return valid_evaluate(layer, x, y, context);
  check_no_moments(layer, context);
  const Evaluation checked = check_evaluation(layer, x, &y, context);
  const core::Partition& partition = checked.loops.get();
  if (partition.size == 0) return;
  Forward call = forward_call(layer, partition, x.data, y.data);
  std::optional<Fusion<Storage>> fused;
  if (fuses(layer, context)) fuse(layer, context, fused.emplace(), call);
  if (layer.running) {
    const Scalar* const rstd = checked.rstd != nullptr ? checked.rstd : keep_roots(layer, call);
    Given<Scalar> given = given_by(*layer.running);
    if (rstd != nullptr) given = {given.mean, nullptr, rstd};
    forward_given(call, given, context.device);
  } else {
    core::forward(call, context.device);
  }
}

/// 1 / sigma of running statistics, for evaluations to come; null where they cannot be kept.
template <typename Storage, typename Scalar>
const Scalar* Calls<Storage, Scalar>::keep_roots(const Layer& layer, const Forward& call) {
  const RunningStatistics<Scalar>& running = *layer.running;
  const std::int64_t n = running.variance.size();
  if (n == 0) return nullptr;
  return running.roots_.keep(running.mean.data(), running.variance.data(), n, layer.eps,
                             [&](const Scalar* variance, std::int64_t count, Scalar* rstd) {
                               call.kernels->reciprocal_roots(variance, count, call.eps, rstd);
                             });
}

template <typename Scalar>
std::vector<Scalar> copy_of(const Vector<Scalar>& values) {
  return {values.data(), values.data() + values.size()};
}
template <typename Scalar>
const Scalar* data_or_null(const std::vector<Scalar>& values) {
  return values.empty() ? nullptr : values.data();
}

template <typename Storage, typename Scalar>
Prepared<Storage, Scalar> Calls<Storage, Scalar>::prepare(const Layer& layer, const In& x, const Out& y) {
  Prepared<Storage, Scalar> prepared;
  // Chosen now: the first choice of a program takes a lock.
  const auto& kernels = kernels::block_kernels<Storage, Scalar>();
  prepared.partition_ = check_evaluation(layer, x, &y, Context<Scalar>()).loops.get();
  prepared.activation_ = layer.activation;
  prepared.statistic_ = layer.statistic_;
  prepared.eps_ = layer.eps;
  prepared.scale_ = copy_of(layer.scale.value);
  prepared.shift_ = copy_of(layer.shift.value);
  if (!layer.running) return prepared;
  prepared.running_ = true;
  prepared.mean_ = copy_of(layer.running->mean);
  prepared.rstd_ = copy_of(layer.running->variance);
  kernels.reciprocal_roots(prepared.rstd_.data(), static_cast<std::int64_t>(prepared.rstd_.size()),
                           static_cast<Wide<Scalar>>(layer.eps), prepared.rstd_.data());
  return prepared;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::evaluate(const Prepared<Storage, Scalar>& prepared, const Storage* x,
                                      Storage* y) noexcept {
  if (prepared.partition_.size == 0) return;
  static constexpr Fusion<Storage> rectified{true};
  Forward call;
  call.partition = &prepared.partition_;
  call.statistic = prepared.statistic_;
  call.eps = static_cast<Wide<Scalar>>(prepared.eps_);
  call.x = x;
  call.y = y;
  call.scale = data_or_null(prepared.scale_);
  call.shift = data_or_null(prepared.shift_);
  call.kernels = &kernels::block_kernels<Storage, Scalar>();
  if (prepared.activation_ == Activation::relu) call.fused = &rectified;
  if (prepared.running_) {
    transform_given(call, Given<Scalar>{data_or_null(prepared.mean_), nullptr, data_or_null(prepared.rstd_)}, 0,
                    Device());
  } else {
    core::forward(call, Device());
  }
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::observe(const In& x, const Geometry& geometry, Statistic statistic,
                                     const Context<Scalar>& context, Moments<Scalar>& moments) {
  check_strides(x.shape, x.strides, geometry.name, "x");
  if (context.valid) return valid_observe(x, geometry, statistic, context, moments);
  // As if there were a y beside x, which would be walked likewise.
  const core::Partition partition = core::partition(geometry, x.shape, x.order, {x.strides, x.strides, Strides{}});
  moments.prepare(partition, x.shape, x.order, statistic, geometry.groups, {statistic == Statistic::mean_variance});
  moments.source_ = Moments<Scalar>::Source::none;
  if (partition.size > 0) {
    Forward call{&partition, statistic,      0,
                 x.data,     nullptr,        nullptr,
                 nullptr,    moments.view(), &kernels::block_kernels<Storage, Scalar>()};
    core::forward(call, context.device);
  }
  moments.source_ = Moments<Scalar>::Source::batch;
}

template <typename Storage, typename Scalar>
auto Calls<Storage, Scalar>::backward_call(Layer& layer, const core::Partition& partition, const In& x, const In& dy,
                                           const Out& dx, const Context<Scalar>& context) -> Backward {
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  return {&partition,
          layer.statistic_,
          moments.frozen(),
          x.data,
          passed_on(layer, dy, dx, context).data,
          dx.data,
          data_or_null(layer.scale.value),
          moments.view(),
          &kernels::block_kernels<Storage, Scalar>()};
}

template <typename Storage, typename Scalar>
AffineGradients<Scalar> Calls<Storage, Scalar>::gradients_of(Layer& layer, const Context<Scalar>& context) {
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  return {layer.scale.value.size() == 0 ? nullptr : layer.scale.grad.data(),
          layer.shift.grad.size() == 0 ? nullptr : layer.shift.grad.data(), moments.corrections()};
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::correct(Layer& layer, Moments<Scalar>& moments, Forward& call) {
  const Corrections<Scalar> by = moments.corrections();
  const RunningStatistics<Scalar>& running = *layer.running;
  find_corrections(*call.partition, call.moments, given_by(running), call.eps, *running.renormalize, by);
  call.half = Half::results;
  if (!by.neutral(layer.features())) use_corrected(layer, by, call);
}

/// In room for two of each feature.
template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::use_corrected(Layer& layer, const Corrections<Scalar>& by, Forward& call) {
  const std::int64_t features = layer.features();
  auto* const room = reinterpret_cast<Scalar*>(layer.scratch_.data());
  call.shift = corrected_shift(call.scale, call.shift, by, features, room);
  call.scale = corrected_scale(call.scale, by, features, room + features);
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::correct(Layer& layer, const Context<Scalar>& context, std::int64_t scratch_before,
                                     Backward& call) {
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  const Corrections<Scalar> by = moments.corrections();
  const std::int64_t features = layer.features();
  if (by.neutral(features)) return;
  layer.make_room(scratch_before + features);
  auto* const room = reinterpret_cast<Scalar*>(layer.scratch_.data() + scratch_before);
  call.scale = corrected_scale(call.scale, by, features, room);
}

/// Whether dy passes the activation where it is used, and not in a walk before. (A walk writes what goes to a residual;
/// gates of other layers have more to know.)
template <typename Storage, typename Scalar>
bool Calls<Storage, Scalar>::gates_within(Layer& layer, const core::Partition& partition, const In& dy, const Out& dx,
                                          const Context<Scalar>& context) {
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  return layer.activation == Activation::relu && (!context.residual || context.added) && !moments.frozen() &&
         gates_in_place(partition) && moments.corrections().neutral(layer.features()) && dy.strides == dx.strides;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::backward(Layer& layer, const In& x, const In& dy, const Out& dx,
                                      const Context<Scalar>& context) {
  if (context.peers != nullptr && is_spread_backward(layer, x.shape.rank, context))
    return spread_backward(layer, x, dy, dx, context);
  if (context.valid) return valid_backward(layer, x, dy, dx, context);
  const Loops loops = check_backward(layer, x, dy, dx, context);
  const core::Partition& partition = loops.get();
  if (partition.size == 0) return;
  BackwardCall<Storage, Scalar> call = backward_call(layer, partition, x, dy, dx, context);
  if (gates_within(layer, partition, dy, dx, context)) {
    call.gated = true;
    call.dy = dy.data;
    call.shift = data_or_null(layer.shift.value);
  } else {
    pass_on(layer, x, dy, dx, context);
  }
  const AffineGradients<Scalar> gradients = gradients_of(layer, context);
  if (takes_at_once(partition, gradients, context.device)) {
    backward_at_once(call, gradients);
  } else {
    const std::int64_t scratch = gradient_scratch<Scalar>(partition, call.scale != nullptr, call.frozen);
    layer.make_room(scratch);
    correct(layer, context, scratch, call);
    core::backward(call, gradients, layer.scratch_.data(), context.device);
  }
  if (context.added_gradient) add_gradient(layer, x, dx, context);
}

}  // namespace eigennorm::core

#include "eigennorm/core/fused_calls.hpp"
#include "eigennorm/core/spread_calls.hpp"
#include "eigennorm/core/valid_calls.hpp"

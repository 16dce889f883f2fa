#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "eigennorm/core/calls.hpp"
#include "eigennorm/core/spread.hpp"
#include "eigennorm/core/spread_backward.hpp"
#include "eigennorm/core/spread_forward.hpp"

/// \file
/// What the calls of a layer do where their batch is spread over members: first the sums, of which nobody knows but the
/// layer's records; then all members know whether all are right; then what changes. (Cold: calls without peers, whose
/// unit compiles this too, are most.)

namespace eigennorm::core {

template <typename Storage, typename Scalar>
bool Calls<Storage, Scalar>::is_spread(const Layer& layer, int rank, const Context<Scalar>& context) {
  if (!reaches_across(layer.geometry_, rank) || context.peers->members() == 1) return false;
  // By fixed statistics each sample is by itself.
  return !layer.running || !layer.running->use_in_forward || layer.running->update;
}

/// (Where there was no forward, it would have been one as the layer is now: the other members may have made it.)
template <typename Storage, typename Scalar>
bool Calls<Storage, Scalar>::is_spread_backward(const Layer& layer, int rank, const Context<Scalar>& context) {
  if (context.peers == nullptr || !reaches_across(layer.geometry_, rank) || context.peers->members() == 1) return false;
  const Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  return moments.empty() ? !layer.running || !layer.running->use_in_forward : !moments.frozen();
}

template <typename Storage, typename Scalar>
SpreadMerge Calls<Storage, Scalar>::spread_of(const Layer& layer, std::int64_t verb, const Context<Scalar>& context) {
  const std::int64_t members = context.peers->members(), member = context.peers->member();
  if (member < 0 || member >= members)
    fail_with({layer.name(), ": expected peers whose members are numbers from 0 on, got ", member, " of ", members});
  SpreadMerge spread{context.peers, layer.name(), {}};
  SpreadCall& call = spread.call;
  call.verb = verb;
  call.statistic = static_cast<std::int64_t>(layer.statistic_);
  call.storage = std::numeric_limits<Storage>::digits;
  call.scalar = std::numeric_limits<Scalar>::digits;
  call.features = layer.features();
  call.groups = layer.geometry_.groups;
  call.update = verb == SpreadCall::forward && layer.running && layer.running->update ? 1 : 0;
  call.use_in_forward = verb == SpreadCall::forward && layer.running && layer.running->use_in_forward ? 1 : 0;
  if (call.update != 0) {
    call.weight = layer.running->averaging.weight_of_new(layer.running->batches);
    call.biased = layer.statistic_ == Statistic::mean_variance && layer.running->estimator == Estimator::biased ? 1 : 0;
  }
  call.eps = layer.eps;
  call.activation = static_cast<std::int64_t>(layer.activation);
  if (verb == SpreadCall::forward && renormalizes(layer)) {
    call.r_max = layer.running->renormalize->r_max;
    call.d_max = layer.running->renormalize->d_max;
  }
  std::strncpy(call.name, layer.name(), sizeof call.name - 1);
  return spread;
}

/// Extents of the axes that are kept have to be alike, too.
inline void set_kept(const Partition& partition, const Shape& shape, SpreadCall& call) {
  std::int64_t* kept = call.kept;
  for (int axis = 0; axis < shape.rank; ++axis) {
    if ((partition.averaged_axes >> axis & 1U) == 0) *kept++ = shape[axis];
  }
}

template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::spread_forward(Layer& layer, const In& x, const Out& y,
                                                          const Context<Scalar>& context) {
  SpreadMerge spread = spread_of(layer, SpreadCall::forward, context);
  SpreadStatistics<Storage, Scalar> statistics(spread, layer.spread_, context.device);
  core::Partition partition;
  Forward call;
  const std::int64_t count = statistics.find([&] {
    partition = check_forward(layer, x, y, context).get();
    check_no_valid(layer, context);
    set_kept(partition, x.shape, spread.call);
    return call = forward_call(layer, partition, x.data, y.data);
  });
  std::optional<Fusion<Storage>> fused;
  if (fuses(layer, context)) fuse(layer, context, fused.emplace(), call);
  check_count(layer, count, x.shape, context.peers->members());
  const bool frozen = layer.running && layer.running->use_in_forward;
  const bool moves = layer.running && layer.running->update && count > 0;
  std::optional<RunningStatistics<Scalar>> used;
  if (frozen) used = layer.running;
  make_forward_room(layer, moves);
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  moments.prepare(partition, x.shape, order_of(x, y), layer.statistic_, layer.geometry_.groups,
                  kept_of(layer, partition));
  remember_fused(layer, context, moments);
  moments.count_ = count;
  if (!frozen) moments.members_ = context.peers->members();
  moments.source_ = layer.moments_.source_ = Moments<Scalar>::Source::none;
  if (count == 0) {
    moments.clear();
  } else {
    statistics.put(call.moments = moments.view());
    if (renormalizes(layer)) correct(layer, moments, call);
    if (partition.size == 0) call.y = nullptr;
    if (!frozen && partition.size > 0) {
      call.half = Half::results;
      core::forward(call, context.device);
    }
    if (moves) layer.update_running(moments);
    if (frozen) forward_given(call, given_by(*used), context.device);
  }
  moments.source_ = frozen ? Moments<Scalar>::Source::running : Moments<Scalar>::Source::batch;
}

template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::spread_evaluate(const Layer& layer, const In& x, const Out& y,
                                                           const Context<Scalar>& context) {
  SpreadMerge spread = spread_of(layer, SpreadCall::evaluate, context);
  // (The layer is const, and others may use it at once.)
  SpreadRoom<Scalar> room;
  SpreadStatistics<Storage, Scalar> statistics(spread, room, context.device);
  core::Partition partition;
  Forward call;
  statistics.find([&] {
    check_no_moments(layer, context);
    partition = check_evaluation(layer, x, &y, context).loops.get();
    check_no_valid(layer, context);
    set_kept(partition, x.shape, spread.call);
    return call = forward_call(layer, partition, x.data, y.data);
  });
  std::optional<Fusion<Storage>> fused;
  if (fuses(layer, context)) fuse(layer, context, fused.emplace(), call);
  if (partition.size == 0) return;
  const std::int64_t groups = partition.groups.kept.size;
  std::vector<Scalar> kept(static_cast<std::size_t>(3 * groups));
  call.moments = {kept.data(), kept.data() + groups, kept.data() + 2 * groups, nullptr};
  statistics.put(call.moments);
  call.half = Half::results;
  core::forward(call, context.device);
}

template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::spread_backward(Layer& layer, const In& x, const In& dy, const Out& dx,
                                                           const Context<Scalar>& context) {
  SpreadMerge spread = spread_of(layer, SpreadCall::backward, context);
  core::Partition partition;
  BackwardCall<Storage, Scalar> call{};
  AffineGradients<Scalar> gradients;
  SpreadRoom<Scalar>& room = layer.spread_;
  const auto check = [&] {
    partition = check_backward(layer, x, dy, dx, context).get();
    check_no_valid(layer, context);
    set_kept(partition, x.shape, spread.call);
  };
  // To go back through an activation writes before it sums: so all members have to be right first.
  if (layer.activation != Activation::none) {
    spread.merge(room.sums, room.next, append_gradients<Scalar>, [&] {
      check();
      make_record(room.sums, 0);
      return std::int64_t{0};
    });
  }
  call.count = spread.merge(room.sums, room.next, append_gradients<Scalar>, [&] {
    check();
    if (partition.size > 0) pass_on(layer, x, dy, dx, context);
    call = backward_call(layer, partition, x, dy, dx, context);
    gradients = gradients_of(layer, context);
    const std::int64_t sums = partition.size == 0 ? 0 : sums_in(partition);
    layer.make_room(GradientTotals<Scalar>::room(sums));
    correct(layer, context, GradientTotals<Scalar>::room(sums), call);
    call.sums = GradientTotals<Scalar>(layer.scratch_.data(), sums);
    call.wants_parameters = gradients.wanted();
    call.stream = kernels::streams<Storage>(partition.whole);
    return sum_part(call, room.sums, context.device);
  });
  if (partition.size == 0) return;
  finish_part(call, gradients, room.sums, context.device);
}

}  // namespace eigennorm::core

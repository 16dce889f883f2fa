#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "eigennorm/core/calls.hpp"
#include "eigennorm/core/valid_parts.hpp"

/// \file
/// What the calls of a layer do where positions are left out (Context::valid): the same as without, part by part.
/// (Cold: calls without a mask, whose unit compiles this too, are most.)

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// Strides of so many tensors for ValidParts: those of which there are none are as the first. (0 would be those of a
/// value that stands for all, and no place would be the same in all tensors.)
inline std::array<Strides, max_tensors> filled_up(std::array<Strides, max_tensors> strides, std::size_t tensors) {
  std::fill(strides.begin() + static_cast<std::ptrdiff_t>(tensors), strides.end(), strides[0]);
  return strides;
}
/// Of a forward or evaluation.
template <typename Storage, typename Scalar>
std::array<Strides, max_tensors> all_strides_of(const View<const Storage>& x, const View<Storage>& y,
                                                const Context<Scalar>& context) {
  return filled_up(strides_of(x, y.strides, context), context.added ? 4 : context.residual ? 3 : 2);
}

/// The same call on one part of it. `fused`: what is fused with it, if anything is.
template <typename Storage, typename Scalar>
ForwardCall<Storage, Scalar> part_of(const ForwardCall<Storage, Scalar>& call, const Partition& partition,
                                     const Offsets& base, Fusion<Storage>& fused) {
  ForwardCall<Storage, Scalar> part = call;
  const std::size_t written = call.inputs();
  if (call.fused != nullptr) {
    fused = *call.fused;
    if (fused.residual != nullptr) fused.residual += base.tensor[1];
    if (fused.dy != nullptr) fused.dy += base.tensor[written - 1];
    if (fused.sum != nullptr) {
      fused.terms[0] += base.tensor[2];
      fused.terms[1] += base.tensor[3];
      fused.sum += base.tensor[0];
    }
    part.fused = &fused;
  }
  part.partition = &partition;
  part.x += base.tensor[0];
  if (part.y != nullptr) part.y += base.tensor[written];
  if (part.scale != nullptr) part.scale += base.feature;
  if (part.shift != nullptr) part.shift += base.feature;
  part.moments = call.moments.starting_at(base.group);
  return part;
}
template <typename Storage, typename Scalar>
BackwardCall<Storage, Scalar> part_of(const BackwardCall<Storage, Scalar>& call, const Partition& partition,
                                      const Offsets& base) {
  BackwardCall<Storage, Scalar> part = call;
  part.partition = &partition;
  part.x += base.tensor[0];
  part.dy += base.tensor[1];
  part.dx += base.tensor[2];
  if (part.scale != nullptr) part.scale += base.feature;
  part.moments = call.moments.starting_at(base.group);
  part.sums = call.sums.starting_at(base.group);
  return part;
}

/// A forward call by each group's own statistics, on what is valid.
template <typename Storage, typename Scalar>
void forward(ForwardCall<Storage, Scalar>& call, const ValidParts& parts, const Device& device) {
  parts.for_each(device, [&](const Partition& partition, const Offsets& base, const Device& inner) {
    Fusion<Storage> fused;
    ForwardCall<Storage, Scalar> part = part_of(call, partition, base, fused);
    core::forward(part, inner);
  });
  call.adds = false;
}

/// y by given statistics, on what is valid.
template <typename Storage, typename Scalar>
void transform_given(ForwardCall<Storage, Scalar> call, const Given<Scalar>& given, const ValidParts& parts,
                     const Device& device) {
  call.partition = &parts.positions();
  if (call.y != nullptr) transform_given(call, given, 0, device);
}

/// dx, and the sums of each group where features are kept.
template <typename Storage, typename Scalar>
void input_gradient(const BackwardCall<Storage, Scalar>& call, const ValidParts& parts, const Device& device) {
  parts.for_each(device, [&](const Partition& partition, const Offsets& base, const Device& inner) {
    BackwardCall<Storage, Scalar> part = part_of(call, partition, base);
    part.stream = kernels::streams<Storage>(partition.whole);
    input_gradient(part, inner);
  });
}

/// Adds n values of one feature to its sums, in their order: x and dy are rows of one value.
template <typename Storage, typename Scalar>
void add_in_order(Rows<const Storage> x, Rows<const Storage> dy, std::int64_t n, const Normalizers<Scalar>& by,
                  GradientSums<Scalar>& sums) {
  const Scalar high = *by.high, low = *by.low, rstd = *by.rstd;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto d = static_cast<Scalar>(*dy(i));
    sums.add(d, d * (((static_cast<Scalar>(*x(i)) - high) - low) * rstd));
  }
}

/// The same of what words leave of a run.
template <typename Storage, typename Scalar>
[[gnu::noinline]] void add_in_order(const BackwardCall<Storage, Scalar>& part, const Tile& group, Segment run,
                                    const Normalizers<Scalar>& by, GradientSums<Scalar>& sums) {
  Buffer<Storage, block_size * sizeof(Storage)> x_copies, dy_copies;
  const Loop& values = part.partition->groups.reduced;
  for (std::int64_t first = run.first; first < run.last; first += block_size) {
    const Segment block{first, (std::min)(first + block_size, run.last)};
    const auto x = value_rows<Storage, Scalar>({*part.kernels, part.x, 0}, values, group, block, x_copies.values);
    const auto dy = value_rows<Storage, Scalar>({*part.kernels, part.dy, 1}, values, group, block, dy_copies.values);
    add_in_order<Storage, Scalar>({x.data, 1}, {dy.data, 1}, block.last - block.first, by, sums);
  }
}

/// Adds to the sums of each feature those of the valid values of a part, in their order. (Where groups have numbers of
/// values of their own, or the mask varies along features, there are no pieces that would be alike for all.)
template <typename Storage, typename Scalar>
void add_values(const BackwardCall<Storage, Scalar>& part, const Offsets& base, const GradientTotals<Scalar>& to) {
  const Loop &kept = part.partition->groups.kept, &values = part.partition->groups.reduced;
  const Axis step = values.fastest();
  const bool words = values.places != nullptr && values.places->words != nullptr;
  for (std::int64_t i = 0; i < kept.size; ++i) {
    const Tile group{kept.at(i), 1, no_axis()};
    const MomentsView<Scalar> moments = part.moments.starting_at(group.base.group);
    const Normalizers<Scalar> by{moments.high, moments.low, moments.rstd};
    values.for_each_run(0, values.size, [&](Offsets at, std::int64_t position, std::int64_t length) {
      // A run of one feature at once.
      const std::int64_t together = step.feature == 0 ? length : 1;
      for (std::int64_t k = 0; k < length; k += together, at.step(step, together)) {
        const std::int64_t feature = base.feature + group.base.feature + at.feature;
        GradientSums<Scalar> sums = to.get(feature);
        if (words) {
          add_in_order(part, group, {position, position + length}, by, sums);
        } else {
          add_in_order<Storage, Scalar>({part.x + group.base.tensor[0] + at.tensor[0], step.stride[0]},
                                        {part.dy + group.base.tensor[1] + at.tensor[1], step.stride[1]}, together, by,
                                        sums);
        }
        to.put(feature, sums);
      }
    });
  }
}

/// dscale and dshift where features vary within a group. `scratch`: for the sums of one part of the call.
template <typename Storage, typename Scalar>
void sum_features(BackwardCall<Storage, Scalar> call, const ValidParts& parts, const AffineGradients<Scalar>& gradients,
                  Wide<Scalar>* scratch, const Device& device) {
  if (!parts.sums_by_feature()) {
    call.partition = &parts.positions();
    return sum_features(call, gradients, device);
  }
  const std::int64_t features = call.partition->features.kept.size;
  const GradientTotals<Scalar> totals = call.sums;
  totals.clear(0, features);
  if (parts.are_blocks()) {
    parts.for_each({}, [&](const Partition& partition, const Offsets& base, const Device&) {
      BackwardCall<Storage, Scalar> part = part_of(call, partition, base);
      part.sums = GradientTotals<Scalar>(scratch, sums_in(partition));
      sum_features(part, AffineGradients<Scalar>{nullptr, nullptr, {}, totals}, device);
    });
    return gradients.add_all(*call.kernels, 0, features, totals);
  }
  parts.for_each({}, [&](const Partition& partition, const Offsets& base, const Device&) {
    add_values(part_of(call, partition, base), base, totals);
  });
  gradients.add_all(*call.kernels, 0, features, totals);
}

/// Whether every feature is kept: the sums of groups are those of features.
template <typename Storage, typename Scalar>
void backward_of_kept(BackwardCall<Storage, Scalar> call, const ValidParts& parts,
                      const AffineGradients<Scalar>& gradients, Scalar* rstd, const Device& device) {
  call.sums.clear(0, call.partition->groups.kept.size);
  if (!call.frozen || gradients.wanted()) input_gradient(call, parts, device);
  if (gradients.wanted()) add_kept(call, gradients);
  if (!call.frozen) return;
  call.partition = &parts.positions();
  frozen_gradient(call, rstd, device);
}

template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::valid_forward(Layer& layer, const In& x, const Out& y,
                                                         const Context<Scalar>& context) {
  const Loops loops = check_forward(layer, x, y, context);
  const core::Partition& whole = loops.get();
  check_valid_of(layer, whole, x.shape, context);
  ValidParts parts(layer.geometry_, x.shape, order_of(x, y), all_strides_of(x, y, context), *context.valid, whole,
                   layer.valid_room_);
  if (parts.all()) return forward(layer, x, y, without_valid(context));
  parts.find_parts();
  if (parts.size() > 0) check_count(layer, parts.least_count(), x.shape, 1, " of which one value is valid");
  const bool frozen = layer.running && layer.running->use_in_forward, corrected = renormalizes(layer);
  const bool moves = moves_running(layer, whole) && parts.size() > 0;
  std::optional<RunningStatistics<Scalar>> used;
  if (frozen && moves) used = layer.running;
  make_forward_room(layer, moves);
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  moments.prepare_parts(whole, parts, x.shape, order_of(x, y), layer.statistic_, layer.geometry_.groups,
                        kept_of(layer, whole));
  remember_fused(layer, context, moments);
  moments.source_ = layer.moments_.source_ = Moments<Scalar>::Source::none;
  if (parts.size() > 0) {
    Forward call = forward_call(layer, whole, x.data, y.data);
    call.moments = moments.view();
    Fusion<Storage> fused;
    if (fuses(layer, context)) fuse(layer, context, fused, call);
    if (frozen) {
      parts.find_positions();
      keep_given(call, given_by(*layer.running));
      transform_given(call, given_by(*layer.running), parts, context.device);
      call.adds = false;
    }
    if (frozen || corrected) call.y = nullptr;
    if (moves || !frozen) core::forward(call, parts, context.device);
    if (corrected) {
      call.y = y.data;
      correct(layer, moments, call);
      core::forward(call, parts, context.device);
    }
    if (moves) layer.update_running(moments);
    if (used) keep_given(call, given_by(*used));
  }
  clear_results(parts, y, context, frozen ? Cleared::by_positions : Cleared::by_parts);
  moments.source_ = frozen ? Moments<Scalar>::Source::running : Moments<Scalar>::Source::batch;
}

template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::valid_evaluate(const Layer& layer, const In& x, const Out& y,
                                                          const Context<Scalar>& context) {
  check_no_moments(layer, context);
  const Evaluation checked = check_evaluation(layer, x, &y, context);
  const core::Partition& whole = checked.loops.get();
  check_valid_of(layer, whole, x.shape, context);
  // (The layer is const, and others may use it at once.)
  ThreadRoom room;
  ValidParts parts(layer.geometry_, x.shape, order_of(x, y), all_strides_of(x, y, context), *context.valid, whole,
                   room.get());
  if (parts.all()) return evaluate(layer, x, y, without_valid(context));
  Forward call = forward_call(layer, whole, x.data, y.data);
  Fusion<Storage> fused;
  if (fuses(layer, context)) fuse(layer, context, fused, call);
  if (parts.size() > 0) {
    if (layer.running) {
      parts.find_positions();
      transform_given(call, given_by(*layer.running), parts, context.device);
    } else {
      parts.find_parts();
      core::forward(call, parts, context.device);
    }
  }
  clear_results(parts, y, context, layer.running ? Cleared::by_positions : Cleared::by_parts);
}

/// Zeros where nothing is valid: in y, and in the sum that is kept.
template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::clear_results(ValidParts& parts, const Out& y,
                                                         const Context<Scalar>& context, Cleared cleared) {
  parts.clear_gaps(y.data, context.residual && !context.added ? 2 : 1, context.device, cleared);
  if (context.added) parts.clear_gaps(context.added.template as<Storage>().data, 0, context.device);
}

template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::valid_observe(const In& x, const Geometry& geometry, Statistic statistic,
                                                         const Context<Scalar>& context, Moments<Scalar>& moments) {
  const core::Partition whole = core::partition(geometry, x.shape, x.order, {x.strides, x.strides});
  check_valid(geometry.name, geometry, whole, x.shape, *context.valid);
  ThreadRoom room;
  ValidParts parts(geometry, x.shape, x.order, filled_up({x.strides}, 1), *context.valid, whole, room.get());
  if (parts.all()) return observe(x, geometry, statistic, without_valid(context), moments);
  parts.find_parts();
  moments.prepare_parts(whole, parts, x.shape, x.order, statistic, geometry.groups,
                        {statistic == Statistic::mean_variance});
  moments.source_ = Moments<Scalar>::Source::none;
  Forward call{&whole,  statistic,      0,
               x.data,  nullptr,        nullptr,
               nullptr, moments.view(), &kernels::block_kernels<Storage, Scalar>()};
  if (parts.size() > 0) core::forward(call, parts, context.device);
  moments.source_ = Moments<Scalar>::Source::batch;
}

/// Passes dy on where it is valid; the gradient of the residual is 0 elsewhere.
template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::pass_on_valid(Layer& layer, const In& x, const In& dy, const Out& dx,
                                                         const Context<Scalar>& context) {
  if (!passes_on(layer, context)) return;
  const Passing passing(layer, x, dy, dx, context);
  const core::Partition whole = core::partition(layer.geometry_, x.shape, order_of(x, dy, dx), passing.strides);
  // (That of the layer is in use.)
  ThreadRoom room;
  ValidParts parts(layer.geometry_, x.shape, order_of(x, dy, dx), filled_up(passing.strides, passing.fused.tensors()),
                   *context.valid, whole, room.get());
  parts.find_parts();
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  if (parts.size() > 0 && (passing.fused.relu || core::overlap(passing.to, dy) != Overlap::same)) {
    Forward call = gate_call(layer, moments, whole, x, passing.to, passing.fused);
    core::forward(call, parts, context.device);
  }
  if (context.residual_gradient) parts.clear_gaps(passing.to.data, passing.fused.inputs(), context.device);
}

/// Adds the gradient that reaches the sum itself to dx where it is valid.
template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::add_valid_gradient(const Layer& layer, const In& x, const Out& dx,
                                                              const Context<Scalar>& context) {
  const In gradient = context.added_gradient.template as<const Storage>();
  const std::array<Strides, max_tensors> strides{dx.strides, dx.strides, dx.strides, gradient.strides};
  const core::Partition whole = core::partition(layer.geometry_, x.shape, order_of(x, dx), strides);
  ThreadRoom room;
  ValidParts parts(layer.geometry_, x.shape, order_of(x, dx), strides, *context.valid, whole, room.get());
  parts.find_parts();
  Fusion<Storage> fused;
  const Forward call = adding_call(layer, whole, dx, gradient, fused);
  parts.for_each(context.device, [&](const core::Partition& partition, const Offsets& base, const Device& device) {
    Fusion<Storage> own;
    Forward part = part_of(call, partition, base, own);
    add_alone(part, device);
  });
}

template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::valid_backward(Layer& layer, const In& x, const In& dy, const Out& dx,
                                                          const Context<Scalar>& context) {
  const Loops loops = check_backward(layer, x, dy, dx, context);
  const core::Partition& whole = loops.get();
  check_valid_of(layer, whole, x.shape, context);
  ValidParts parts(layer.geometry_, x.shape, order_of(x, dy, dx),
                   filled_up({x.strides, passed_on(layer, dy, dx, context).strides, dx.strides}, 3), *context.valid,
                   whole, layer.valid_room_);
  check_valid_count(layer, context, parts.size());
  if (parts.all()) return backward(layer, x, dy, dx, without_valid(context));
  parts.find_parts();
  parts.find_positions();
  pass_on_valid(layer, x, dy, dx, context);
  if (parts.size() > 0) {
    const Backward call = backward_call(layer, whole, x, dy, dx, context);
    if (parts.is_one_call()) {
      backward_of_one(layer, call, parts, context);
    } else {
      backward_of_parts(layer, call, parts, context);
    }
    if (context.added_gradient) add_valid_gradient(layer, x, dx, context);
  }
  const bool frozen = (context.moments == nullptr ? layer.moments_ : *context.moments).frozen();
  parts.clear_gaps(dx.data, 2, context.device, frozen ? Cleared::by_positions : Cleared::by_parts);
}

/// All that is valid is one call.
template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::backward_of_one(Layer& layer, const Backward& call, const ValidParts& parts,
                                                           const Context<Scalar>& context) {
  parts.for_each(context.device, [&](const core::Partition& partition, const Offsets& base, const Device& device) {
    Backward part = part_of(call, partition, base);
    const std::int64_t scratch = gradient_scratch<Scalar>(partition, part.scale != nullptr, part.frozen);
    layer.make_room(scratch);
    correct(layer, context, scratch, part);
    core::backward(part, gradients_of(layer, context), layer.scratch_.data(), device);
  });
}

template <typename Storage, typename Scalar>
[[gnu::cold]] void Calls<Storage, Scalar>::backward_of_parts(Layer& layer, Backward call, const ValidParts& parts,
                                                             const Context<Scalar>& context) {
  const core::Partition& whole = *call.partition;
  const AffineGradients<Scalar> gradients = gradients_of(layer, context);
  const std::int64_t features = whole.features.kept.size;
  const std::int64_t sums = whole.features_kept       ? whole.groups.kept.size
                            : parts.sums_by_feature() ? features
                                                      : sums_in(parts.positions());
  const std::int64_t room = GradientTotals<Scalar>::room(sums);
  if (parts.are_rows() && gradients.wanted() && FeatureRows<Storage, Scalar>::fits(whole)) {
    const FeaturePieces cut(parts.positions());
    if (has_tasks(whole, cut, context.device.threads_for(parts.size()))) {
      const std::int64_t accumulators = Accumulators<Scalar>::room(whole, parts.positions());
      layer.make_room(room + accumulators);
      call.sums = GradientTotals<Scalar>(layer.scratch_.data(), sums);
      if (accumulators > 0) call.accumulators = Accumulators<Scalar>::place(layer.scratch_.data() + room);
      call.stream = kernels::streams<Storage>(parts.size());
      return rows_in_parts(call, &parts.positions().features.reduced, cut, gradients, context.device);
    }
  }
  constexpr std::int64_t most_parts = 64;
  layer.make_room(room + (whole.features_kept ? features : GradientTotals<Scalar>::room(most_parts * features)));
  call.sums = GradientTotals<Scalar>(layer.scratch_.data(), sums);
  call.wants_parameters = gradients.wanted();
  if (whole.features_kept) {
    auto* const rstd = reinterpret_cast<Scalar*>(layer.scratch_.data() + room);
    return backward_of_kept(call, parts, gradients, rstd, context.device);
  }
  // Before dx is written, because it may be written over dy.
  if (gradients.wanted()) sum_features(call, parts, gradients, layer.scratch_.data() + room, context.device);
  call.wants_parameters = false;
  input_gradient(call, parts, context.device);
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

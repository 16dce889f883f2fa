#pragma once

#include <eigennorm/eigennorm.hpp>
#include <optional>
#include <vector>

#include "beside_rules.hpp"
#include "call.hpp"
#include "layer.hpp"
#include "mask.hpp"
#include "tensor.hpp"

// Whether the documentation accepts a call.

namespace fuzz {

/// What strides and shared memory mean for a call whose tensors are not empty.
inline Expected expected_of_memory(const Call& call) {
  const bool goes_back = call.verb == Verb::backward;
  if (moves_backwards(call.x) || (goes_back && moves_backwards(call.dy))) return Expected::refused;
  if (call.returns) return Expected::accepted;
  if (moves_backwards(call.result)) return Expected::refused;
  const Distinct elements = distinct(call.result);
  const Sharing with_x = sharing(call.result, call.x);
  const Sharing with_dy = goes_back ? sharing(call.result, call.dy) : Sharing::none;
  if (elements == Distinct::no || with_x == Sharing::some || with_dy == Sharing::some) return Expected::refused;
  if (with_x == Sharing::same && call.verb != Verb::evaluate) return Expected::refused;
  const bool clear = elements == Distinct::by_nesting && with_x != Sharing::unclear && with_dy != Sharing::unclear;
  return clear ? Expected::accepted : Expected::either;
}

/// The axes along which a mask may not vary: those of features that are not averaged with others.
inline unsigned alike_axes(const LayerChoice& choice, const Fit& fit) {
  const bool are_apart = (fit.averaged & fit.features) == 0 || choice.groups > 0;
  return are_apart ? fit.features : 0;
}

/// The axes along which a mask may not be said otherwise without other bits: all where a group holds several features,
/// which are packed before or behind positions as the mask varies.
inline unsigned said_axes(const Fit& fit) { return (fit.averaged & fit.features) == 0 ? fit.features : ~0U; }

inline bool mask_is_wrong(const LayerChoice& choice, const Fit& fit, const Call& call) {
  if (!call.mask) return false;
  const Tensor& mask = call.mask->tensor;
  if (choice.statistic == eigennorm::Statistic::sum_square || !call.mask->goes_with(call.x.shape)) return true;
  if (mask.size() > 0 && moves_backwards(mask)) return true;
  for (std::size_t axis = 0; axis < mask.shape.size(); ++axis) {
    if ((alike_axes(choice, fit) >> axis & 1U) != 0 && mask.shape[axis] != 1) return true;
  }
  return false;
}

/// Of groups that have valid values, the smallest number of these; 0 where no group has any. (Of layers whose features
/// are not averaged.)
inline std::int64_t least_count(const Fit& fit, const Call& call) {
  Tensor groups = call.x;
  std::int64_t number = 1;
  for (std::size_t axis = 0; axis < groups.shape.size(); ++axis) {
    const bool is_averaged = (fit.averaged >> axis & 1U) != 0;
    groups.strides[axis] = is_averaged ? 0 : number;
    if (!is_averaged) number *= groups.shape[axis];
  }
  groups.offset = 0;
  const std::vector<std::int64_t> group_of = groups.places();
  const std::vector<bool> valid = call.valid();
  std::vector<std::int64_t> counts(static_cast<std::size_t>(number));
  for (std::size_t i = 0; i < valid.size(); ++i) counts[static_cast<std::size_t>(group_of[i])] += valid[i] ? 1 : 0;
  std::int64_t least = 0;
  for (const std::int64_t count : counts) {
    if (count > 0 && (least == 0 || count < least)) least = count;
  }
  return least;
}

/// `trace`: of the moments that the call uses.
template <typename Scalar>
Expected expected(const eigennorm::Normalization<Scalar>& layer, const LayerChoice& choice, const Trace& trace,
                  const Call& call) {
  const std::optional<Fit> fit = choice.fit(call.x.shape);
  if (choice.moved_from || settings_are_wrong(layer, choice.statistic) || !fit) return Expected::refused;
  // Backward takes what forward left, and does not look at the running statistics.
  if (call.verb != Verb::backward && running_is_wrong(layer, choice, *fit)) return Expected::refused;
  if (!call.returns && call.result.shape != call.x.shape) return Expected::refused;
  if (call.verb == Verb::evaluate && call.kept >= 0) return Expected::refused;
  if (call.verb == Verb::backward && call.dy.shape != call.x.shape) return Expected::refused;
  if (mask_is_wrong(choice, *fit, call)) return Expected::refused;
  const Expected by_memory = fit->size > 0 ? expected_of_memory(call) : Expected::accepted;
  if (by_memory == Expected::refused) return Expected::refused;
  if (call.verb == Verb::backward) {
    if (trace.state == Trace::State::unknown) return Expected::either;
    if (trace.state == Trace::State::none || !trace.leads_to(Trace(choice, *fit, call, layer.activation)))
      return Expected::refused;
    return both(by_memory, expected_beside_backward(trace, layer.activation, call));
  }
  // One value says nothing of a variance.
  const bool moves_variance = call.verb == Verb::forward && layer.running && layer.running->update &&
                              choice.statistic == eigennorm::Statistic::mean_variance;
  if (moves_variance && least_count(*fit, call) == 1) return Expected::refused;
  return both(by_memory, expected_beside_forward(choice, layer.activation, call));
}

}  // namespace fuzz

#pragma once

#include <eigennorm/eigennorm.hpp>
#include <optional>

#include "beside.hpp"
#include "call.hpp"
#include "tensor.hpp"

// Whether the documentation accepts what is beside a call (Context::residual and the like).

namespace fuzz {

/// Of what a call reads; of none nothing is expected.
inline Expected expected_of_input(const Call& call, const std::optional<Tensor>& input) {
  if (!input) return Expected::accepted;
  const bool is_wrong = input->shape != call.x.shape || (input->size() > 0 && moves_backwards(*input));
  return is_wrong ? Expected::refused : Expected::accepted;
}

inline Expected expected_of_output(const Call& call, const std::optional<Tensor>& output) {
  const Expected as_input = expected_of_input(call, output);
  if (!output || output->size() == 0 || as_input == Expected::refused) return as_input;
  const Distinct elements = distinct(*output);
  return elements == Distinct::no           ? Expected::refused
         : elements == Distinct::by_nesting ? Expected::accepted
                                            : Expected::either;
}

/// Of two tensors, one of them written, whose strides are right.
inline Expected expected_of_sharing(const Tensor& a, const Tensor& b, bool same_is_allowed) {
  switch (sharing(a, b)) {
    case Sharing::none:
      return Expected::accepted;
    case Sharing::same:
      return same_is_allowed ? Expected::accepted : Expected::refused;
    case Sharing::some:
      return Expected::refused;
    default:
      return Expected::either;
  }
}

/// Of a forward or evaluation whose own tensors are right.
inline Expected expected_beside_forward(const LayerChoice& choice, eigennorm::Activation activation, const Call& call) {
  const Beside& beside = call.beside;
  if (!beside.residual && !beside.added) return Expected::accepted;
  if (choice.statistic == eigennorm::Statistic::sum_square || !beside.residual) return Expected::refused;
  const Tensor& residual = *beside.residual;
  Expected result = both(expected_of_input(call, beside.residual), expected_of_output(call, beside.added));
  if (result == Expected::refused) return result;
  if (!beside.added) {
    // Backward takes the residual again.
    const bool again = call.verb == Verb::forward && activation != eigennorm::Activation::none;
    return call.returns ? result : both(result, expected_of_sharing(call.result, residual, !again));
  }
  result = both(result, expected_of_sharing(*beside.added, call.x, true));
  result = both(result, expected_of_sharing(*beside.added, residual, true));
  if (call.returns) return result;
  result = both(result, expected_of_sharing(call.result, *beside.added, false));
  return both(result, expected_of_sharing(call.result, residual, true));
}

/// Whether a backward has beside it what its forward had.
inline bool goes_with_forward(const Trace& trace, eigennorm::Activation activation, const Call& call) {
  const Beside& beside = call.beside;
  const bool added = trace.beside.added.has_value(), residual = trace.beside.residual && !added;
  if (activation != trace.activation || (beside.added && !added)) return false;
  if ((beside.residual && !beside.added) != residual) return false;
  return !(beside.residual_gradient && !residual) && !(beside.added_gradient && !added);
}

/// Of the residual and its gradient, where all strides are right. `again`: whether the residual is read.
inline Expected expected_of_residual_gradient(const Call& call, bool again) {
  const Beside& beside = call.beside;
  Expected result = Expected::accepted;
  if (again && !call.returns) result = expected_of_sharing(call.result, *beside.residual, false);
  if (!beside.residual_gradient) return result;
  const Tensor& gradient = *beside.residual_gradient;
  result = both(result, expected_of_sharing(gradient, call.x, false));
  result = both(result, expected_of_sharing(gradient, call.dy, true));
  if (!call.returns) result = both(result, expected_of_sharing(gradient, call.result, false));
  return again ? both(result, expected_of_sharing(gradient, *beside.residual, false)) : result;
}

/// Of a backward whose own tensors are right.
inline Expected expected_beside_backward(const Trace& trace, eigennorm::Activation activation, const Call& call) {
  const Beside& beside = call.beside;
  if (!goes_with_forward(trace, activation, call)) return Expected::refused;
  Expected result = expected_of_input(call, beside.added_gradient);
  if (beside.added) {
    result = both(result, expected_of_input(call, beside.added));
    if (beside.added->offset != call.x.offset) result = Expected::refused;
    if (result == Expected::refused) return result;
    const bool is_x = call.x.size() == 0 || sharing(*beside.added, call.x) == Sharing::same;
    if (!is_x) return Expected::refused;
  } else if (beside.residual) {
    result = both(result, expected_of_input(call, beside.residual));
    result = both(result, expected_of_output(call, beside.residual_gradient));
    if (result == Expected::refused) return result;
    result = both(result, expected_of_residual_gradient(call, activation != eigennorm::Activation::none));
  }
  if (result == Expected::refused || !beside.added_gradient || call.returns) return result;
  return both(result, expected_of_sharing(call.result, *beside.added_gradient, false));
}

}  // namespace fuzz

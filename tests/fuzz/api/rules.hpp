#pragma once

#include <eigennorm/eigennorm.hpp>
#include <optional>
#include <vector>

#include "layer.hpp"
#include "tensor.hpp"

// A call of a verb, and whether the documentation accepts it.

namespace fuzz {

enum class Verb { forward, evaluate, backward };

struct Call {
  Verb verb = Verb::forward;
  bool returns = false;  // its result, instead of writing it
  bool on_pool = false;
  int order = Eigen::RowMajor;
  int kept = -1;  // the number of the moments that it is given; -1: none
  Tensor x, dy, result;
};

/// What a forward left behind, as far as it matters to a backward.
struct Trace {
  enum class State { none, known, unknown } state = State::none;  // unknown: moved away
  Tensor x;
  eigennorm::Order order = eigennorm::Order::any;
  unsigned averaged = 0, features = 0;
  eigennorm::Statistic statistic = eigennorm::Statistic::mean;
  std::int64_t groups = 0;
  std::vector<double> ordinary_x;  // its values, where all that the forward took was ordinary

  Trace() = default;
  Trace(const LayerChoice& choice, const Fit& fit, const Call& call)
      : state(State::known),
        x(call.x),
        averaged(fit.averaged),
        features(fit.features),
        statistic(choice.statistic),
        groups(choice.groups) {
    if (x.family == Family::vector || x.shape.size() == 1) return;
    order = call.order == Eigen::RowMajor ? eigennorm::Order::row_major : eigennorm::Order::column_major;
  }

  bool leads_to(const Trace& next) const {
    using eigennorm::Order;
    return x.shape == next.x.shape && averaged == next.averaged && features == next.features &&
           statistic == next.statistic && groups == next.groups &&
           (order == next.order || order == Order::any || next.order == Order::any);
  }
};

enum class Expected { accepted, refused, either };

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

/// `trace`: of the moments that the call uses.
template <typename Scalar>
Expected expected(const eigennorm::Normalization<Scalar>& layer, const LayerChoice& choice, const Trace& trace,
                  const Call& call) {
  const std::optional<Fit> fit = choice.fit(call.x.shape);
  if (choice.moved_from || settings_are_wrong(layer) || !fit) return Expected::refused;
  // Backward takes what forward left, and does not look at the running statistics.
  if (call.verb != Verb::backward && running_is_wrong(layer, choice, *fit)) return Expected::refused;
  if (!call.returns && call.result.shape != call.x.shape) return Expected::refused;
  if (call.verb == Verb::evaluate && call.kept >= 0) return Expected::refused;
  if (call.verb == Verb::backward && call.dy.shape != call.x.shape) return Expected::refused;
  const Expected by_memory = fit->size > 0 ? expected_of_memory(call) : Expected::accepted;
  if (by_memory == Expected::refused) return Expected::refused;
  if (call.verb == Verb::backward) {
    if (trace.state == Trace::State::unknown) return Expected::either;
    if (trace.state == Trace::State::none || !trace.leads_to(Trace(choice, *fit, call))) return Expected::refused;
  }
  // One value says nothing of a variance.
  const bool moves_variance = call.verb == Verb::forward && layer.running && layer.running->update &&
                              choice.statistic == eigennorm::Statistic::mean_variance;
  if (moves_variance && fit->size > 0 && fit->count == 1) return Expected::refused;
  return by_memory;
}

}  // namespace fuzz

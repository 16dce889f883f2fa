#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <eigennorm/eigennorm.hpp>
#include <optional>
#include <vector>

#include "beside.hpp"
#include "layer.hpp"
#include "mask.hpp"
#include "tensor.hpp"

// A call of a verb, and what a forward leaves behind.

namespace fuzz {

enum class Verb { forward, evaluate, backward };

struct Call {
  Verb verb = Verb::forward;
  bool returns = false;  // its result, instead of writing it
  bool on_pool = false;
  int order = Eigen::RowMajor;
  int kept = -1;  // the number of the moments that it is given; -1: none
  Tensor x, dy, result;
  std::optional<Mask> mask;
  Beside beside;

  /// Whether each element of x is valid; last axis fastest. All are where the mask does not go with x.
  std::vector<bool> valid() const {
    if (mask && mask->goes_with(x.shape)) return mask->elements(x.shape);
    return std::vector<bool>(static_cast<std::size_t>(x.size()), true);
  }
};

inline std::ptrdiff_t number_of(const std::vector<bool>& valid) { return std::count(valid.begin(), valid.end(), true); }

/// What a forward left behind, as far as it matters to a backward.
struct Trace {
  enum class State { none, known, unknown } state = State::none;  // unknown: moved away
  Tensor x;
  eigennorm::Order order = eigennorm::Order::any;
  unsigned averaged = 0, features = 0;
  eigennorm::Statistic statistic = eigennorm::Statistic::mean;
  std::int64_t groups = 0;
  std::optional<Mask> mask;
  std::vector<bool> valid;
  Beside beside;
  eigennorm::Activation activation = eigennorm::Activation::none;
  std::vector<double> ordinary_x;  // its values, where all that the forward took was ordinary

  Trace() = default;
  Trace(const LayerChoice& choice, const Fit& fit, const Call& call, eigennorm::Activation activation_then)
      : state(State::known),
        x(call.verb == Verb::forward && call.beside.added ? *call.beside.added : call.x),
        averaged(fit.averaged),
        features(fit.features),
        statistic(choice.statistic),
        groups(choice.groups),
        mask(call.mask),
        valid(call.valid()),
        beside(call.beside),
        activation(activation_then) {
    if (x.family == Family::vector || x.shape.size() == 1) return;
    order = call.order == Eigen::RowMajor ? eigennorm::Order::row_major : eigennorm::Order::column_major;
  }

  bool leads_to(const Trace& next) const {
    using eigennorm::Order;
    return x.shape == next.x.shape && averaged == next.averaged && features == next.features &&
           statistic == next.statistic && groups == next.groups && number_of(valid) == number_of(next.valid) &&
           (order == next.order || order == Order::any || next.order == Order::any);
  }
};

enum class Expected { accepted, refused, either };

/// What two rules say together.
inline Expected both(Expected a, Expected b) {
  if (a == Expected::refused || b == Expected::refused) return Expected::refused;
  return a == Expected::accepted ? b : a;
}

}  // namespace fuzz

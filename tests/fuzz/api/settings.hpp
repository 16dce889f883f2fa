#pragma once

#include <cstdint>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <string_view>
#include <vector>

#include "bytes.hpp"
#include "layer.hpp"
#include "world.hpp"

// What users may do to a layer between its calls: its settings are public.

namespace fuzz {

/// Mostly ordinary.
template <typename Scalar>
Scalar draw_value(Bytes& bytes) {
  using Limits = std::numeric_limits<Scalar>;
  static const std::vector<Scalar> values = {
      Scalar(0.5), Scalar(-2),  Scalar(0),           Scalar(3),          Scalar(1),     Scalar(-0.25),
      Scalar(7),   Scalar(1.5), Limits::quiet_NaN(), Limits::infinity(), Limits::max(), Limits::denorm_min()};
  return bytes.pick(values);
}

/// Right ones first.
inline double draw_momentum(Bytes& bytes) {
  return bytes.pick(std::vector<double>{0.1, 0.9, 0, 1, 0.5, -0.1, 1.1, std::numeric_limits<double>::quiet_NaN()});
}

template <typename Scalar>
void set_one(Bytes& bytes, eigennorm::Vector<Scalar>& values) {
  if (values.size() > 0) values[bytes.next() % values.size()] = draw_value<Scalar>(bytes);
}

template <typename Scalar>
void change_running(Bytes& bytes, eigennorm::RunningStatistics<Scalar>& running) {
  const int kind = bytes.below(8);
  switch (kind) {
    case 0:
      return set_one(bytes, running.mean);
    case 1:
      return set_one(bytes, running.variance);
    case 2:
    case 3: {
      const bool of_new = kind == 2;
      const double momentum = draw_momentum(bytes);
      const bool accepted = accepts([&] {
        running.averaging = of_new ? eigennorm::momentum_of_new(momentum) : eigennorm::momentum_kept(momentum);
      });
      require(accepted == (momentum >= 0 && momentum <= 1), "a momentum is from 0 to 1");
      return;
    }
    case 4:
      running.averaging = eigennorm::cumulative();
      return;
    case 5:
      running.estimator = eigennorm::Estimator::biased;
      return;
    case 6:
      running.update = !running.update;
      return;
    default:
      running.use_in_forward = !running.use_in_forward;
  }
}

template <typename Scalar>
void change_settings(Bytes& bytes, eigennorm::Normalization<Scalar>& layer, eigennorm::Statistic statistic) {
  switch (bytes.below(16)) {
    case 0:
      return set_one(bytes, layer.scale.value);
    case 1:
      return set_one(bytes, layer.shift.value);
    case 2:
      return layer.use_scale(bytes.below(2) == 0);
    case 3:
      return layer.use_shift(bytes.below(2) == 0);
    case 4:
      return layer.zero_grad();
    case 5:
      layer.eps = draw_eps(bytes);
      return;
    case 6: {
      // Sizes that may be wrong, until somebody asks for use_scale again.
      const std::int64_t size = bytes.below(8);
      layer.scale.value.setOnes(size);
      if (bytes.below(2) == 0) layer.scale.grad.setZero(size);
      return;
    }
    case 7:
    case 8: {
      const bool freezes = bytes.below(2) == 0;
      const bool accepted = accepts([&] { freezes ? layer.freeze() : layer.unfreeze(); });
      require(accepted == layer.running.has_value(), "a layer can be frozen if it has running statistics");
      return;
    }
    case 9:
      layer.running.reset();
      return;
    case 10:
      // The number of features is rarely wrong.
      layer.running.emplace(bytes.below(8) != 0 ? layer.features() : bytes.below(9), statistic);
      return;
    case 15:
      layer.activation = static_cast<eigennorm::Activation>(bytes.one_in(8) ? 2 : bytes.below(2));
      return;
    default:
      if (layer.running) change_running(bytes, *layer.running);
  }
}

/// As optimizers and files do.
template <typename Scalar>
void visit(Bytes& bytes, eigennorm::Normalization<Scalar>& layer) {
  if (bytes.below(2) == 0) {
    layer.for_each_parameter([](std::string_view, eigennorm::Parameter<Scalar>& parameter) {
      if (parameter.grad.size() == parameter.value.size()) parameter.value -= Scalar(0.125) * parameter.grad;
    });
    return;
  }
  layer.for_each_state([&](std::string_view name, auto values) {
    using Value = typename decltype(values)::Scalar;
    require(values.size() > 0 && values.data() != nullptr, "a state that is visited has values");
    values[0] = static_cast<Value>(name == "batches" ? bytes.below(8) - 1 : bytes.below(8));
  });
}

}  // namespace fuzz

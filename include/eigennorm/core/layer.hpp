#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "eigennorm/kernels/finite.hpp"
#include "eigennorm/normalization.hpp"

/// \file
/// What a layer holds: how it is made, read and set. Compiled with its calls (core/calls.hpp).

namespace eigennorm {

template <typename Scalar>
Normalization<Scalar>::Normalization(const Geometry& geometry, Statistic statistic, double epsilon)
    : eps(epsilon), geometry_(geometry), statistic_(statistic) {
  std::int64_t product = 1;
  for (const std::int64_t extent : geometry.extents) {
    if (extent < 1 || product > (std::numeric_limits<std::int64_t>::max)() / extent) {
      core::fail_with({name(), ": expected a number of ", geometry.noun,
                       " of at least 1 that a 64-bit integer can hold, got ", geometry.extents.text()});
    }
    product *= extent;
  }
  if (geometry.groups < 0 || (geometry.groups > 0 && product % geometry.groups != 0)) {
    core::fail_with({name(), ": expected a number of groups that divides ", product, " ", geometry.noun, ", got ",
                     geometry.groups});
  }
  use_scale(true);
  use_shift(true);
  check_settings();
}

template <typename Scalar>
void Normalization<Scalar>::use_parameter(Parameter<Scalar>& parameter, bool use, Scalar value) {
  const std::int64_t size = use ? features() : 0;
  if (parameter.value.size() == size && parameter.grad.size() == size) return;
  parameter.value = Vector<Scalar>::Constant(size, value);
  parameter.grad = Vector<Scalar>::Zero(size);
}

template <typename Scalar>
void Normalization<Scalar>::set_frozen(bool frozen, const char* verb) {
  if (!running) core::fail_with({name(), "::", verb, ": expected running statistics, got a layer that has none"});
  running->update = !frozen;
  running->use_in_forward = frozen;
}

template <typename Scalar>
const Moments<Scalar>& Normalization<Scalar>::moments() const {
  check_not_moved_from();
  if (moments_.empty()) {
    core::fail_with({name(), "::moments: expected a forward before that kept its moments in the layer, got none"});
  }
  return moments_;
}

template <typename Scalar>
std::vector<Scalar> Normalization<Scalar>::parameters() const {
  std::vector<Scalar> flat(scale.value.data(), scale.value.data() + scale.value.size());
  flat.insert(flat.end(), shift.value.data(), shift.value.data() + shift.value.size());
  return flat;
}

template <typename Scalar>
std::vector<Scalar> Normalization<Scalar>::gradients() const {
  std::vector<Scalar> flat(scale.grad.data(), scale.grad.data() + scale.grad.size());
  flat.insert(flat.end(), shift.grad.data(), shift.grad.data() + shift.grad.size());
  return flat;
}

template <typename Scalar>
void Normalization<Scalar>::set_parameters(const std::vector<Scalar>& values) {
  take_flat(values, scale.value, shift.value, "set_parameters");
}

template <typename Scalar>
void Normalization<Scalar>::set_gradients(const std::vector<Scalar>& values) {
  take_flat(values, scale.grad, shift.grad, "set_gradients");
}

template <typename Scalar>
void Normalization<Scalar>::take_flat(const std::vector<Scalar>& values, Vector<Scalar>& first, Vector<Scalar>& second,
                                      const char* verb) {
  const auto size = static_cast<std::int64_t>(values.size());
  if (size != first.size() + second.size()) {
    core::fail_with({name(), "::", verb, ": expected ", first.size(), " values of scale and ", second.size(),
                     " of shift, got ", size, " in all"});
  }
  std::copy_n(values.data(), first.size(), first.data());
  std::copy_n(values.data() + first.size(), second.size(), second.data());
}

template <typename Scalar>
void Normalization<Scalar>::assign(std::string_view state, const Scalar* values, std::int64_t size) {
  check_not_moved_from();
  Vector<Scalar>* target = state == "scale"              ? &scale.value
                           : state == "shift"            ? &shift.value
                           : !running                    ? nullptr
                           : state == "running_mean"     ? &running->mean
                           : state == "running_variance" ? &running->variance
                                                         : nullptr;
  const std::string words(state);
  if (target == nullptr || target->size() == 0) {
    core::fail_with({name(),
                     "::assign: expected the name of a state that the layer has (scale, shift, running_mean, "
                     "running_variance), got \"",
                     words.c_str(), "\""});
  }
  if (size != target->size()) {
    core::fail_with({name(), "::assign: expected ", target->size(), " values of ", words.c_str(), ", got ", size});
  }
  if (state == "running_mean" || state == "running_variance") {
    RunningStatistics<Scalar> next = *running;
    Vector<Scalar>& taken = state == "running_mean" ? next.mean : next.variance;
    std::copy_n(values, size, taken.data());
    next.check(name(), geometry_.noun);
  }
  std::copy_n(values, size, target->data());
  if (running) running->roots_.forget();
}

/// Moves the running statistics by a batch: all features, or, where one would become NaN or infinite, none. They are
/// made in `scratch_`, which has room for four of each feature.
template <typename Scalar>
void Normalization<Scalar>::update_running(const Moments<Scalar>& moments) {
  const bool each_corrected = running->estimator == Estimator::unbiased && moments.counts_differ();
  const RunningUpdate<Scalar> update(*running, each_corrected ? 0 : moments.count());
  const std::int64_t size = features(), variances = running->variance.size();
  Wide<Scalar>* const mean = scratch_.data();
  Wide<Scalar>* const variance = mean + size;
  auto* const next_mean = reinterpret_cast<Scalar*>(variance + size);
  Scalar* const next_variance = next_mean + size;
  moments.averages(each_corrected, mean, variances == 0 ? nullptr : variance);
  if (!update.move_means(mean, next_mean) || !update.move_variances(variance, next_variance)) {
    ++running->rejected_batches;
    return;
  }
  running->roots_.forget();
  std::copy(next_mean, next_mean + size, running->mean.data());
  std::copy(next_variance, next_variance + variances, running->variance.data());
  ++running->batches;
}

}  // namespace eigennorm

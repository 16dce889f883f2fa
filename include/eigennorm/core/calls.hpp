#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eigennorm/core/gradient.hpp"
#include "eigennorm/core/overlap.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/transform.hpp"
#include "eigennorm/kernels/dispatch.hpp"
#include "eigennorm/kernels/finite.hpp"
#include "eigennorm/kernels/summary.hpp"
#include "eigennorm/normalization.hpp"

/// \file
/// What the calls of a layer do: all checks first, then the work. Included by normalization.hpp, or compiled once in
/// the library.

namespace eigennorm {

// ---- a layer

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
    core::fail_with({name(), ": expected a number of groups that divides ", product, " ", geometry.noun,
                     ", got ", geometry.groups});
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
  if (!running)
    core::fail_with({name(), "::", verb, ": expected running statistics, got a layer that has none"});
  running->update = !frozen;
  running->use_in_forward = frozen;
}

template <typename Scalar>
const Moments<Scalar>& Normalization<Scalar>::moments() const {
  check_not_moved_from();
  if (moments_.empty()) {
    core::fail_with(
        {name(), "::moments: expected a forward before that kept its moments in the layer, got none"});
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
void Normalization<Scalar>::take_flat(const std::vector<Scalar>& values, Vector<Scalar>& first,
                                      Vector<Scalar>& second, const char* verb) {
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
    core::fail_with(
        {name(), "::assign: expected ", target->size(), " values of ", words.c_str(), ", got ", size});
  }
  if (state == "running_mean" || state == "running_variance") {
    RunningStatistics<Scalar> next = *running;
    Vector<Scalar>& taken = state == "running_mean" ? next.mean : next.variance;
    std::copy_n(values, size, taken.data());
    next.check(name(), geometry_.noun);
  }
  std::copy_n(values, size, target->data());
}

// ---- checks: all of a call's, before anything changes

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
  if (running) running->averaging.check(name());
}

template <typename Scalar>
void Normalization<Scalar>::check_parameter(const Parameter<Scalar>& parameter, const char* role) const {
  const std::int64_t values = parameter.value.size();
  if (values != 0 && values != features()) {
    core::fail_with({name(), ": expected ", features(), " values of ", role, ", or none, got ", values});
  }
  if (parameter.grad.size() != values) {
    core::fail_with({name(), ": expected as many gradients as values of ", role, ", ", values, ", got ",
                     parameter.grad.size()});
  }
}

/// `features_averaged`: whether an axis is both averaged and one of the features.
template <typename Scalar>
void Normalization<Scalar>::check_running(bool features_averaged) const {
  if (!running) return;
  if (!kernels::is_centred(statistic_) || features_averaged) {
    core::fail_with({name(),
                     ": expected no running statistics, which need a mean that is not averaged over the "
                     "features, got some"});
  }
  const std::int64_t variances = statistic_ == Statistic::mean_variance ? features() : 0;
  if (running->mean.size() != features() || running->variance.size() != variances) {
    core::fail_with({name(), ": expected running statistics of ", features(), " means and ", variances,
                     " variances, got ", running->mean.size(), " and ", running->variance.size()});
  }
  running->check(name(), geometry_.noun);
}

template <typename Scalar>
void Normalization<Scalar>::check_moments(const Moments<Scalar>& moments, const Shape& shape, Order order,
                                          const kernels::Partition& partition) const {
  if (moments.shape_ != shape) {
    core::fail_with({name(), ": expected the x of its forward, of shape ", moments.shape_.text(),
                     ", in backward, got shape ", shape.text()});
  }
  if (moments.order_ != order && moments.order_ != Order::any && order != Order::any) {
    core::fail_with({name(), ": expected the storage order of its forward in backward, got the other one"});
  }
  if (moments.averaged_axes_ != partition.averaged_axes || moments.feature_axes_ != partition.feature_axes ||
      moments.statistic_ != statistic_ || moments.cut_ != geometry_.groups) {
    core::fail_with(
        {name(), ": expected moments of a forward of this layer, got those of another kind of layer"});
  }
  if (moments.groups() != partition.groups.kept.size) {
    core::fail_with({name(), ": expected moments of ", partition.groups.kept.size, " groups, got ",
                     moments.groups(), " (moved away)"});
  }
}

/// Moves the running statistics by a batch: all features, or, where one would become NaN or infinite, none.
template <typename Scalar>
void Normalization<Scalar>::update_running(const Moments<Scalar>& moments) {
  const Movement<Scalar> movement(*running, moments.count());
  bool finite = true;
  moments.for_each_feature([&](std::int64_t feature, MeanAndVariance<Wide<Scalar>> batch) {
    const MeanAndVariance<Scalar> moved = movement(feature, batch);
    finite = finite && kernels::is_finite(moved.mean) && kernels::is_finite(moved.variance);
  });
  if (!finite) {
    ++running->rejected_batches;
    return;
  }
  moments.for_each_feature([&](std::int64_t feature, MeanAndVariance<Wide<Scalar>> batch) {
    const MeanAndVariance<Scalar> moved = movement(feature, batch);
    running->mean[feature] = moved.mean;
    if (running->variance.size() > 0) running->variance[feature] = moved.variance;
  });
  ++running->batches;
}

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

template <typename Scalar>
const Scalar* data_or_null(const Vector<Scalar>& values) {
  return values.size() == 0 ? nullptr : values.data();
}

// ---- the verbs

/// A forward by the batch's own statistics.
template <typename Storage, typename Scalar>
auto Calls<Storage, Scalar>::own_job(const Layer& layer, const kernels::Partition& partition,
                                     const Storage* x, Storage* y, const kernels::MomentsSink<Scalar>& sink)
    -> Job {
  return {&partition,
          layer.statistic_,
          static_cast<Wide<Scalar>>(layer.eps),
          x,
          y,
          data_or_null(layer.scale.value),
          data_or_null(layer.shift.value),
          sink,
          &kernels::block_kernels<Storage, Scalar>()};
}

/// The same by given statistics.
template <typename Storage, typename Scalar>
auto Calls<Storage, Scalar>::given_job(Job job, const RunningStatistics<Scalar>& given) -> Job {
  job.given_mean = given.mean.data();
  job.given_variance = data_or_null(given.variance);
  return job;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::forward(Layer& layer, const In& x, const Out& y,
                                     const Context<Scalar>& context) {
  const char* name = layer.name();
  std::optional<RunningStatistics<Scalar>>& running = layer.running;
  layer.check_settings();
  check_shape(name, x.shape, y.shape, "y");
  check_strides(x.shape, x.strides, name, "x");
  check_distinct(y.shape, y.strides, name, "y");
  check_overlap(name, y, x, "x and y of forward", false);
  const Order order = order_of(x, y);
  const kernels::Partition partition =
      core::partition(layer.geometry_, x.shape, order, {x.strides, y.strides, Strides{}});
  layer.check_running((partition.averaged_axes & partition.feature_axes) != 0);
  const bool frozen = running && running->use_in_forward;
  const bool update = running && running->update && partition.size > 0;
  if (update && layer.statistic_ == Statistic::mean_variance && partition.count == 1) {
    fail_with({name, ": expected more than one value for each of the ", layer.geometry_.noun,
               ", whose variance moves the running one, got an input of shape ", x.shape.text()});
  }

  // Where fixed statistics are in use while they move: those that y is made by.
  std::optional<RunningStatistics<Scalar>> used;
  if (frozen && update) used = running;
  Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  moments.prepare(partition, x.shape, order, layer.statistic_, layer.geometry_.groups,
                  partition.features_kept && layer.statistic_ == Statistic::mean_variance);
  // Until all is done there are none: a device may throw.
  moments.source_ = layer.moments_.source_ = Moments<Scalar>::Source::none;
  if (partition.size == 0) {
    moments.clear();
  } else if (!frozen) {
    Job own = own_job(layer, partition, x.data, y.data, moments.sink());
    core::forward(own, context.device);
    if (update) layer.update_running(moments);
  } else {
    Job given = given_job(own_job(layer, partition, x.data, y.data, moments.sink()), *running);
    forward_given(given, context.device);
    if (update) {
      // y is made; now the batch's own statistics, to move the running ones. Backward needs those that y was made by.
      Job own = own_job(layer, partition, x.data, nullptr, moments.sink());
      core::forward(own, context.device);
      layer.update_running(moments);
      Job again = given_job(own_job(layer, partition, x.data, nullptr, moments.sink()), *used);
      forward_given(again, context.device);
    }
  }
  moments.source_ = frozen ? Moments<Scalar>::Source::running : Moments<Scalar>::Source::batch;
}

template <typename Storage, typename Scalar>
kernels::Partition Calls<Storage, Scalar>::check_evaluation(const Layer& layer, const In& x, const Out* y) {
  const char* name = layer.name();
  layer.check_settings();
  check_strides(x.shape, x.strides, name, "x");
  if (y != nullptr) {
    check_shape(name, x.shape, y->shape, "y");
    check_distinct(y->shape, y->strides, name, "y");
    check_overlap(name, *y, x, "x and y of evaluate", true);
  }
  const kernels::Partition partition =
      core::partition(layer.geometry_, x.shape, y == nullptr ? x.order : order_of(x, *y),
                      {x.strides, y == nullptr ? Strides{} : y->strides, Strides{}});
  layer.check_running((partition.averaged_axes & partition.feature_axes) != 0);
  return partition;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::check(const Layer& layer, const In& x, const Out* y) {
  check_evaluation(layer, x, y);
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::evaluate(const Layer& layer, const In& x, const Out& y,
                                      const Context<Scalar>& context) {
  if (context.moments != nullptr)
    fail_with({layer.name(), ": expected no moments in evaluate, which keeps none, got some"});
  const kernels::Partition partition = check_evaluation(layer, x, &y);
  if (partition.size == 0) return;
  Job job = own_job(layer, partition, x.data, y.data, {});
  if (layer.running) {
    job = given_job(job, *layer.running);
    forward_given(job, context.device);
  } else {
    core::forward(job, context.device);
  }
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::observe(const In& x, const Geometry& geometry, Statistic statistic,
                                     const Device& device, Moments<Scalar>& moments) {
  check_strides(x.shape, x.strides, geometry.name, "x");
  // As if there were a y beside x, which would be walked likewise.
  const kernels::Partition partition =
      core::partition(geometry, x.shape, x.order, {x.strides, x.strides, Strides{}});
  moments.prepare(partition, x.shape, x.order, statistic, geometry.groups,
                  statistic == Statistic::mean_variance);
  moments.source_ = Moments<Scalar>::Source::none;
  if (partition.size > 0) {
    Job job{&partition, statistic,      0,
            x.data,     nullptr,        nullptr,
            nullptr,    moments.sink(), &kernels::block_kernels<Storage, Scalar>()};
    core::forward(job, device);
  }
  moments.source_ = Moments<Scalar>::Source::batch;
}

template <typename Storage, typename Scalar>
void Calls<Storage, Scalar>::backward(Layer& layer, const In& x, const In& dy, const Out& dx,
                                      const Context<Scalar>& context) {
  const char* name = layer.name();
  layer.check_settings();
  const Moments<Scalar>& moments = context.moments == nullptr ? layer.moments_ : *context.moments;
  if (moments.empty()) {
    fail_with({name, ": expected a forward before backward (evaluate leaves no moments), got ",
               context.moments == nullptr ? "none whose moments the layer keeps"
                                          : "moments that no forward has filled"});
  }
  check_shape(name, x.shape, dy.shape, "dy");
  check_shape(name, x.shape, dx.shape, "dx");
  check_strides(x.shape, x.strides, name, "x");
  check_strides(dy.shape, dy.strides, name, "dy");
  check_distinct(dx.shape, dx.strides, name, "dx");
  check_overlap(name, dx, x, "x and dx of backward", false);
  check_overlap(name, dx, dy, "dy and dx of backward", true);
  const Order order = order_of(x, dy, dx);
  const kernels::Partition partition =
      core::partition(layer.geometry_, x.shape, order, {x.strides, dy.strides, dx.strides});
  layer.check_moments(moments, x.shape, order, partition);
  if (partition.size == 0) return;

  const Scalar* scale = data_or_null(layer.scale.value);
  const auto needed =
      static_cast<std::size_t>(gradient_scratch<Scalar>(partition, scale != nullptr, moments.frozen()));
  if (layer.scratch_.size() < needed) layer.scratch_.resize(needed);
  const AffineGradients<Scalar> gradients{scale == nullptr ? nullptr : layer.scale.grad.data(),
                                          layer.shift.grad.size() == 0 ? nullptr : layer.shift.grad.data()};
  kernels::BackwardJob<Storage, Scalar> job{
      &partition, layer.statistic_, moments.frozen(),
      x.data,     dy.data,          dx.data,
      scale,      moments.source(), &kernels::block_kernels<Storage, Scalar>()};
  core::backward(job, gradients, layer.scratch_.data(), context.device);
}

}  // namespace core
}  // namespace eigennorm

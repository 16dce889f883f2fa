#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eigennorm/core/axes.hpp"
#include "eigennorm/core/device.hpp"
#include "eigennorm/core/error.hpp"
#include "eigennorm/core/gradient.hpp"
#include "eigennorm/core/overlap.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/transform.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/kernels/dispatch.hpp"
#include "eigennorm/moments.hpp"
#include "eigennorm/parameter.hpp"
#include "eigennorm/running_statistics.hpp"

/// \file
/// The one layer that all others are settings of.

namespace eigennorm {

/// Where a call runs, and where it keeps its moments: a device, `{device}`, `{device, &moments}` or `{{},
/// &moments}`.
template <typename Scalar>
struct Context {
  Context() = default;
  Context(Device where, Moments<Scalar>* keep = nullptr)
      : device(where), moments(keep) {}  // NOLINT(google-explicit-constructor)
  template <typename Pool, typename = std::enable_if_t<std::is_convertible_v<const Pool&, Device>>>
  Context(const Pool& pool, Moments<Scalar>* keep = nullptr)
      : Context(Device(pool), keep) {}  // NOLINT(google-explicit-constructor)

  Device device;                       ///< default: the calling thread
  Moments<Scalar>* moments = nullptr;  ///< null: the layer's own
};

namespace core {

/// Whether an argument is a tensor, and not where a call runs.
template <typename T, typename Scalar>
using IfTensor = std::enable_if_t<!std::is_convertible_v<const std::decay_t<T>&, Context<Scalar>>>;

}  // namespace core

/// A trainable normalization: `y = scale * (x - mu) / sigma + shift`.
///
/// A normalization is two sets of axes and a statistic: the axes it averages over, the axes along which
/// scale and shift
/// vary, and what it divides by. With M the number of values that share a statistic, xhat = (x - mu) / sigma
/// and
/// d = scale * dy,
///
///     dx     = (d - mean(d) - xhat * sum(d * xhat) / M) / sigma    (mean(d) only where the statistic has a
/// mean;
///                                                                   M -> 1 for sum_square; no last term for
/// mean)
///     dx     = d / sigma                                           (frozen: by running statistics)
///     dscale = sum(dy * xhat),  dshift = sum(dy)                   (over all but the feature axes)
///
/// **Tensors.** Any Eigen object whose values lie in memory: Matrix, Array, Map, Ref, Block (rank 2, vectors
/// too), Tensor,
/// TensorMap, TensorFixedSize (rank 1 to 8), of either storage order, any positive strides and any
/// alignment. Elements are
/// Scalar, or Eigen::half or Eigen::bfloat16 where Scalar is float. The tensors of a call have one shape,
/// one storage
/// order and one element type. Empty tensors are allowed and change no parameter, gradient or running value.
///
/// **Verbs.** `forward` trains: it uses the batch's statistics, leaves `moments()` and moves the running
/// statistics.
/// `evaluate` is inference: const, re-entrant, by the running statistics where there are any, by x's own
/// otherwise.
/// `backward` follows its `forward`, takes that x again, adds to the parameters' `grad` and writes dx; it
/// may run twice and
/// uses the scale as it is then. Each verb has a form that returns its result and one that writes into yours.
///
/// **Aliasing.** In `evaluate` y may be x; in `backward` dx may be dy. Any other shared element is an error.
///
/// **Settings** are public members and are checked at each call: `scale`, `shift`, `eps` (>= 0, finite),
/// `running`.
///
/// **Errors.** `fail()` (std::invalid_argument) names the layer, what was expected and what came; everything
/// is as it was.
///
/// **Values.** Copies are deep and carry moments; moves are cheap; a `std::vector<Normalization<float>>`
/// holds any layers.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
/// using namespace eigennorm;
///
/// int main() {
///   // Each sample of an NCHW tensor by its mean and variance over C, H and W, scale and shift per channel.
///   Normalization<float> layer(all_but(0), over(1), 8, Statistic::mean_variance, 1e-5);
///   Eigen::Tensor<float, 4, Eigen::RowMajor> x(2, 8, 5, 5), dy(2, 8, 5, 5);
///   x.setRandom();
///   dy.setRandom();
///   auto y = layer.forward(x);
///   auto dx = layer.backward(x, dy);
/// }
/// \endcode
///
/// \tparam Scalar the type of parameters and statistics: float, double or long double.
template <typename Scalar>
class Normalization {
  static_assert(std::is_floating_point_v<Scalar>, "The Scalar of a layer is float, double or long double.");

 public:
  /// With scale 1 and shift 0. Fails unless there is at least one feature, and where `geometry.groups` do
  /// not divide them.
  Normalization(const Geometry& geometry, Statistic statistic, double epsilon)
      : eps(epsilon), geometry_(geometry), statistic_(statistic) {
    std::int64_t product = 1;
    for (const std::int64_t extent : geometry.extents) {
      if (extent < 1 || product > std::numeric_limits<std::int64_t>::max() / extent) {
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

  /// The generic layer: averaged axes, feature axes, extents of the features.
  Normalization(AxisSet averaged, AxisSet features, Extents extents, Statistic statistic, double epsilon)
      : Normalization(Geometry{averaged, features, extents}, statistic, epsilon) {}

  Parameter<Scalar> scale;  ///< per feature; empty: 1
  Parameter<Scalar> shift;  ///< per feature; empty: 0
  double eps;               ///< inside the square root
  std::optional<RunningStatistics<Scalar>>
      running;  ///< where no averaged axis is a feature axis; none: evaluate uses x's own

  /// Sizes `scale` (value 1, grad 0), or empties it. Asking for what is there already changes nothing.
  void use_scale(bool use) { use_parameter(scale, use, Scalar(1)); }
  /// Sizes `shift` (value 0, grad 0), or empties it.
  void use_shift(bool use) { use_parameter(shift, use, Scalar(0)); }

  /// How many features scale and shift have.
  std::int64_t features() const { return geometry_.extents.product(); }

  // ---- forward

  /// y = scale * (x - mu) / sigma + shift by the batch's statistics (the running ones where frozen).
  template <typename X>
  core::Plain<X> forward(const X& x, Context<Scalar> context = {}) {
    if constexpr (core::check_input<X, Scalar>()) {
      core::Plain<X> y = core::DoorOf<X>::plain(x);
      run_forward(core::view(x), core::output_view(y), context);
      return y;
    } else {
      core::refused();
    }
  }

  /// The same into y, which shares no element with x.
  template <typename X, typename Y, typename = core::IfTensor<Y, Scalar>>
  void forward(const X& x, Y&& y, Context<Scalar> context = {}) {
    if constexpr (core::check_input<X, Scalar>() && core::check_output<X, Y, Scalar>()) {
      run_forward(core::view(x), core::output_view(y), context);
    }
  }

  // A const layer is told what to do instead. What the returning forms would return has to be named: void for
  // `auto y =` would be a second error, and the first to be read.
  template <typename X>
  core::Plain<X> forward(const X&, Context<Scalar> = {}) const {
    static_assert(!sizeof(X), "forward trains the layer, so it changes it: on a const layer use evaluate.");
    core::refused();
  }
  template <typename X, typename Y, typename = core::IfTensor<Y, Scalar>>
  void forward(const X&, Y&&, Context<Scalar> = {}) const {
    static_assert(!sizeof(X), "forward trains the layer, so it changes it: on a const layer use evaluate.");
  }

  // ---- evaluate

  /// Inference: by the running statistics, or by x's own where the layer has none.
  template <typename X>
  core::Plain<X> evaluate(const X& x, Context<Scalar> context = {}) const {
    if constexpr (core::check_input<X, Scalar>()) {
      core::Plain<X> y = core::DoorOf<X>::plain(x);
      run_evaluate(core::view(x), core::output_view(y), context);
      return y;
    } else {
      core::refused();
    }
  }

  /// The same into y, which may be x.
  template <typename X, typename Y, typename = core::IfTensor<Y, Scalar>>
  void evaluate(const X& x, Y&& y, Context<Scalar> context = {}) const {
    if constexpr (core::check_input<X, Scalar>() && core::check_output<X, Y, Scalar>()) {
      run_evaluate(core::view(x), core::output_view(y), context);
    }
  }

  // ---- backward

  /// dx, from the x of the forward and the gradient dy of the loss with respect to its y.
  template <typename X, typename DY>
  core::Plain<X> backward(const X& x, const DY& dy, Context<Scalar> context = {}) {
    if constexpr (core::check_input<X, Scalar>() && core::check_partner<X, DY, Scalar>()) {
      core::Plain<X> dx = core::DoorOf<X>::plain(x);
      run_backward(core::view(x), core::view(dy), core::output_view(dx), context);
      return dx;
    } else {
      core::refused();
    }
  }

  /// The same into dx, which may be dy.
  template <typename X, typename DY, typename DX, typename = core::IfTensor<DX, Scalar>>
  void backward(const X& x, const DY& dy, DX&& dx, Context<Scalar> context = {}) {
    if constexpr (core::check_input<X, Scalar>() && core::check_partner<X, DY, Scalar>() &&
                  core::check_output<X, DX, Scalar>()) {
      run_backward(core::view(x), core::view(dy), core::output_view(dx), context);
    }
  }

  template <typename X, typename DY>
  core::Plain<X> backward(const X&, const DY&, Context<Scalar> = {}) const {
    static_assert(
        !sizeof(X),
        "backward adds to the layer's gradients, so it changes it: call it on a layer that is not const.");
    core::refused();
  }
  template <typename X, typename DY, typename DX, typename = core::IfTensor<DX, Scalar>>
  void backward(const X&, const DY&, DX&&, Context<Scalar> = {}) const {
    static_assert(
        !sizeof(X),
        "backward adds to the layer's gradients, so it changes it: call it on a layer that is not const.");
  }

  // ---- state

  /// What the last forward left. Fails before any, and after a forward into moments of the caller.
  const Moments<Scalar>& moments() const {
    if (moments_.empty()) {
      core::fail_with(
          {name(), "::moments: expected a forward before that kept its moments in the layer, got none"});
    }
    return moments_;
  }

  /// Uses the running statistics in forward and backward, and stops moving them. Fails where there are none.
  void freeze() { set_frozen(true, "freeze"); }
  /// Back to training by batch statistics that move the running ones.
  void unfreeze() { set_frozen(false, "unfreeze"); }

  /// Clears the gradients.
  void zero_grad() {
    scale.grad.setZero();
    shift.grad.setZero();
  }

  /// Calls `f(std::string_view name, Parameter<Scalar>&)` for "scale" and "shift", absent ones skipped: for
  /// optimizers.
  /// On a const layer it is `const Parameter<Scalar>&`.
  template <typename F>
  void for_each_parameter(F&& f) {
    visit_parameters(*this, std::forward<F>(f));
  }
  template <typename F>
  void for_each_parameter(F&& f) const {
    visit_parameters(*this, std::forward<F>(f));
  }

  /// Calls `f(std::string_view name, map)` for everything that training changes and a file should keep:
  /// "scale", "shift",
  /// "running_mean", "running_variance" as flat maps of Scalar, and "batches" as a flat map of one
  /// std::int64_t. Absent ones
  /// are skipped; settings are code, not state. `auto`, `auto&` and `const auto&` all take the map; that of a
  /// const layer is read only.
  template <typename F>
  void for_each_state(F&& f) {
    visit_state(*this, std::forward<F>(f));
  }
  template <typename F>
  void for_each_state(F&& f) const {
    visit_state(*this, std::forward<F>(f));
  }

 protected:
  const char* name() const { return geometry_.name; }

 private:
  // ---- checks: all of a call's, before anything changes

  void use_parameter(Parameter<Scalar>& parameter, bool use, Scalar value) {
    const std::int64_t size = use ? features() : 0;
    if (parameter.value.size() == size && parameter.grad.size() == size) return;
    parameter.value = Vector<Scalar>::Constant(size, value);
    parameter.grad = Vector<Scalar>::Zero(size);
  }

  void set_frozen(bool frozen, const char* verb) {
    if (!running)
      core::fail_with({name(), "::", verb, ": expected running statistics, got a layer that has none"});
    running->update = !frozen;
    running->use_in_forward = frozen;
  }

  void check_settings() const {
    if (!(eps >= 0) || !std::isfinite(eps))
      core::fail_with({name(), ": expected a finite eps of at least 0, got ", eps});
    check_parameter(scale, "scale");
    check_parameter(shift, "shift");
    if (!running) return;
    running->averaging.check(name());
    if (running->batches < 0)
      core::fail_with({name(), ": expected a number of batches of at least 0, got ", running->batches});
  }

  void check_parameter(const Parameter<Scalar>& parameter, const char* role) const {
    const std::int64_t values = parameter.value.size();
    if (values != 0 && values != features()) {
      core::fail_with({name(), ": expected ", features(), " values of ", role, ", or none, got ", values});
    }
    if (parameter.grad.size() != values) {
      core::fail_with({name(), ": expected as many gradients as values of ", role, ", ", values, ", got ",
                       parameter.grad.size()});
    }
  }

  void check_running(const kernels::Partition& partition) const {
    if (!running) return;
    if (!kernels::is_centred(statistic_) || (partition.averaged_axes & partition.feature_axes) != 0) {
      core::fail_with({name(),
                       ": expected no running statistics, which need a mean that is not averaged over the "
                       "features, got some"});
    }
    const std::int64_t variances = statistic_ == Statistic::mean_variance ? features() : 0;
    if (running->mean.size() != features() || running->variance.size() != variances) {
      core::fail_with({name(), ": expected running statistics of ", features(), " means and ", variances,
                       " variances, got ", running->mean.size(), " and ", running->variance.size()});
    }
  }

  void check_shape(const Shape& x, const Shape& other, const char* role) const {
    if (x != other)
      core::fail_with({name(), ": expected ", role, " of x's shape ", x.text(), ", got ", other.text()});
  }

  template <typename A, typename B>
  void check_overlap(const View<A>& written, const View<B>& read, const char* roles,
                     bool same_is_allowed) const {
    const core::Overlap overlap = core::overlap(written, read);
    if (overlap == core::Overlap::none || (overlap == core::Overlap::same && same_is_allowed)) return;
    core::fail_with({name(), ": expected ", roles,
                     same_is_allowed ? " to be one tensor or to share no memory" : " to share no memory",
                     ", got ", overlap == core::Overlap::same ? "one tensor" : "a partial overlap"});
  }

  /// Every vector goes with either order; the first tensor that has one decides.
  template <typename... Views>
  static Order order_of(const Views&... views) {
    Order order = Order::any;
    ((order = order == Order::any ? views.order : order), ...);
    return order;
  }

  // ---- the verbs, on views

  template <typename Storage>
  kernels::ForwardJob<Storage, Scalar> job(const kernels::Partition& partition, const Storage* x, Storage* y,
                                           const kernels::MomentsSink<Scalar>& sink) const {
    return {&partition,
            statistic_,
            static_cast<Wide<Scalar>>(eps),
            x,
            y,
            data_or_null(scale),
            data_or_null(shift),
            sink,
            &kernels::block_kernels<Storage, Scalar>()};
  }

  /// The same by given statistics.
  template <typename Storage>
  kernels::ForwardJob<Storage, Scalar> given_job(const kernels::Partition& partition, const Storage* x,
                                                 Storage* y, const kernels::MomentsSink<Scalar>& sink,
                                                 const RunningStatistics<Scalar>& given) const {
    auto job = this->job(partition, x, y, sink);
    job.given_mean = given.mean.data();
    job.given_variance = given.variance.size() == 0 ? nullptr : given.variance.data();
    return job;
  }

  template <typename Storage>
  void run_forward(const View<const Storage>& x, const View<Storage>& y, const Context<Scalar>& context) {
    check_settings();
    check_shape(x.shape, y.shape, "y");
    core::check_strides(x.shape, x.strides, name(), "x");
    core::check_distinct(y.shape, y.strides, name(), "y");
    check_overlap(y, x, "x and y of forward", false);
    const Order order = order_of(x, y);
    const kernels::Partition partition =
        core::partition(geometry_, x.shape, order, {x.strides, y.strides, Strides{}});
    check_running(partition);
    const bool frozen = running && running->use_in_forward;
    const bool update = running && running->update && partition.size > 0;
    if (update && statistic_ == Statistic::mean_variance && partition.count == 1) {
      core::fail_with({name(), ": expected more than one value for each of the ", geometry_.noun,
                       ", whose variance moves the running one, got an input of shape ", x.shape.text()});
    }

    // Where fixed statistics are in use while they move: those that y is made by.
    std::optional<RunningStatistics<Scalar>> used;
    if (frozen && update) used = running;
    Moments<Scalar>& moments = context.moments == nullptr ? moments_ : *context.moments;
    moments.prepare(partition, x.shape, order, statistic_, geometry_.groups,
                    partition.features_kept && statistic_ == Statistic::mean_variance);
    if (context.moments != nullptr) moments_.source_ = Moments<Scalar>::Source::none;
    moments.source_ = frozen ? Moments<Scalar>::Source::running : Moments<Scalar>::Source::batch;
    if (partition.size == 0) {
      moments.high_.setZero();
      moments.low_.setZero();
      moments.rstd_.setZero();
      moments.variance_.setZero();
      return;
    }
    if (!frozen) {
      auto own = job(partition, x.data, y.data, moments.sink());
      core::forward(own, context.device);
      if (update) update_running(moments);
      return;
    }
    auto given = given_job(partition, x.data, y.data, moments.sink(), *running);
    core::forward_given(given, context.device);
    if (!update) return;
    // y is made; now the batch's own statistics, to move the running ones. Backward needs those that y was
    // made by.
    auto own = job<Storage>(partition, x.data, nullptr, moments.sink());
    core::forward(own, context.device);
    update_running(moments);
    auto again = given_job<Storage>(partition, x.data, nullptr, moments.sink(), *used);
    core::forward_given(again, context.device);
  }

  template <typename Storage>
  void run_evaluate(const View<const Storage>& x, const View<Storage>& y,
                    const Context<Scalar>& context) const {
    check_settings();
    if (context.moments != nullptr)
      core::fail_with({name(), ": expected no moments in evaluate, which keeps none, got some"});
    check_shape(x.shape, y.shape, "y");
    core::check_strides(x.shape, x.strides, name(), "x");
    core::check_distinct(y.shape, y.strides, name(), "y");
    check_overlap(y, x, "x and y of evaluate", true);
    const kernels::Partition partition =
        core::partition(geometry_, x.shape, order_of(x, y), {x.strides, y.strides, Strides{}});
    check_running(partition);
    if (partition.size == 0) return;
    if (running) {
      auto given = given_job(partition, x.data, y.data, {}, *running);
      core::forward_given(given, context.device);
    } else {
      auto own = job(partition, x.data, y.data, {});
      core::forward(own, context.device);
    }
  }

  template <typename Storage>
  void run_backward(const View<const Storage>& x, const View<const Storage>& dy, const View<Storage>& dx,
                    const Context<Scalar>& context) {
    const Moments<Scalar>& moments = context.moments == nullptr ? moments_ : *context.moments;
    check_settings();
    if (moments.empty()) {
      core::fail_with({name(), ": expected a forward before backward, got ",
                       context.moments == nullptr ? "none whose moments the layer keeps"
                                                  : "moments that no forward has filled"});
    }
    check_shape(x.shape, dy.shape, "dy");
    check_shape(x.shape, dx.shape, "dx");
    core::check_strides(x.shape, x.strides, name(), "x");
    core::check_strides(dy.shape, dy.strides, name(), "dy");
    core::check_distinct(dx.shape, dx.strides, name(), "dx");
    check_overlap(dx, x, "x and dx of backward", false);
    check_overlap(dx, dy, "dy and dx of backward", true);
    const Order order = order_of(x, dy, dx);
    const kernels::Partition partition =
        core::partition(geometry_, x.shape, order, {x.strides, dy.strides, dx.strides});
    check_moments(moments, x.shape, order, partition);
    if (partition.size == 0) return;

    const auto needed = static_cast<std::size_t>(
        core::gradient_scratch<Scalar>(partition, data_or_null(scale) != nullptr, moments.frozen()));
    if (scratch_.size() < needed) scratch_.resize(needed);
    const core::AffineGradients<Scalar> gradients{scale.grad.size() == 0 ? nullptr : scale.grad.data(),
                                                  shift.grad.size() == 0 ? nullptr : shift.grad.data()};
    kernels::BackwardJob<Storage, Scalar> job{&partition,
                                              statistic_,
                                              moments.frozen(),
                                              x.data,
                                              dy.data,
                                              dx.data,
                                              data_or_null(scale),
                                              moments.source(),
                                              &kernels::block_kernels<Storage, Scalar>()};
    core::backward(job, gradients, scratch_.data(), context.device);
  }

  void check_moments(const Moments<Scalar>& moments, const Shape& shape, Order order,
                     const kernels::Partition& partition) const {
    if (moments.shape_ != shape) {
      core::fail_with({name(), ": expected the x of its forward, of shape ", moments.shape_.text(),
                       ", in backward, got shape ", shape.text()});
    }
    if (moments.order_ != order && moments.order_ != Order::any && order != Order::any) {
      core::fail_with({name(), ": expected the storage order of its forward in backward, got the other one"});
    }
    if (moments.averaged_axes_ != partition.averaged_axes ||
        moments.feature_axes_ != partition.feature_axes || moments.statistic_ != statistic_ ||
        moments.cut_ != geometry_.groups) {
      core::fail_with(
          {name(), ": expected moments of a forward of this layer, got those of another kind of layer"});
    }
    if (moments.groups() != partition.groups.kept.size) {
      core::fail_with({name(), ": expected moments of ", partition.groups.kept.size, " groups, got ",
                       moments.groups(), " (moved away)"});
    }
  }

  static const Scalar* data_or_null(const Parameter<Scalar>& parameter) {
    return parameter.value.size() == 0 ? nullptr : parameter.value.data();
  }

  /// Moves the running statistics by a batch: all features, or, where one would become NaN or infinite, none.
  void update_running(const Moments<Scalar>& moments) {
    const Movement<Scalar> movement(*running, moments.count());
    bool finite = true;
    moments.for_each_feature([&](std::int64_t feature, MeanAndVariance<Wide<Scalar>> batch) {
      const MeanAndVariance<Scalar> moved = movement(feature, batch);
      finite = finite && std::isfinite(moved.mean) && std::isfinite(moved.variance);
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

  template <typename Layer, typename F>
  static void visit_parameters(Layer& layer, F&& f) {
    if (layer.scale.value.size() > 0) f(std::string_view("scale"), layer.scale);
    if (layer.shift.value.size() > 0) f(std::string_view("shift"), layer.shift);
  }

  template <typename Layer, typename F>
  static void visit_state(Layer& layer, F&& f) {
    // A visitor may take its map as `auto&`, so each has a name here.
    const auto visit = [&f](const char* name, auto& vector) {
      if (vector.size() == 0) return;
      auto map = flat(vector.data(), vector.size());
      f(std::string_view(name), map);
    };
    visit("scale", layer.scale.value);
    visit("shift", layer.shift.value);
    if (!layer.running) return;
    visit("running_mean", layer.running->mean);
    visit("running_variance", layer.running->variance);
    auto batches = flat(&layer.running->batches, 1);
    f(std::string_view("batches"), batches);
  }

  template <typename T>
  static auto flat(T* data, Eigen::Index size) {
    using Values = Eigen::Array<std::remove_const_t<T>, Eigen::Dynamic, 1>;
    return Eigen::Map<std::conditional_t<std::is_const_v<T>, const Values, Values>>(data, size);
  }

  Geometry geometry_;
  Statistic statistic_;
  Moments<Scalar> moments_;
  std::vector<Wide<Scalar>> scratch_;
};

}  // namespace eigennorm

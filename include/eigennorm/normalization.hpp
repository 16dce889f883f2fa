#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
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
#include "eigennorm/core/statistics.hpp"
#include "eigennorm/core/transform.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/moments.hpp"
#include "eigennorm/parameter.hpp"
#include "eigennorm/running_statistics.hpp"

/// \file
/// The one layer that all others are settings of.

namespace eigennorm {

/// Where a call runs, and where it keeps its moments. `{device}` and `{device, &moments}` convert to it.
template <typename Scalar>
struct Context {
  Device device;                       ///< default: the calling thread
  Moments<Scalar>* moments = nullptr;  ///< null: the layer's own
};

/// A trainable normalization: `y = scale * (x - mu) / sigma + shift`.
///
/// A normalization is two sets of axes and a statistic: the axes it averages over, the axes along which scale and shift
/// vary, and what it divides by. With M the number of values that share a statistic, xhat = (x - mu) / sigma and
/// d = scale * dy,
///
///     dx     = (d - mean(d) - xhat * sum(d * xhat) / M) / sigma    (mean(d) only where the statistic has a mean;
///                                                                   M -> 1 for sum_square; no last term for mean)
///     dx     = d / sigma                                           (frozen: by running statistics)
///     dscale = sum(dy * xhat),  dshift = sum(dy)                   (over all but the feature axes)
///
/// **Tensors.** Any Eigen object whose values lie in memory: Matrix, Array, Map, Ref, Block (rank 2, vectors too), Tensor,
/// TensorMap, TensorFixedSize (rank 1 to 8), of either storage order, any positive strides and any alignment. Elements are
/// Scalar, or Eigen::half or Eigen::bfloat16 where Scalar is float. The tensors of a call have one shape, one storage
/// order and one element type. Empty tensors are allowed and change nothing.
///
/// **Verbs.** `forward` trains: it uses the batch's statistics, leaves `moments()` and moves the running statistics.
/// `evaluate` is inference: const, re-entrant, by the running statistics where there are any, by x's own otherwise.
/// `backward` follows its `forward`, takes that x again, adds to the parameters' `grad` and writes dx; it may run twice and
/// uses the scale as it is then. Each verb has a form that returns its result and one that writes into yours.
///
/// **Aliasing.** In `evaluate` y may be x; in `backward` dx may be dy. Any other shared element is an error.
///
/// **Settings** are public members and are checked at each call: `scale`, `shift`, `eps` (>= 0, finite), `running`.
///
/// **Errors.** `fail()` (std::invalid_argument) names the layer, what was expected and what came; everything is as it was.
///
/// **Values.** Copies are deep and carry moments; moves are cheap; a `std::vector<Normalization<float>>` holds any layers.
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
  /// With scale 1 and shift 0. Fails unless there is at least one feature, and where `geometry.groups` do not divide them.
  Normalization(const Geometry& geometry, Statistic statistic, double epsilon)
      : eps(epsilon), geometry_(geometry), statistic_(statistic) {
    const std::string name = geometry.name;
    for (const std::int64_t extent : geometry.extents) {
      if (extent < 1) fail(name + ": expected at least one of the " + geometry.noun + ", got " + geometry.extents.text());
    }
    if (geometry.groups < 0 || (geometry.groups > 0 && features() % geometry.groups != 0)) {
      fail(name + ": expected a number of groups that divides " + geometry.extents.text() + " " + geometry.noun + ", got " +
           std::to_string(geometry.groups));
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
  std::optional<RunningStatistics<Scalar>> running;  ///< where no averaged axis is a feature axis; none: evaluate uses x's own

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
    core::check_input<X, Scalar>();
    core::Plain<X> y = core::DoorOf<X>::plain(x);
    forward(x, y, context);
    return y;
  }

  /// The same into y, which shares no element with x.
  template <typename X, typename Y, typename = std::enable_if_t<!std::is_same_v<std::decay_t<Y>, Context<Scalar>>>>
  void forward(const X& x, Y&& y, Context<Scalar> context = {}) {
    core::check_input<X, Scalar>();
    core::check_output<X, Y, Scalar>();
    run_forward(core::view(x), core::view(y), context);
  }

  template <typename X>
  void forward(const X&, Context<Scalar> = {}) const {
    static_assert(!sizeof(X), "forward trains the layer, so it changes it: on a const layer use evaluate.");
  }
  template <typename X, typename Y, typename = std::enable_if_t<!std::is_same_v<std::decay_t<Y>, Context<Scalar>>>>
  void forward(const X&, Y&&, Context<Scalar> = {}) const {
    static_assert(!sizeof(X), "forward trains the layer, so it changes it: on a const layer use evaluate.");
  }

  // ---- evaluate

  /// Inference: by the running statistics, or by x's own where the layer has none.
  template <typename X>
  core::Plain<X> evaluate(const X& x, Context<Scalar> context = {}) const {
    core::check_input<X, Scalar>();
    core::Plain<X> y = core::DoorOf<X>::plain(x);
    evaluate(x, y, context);
    return y;
  }

  /// The same into y, which may be x.
  template <typename X, typename Y, typename = std::enable_if_t<!std::is_same_v<std::decay_t<Y>, Context<Scalar>>>>
  void evaluate(const X& x, Y&& y, Context<Scalar> context = {}) const {
    core::check_input<X, Scalar>();
    core::check_output<X, Y, Scalar>();
    run_evaluate(core::view(x), core::view(y), context);
  }

  // ---- backward

  /// dx, from the x of the forward and the gradient dy of the loss with respect to its y.
  template <typename X, typename DY>
  core::Plain<X> backward(const X& x, const DY& dy, Context<Scalar> context = {}) {
    core::check_input<X, Scalar>();
    core::check_partner<X, DY, Scalar>();
    core::Plain<X> dx = core::DoorOf<X>::plain(x);
    backward(x, dy, dx, context);
    return dx;
  }

  /// The same into dx, which may be dy.
  template <typename X, typename DY, typename DX,
            typename = std::enable_if_t<!std::is_same_v<std::decay_t<DX>, Context<Scalar>>>>
  void backward(const X& x, const DY& dy, DX&& dx, Context<Scalar> context = {}) {
    core::check_input<X, Scalar>();
    core::check_partner<X, DY, Scalar>();
    core::check_output<X, DX, Scalar>();
    run_backward(core::view(x), core::view(dy), core::view(dx), context);
  }

  // ---- state

  /// What the last forward left. Fails before any, and after a forward into moments of the caller.
  const Moments<Scalar>& moments() const {
    if (moments_.empty()) fail(name() + "::moments: expected a forward before that kept its moments in the layer, got none");
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

  /// Calls `f(std::string_view name, Parameter<Scalar>&)` for "scale" and "shift", absent ones skipped: for optimizers.
  template <typename F>
  void for_each_parameter(F&& f) {
    if (scale.value.size() > 0) f(std::string_view("scale"), scale);
    if (shift.value.size() > 0) f(std::string_view("shift"), shift);
  }

  /// Calls `f(std::string_view name, map)` for everything that training changes and a file should keep: "scale", "shift",
  /// "running_mean", "running_variance" as flat maps of Scalar, and "batches" as a flat map of one std::int64_t. Absent ones
  /// are skipped; settings are code, not state.
  template <typename F>
  void for_each_state(F&& f) {
    visit_state(*this, std::forward<F>(f));
  }
  template <typename F>
  void for_each_state(F&& f) const {
    visit_state(*this, std::forward<F>(f));
  }

 protected:
  std::string name() const { return geometry_.name; }

 private:
  // ---- checks: all of a call's, before anything changes

  void use_parameter(Parameter<Scalar>& parameter, bool use, Scalar value) {
    const std::int64_t size = use ? features() : 0;
    if (parameter.value.size() == size && parameter.grad.size() == size) return;
    parameter.value = Vector<Scalar>::Constant(size, value);
    parameter.grad = Vector<Scalar>::Zero(size);
  }

  void set_frozen(bool frozen, const char* verb) {
    if (!running) fail(name() + "::" + verb + ": expected running statistics, got a layer that has none");
    running->update = !frozen;
    running->use_in_forward = frozen;
  }

  void check_settings() const {
    if (!(eps >= 0) || !std::isfinite(eps)) {
      fail(name() + ": expected a finite eps of at least 0, got " + std::to_string(eps));
    }
    check_parameter(scale, "scale");
    check_parameter(shift, "shift");
    if (running) running->averaging.check(name());
  }

  void check_parameter(const Parameter<Scalar>& parameter, const char* role) const {
    if (parameter.value.size() != 0 && parameter.value.size() != features()) {
      fail(name() + ": expected " + std::to_string(features()) + " values of " + role + " or none, got " +
           std::to_string(parameter.value.size()));
    }
    if (parameter.grad.size() != parameter.value.size()) {
      fail(name() + ": expected as many gradients as values of " + role + ", " + std::to_string(parameter.value.size()) +
           ", got " + std::to_string(parameter.grad.size()));
    }
  }

  void check_running(const core::Roles& roles) const {
    if (!running) return;
    if (!core::is_centred(statistic_) || (roles.averaged & roles.features) != 0) {
      fail(name() + ": expected no running statistics, which need a mean that is not averaged over the features, got some");
    }
    const std::int64_t variances = statistic_ == Statistic::mean_variance ? features() : 0;
    if (running->mean.size() != features() || running->variance.size() != variances) {
      fail(name() + ": expected running statistics of " + std::to_string(features()) + " means and " +
           std::to_string(variances) + " variances, got " + std::to_string(running->mean.size()) + " and " +
           std::to_string(running->variance.size()));
    }
  }

  static std::string axes_text(const Shape& shape) { return shape.text(); }

  template <typename A, typename B>
  void check_shapes(const View<A>& x, const View<B>& other, const char* role) const {
    if (x.shape != other.shape) {
      fail(name() + ": expected " + role + " of x's shape " + x.shape.text() + ", got " + other.shape.text());
    }
  }

  template <typename T>
  void check_layout(const View<T>& tensor, const char* role, bool written) const {
    core::check_strides(tensor.shape, tensor.strides, name(), role);
    if (written) core::check_distinct(tensor.shape, tensor.strides, name(), role);
  }

  template <typename A, typename B>
  void check_overlap(const View<A>& written, const View<B>& read, const char* roles, bool same_is_allowed) const {
    const core::Overlap overlap = core::overlap(written, read);
    if (overlap == core::Overlap::none || (overlap == core::Overlap::same && same_is_allowed)) return;
    fail(name() + ": expected " + roles + (same_is_allowed ? " to be one tensor or to share no memory" : " to share no memory") +
         ", got " + (overlap == core::Overlap::same ? "one tensor" : "a partial overlap"));
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
  core::Forward<Storage, Scalar> job(const core::Partition& partition, const Storage* x, Storage* y,
                                     const core::MomentsSink<Scalar>& sink) const {
    return {partition, statistic_, eps, x, y, {data_or_null(scale), data_or_null(shift)}, sink};
  }

  core::GivenStatistics<Scalar> given() const {
    return {running->mean.data(), running->variance.size() == 0 ? nullptr : running->variance.data()};
  }

  template <typename Storage>
  void run_forward(const View<const Storage>& x, const View<Storage>& y, const Context<Scalar>& context) {
    check_settings();
    check_shapes(x, y, "y");
    check_layout(x, "x", false);
    check_layout(y, "y", true);
    check_overlap(y, x, "x and y of forward", false);
    const Order order = order_of(x, y);
    const core::Roles roles = core::roles(geometry_, x.shape);
    const core::Partition partition = core::partition(geometry_, x.shape, order, {x.strides, y.strides, Strides{}});
    check_running(roles);
    const bool frozen = running && running->use_in_forward;
    const bool update = running && running->update && partition.size > 0;
    if (update && statistic_ == Statistic::mean_variance && partition.count == 1) {
      fail(name() + ": expected more than one value per channel, whose variance is to move the running one, got an input of shape " +
           x.shape.text());
    }

    Moments<Scalar>& moments = context.moments == nullptr ? moments_ : *context.moments;
    moments.prepare(partition, x.shape, order, roles, statistic_, geometry_.groups,
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
      job(partition, x.data, y.data, moments.sink()).with_own_statistics(context.device);
      if (update) update_running(moments);
    } else if (!update) {
      job(partition, x.data, y.data, moments.sink()).with_given_statistics(given(), context.device);
    } else {
      // y by the running values as they are; then the batch's, to move them. Backward needs those y was made by, so they
      // take the batch's place in the moments as they move.
      job(partition, x.data, y.data, {}).with_given_statistics(given(), context.device);
      job<Storage>(partition, x.data, nullptr, moments.sink()).with_own_statistics(context.device);
      const RunningStatistics<Scalar> before = *running;
      update_running(moments);
      const core::GivenStatistics<Scalar> used{before.mean.data(), before.variance.size() == 0 ? nullptr : before.variance.data()};
      job<Storage>(partition, x.data, nullptr, moments.sink()).with_given_statistics(used, context.device);
    }
  }

  template <typename Storage>
  void run_evaluate(const View<const Storage>& x, const View<Storage>& y, const Context<Scalar>& context) const {
    check_settings();
    if (context.moments != nullptr) fail(name() + ": expected no moments in evaluate, which keeps none, got some");
    check_shapes(x, y, "y");
    check_layout(x, "x", false);
    check_layout(y, "y", true);
    check_overlap(y, x, "x and y of evaluate", true);
    const core::Partition partition = core::partition(geometry_, x.shape, order_of(x, y), {x.strides, y.strides, Strides{}});
    check_running(core::roles(geometry_, x.shape));
    if (partition.size == 0) return;
    const auto job = this->job(partition, x.data, y.data, {});
    if (running) {
      job.with_given_statistics(given(), context.device);
    } else {
      job.with_own_statistics(context.device);
    }
  }

  template <typename Storage>
  void run_backward(const View<const Storage>& x, const View<const Storage>& dy, const View<Storage>& dx,
                    const Context<Scalar>& context) {
    const Moments<Scalar>& moments = context.moments == nullptr ? moments_ : *context.moments;
    check_settings();
    if (moments.empty()) {
      fail(name() + ": expected a forward before backward, got " +
           (context.moments == nullptr ? "none whose moments the layer keeps" : "moments that no forward has filled"));
    }
    check_shapes(x, dy, "dy");
    check_shapes(x, dx, "dx");
    check_layout(x, "x", false);
    check_layout(dy, "dy", false);
    check_layout(dx, "dx", true);
    check_overlap(dx, x, "x and dx of backward", false);
    check_overlap(dx, dy, "dy and dx of backward", true);
    const Order order = order_of(x, dy, dx);
    const core::Roles roles = core::roles(geometry_, x.shape);
    check_moments(moments, x.shape, order, roles);
    const core::Partition partition = core::partition(geometry_, x.shape, order, {x.strides, dy.strides, dx.strides});
    if (partition.size == 0) return;

    using Backward = core::Backward<Storage, Scalar>;
    const auto needed = static_cast<std::size_t>(Backward::scratch_size(partition));
    if (scratch_.size() < needed) scratch_.resize(needed);
    const core::AffineGradients<Scalar> gradients{scale.grad.size() == 0 ? nullptr : scale.grad.data(),
                                                  shift.grad.size() == 0 ? nullptr : shift.grad.data()};
    Backward(partition, statistic_, moments.frozen(), x.data, dy.data, dx.data, data_or_null(scale), moments.source())
        .run(gradients, scratch_.data(), context.device);
  }

  void check_moments(const Moments<Scalar>& moments, const Shape& shape, Order order, const core::Roles& roles) const {
    if (moments.shape_ != shape) {
      fail(name() + ": expected the x of its forward, of shape " + moments.shape_.text() + ", in backward, got shape " + shape.text());
    }
    const bool same_order = moments.order_ == order || moments.order_ == Order::any || order == Order::any;
    if (!same_order) {
      fail(name() + ": expected the storage order of its forward in backward, got the other one");
    }
    if (moments.roles_.averaged != roles.averaged || moments.roles_.features != roles.features ||
        moments.statistic_ != statistic_ || moments.cut_ != geometry_.groups) {
      fail(name() + ": expected moments of a forward of this layer, got those of another kind of layer");
    }
  }

  static const Scalar* data_or_null(const Parameter<Scalar>& parameter) {
    return parameter.value.size() == 0 ? nullptr : parameter.value.data();
  }

  /// A feature's batch statistics (the mean over its groups), and from them the running values they lead to.
  struct RunningValues {
    Scalar mean, variance;
  };
  RunningValues moved(const Moments<Scalar>& moments, const core::Offsets& feature) const {
    using W = Wide<Scalar>;
    W mean = 0;
    W variance = 0;
    const std::int64_t samples = moments.kept_samples_.size;
    for (std::int64_t i = 0; i < samples; ++i) {
      const std::int64_t group = feature.group + moments.kept_samples_.at(i).group;
      mean += static_cast<W>(moments.high_[group]) + static_cast<W>(moments.low_[group]);
      if (statistic_ == Statistic::mean_variance) variance += moments.variance_[group];
    }
    const W m = static_cast<W>(moments.count());
    mean /= static_cast<W>(samples);
    variance /= static_cast<W>(samples);
    if (running->estimator == Estimator::unbiased) variance *= m / (m - 1);
    const W old_weight = static_cast<W>(running->averaging.weight_of_old(running->batches));
    const W new_weight = static_cast<W>(running->averaging.weight_of_new(running->batches));
    const auto mix = [&](Scalar old_value, W new_value) {
      return static_cast<Scalar>(old_weight * static_cast<W>(old_value) + new_weight * new_value);
    };
    return {mix(running->mean[feature.feature], mean),
            statistic_ == Statistic::mean_variance ? mix(running->variance[feature.feature], variance) : Scalar(0)};
  }

  void update_running(const Moments<Scalar>& moments) {
    const core::Loop& features = moments.kept_features_;
    for (std::int64_t i = 0; i < features.size; ++i) {
      const RunningValues values = moved(moments, features.at(i));
      if (!std::isfinite(values.mean) || !std::isfinite(values.variance)) {
        ++running->rejected_batches;
        return;
      }
    }
    for (std::int64_t i = 0; i < features.size; ++i) {
      const core::Offsets feature = features.at(i);
      const RunningValues values = moved(moments, feature);
      running->mean[feature.feature] = values.mean;
      if (statistic_ == Statistic::mean_variance) running->variance[feature.feature] = values.variance;
    }
    ++running->batches;
  }

  template <typename Layer, typename F>
  static void visit_state(Layer& layer, F&& f) {
    const auto visit = [&f](const char* name, auto& vector) {
      if (vector.size() > 0) f(std::string_view(name), flat(vector.data(), vector.size()));
    };
    visit("scale", layer.scale.value);
    visit("shift", layer.shift.value);
    if (!layer.running) return;
    visit("running_mean", layer.running->mean);
    visit("running_variance", layer.running->variance);
    f(std::string_view("batches"), flat(&layer.running->batches, 1));
  }

  template <typename T>
  static auto flat(T* data, Eigen::Index size) {
    using Values = Eigen::Array<std::remove_const_t<T>, Eigen::Dynamic, 1>;
    return Eigen::Map<std::conditional_t<std::is_const_v<T>, const Values, Values>>(data, size);
  }

  Geometry geometry_;
  Statistic statistic_;
  Moments<Scalar> moments_;
  std::vector<core::GradientSums<Scalar>> scratch_;
};

}  // namespace eigennorm

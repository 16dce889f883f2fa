#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

#include "eigennorm/activation.hpp"
#include "eigennorm/context.hpp"
#include "eigennorm/core/axes.hpp"
#include "eigennorm/core/declared_calls.hpp"
#include "eigennorm/core/error.hpp"
#include "eigennorm/core/moved_from.hpp"
#include "eigennorm/core/plans.hpp"
#include "eigennorm/core/spread_room.hpp"
#include "eigennorm/core/valid_room.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/instruction_set.hpp"
#include "eigennorm/moments.hpp"
#include "eigennorm/parameter.hpp"
#include "eigennorm/prepared.hpp"
#include "eigennorm/running_statistics.hpp"
#include "eigennorm/streaming.hpp"

/// \file
/// The one layer that all others are settings of.

namespace eigennorm {

template <typename Scalar>
class Normalization;

namespace core {

/// Whether an argument is a tensor, and not where a call runs.
template <typename T, typename Scalar>
using IfTensor = std::enable_if_t<!std::is_convertible_v<const std::decay_t<T>&, Context<Scalar>>>;

}  // namespace core

/// A trainable normalization: `y = scale * (x - mu) / sigma + shift`.
///
/// A normalization is two sets of axes and a statistic: the axes it averages over, the axes along which scale and
/// shift vary, and what it divides by. With M the number of values that share a statistic, xhat = (x - mu) / sigma
/// and d = scale * dy,
///
///     dx     = (d - mean(d) - xhat * sum(d * xhat) / M) / sigma    (no mean(d) where the statistic has no mean; no
///                                                                   last term for mean; M -> 1 for sum_square)
///     dx     = d / sigma                                           (frozen: by running statistics)
///     dscale = sum(dy * xhat),  dshift = sum(dy)                   (over all but the feature axes)
///
/// **Tensors.** Any Eigen object whose values lie in memory: Matrix, Array, Map, Ref, Block (rank 2, vectors too),
/// Tensor, TensorMap, TensorFixedSize (rank 1 to 8), of either storage order, any strides that are not negative (0 in
/// what is only read) and any alignment. Elements are Scalar, or Eigen::half or Eigen::bfloat16 where Scalar is
/// float. The tensors of a call have one shape, one storage order and one element type. Empty tensors are allowed and
/// change no parameter, gradient or running value.
///
/// **Verbs.** `forward` trains: it uses the batch's statistics, leaves `moments()` and moves the running statistics.
/// `evaluate` is inference: const, re-entrant, by the running statistics where there are any, by x's own otherwise.
/// `backward` follows its `forward`, takes that x again, adds to the parameters' `grad` and writes dx; it may run twice
/// and uses the scale as it is then. Each verb has a form that returns its result and one that writes into yours.
///
/// **Aliasing.** In `evaluate` y may be x; in `backward` dx may be dy. Any other shared element is an error.
///
/// **Settings** are public members and are checked at each call: `scale`, `shift`, `eps` (>= 0, finite),
/// `running`, `activation`. A residual that is added in the same pass: see Context.
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
  /// With scale 1 and shift 0. Fails unless there is at least one feature, and where `geometry.groups` do not divide
  /// them.
  Normalization(const Geometry& geometry, Statistic statistic, double epsilon);

  /// The generic layer: averaged axes, feature axes, extents of the features.
  Normalization(AxisSet averaged, AxisSet features, Extents extents, Statistic statistic, double epsilon)
      : Normalization(Geometry{averaged, features, extents}, statistic, epsilon) {}

  Parameter<Scalar> scale;  ///< per feature; empty: 1
  Parameter<Scalar> shift;  ///< per feature; empty: 0
  double eps;               ///< inside the square root
  std::optional<RunningStatistics<Scalar>>
      running;                               ///< where no averaged axis is a feature axis; none: evaluate uses x's own
  Activation activation = Activation::none;  ///< of y; not of WeightNorm

  /// Sizes `scale` (value 1, grad 0), or empties it. Asking for what is there already changes nothing.
  void use_scale(bool use) { use_parameter(scale, use, Scalar(1)); }
  /// Sizes `shift` (value 0, grad 0), or empties it.
  void use_shift(bool use) { use_parameter(shift, use, Scalar(0)); }

  /// How many features scale and shift have.
  std::int64_t features() const { return geometry_.extents.product(); }

  // ---- forward

  /// y = scale * (x - mu) / sigma + shift by the batch's statistics (the running ones where frozen).
  template <typename X>
  core::Plain<X> forward(const X& x, const Context<Scalar>& context = {}) {
    if constexpr (core::check_input<X, Scalar>()) {
      core::Plain<X> y = core::DoorOf<X>::plain(x);
      CallsOf<X>::forward(*this, core::view(x), core::output_view(y), context);
      return y;
    } else {
      core::refused();
    }
  }

  /// The same into y, which shares no element with x.
  template <typename X, typename Y, typename = core::IfTensor<Y, Scalar>>
  void forward(const X& x, Y&& y, const Context<Scalar>& context = {}) {
    if constexpr (core::check_input<X, Scalar>() && core::check_output<X, Y, Scalar>()) {
      CallsOf<X>::forward(*this, core::view(x), core::output_view(y), context);
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
  core::Plain<X> evaluate(const X& x, const Context<Scalar>& context = {}) const {
    if constexpr (core::check_input<X, Scalar>()) {
      core::Plain<X> y = core::DoorOf<X>::plain(x);
      CallsOf<X>::evaluate(*this, core::view(x), core::output_view(y), context);
      return y;
    } else {
      core::refused();
    }
  }

  /// The same into y, which may be x.
  template <typename X, typename Y, typename = core::IfTensor<Y, Scalar>>
  void evaluate(const X& x, Y&& y, const Context<Scalar>& context = {}) const {
    if constexpr (core::check_input<X, Scalar>() && core::check_output<X, Y, Scalar>()) {
      CallsOf<X>::evaluate(*this, core::view(x), core::output_view(y), context);
    }
  }

  /// Settles all that `evaluate(x, y)` would, for one shape and layout of x and y: see Prepared. It keeps a copy of
  /// what it needs of the layer. Fails where that call would.
  template <typename X, typename Y>
  core::PreparedOf<X, Scalar> prepare(const X& x, Y&& y) const {
    if constexpr (core::check_input<X, Scalar>() && core::check_output<X, Y, Scalar>()) {
      return CallsOf<X>::prepare(*this, core::view(x), core::output_view(y));
    } else {
      core::refused();
    }
  }

  // ---- backward

  /// dx, from the x of the forward and the gradient dy of the loss with respect to its y.
  template <typename X, typename DY>
  core::Plain<X> backward(const X& x, const DY& dy, const Context<Scalar>& context = {}) {
    if constexpr (core::check_input<X, Scalar>() && core::check_partner<X, DY, Scalar>()) {
      core::Plain<X> dx = core::DoorOf<X>::plain(x);
      CallsOf<X>::backward(*this, core::view(x), core::view(dy), core::output_view(dx), context);
      return dx;
    } else {
      core::refused();
    }
  }

  /// The same into dx, which may be dy.
  template <typename X, typename DY, typename DX, typename = core::IfTensor<DX, Scalar>>
  void backward(const X& x, const DY& dy, DX&& dx, const Context<Scalar>& context = {}) {
    if constexpr (core::check_input<X, Scalar>() && core::check_partner<X, DY, Scalar>() &&
                  core::check_output<X, DX, Scalar>()) {
      CallsOf<X>::backward(*this, core::view(x), core::view(dy), core::output_view(dx), context);
    }
  }

  template <typename X, typename DY>
  core::Plain<X> backward(const X&, const DY&, Context<Scalar> = {}) const {
    static_assert(!sizeof(X),
                  "backward adds to the layer's gradients, so it changes it: call it on a layer that is not const.");
    core::refused();
  }
  template <typename X, typename DY, typename DX, typename = core::IfTensor<DX, Scalar>>
  void backward(const X&, const DY&, DX&&, Context<Scalar> = {}) const {
    static_assert(!sizeof(X),
                  "backward adds to the layer's gradients, so it changes it: call it on a layer that is not const.");
  }

  // ---- state

  /// What the last forward left. Fails before any, and after a forward into moments of the caller.
  const Moments<Scalar>& moments() const;

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
  /// optimizers. On a const layer the parameters are const.
  template <typename F>
  void for_each_parameter(F&& f) {
    visit_parameters(*this, f);
  }
  template <typename F>
  void for_each_parameter(F&& f) const {
    visit_parameters(*this, f);
  }

  /// How many numbers all parameters are: those of scale and of shift.
  std::int64_t parameter_count() const { return scale.value.size() + shift.value.size(); }
  /// All values of scale, then all of shift, in one vector: for optimizers and libraries that want them flat.
  std::vector<Scalar> parameters() const;
  /// The same of the gradients.
  std::vector<Scalar> gradients() const;
  /// Takes such values over. Fails, unchanged, unless there are `parameter_count()` of them.
  void set_parameters(const std::vector<Scalar>& values);
  /// The same for the gradients.
  void set_gradients(const std::vector<Scalar>& values);

  /// Calls `f(std::string_view name, map)` for everything that training changes and a file should keep: "scale",
  /// "shift", "running_mean", "running_variance" as flat maps of Scalar, and "batches" as a flat map of one
  /// std::int64_t. Absent ones are skipped; settings are code, not state. A visitor may take its map as `auto`,
  /// `auto&` or `const auto&`. What is written there is checked by the next call, or by `check()`.
  template <typename F>
  void for_each_state(F&& f) {
    visit_state(*this, f);
  }
  template <typename F>
  void for_each_state(F&& f) const {
    visit_state(*this, f);
  }

  /// Takes over one piece of state from a plain array, by its name in `for_each_state`: "scale", "shift",
  /// "running_mean" or "running_variance". Fails, unchanged, where the layer has no such state or it has another
  /// size, and where running statistics would be ones that a call refuses.
  void assign(std::string_view state, const Scalar* values, std::int64_t size);

  /// Fails where a call would, whatever its tensors: settings, and the sizes and values of what the layer holds.
  void check() const;
  /// Fails where `evaluate(x)` would, and does nothing else: after it, that call may be part of a noexcept function.
  template <typename X>
  void check(const X& x) const {
    if constexpr (core::check_input<X, Scalar>()) {
      CallsOf<X>::check(*this, core::view(x), nullptr);
    }
  }
  /// Fails where `evaluate(x, y)` would.
  template <typename X, typename Y>
  void check(const X& x, Y&& y) const {
    if constexpr (core::check_input<X, Scalar>() && core::check_output<X, Y, Scalar>()) {
      const auto written = core::output_view(y);
      CallsOf<X>::check(*this, core::view(x), &written);
    }
  }

 protected:
  const char* name() const { return geometry_.name; }

 private:
  template <typename Storage, typename Any>
  friend struct core::Calls;
  friend struct core::LayerFacts;
  template <typename X>
  using CallsOf = core::Calls<core::Element<X>, Scalar>;

  void use_parameter(Parameter<Scalar>& parameter, bool use, Scalar value);
  void set_frozen(bool frozen, const char* verb);
  void check_not_moved_from() const;
  void check_settings() const;
  void check_activation() const;
  void check_parameter(const Parameter<Scalar>& parameter, const char* role) const;
  const Scalar* check_running(bool features_averaged) const;
  void check_moments(const Moments<Scalar>& moments, const Shape& shape, Order order, const core::Partition& partition,
                     int members) const;
  void update_running(const Moments<Scalar>& moments);
  /// In `scratch_`, for so many numbers.
  void make_room(std::int64_t size) {
    if (static_cast<std::int64_t>(scratch_.size()) < size) scratch_.resize(static_cast<std::size_t>(size));
  }
  void take_flat(const std::vector<Scalar>& values, Vector<Scalar>& first, Vector<Scalar>& second, const char* verb);

  template <typename Layer, typename F>
  static void visit_parameters(Layer& layer, F& f) {
    if (layer.scale.value.size() > 0) f(std::string_view("scale"), layer.scale);
    if (layer.shift.value.size() > 0) f(std::string_view("shift"), layer.shift);
  }

  template <typename Layer, typename F>
  static void visit_state(Layer& layer, F& f) {
    const auto visit = [&f](const char* name, auto* data, Eigen::Index size) {
      // A variable of its own, so that a visitor may take it by any kind of reference.
      auto map = flat(data, size);
      if (size > 0) f(std::string_view(name), map);
    };
    visit("scale", layer.scale.value.data(), layer.scale.value.size());
    visit("shift", layer.shift.value.data(), layer.shift.value.size());
    if (!layer.running) return;
    visit("running_mean", layer.running->mean.data(), layer.running->mean.size());
    visit("running_variance", layer.running->variance.data(), layer.running->variance.size());
    visit("batches", &layer.running->batches, 1);
  }

  template <typename T>
  static auto flat(T* data, Eigen::Index size) {
    using Values = Eigen::Array<std::remove_const_t<T>, Eigen::Dynamic, 1>;
    return Eigen::Map<std::conditional_t<std::is_const_v<T>, const Values, Values>>(data, size);
  }

  Geometry geometry_;
  Statistic statistic_;
  core::MovedFrom moved_from_;
  Moments<Scalar> moments_;
  std::vector<Wide<Scalar>> scratch_;
  core::SpreadRoom<Scalar> spread_;
  core::ValidRoom valid_room_;
  mutable core::Plans plans_;
};

}  // namespace eigennorm

#if !defined(EIGENNORM_COMPILED)
#include "eigennorm/core/calls.hpp"
#endif

#pragma once

#include <cstdint>

#include "eigennorm/activation.hpp"
#include "eigennorm/context.hpp"
#include "eigennorm/core/plans.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/moments.hpp"

/// \file
/// The calls behind the verbs of a layer, declared: all that a unit sees of them that uses the compiled library.

namespace eigennorm {

template <typename Scalar>
class Normalization;
template <typename Storage, typename Scalar>
class Prepared;

namespace core {

template <typename Storage, typename Scalar>
struct ForwardCall;
template <typename Storage, typename Scalar>
struct BackwardCall;
template <typename Storage>
struct Fusion;
template <typename Scalar>
struct AffineGradients;
struct LayerFacts;
struct SpreadMerge;
enum class Cleared;
class ValidParts;

/// What the verbs do once the door is behind them: `Storage` is the type of x's elements. Defined in core/calls.hpp
/// for the five pairs of types that there are; a unit that uses the compiled library sees these declarations only.
template <typename Storage, typename Scalar>
struct Calls {
  using Layer = Normalization<Scalar>;
  using In = View<const Storage>;
  using Out = View<Storage>;

  static void forward(Layer& layer, const In& x, const Out& y, const Context<Scalar>& context);
  static void evaluate(const Layer& layer, const In& x, const Out& y, const Context<Scalar>& context);
  static Prepared<Storage, Scalar> prepare(const Layer& layer, const In& x, const Out& y);
  static void evaluate(const Prepared<Storage, Scalar>& prepared, const Storage* x, Storage* y) noexcept;
  static void backward(Layer& layer, const In& x, const In& dy, const Out& dx, const Context<Scalar>& context);
  /// Only the checks of `evaluate`; y is null where the call makes its own.
  static void check(const Layer& layer, const In& x, const Out* y);
  /// Of a forward the statistics alone, and no layer.
  static void observe(const In& x, const Geometry& geometry, Statistic statistic, const Context<Scalar>& context,
                      Moments<Scalar>& moments);

 private:
  using Forward = ForwardCall<Storage, Scalar>;
  using Backward = BackwardCall<Storage, Scalar>;
  static Forward forward_call(const Layer& layer, const core::Partition& partition, const Storage* x, Storage* y);
  static Backward backward_call(Layer& layer, const core::Partition& partition, const In& x, const In& dy,
                                const Out& dx, const Context<Scalar>& context);
  static const Scalar* keep_roots(const Layer& layer, const Forward& call);
  static AffineGradients<Scalar> gradients_of(Layer& layer, const Context<Scalar>& context);
  static bool renormalizes(const Layer& layer) {
    return layer.running && layer.running->renormalize && !layer.running->use_in_forward;
  }
  /// What is kept of a forward beside mean and rstd.
  static typename Moments<Scalar>::Kept kept_of(const Layer& layer, const core::Partition& partition) {
    return {partition.features_kept && layer.statistic_ == Statistic::mean_variance, renormalizes(layer)};
  }
  /// Room for what moves running statistics, or for corrected parameters: never for both at once.
  static void make_forward_room(Layer& layer, bool moves) {
    if (moves || renormalizes(layer)) layer.make_room(4 * layer.features());
  }
  // Batch Renormalization: r and d by the running statistics as they are, and the parameters that they make.
  static void correct(Layer& layer, Moments<Scalar>& moments, Forward& call);
  static void use_corrected(Layer& layer, const Corrections<Scalar>& by, Forward& call);
  static void correct(Layer& layer, const Context<Scalar>& context, std::int64_t scratch_before, Backward& call);
  /// Whether this batch moves running statistics.
  static bool moves_running(const Layer& layer, const core::Partition& partition);
  // All checks of a call (core/call_checks.hpp).
  static Loops check_forward(const Layer& layer, const In& x, const Out& y, const Context<Scalar>& context);
  struct Evaluation {
    Loops loops;
    const Scalar* rstd = nullptr;  ///< of running statistics; null: not known

    // (A list would clear all of it first.)
    explicit Evaluation(const Partition* known) : loops(known) {}
  };
  static Evaluation check_evaluation(const Layer& layer, const In& x, const Out* y, const Context<Scalar>& context);
  static Loops check_backward(const Layer& layer, const In& x, const In& dy, const Out& dx,
                              const Context<Scalar>& context);
  static void check_renormalization(const Layer& layer, const core::Partition& partition, const Shape& shape);
  static void check_no_moments(const Layer& layer, const Context<Scalar>& context);
  static void check_count(const Layer& layer, std::int64_t count, const Shape& shape, int members,
                          const char* more = "");
  // What is fused with a call (core/fused_calls.hpp).
  static void check_residual(const Layer& layer, const In& x, const Out& y, const Context<Scalar>& context,
                             bool evaluates);
  static void check_passed_on(const Layer& layer, const In& x, const In& dy, const Out& dx,
                              const Context<Scalar>& context);
  static void check_gradients(const char* name, const In& x, const In& dy, const Out& dx,
                              const Context<Scalar>& context, bool again);
  static bool fuses(const Layer& layer, const Context<Scalar>& context) {
    return layer.activation != Activation::none || context.residual;
  }
  static void fuse(const Layer& layer, const Context<Scalar>& context, Fusion<Storage>& fused, Forward& call);
  static void remember_fused(const Layer& layer, const Context<Scalar>& context, Moments<Scalar>& moments);
  static Forward gate_call(Layer& layer, Moments<Scalar>& moments, const core::Partition& partition, const In& x,
                           const Out& to, const Fusion<Storage>& fused);
  struct Passing;
  static bool passes_on(const Layer& layer, const Context<Scalar>& context) {
    return layer.activation != Activation::none || context.residual_gradient;
  }
  static In passed_on(const Layer& layer, const In& dy, const Out& dx, const Context<Scalar>& context);
  static void pass_on(Layer& layer, const In& x, const In& dy, const Out& dx, const Context<Scalar>& context);
  static bool gates_within(Layer& layer, const core::Partition& partition, const In& dy, const Out& dx,
                           const Context<Scalar>& context);
  static Forward adding_call(const Layer& layer, const core::Partition& partition, const Out& dx, const In& gradient,
                             Fusion<Storage>& fused);
  static void add_gradient(const Layer& layer, const In& x, const Out& dx, const Context<Scalar>& context);
  // The same calls where the batch is spread over the members of context.peers (core/spread_calls.hpp).
  static bool is_spread(const Layer& layer, int rank, const Context<Scalar>& context);
  static bool is_spread_backward(const Layer& layer, int rank, const Context<Scalar>& context);
  static SpreadMerge spread_of(const Layer& layer, std::int64_t verb, const Context<Scalar>& context);
  static void spread_forward(Layer& layer, const In& x, const Out& y, const Context<Scalar>& context);
  static void spread_evaluate(const Layer& layer, const In& x, const Out& y, const Context<Scalar>& context);
  static void spread_backward(Layer& layer, const In& x, const In& dy, const Out& dx, const Context<Scalar>& context);
  // The same calls where positions are left out (core/valid_calls.hpp).
  static void check_valid(const char* name, const Geometry& geometry, const core::Partition& partition,
                          const Shape& shape, const Valid& valid);
  static void check_valid_of(const Layer& layer, const core::Partition& partition, const Shape& shape,
                             const Context<Scalar>& context);
  static void check_valid_count(const Layer& layer, const Context<Scalar>& context, std::int64_t values);
  static void check_no_valid(const Layer& layer, const Context<Scalar>& context);
  static Context<Scalar> without_valid(Context<Scalar> context) {
    context.valid.reset();
    return context;
  }
  static void valid_forward(Layer& layer, const In& x, const Out& y, const Context<Scalar>& context);
  static void valid_evaluate(const Layer& layer, const In& x, const Out& y, const Context<Scalar>& context);
  static void clear_results(ValidParts& parts, const Out& y, const Context<Scalar>& context, Cleared cleared);
  static void pass_on_valid(Layer& layer, const In& x, const In& dy, const Out& dx, const Context<Scalar>& context);
  static void add_valid_gradient(const Layer& layer, const In& x, const Out& dx, const Context<Scalar>& context);
  static void valid_backward(Layer& layer, const In& x, const In& dy, const Out& dx, const Context<Scalar>& context);
  static void backward_of_one(Layer& layer, const Backward& call, const ValidParts& parts,
                              const Context<Scalar>& context);
  static void backward_of_parts(Layer& layer, Backward call, const ValidParts& parts, const Context<Scalar>& context);
  static void valid_observe(const In& x, const Geometry& geometry, Statistic statistic, const Context<Scalar>& context,
                            Moments<Scalar>& moments);
};

}  // namespace core
}  // namespace eigennorm

#pragma once

#include <cstdint>
#include <eigennorm/eigennorm.hpp>
#include <string>
#include <vector>

#include "draw.hpp"
#include "reference.hpp"

// What a random case is about, types of numbers apart: a layer with its axes and settings, and the shape of its data.

namespace fuzz {

using reference::Axes;
using reference::Formula;
using reference::Kind;
using reference::Real;

enum class Op {
  layer_norm,
  rms_norm,
  batch_norm,
  batch_norm_evaluate,
  batch_norm_frozen,
  mean_only_batch_norm,
  instance_norm,
  group_norm,
  weight_norm,
  normalization,
};

/// By which options and reports name them; the place is the number.
inline const std::vector<std::string> op_names = {
    "layer_norm",           "rms_norm",      "batch_norm", "batch_norm_evaluate", "batch_norm_frozen",
    "mean_only_batch_norm", "instance_norm", "group_norm", "weight_norm",         "normalization"};

/// Axes as a user may name them: in any order, counted from either end.
using Names = std::vector<std::int64_t>;

struct Plan {
  Op op = Op::layer_norm;
  reference::Sizes shape;
  Formula formula;
  Names averaged, samples, features;
  std::vector<std::int64_t> extents;  // of the features in logical order, or their product
  bool last_axes = false;             // features are the last axes, and the layer is not told which
  bool has_scale = true, has_shift = true;
  bool has_running = false, moves = false;
  eigennorm::Averaging averaging = eigennorm::cumulative();
  eigennorm::Estimator estimator = eigennorm::Estimator::unbiased;

  bool fixed() const { return op == Op::batch_norm_evaluate || op == Op::batch_norm_frozen; }
};

inline Names names(Random& random, Axes axes, std::size_t rank) {
  shuffle(random, axes);
  Names result;
  for (const int axis : axes) result.push_back(chance(random, 0.3) ? axis - static_cast<int>(rank) : axis);
  return result;
}

/// Some of `axes`, in their order.
inline Axes some(Random& random, const Axes& axes) {
  const double share = random.uniform();
  Axes result;
  for (const int axis : axes) {
    if (chance(random, share)) result.push_back(axis);
  }
  return result;
}

inline Axes without(const Axes& axes, const Axes& others) {
  Axes result;
  for (const int axis : axes) {
    if (!reference::contains(others, axis)) result.push_back(axis);
  }
  return result;
}

inline void draw_axes(Plan& plan, Random& random) {
  const std::size_t rank = plan.shape.size();
  Axes all;
  for (std::size_t axis = 0; axis < rank; ++axis) all.push_back(static_cast<int>(axis));
  const Axes one = {pick(random, all)};
  Formula& formula = plan.formula;
  Axes samples;
  switch (plan.op) {
    case Op::layer_norm:
    case Op::rms_norm:
      plan.last_axes = chance(random, 0.5);
      formula.features = plan.last_axes ? Axes(all.begin() + one[0], all.end()) : some(random, all);
      if (formula.features.empty()) formula.features = one;
      formula.averaged = formula.features;
      break;
    case Op::weight_norm:
      if (chance(random, 0.8)) formula.features = one;
      formula.averaged = without(all, formula.features);
      break;
    case Op::instance_norm:
    case Op::group_norm:
      formula.features = one;
      samples = some(random, without(all, one));
      formula.averaged = without(all, samples);
      if (plan.op == Op::instance_norm) formula.averaged = without(formula.averaged, one);
      break;
    case Op::normalization:
      formula.features = some(random, all);
      formula.averaged = some(random, all);
      break;
    default:
      formula.features = one;
      formula.averaged = without(all, one);
  }
  plan.averaged = names(random, formula.averaged, rank);
  plan.samples = names(random, samples, rank);
  plan.features = names(random, formula.features, rank);
  std::int64_t product = 1;
  for (const int axis : formula.features) {
    plan.extents.push_back(plan.shape[static_cast<std::size_t>(axis)]);
    product *= plan.extents.back();
  }
  const bool one_number = plan.last_axes ? plan.extents.size() == 1 : chance(random, 0.3);
  if (one_number || plan.extents.empty()) plan.extents = {product};
  const bool may_be_cut =
      formula.features.size() == 1 && reference::contains(formula.averaged, one[0]) && formula.features == one;
  if (plan.op == Op::group_norm || (plan.op == Op::normalization && may_be_cut && chance(random, 0.5))) {
    formula.groups = pick(random, divisors(plan.shape[static_cast<std::size_t>(one[0])]));
  }
}

inline void draw_settings(Plan& plan, Random& random) {
  Formula& formula = plan.formula;
  switch (plan.op) {
    case Op::rms_norm:
      formula.kind = Kind::mean_square;
      break;
    case Op::weight_norm:
      formula.kind = Kind::sum_square;
      break;
    case Op::mean_only_batch_norm:
      formula.kind = Kind::mean;
      break;
    case Op::normalization:
      formula.kind =
          pick(random, std::vector<Kind>{Kind::mean_variance, Kind::mean, Kind::mean_square, Kind::sum_square});
      break;
    default:
      break;
  }
  const bool has_epsilon = formula.kind != Kind::mean && plan.op != Op::weight_norm;
  if (has_epsilon) formula.epsilon = pick(random, std::vector<double>{1e-5, 1e-5, 1e-3, 0.1, 1e-12, 0});
  plan.has_scale = chance(random, 0.75);
  plan.has_shift = chance(random, 0.75);

  std::size_t count = 1;
  bool features_kept = true;
  for (const int axis : formula.averaged) {
    count *= static_cast<std::size_t>(plan.shape[static_cast<std::size_t>(axis)]);
    features_kept = features_kept && !reference::contains(formula.features, axis);
  }
  const bool is_batch_norm = plan.fixed() || plan.op == Op::batch_norm || plan.op == Op::mean_only_batch_norm;
  plan.has_running = is_batch_norm || (features_kept && formula.centred() && chance(random, 0.5));
  // One value has no variance that could move another one: a layer refuses that.
  plan.moves = plan.has_running && !plan.fixed() && (count > 1 || formula.kind == Kind::mean);
  const double momentum = pick(random, std::vector<double>{0.1, 0.1, 0.01, 0.5, 1, 0});
  const double kind = random.uniform();
  plan.averaging = kind < 0.4   ? eigennorm::momentum_of_new(momentum)
                   : kind < 0.8 ? eigennorm::momentum_kept(momentum)
                                : eigennorm::cumulative();
  plan.estimator = chance(random, 0.5) ? eigennorm::Estimator::unbiased : eigennorm::Estimator::biased;
}

inline Plan draw_plan(Op op, std::ptrdiff_t most, Random& random) {
  Plan plan;
  plan.op = op;
  plan.shape = shape(random, most);
  draw_axes(plan, random);
  draw_settings(plan, random);
  return plan;
}

template <typename Scalar>
eigennorm::Normalization<Scalar> make_named_layer(const Plan& plan) {
  using namespace eigennorm;
  const Extents extents(plan.extents);
  const auto epsilon = static_cast<double>(plan.formula.epsilon);
  const Channels channels{over(plan.features)};
  const Samples samples{over(plan.samples)};
  switch (plan.op) {
    case Op::layer_norm:
      return plan.last_axes ? LayerNorm<Scalar>(extents, epsilon)
                            : LayerNorm<Scalar>(extents, over(plan.features), epsilon);
    case Op::rms_norm:
      return plan.last_axes ? RMSNorm<Scalar>(extents, epsilon)
                            : RMSNorm<Scalar>(extents, over(plan.features), epsilon);
    case Op::mean_only_batch_norm:
      return MeanOnlyBatchNorm<Scalar>(extents.product(), channels);
    case Op::instance_norm:
      return InstanceNorm<Scalar>(extents.product(), channels, samples, epsilon);
    case Op::group_norm:
      return GroupNorm<Scalar>(plan.formula.groups, extents.product(), channels, samples, epsilon);
    case Op::weight_norm:
      return plan.features.empty() ? WeightNorm<Scalar>(whole_tensor)
                                   : WeightNorm<Scalar>(extents.product(), Outputs{over(plan.features)});
    case Op::normalization: {
      const Statistic statistic = plan.formula.kind == Kind::mean_variance ? Statistic::mean_variance
                                  : plan.formula.kind == Kind::mean        ? Statistic::mean
                                  : plan.formula.kind == Kind::mean_square ? Statistic::mean_square
                                                                           : Statistic::sum_square;
      Geometry geometry{over(plan.averaged), over(plan.features), extents};
      if (plan.formula.groups > 1) geometry.groups = plan.formula.groups;
      return {geometry, statistic, epsilon};
    }
    default:
      return BatchNorm<Scalar>(extents.product(), channels, epsilon);
  }
}

/// With scale 1, shift 0 and new running statistics.
template <typename Scalar>
eigennorm::Normalization<Scalar> make_layer(const Plan& plan) {
  eigennorm::Normalization<Scalar> layer = make_named_layer<Scalar>(plan);
  layer.use_scale(plan.has_scale);
  layer.use_shift(plan.has_shift);
  if (!plan.has_running) return layer;
  using eigennorm::Statistic;
  layer.running.emplace(layer.features(), plan.formula.kind == Kind::mean ? Statistic::mean : Statistic::mean_variance);
  layer.running->averaging = plan.averaging;
  layer.running->estimator = plan.estimator;
  layer.running->update = plan.moves;
  if (plan.op == Op::batch_norm_frozen) layer.freeze();
  return layer;
}

}  // namespace fuzz

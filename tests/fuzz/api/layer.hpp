#pragma once

#include <cmath>
#include <cstdint>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <optional>
#include <vector>

#include "bytes.hpp"

// Layers as a user may ask for them, rightly or wrongly, and what the documentation says of each: whether it can be
// made, and which shapes it fits.

namespace fuzz {

using Extents = std::vector<std::int64_t>;

/// Axes as they are named.
struct AxisChoice {
  enum class Kind { these, last, all_but };
  Kind kind = Kind::these;
  Extents list;

  bool valid() const {
    return kind == Kind::last ? list[0] >= 1 && list[0] <= eigennorm::max_rank : list.size() <= eigennorm::max_rank;
  }

  eigennorm::AxisSet set() const {
    if (kind == Kind::last) return eigennorm::over_last(list[0]);
    return kind == Kind::these ? eigennorm::over(list) : eigennorm::all_but(eigennorm::over(list));
  }

  /// As bits, if a tensor of this rank has them.
  std::optional<unsigned> mask(std::size_t rank) const {
    const auto axes = static_cast<std::int64_t>(rank);
    const unsigned all = (1U << rank) - 1U;
    if (kind == Kind::last) {
      if (list[0] > axes) return std::nullopt;
      return all & ~((1U << (axes - list[0])) - 1U);
    }
    unsigned named = 0;
    for (const std::int64_t axis : list) {
      if (axis < -axes || axis >= axes) return std::nullopt;
      const unsigned bit = 1U << (axis < 0 ? axis + axes : axis);
      if ((named & bit) != 0) return std::nullopt;
      named |= bit;
    }
    return kind == Kind::these ? named : all & ~named;
  }
};

/// How a layer meets a shape.
struct Fit {
  unsigned averaged = 0, features = 0;
  std::int64_t size = 1, count = 1;  // values in all, and in a group
};

struct LayerChoice {
  enum class Kind {
    batch_norm,
    mean_only_batch_norm,
    layer_norm_of_last,
    layer_norm,
    rms_norm,
    instance_norm,
    group_norm,
    weight_norm,
    weight_norm_of_whole,
    normalization,
  };
  Kind kind = Kind::batch_norm;
  AxisChoice averaged, features;
  Extents samples, extents;
  std::int64_t groups = 0;
  eigennorm::Statistic statistic = eigennorm::Statistic::mean_variance;
  double eps = 0;
  bool moved_from = false;

  std::int64_t product() const {
    std::int64_t product = 1;
    for (const std::int64_t extent : extents) product *= extent;
    return product;
  }

  bool valid() const {
    if (!averaged.valid() || !features.valid() || samples.size() > eigennorm::max_rank) return false;
    if (extents.size() > eigennorm::max_rank || !(eps >= 0) || !std::isfinite(eps)) return false;
    std::int64_t product = 1;
    for (const std::int64_t extent : extents) {
      if (extent < 1 || product > std::numeric_limits<std::int64_t>::max() / extent) return false;
      product *= extent;
    }
    // An axis written for channels and samples; features names the channels.
    for (const std::int64_t sample : samples) {
      if (sample == features.list[0]) return false;
    }
    return kind != Kind::group_norm || (groups >= 1 && product % groups == 0);
  }

  std::optional<Fit> fit(const Extents& shape) const {
    const std::optional<unsigned> averaged_axes = averaged.mask(shape.size()),
                                  feature_axes = features.mask(shape.size());
    if (!averaged_axes || !feature_axes) return std::nullopt;
    Fit fit{*averaged_axes, *feature_axes};
    Extents of_features;
    std::int64_t of_features_product = 1;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      fit.size *= shape[axis];
      if ((fit.averaged >> axis & 1U) != 0) fit.count *= shape[axis];
      if ((fit.features >> axis & 1U) == 0) continue;
      of_features.push_back(shape[axis]);
      of_features_product *= shape[axis];
    }
    if (of_features.size() == extents.size() ? of_features != extents
                                             : extents.size() > 1 || of_features_product != product()) {
      return std::nullopt;
    }
    if (groups > 0) {
      if (of_features.size() != 1 || (fit.averaged & fit.features) != fit.features) return std::nullopt;
      fit.count /= groups;
    }
    return fit;
  }
};

inline std::int64_t draw_extent(Bytes& bytes) {
  static const Extents usual = {3, 1, 2, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 33, 64, 65};
  const int choice = bytes.below(64);
  return choice == 62 ? 0 : choice == 63 ? -1 : usual[static_cast<std::size_t>(choice % 16)];
}

inline std::int64_t draw_axis(Bytes& bytes) {
  return bytes.pick(Extents{1, 0, -1, 2, 1, 0, -1, -2, 3, -3, 4, 1, -1, 0, 8, -9});
}

inline Extents draw_axes(Bytes& bytes, int most) {
  const int size = bytes.one_in(64) ? 9 : bytes.below(most + 1);
  Extents axes;
  for (int i = 0; i < size; ++i) axes.push_back(draw_axis(bytes));
  return axes;
}

inline Extents draw_extents(Bytes& bytes) {
  if (bytes.one_in(64)) return {std::numeric_limits<std::int64_t>::max() / 2, 3};
  const int size = bytes.pick(std::vector<int>{1, 1, 1, 2, 2, 3, 1, 1, 2, 1, 1, 2, 3, 1, 0, 9});
  Extents extents;
  for (int i = 0; i < size; ++i) extents.push_back(draw_extent(bytes));
  return extents;
}

inline double draw_eps(Bytes& bytes) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  return bytes.pick(
      std::vector<double>{1e-5, 1e-5, 1e-5, 1e-3, 0.1, 1, 0, 0, 1e-12, 1e-5, 1e-30, 1e-5, 1e-5, -0.1, nan, infinity});
}

inline AxisChoice draw_axis_choice(Bytes& bytes) {
  const auto kind = static_cast<AxisChoice::Kind>(bytes.below(3));
  if (kind == AxisChoice::Kind::last) return {kind, {bytes.pick(Extents{1, 2, 1, 3, 2, 1, 9, 0})}};
  return {kind, draw_axes(bytes, 2)};
}

inline LayerChoice draw_layer(Bytes& bytes) {
  using Kind = LayerChoice::Kind;
  using AxisKind = AxisChoice::Kind;
  using eigennorm::Statistic;
  LayerChoice choice;
  choice.kind = static_cast<Kind>(bytes.below(10));
  const std::int64_t axis = draw_axis(bytes);
  choice.features = {AxisKind::these, {axis}};
  choice.averaged = {AxisKind::all_but, {axis}};
  choice.extents = {draw_extent(bytes)};
  choice.eps = draw_eps(bytes);
  switch (choice.kind) {
    case Kind::batch_norm:
      break;
    case Kind::mean_only_batch_norm:
      choice.statistic = Statistic::mean;
      choice.eps = 0;
      break;
    case Kind::layer_norm_of_last:
      choice.extents = draw_extents(bytes);
      choice.averaged = choice.features = {AxisKind::last, {static_cast<std::int64_t>(choice.extents.size())}};
      break;
    case Kind::rms_norm:
      choice.statistic = Statistic::mean_square;
      [[fallthrough]];
    case Kind::layer_norm:
      choice.extents = draw_extents(bytes);
      choice.averaged = choice.features = {AxisKind::these, draw_axes(bytes, 3)};
      break;
    case Kind::instance_norm:
      choice.samples = draw_axes(bytes, 2);
      choice.averaged.list.insert(choice.averaged.list.begin(), choice.samples.begin(), choice.samples.end());
      break;
    case Kind::group_norm:
      choice.samples = draw_axes(bytes, 2);
      choice.averaged.list = choice.samples;
      choice.groups = bytes.pick(Extents{1, 2, 3, 1, 2, 4, 8, 0, -1});
      break;
    case Kind::weight_norm_of_whole:
      choice.features.list.clear();
      choice.averaged.list.clear();
      choice.extents = {1};
      [[fallthrough]];
    case Kind::weight_norm:
      choice.statistic = Statistic::sum_square;
      choice.eps = 0;
      break;
    case Kind::normalization:
      choice.averaged = draw_axis_choice(bytes);
      choice.features = draw_axis_choice(bytes);
      choice.extents = draw_extents(bytes);
      choice.statistic = static_cast<Statistic>(bytes.below(4));
      break;
  }
  return choice;
}

template <typename Scalar>
eigennorm::Normalization<Scalar> make_layer(const LayerChoice& choice) {
  using namespace eigennorm;
  using Kind = LayerChoice::Kind;
  const eigennorm::Extents extents(choice.extents);
  const Samples samples{over(choice.samples)};
  switch (choice.kind) {
    case Kind::batch_norm:
      return BatchNorm<Scalar>(choice.extents[0], Channels{choice.features.set()}, choice.eps);
    case Kind::mean_only_batch_norm:
      return MeanOnlyBatchNorm<Scalar>(choice.extents[0], Channels{choice.features.set()});
    case Kind::layer_norm_of_last:
      return LayerNorm<Scalar>(extents, choice.eps);
    case Kind::layer_norm:
      return LayerNorm<Scalar>(extents, choice.features.set(), choice.eps);
    case Kind::rms_norm:
      return RMSNorm<Scalar>(extents, choice.features.set(), choice.eps);
    case Kind::instance_norm:
      return InstanceNorm<Scalar>(choice.extents[0], Channels{choice.features.set()}, samples, choice.eps);
    case Kind::group_norm:
      return GroupNorm<Scalar>(choice.groups, choice.extents[0], Channels{choice.features.set()}, samples, choice.eps);
    case Kind::weight_norm:
      return WeightNorm<Scalar>(choice.extents[0], Outputs{choice.features.set()});
    case Kind::weight_norm_of_whole:
      return WeightNorm<Scalar>(whole_tensor);
    case Kind::normalization:
      break;
  }
  return {choice.averaged.set(), choice.features.set(), extents, choice.statistic, choice.eps};
}

/// Whether a layer's settings, which are public, are such as every call refuses.
template <typename Scalar>
bool settings_are_wrong(const eigennorm::Normalization<Scalar>& layer, eigennorm::Statistic statistic) {
  using eigennorm::Activation;
  const bool is_relu = layer.activation == Activation::relu;
  if (is_relu ? statistic == eigennorm::Statistic::sum_square : layer.activation != Activation::none) return true;
  if (!(layer.eps >= 0) || !std::isfinite(layer.eps)) return true;
  for (const auto* parameter : {&layer.scale, &layer.shift}) {
    const std::int64_t size = parameter->value.size();
    if ((size != 0 && size != layer.features()) || parameter->grad.size() != size) return true;
  }
  if (!layer.running) return false;
  const double weight = layer.running->averaging.weight_of_new(0);
  return !(weight >= 0 && weight <= 1);
}

template <typename Scalar>
bool running_is_wrong(const eigennorm::Normalization<Scalar>& layer, const LayerChoice& choice, const Fit& fit) {
  using eigennorm::Statistic;
  if (!layer.running) return false;
  const bool has_mean = choice.statistic == Statistic::mean || choice.statistic == Statistic::mean_variance;
  if (!has_mean || (fit.averaged & fit.features) != 0) return true;
  const std::int64_t variances = choice.statistic == Statistic::mean_variance ? layer.features() : 0;
  if (layer.running->mean.size() != layer.features() || layer.running->variance.size() != variances) return true;
  return layer.running->batches < 0 || !layer.running->mean.isFinite().all() ||
         !(layer.running->variance.isFinite() && layer.running->variance >= Scalar(0)).all();
}

}  // namespace fuzz

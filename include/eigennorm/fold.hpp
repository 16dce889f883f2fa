#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "eigennorm/core/axes.hpp"
#include "eigennorm/core/error.hpp"
#include "eigennorm/core/layer_facts.hpp"
#include "eigennorm/core/overlap.hpp"
#include "eigennorm/core/vector_view.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/kernels/wide.hpp"
#include "eigennorm/normalization.hpp"

/// \file
/// A trained layer folded into the linear layer or convolution before it. Not part of eigennorm/eigennorm.hpp.

namespace eigennorm {

/// Weight and bias of one layer that stands for two.
template <typename Weight, typename Bias>
struct Folded {
  Weight weight;
  Bias bias;
};

#include "eigennorm/kernels/strict_begin.inl"

namespace core {

/// What evaluation by running statistics does to a channel: y = factor * x + (shift - mean * factor).
template <typename Scalar>
class ChannelMap {
 public:
  using W = Wide<Scalar>;

  explicit ChannelMap(const Normalization<Scalar>& layer) : layer_(layer) {
    if (!layer.running) {
      fail_with({"fold: expected a layer with running statistics, got a ", LayerFacts::geometry(layer).name,
                 " that has none"});
    }
    if (LayerFacts::geometry(layer).extents.size() != 1) {
      fail_with({"fold: expected a layer with one number of channels, got one of ",
                 LayerFacts::geometry(layer).extents.text()});
    }
    layer.check();
    if (layer.activation != Activation::none)
      fail_with({"fold: expected a layer without an activation, which no weight can hold, got relu"});
  }

  std::int64_t channels() const { return layer_.features(); }

  W factor(std::int64_t channel) const {
    const W scale = layer_.scale.value.size() > 0 ? static_cast<W>(layer_.scale.value[channel]) : W(1);
    if (layer_.running->variance.size() == 0) return scale;
    const W radicand = static_cast<W>(layer_.running->variance[channel]) + static_cast<W>(layer_.eps);
    const W reciprocal = radicand == 0 ? W(0) : W(1) / std::sqrt(radicand);
    // What is beyond Scalar counts as 0, as it does in evaluate.
    return reciprocal > static_cast<W>((std::numeric_limits<Scalar>::max)()) ? W(0) : scale * reciprocal;
  }
  W bias(std::int64_t channel, W before) const {
    const W shift = layer_.shift.value.size() > 0 ? static_cast<W>(layer_.shift.value[channel]) : W(0);
    return (before - static_cast<W>(layer_.running->mean[channel])) * factor(channel) + shift;
  }

 private:
  const Normalization<Scalar>& layer_;
};

/// To which channel an element of a weight belongs. Groups only matter in PyTorch's transposed convolutions, (inputs,
/// outputs / groups, ...): there axis 0 has the inputs of all groups, and axis 1 the outputs of one. All other layouts
/// have all outputs on their axis, whatever the groups.
class WeightChannels {
 public:
  WeightChannels(const Shape& weight, const Outputs& outputs, std::int64_t groups, std::int64_t channels) {
    const std::uint32_t mask = outputs.axes.mask(weight.rank, weight.text(), "fold");
    while (axis_ < weight.rank && (mask >> axis_ & 1U) == 0) ++axis_;
    if (mask != 1U << axis_) fail_with({"fold: expected one axis of outputs, got several or none"});
    if (groups < 1 || channels % groups != 0)
      fail_with({"fold: expected a number of groups that divides ", channels, " channels, got ", groups});
    const bool split = axis_ != 0 && groups > 1;
    if (split && axis_ != 1) {
      fail_with({"fold: expected groups only of PyTorch's transposed convolutions, outputs on axis 1, got ", groups,
                 " with outputs on axis ", axis_});
    }
    if (weight[axis_] != (split ? channels / groups : channels)) {
      fail_with({"fold: expected a weight of ", split ? channels / groups : channels, " outputs",
                 split ? " a group" : "", " on axis ", axis_, ", got shape ", weight.text()});
    }
    if (!split) return;
    if (weight[0] % groups != 0) {
      fail_with(
          {"fold: expected inputs on axis 0 that ", groups, " groups divide, got a weight of shape ", weight.text()});
    }
    inputs_ = weight[0] / groups;
    outputs_ = channels / groups;
  }

  std::int64_t at(const std::array<std::int64_t, max_rank>& place) const {
    const std::int64_t output = place[static_cast<std::size_t>(axis_)];
    return inputs_ == 0 ? output : place[0] / inputs_ * outputs_ + output;
  }

 private:
  int axis_ = 0;
  std::int64_t inputs_ = 0, outputs_ = 0;  // of a group; 0: all outputs are on their axis
};

template <typename T, typename Scalar>
void fold_weight(const ChannelMap<Scalar>& map, const WeightChannels& channels, const View<const T>& from,
                 const View<T>& to) {
  Vector<Wide<Scalar>> factors(map.channels());
  for (std::int64_t i = 0; i < map.channels(); ++i) factors[i] = map.factor(i);
  std::array<std::int64_t, max_rank> place{};
  std::int64_t read = 0, written = 0;
  for (std::int64_t left = from.shape.size(); left > 0; --left) {
    to.data[written] =
        narrowed<T>(static_cast<Wide<Scalar>>(static_cast<Scalar>(from.data[read])) * factors[channels.at(place)]);
    for (int axis = from.shape.rank; axis-- > 0;) {
      const auto i = static_cast<std::size_t>(axis);
      read += from.strides[i];
      written += to.strides[i];
      if (++place[i] < from.shape[axis]) break;
      read -= from.strides[i] * from.shape[axis];
      written -= to.strides[i] * from.shape[axis];
      place[i] = 0;
    }
  }
}

}  // namespace core

/// One layer that gives what `layer.evaluate` gives of a linear layer or convolution: with weight W and bias b before
/// it, evaluate(W x + b) = W' x + b'.
///
///     s = scale / sqrt(running variance + eps),  W' = W s[channel],  b' = (b - running mean) s + shift
///
/// (s = scale for MeanOnlyBatchNorm; scale 1 or shift 0 where the layer has none.) The original stays as it is, so
/// nothing has to be unfolded.
///
/// **Shapes.** W: the outputs on axis 0, as in PyTorch's Linear, (outputs, inputs), and convolutions, (outputs, inputs
/// / groups, ...), whatever their groups; or on the axis that is named. PyTorch's transposed convolutions, (inputs,
/// outputs / groups, ...), take `outputs_on(1)` and their groups; no other weight needs groups. b: any vector. Any
/// Eigen object in memory will do, of Scalar, or of 16 bits where that is float; the results are plain objects of the
/// same types.
///
/// **Errors.** A layer without running statistics or with an activation (fold a copy without it), sizes that do not
/// fit, groups that do not divide.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
/// #include <eigennorm/fold.hpp>
///
/// int main() {
///   const Eigen::MatrixXf W = Eigen::MatrixXf::Random(3, 5), x = Eigen::MatrixXf::Random(8, 5);  // outputs x inputs
///   const Eigen::RowVectorXf b = Eigen::RowVectorXf::Random(3);
///   eigennorm::BatchNorm<float> layer(3);
///   const Eigen::MatrixXf sums = (x * W.transpose()).rowwise() + b;
///   layer.forward(sums);
///   const auto [weight, bias] = eigennorm::fold(layer, W, b);
///   const Eigen::MatrixXf y = (x * weight.transpose()).rowwise() + bias;
///   return y.isApprox(layer.evaluate(sums), 1e-5F) ? 0 : 1;
/// }
/// \endcode
template <typename Scalar, typename W, typename B, typename = std::enable_if_t<!std::is_same_v<B, Outputs>>>
Folded<core::Plain<W>, core::Plain<B>> fold(const Normalization<Scalar>& layer, const W& weight, const B& bias,
                                            const Outputs& outputs = outputs_on(0), std::int64_t groups = 1) {
  if constexpr (core::check_input<W, Scalar>() && core::check_partner<W, B, Scalar>()) {
    using T = core::Element<W>;
    const core::ChannelMap<Scalar> map(layer);
    const View<const T> from = core::view(weight), before = core::view(bias);
    core::check_strides(from.shape, from.strides, "fold", "the weight");
    const core::WeightChannels channels(from.shape, outputs, groups, map.channels());
    const std::int64_t step = core::vector_step(before, map.channels(), "fold", "a bias");
    Folded<core::Plain<W>, core::Plain<B>> result{core::DoorOf<W>::plain(weight), core::DoorOf<B>::plain(bias)};
    core::fold_weight(map, channels, from, core::output_view(result.weight));
    for (std::int64_t i = 0; i < map.channels(); ++i) {
      const auto value = static_cast<Wide<Scalar>>(static_cast<Scalar>(before.data[i * step]));
      result.bias.data()[i] = core::narrowed<T>(map.bias(i, value));
    }
    return result;
  } else {
    core::refused();
  }
}

/// The same where there is no b: the bias that comes of it is a column.
template <typename Scalar, typename W>
Folded<core::Plain<W>, Eigen::Matrix<core::Element<W>, Eigen::Dynamic, 1>> fold(const Normalization<Scalar>& layer,
                                                                                const W& weight,
                                                                                const Outputs& outputs = outputs_on(0),
                                                                                std::int64_t groups = 1) {
  using Column = Eigen::Matrix<core::Element<W>, Eigen::Dynamic, 1>;
  Column none(layer.features());
  for (Eigen::Index i = 0; i < none.size(); ++i) none[i] = core::Element<W>(0);
  return fold(layer, weight, none, outputs, groups);
}

#include "eigennorm/kernels/strict_end.inl"

}  // namespace eigennorm

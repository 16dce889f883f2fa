/// A net on padded sequences: two convolutions of width 3 over the positions, each with BatchNorm and ReLU, the mean
/// over the valid positions, and a softmax of ten classes. Here is what valid positions are used for.
#pragma once

#include <Eigen/Core>
#include <array>
#include <cmath>
#include <cstddef>
#include <eigennorm/eigennorm.hpp>
#include <optional>

#include "data.hpp"
#include "hidden_layer.hpp"
#include "network.hpp"
#include "padding.hpp"

namespace digits::sequences {

/// What is done about padding behind the input; all nets take the mean over valid positions alone.
enum class Masking {
  none,    // nothing: statistics count padding, and it is no longer 0 behind the first layer
  zeroed,  // statistics count padding; what BatchNorm made of it is set to 0 again, and so are gradients
  valid    // Context::valid: statistics of what is there; the rest is 0
};

constexpr std::array<Masking, 3> maskings{Masking::none, Masking::zeroed, Masking::valid};

inline const char* name(Masking masking) {
  switch (masking) {
    case Masking::zeroed:
      return "zeroed";
    case Masking::valid:
      return "valid";
    case Masking::none:
      break;
  }
  return "none";
}

class SequenceNetwork {
 public:
  /// Equal generators give equal weights whatever the masking.
  SequenceNetwork(Masking masking, Generator& generator)
      : masking_(masking), hidden_{convolution(pixels, generator), convolution(channels, generator)} {
    weight_ = random_weight(classes, channels, generator);
    bias_.setZero(classes);
  }

  /// One step of plain gradient descent; gives the batch's loss before it.
  double train(const Sequences& batch, float rate) {
    const Column flags(batch.valid.data(), batch.valid.size());
    for (std::size_t i = 0; i < hidden_.size(); ++i) {
      hidden_[i].normalize_only(counted(flags));
      inputs_[i] = windows(i == 0 ? batch.values : activation_, batch.positions);
      activation_ = hidden_[i].forward(inputs_[i], not_reported_);
      clear(activation_, flags);
    }
    const Matrix features = means(activation_, batch);
    Matrix by_logits = probabilities_of(features);
    const double loss = differentiate_cross_entropy(by_logits, batch.labels);
    by_logits /= static_cast<float>(batch.size());
    backward(by_logits * weight_, batch, flags);
    weight_ -= rate * by_logits.transpose() * features;
    bias_ -= rate * by_logits.colwise().sum();
    for (HiddenLayer& layer : hidden_) layer.descend(rate);
    return loss / static_cast<double>(batch.size());
  }

  /// By running statistics.
  Matrix probabilities(const Sequences& batch) const {
    const Column flags(batch.valid.data(), batch.valid.size());
    Matrix activation = batch.values;
    for (const HiddenLayer& layer : hidden_) {
      activation = layer.evaluate(windows(activation, batch.positions), counted(flags));
      clear(activation, flags);
    }
    return probabilities_of(means(activation, batch));
  }

 private:
  static constexpr Eigen::Index channels = 32;

  /// The flags as the layers see them: positions are rows, and one flag is for all channels.
  using Column = Eigen::Map<const Eigen::Array<bool, Eigen::Dynamic, 1>>;

  static HiddenLayer convolution(Eigen::Index from, Generator& generator) {
    return {Method::batch_norm, std::sqrt(2.0F) * random_weight(channels, 3 * from, generator), Nonlinearity::relu};
  }

  std::optional<eigennorm::Valid> counted(const Column& flags) const {
    if (masking_ == Masking::valid) return flags;
    return std::nullopt;
  }

  void clear(Matrix& values, const Column& flags) const {
    if (masking_ == Masking::zeroed) values.array().colwise() *= flags.cast<float>();
  }

  /// Of each sequence, over its valid positions.
  static Matrix means(const Matrix& activation, const Sequences& batch) {
    Matrix mean(batch.size(), activation.cols());
    for (Eigen::Index n = 0; n < batch.size(); ++n)
      mean.row(n) = activation.middleRows(n * batch.positions, batch.lengths(n)).colwise().mean();
    return mean;
  }

  void backward(const Matrix& by_features, const Sequences& batch, const Column& flags) {
    Matrix by_activation = Matrix::Zero(activation_.rows(), channels);
    for (Eigen::Index n = 0; n < batch.size(); ++n) {
      by_activation.middleRows(n * batch.positions, batch.lengths(n)).rowwise() =
          by_features.row(n) / static_cast<float>(batch.lengths(n));
    }
    for (std::size_t i = hidden_.size(); i-- > 0;) {
      hidden_[i].backward(inputs_[i], by_activation, not_reported_);
      if (i == 0) continue;
      by_activation = by_values(hidden_[i].by_inputs(), batch.positions);
      clear(by_activation, flags);
    }
  }

  Matrix probabilities_of(const Matrix& features) const {
    return softmax((features * weight_.transpose()).rowwise() + bias_);
  }

  Masking masking_;
  std::array<HiddenLayer, 2> hidden_;
  Matrix weight_;
  Eigen::RowVectorXf bias_;
  std::array<Matrix, 2> inputs_;  // of the last batch
  Matrix activation_;
  Stopwatch not_reported_;
};

}  // namespace digits::sequences

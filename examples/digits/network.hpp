/// The net of the BatchNorm paper (Ioffe & Szegedy 2015, section 4.1), three hidden layers of 100 sigmoid units and a
/// softmax of ten classes; or one alike.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "data.hpp"
#include "hidden_layer.hpp"

namespace digits {

struct Score {
  double loss = 0;      // cross-entropy, mean over the samples
  double accuracy = 0;  // share of the samples
};

/// The hidden layers. What is not said is the paper's net.
struct NetShape {
  int layers = 3;
  Eigen::Index units = 100;
  Nonlinearity nonlinearity = Nonlinearity::sigmoid;
};

/// Normal with variance 1 / inputs.
inline Matrix random_weight(Eigen::Index outputs, Eigen::Index inputs, Generator& generator) {
  std::normal_distribution<float> normal(0.0F, 1.0F / std::sqrt(static_cast<float>(inputs)));
  return Matrix::NullaryExpr(outputs, inputs, [&] { return normal(generator); });
}

/// Of each row.
inline Matrix softmax(Matrix logits) {
  logits.colwise() -= logits.rowwise().maxCoeff().eval();
  logits = logits.array().exp();
  logits.array().colwise() /= logits.rowwise().sum().array().eval();
  return logits;
}

/// The cross-entropy of the samples' probabilities, added up; they become its derivative by their logits.
inline double differentiate_cross_entropy(Matrix& probability, const Labels& labels) {
  double loss = 0;
  for (Eigen::Index i = 0; i < labels.size(); ++i) {
    float& hit = probability(i, labels(i));
    loss -= std::log(std::max(hit, std::numeric_limits<float>::min()));
    hit -= 1.0F;
  }
  return loss;
}

inline Score score_of(const Matrix& probability, const Labels& labels) {
  Score score;
  for (Eigen::Index i = 0; i < labels.size(); ++i) {
    Eigen::Index best = 0;
    probability.row(i).maxCoeff(&best);
    const int label = labels(i);
    if (best == label) score.accuracy += 1;
    score.loss -= std::log(std::max(probability(i, label), std::numeric_limits<float>::min()));
  }
  score.accuracy /= static_cast<double>(labels.size());
  score.loss /= static_cast<double>(labels.size());
  return score;
}

class Network {
 public:
  /// Weights are normal with variance 1 / inputs, before a ReLU 2 / inputs (He et al. 2015); equal generators give
  /// equal weights whatever the method.
  Network(Method method, Eigen::Index inputs, Generator& generator, const NetShape& shape = {}) {
    const float gain = shape.nonlinearity == Nonlinearity::relu ? std::sqrt(2.0F) : 1.0F;
    for (int layer = 0; layer < shape.layers; ++layer) {
      hidden_.emplace_back(method, gain * random_weight(shape.units, inputs, generator), shape.nonlinearity);
      inputs = shape.units;
    }
    weight_ = random_weight(classes, inputs, generator);
    bias_.setZero(classes);
  }

  /// The start of the WeightNorm paper from a first batch, layer by layer.
  void initialize(const Dataset& batch) {
    const Matrix* inputs = &batch.inputs;
    for (HiddenLayer& layer : hidden_) inputs = &layer.initialize(*inputs, normalization_);
  }

  const std::vector<HiddenLayer>& hidden() const { return hidden_; }

  /// Forward alone, as in training.
  const Matrix& forward(const Matrix& inputs) {
    const Matrix* last = &inputs;
    for (HiddenLayer& layer : hidden_) last = &layer.forward(*last, normalization_);
    return *last;
  }

  /// One step of plain gradient descent; gives the batch's loss before it.
  double train(const Dataset& batch, float rate) {
    const double loss = backward(batch, batch.size());
    descend(rate);
    return loss;
  }

  /// Leaves the gradients of `train`, and gives the loss. Of a batch of `whole` samples that is spread, each member has
  /// a part, and gets that part's share of both: their sums over the members are the batch's.
  double backward(const Dataset& part, Eigen::Index whole) {
    std::vector<const Matrix*> inputs{&part.inputs};
    for (HiddenLayer& layer : hidden_) inputs.push_back(&layer.forward(*inputs.back(), normalization_));
    Matrix by_logits = probabilities(*inputs.back());
    const double loss = differentiate_cross_entropy(by_logits, part.labels);
    by_logits /= static_cast<float>(whole);
    weight_gradient_.noalias() = by_logits.transpose() * *inputs.back();
    bias_gradient_ = by_logits.colwise().sum();
    Matrix by_activation = by_logits * weight_;
    for (std::size_t layer = hidden_.size(); layer-- > 0;) {
      hidden_[layer].backward(*inputs[layer], by_activation, normalization_);
      if (layer > 0) by_activation = hidden_[layer].by_inputs();
    }
    return loss / static_cast<double>(whole);
  }

  /// Goes along the gradients, and sets those that add up to zero.
  void descend(float rate) {
    weight_ -= rate * weight_gradient_;
    bias_ -= rate * bias_gradient_;
    for (HiddenLayer& layer : hidden_) layer.descend(rate);
  }

  /// Calls `f(values, count)` with each gradient: always the same, in the same order.
  template <typename F>
  void for_each_gradient(F&& f) {
    for (HiddenLayer& layer : hidden_) layer.for_each_gradient(f);
    f(weight_gradient_.data(), weight_gradient_.size());
    f(bias_gradient_.data(), bias_gradient_.size());
  }

  /// From now on every batch is a part of one that is spread over these members.
  void spread_over(eigennorm::Peers& peers) {
    for (HiddenLayer& layer : hidden_) layer.spread_over(peers);
  }

  Score evaluate(const Dataset& dataset) const {
    Matrix activation = hidden_.front().evaluate(dataset.inputs);
    for (std::size_t layer = 1; layer < hidden_.size(); ++layer) activation = hidden_[layer].evaluate(activation);
    return score_of(probabilities(activation), dataset.labels);
  }

  /// Replaces the running statistics by those of the training set: Algorithm 2 of the paper, with the
  /// parameters fixed. Layer by layer, because what reaches a layer in evaluation has passed the layers below
  /// with *their* final statistics. False where the method has no running statistics.
  bool take_population_statistics(const Dataset& training, Eigen::Index batch_size) {
    Stopwatch not_reported;
    bool any = false;
    for (std::size_t level = 0; level < hidden_.size(); ++level) {
      eigennorm::Normalization<float>* norm = hidden_[level].running_normalization();
      if (norm == nullptr) continue;
      norm->running->update = false;
      eigennorm::PopulationStatistics<float> population;
      for (Eigen::Index first = 0; first < training.size(); first += batch_size) {
        Matrix activation = training.inputs.middleRows(first, std::min(batch_size, training.size() - first));
        for (std::size_t below = 0; below < level; ++below) activation = hidden_[below].evaluate(activation);
        hidden_[level].forward(activation, not_reported);
        population.observe(norm->moments());
      }
      norm->running->assign(population.algorithm2());
      norm->running->update = true;
      any = true;
    }
    return any;
  }

  /// All parameters and running statistics into a file, and from one: `File` as in HiddenLayer.
  template <typename File>
  void write_to(File& file, const std::string& prefix) const {
    for (std::size_t i = 0; i < hidden_.size(); ++i)
      hidden_[i].write_to(file, prefix + "hidden." + std::to_string(i) + ".");
    file.add(prefix + "output.weight", weight_);
    file.add(prefix + "output.bias", bias_);
  }
  template <typename File>
  void read_from(const File& file, const std::string& prefix) {
    for (std::size_t i = 0; i < hidden_.size(); ++i)
      hidden_[i].read_from(file, prefix + "hidden." + std::to_string(i) + ".");
    weight_ = stored(weight_, file, prefix + "output.weight");
    bias_ = stored(bias_, file, prefix + "output.bias");
  }

  /// Time spent in the library by `train`.
  double normalization_seconds() const { return normalization_.seconds(); }

 private:
  Matrix probabilities(const Matrix& activation) const {
    return softmax((activation * weight_.transpose()).rowwise() + bias_);
  }

  std::vector<HiddenLayer> hidden_;
  Matrix weight_, weight_gradient_;
  Eigen::RowVectorXf bias_, bias_gradient_;
  Stopwatch normalization_;
};

}  // namespace digits

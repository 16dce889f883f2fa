/// One hidden layer, normalized in one of several ways. Here is all that the library is used for in training;
/// `network.hpp` has the rest: population statistics.
#pragma once

#include <Eigen/Core>
#include <ctime>
#include <eigennorm/eigennorm.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "data.hpp"

namespace digits {

enum class Method { none, batch_norm, layer_norm, weight_norm, weight_norm_centred };

enum class Nonlinearity { sigmoid, relu };

inline const char* name(Method method) {
  switch (method) {
    case Method::batch_norm:
      return "BatchNorm";
    case Method::layer_norm:
      return "LayerNorm";
    case Method::weight_norm:
      return "WeightNorm";
    case Method::weight_norm_centred:
      return "WeightNorm, mean-only BatchNorm";
    case Method::none:
      break;
  }
  return "none";
}

/// A tensor of a file, of the size of one that is there.
template <typename Plain, typename File>
Plain stored(const Plain& alike, const File& file, const std::string& name) {
  Plain read = file.template get<Plain>(name);
  if (read.rows() != alike.rows() || read.cols() != alike.cols())
    throw std::runtime_error(file.name() + ": " + name + " is of another size");
  return read;
}

/// Adds up the time of what it is given to call: processor time of this thread, so that neither the runs
/// beside it nor other work on the machine count.
class Stopwatch {
 public:
  template <typename Function>
  void time(Function&& function) {
    const double start = now();
    function();
    seconds_ += now() - start;
  }
  double seconds() const { return seconds_; }

 private:
  static double now() {
    std::timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }

  double seconds_ = 0;
};

/// activation = sigmoid(sums), or relu(sums), where the sums are
///     none         inputs * weight^T + bias
///     WeightNorm   inputs * normalized(weight)^T + bias
///     BatchNorm    normalized(inputs * weight^T)          its shift is the bias
///     LayerNorm    normalized(inputs * weight^T)          its shift is the bias
/// With a mean-only BatchNorm after WeightNorm (Salimans & Kingma 2016, section 4) the shift is the bias, too.
class HiddenLayer {
 public:
  /// One row of `weight` for each unit.
  HiddenLayer(Method method, Matrix weight, Nonlinearity nonlinearity = Nonlinearity::sigmoid)
      : weight_(std::move(weight)), nonlinearity_(nonlinearity) {
    const Eigen::Index units = weight_.rows();
    bias_.setZero(units);
    switch (method) {
      case Method::none:
        break;
      case Method::batch_norm:
        on_sums_ = eigennorm::BatchNorm<float>(units);
        break;
      case Method::layer_norm:
        on_sums_ = eigennorm::LayerNorm<float>(units);
        break;
      case Method::weight_norm_centred:
        on_sums_ = eigennorm::MeanOnlyBatchNorm<float>(units);
        [[fallthrough]];
      case Method::weight_norm: {
        eigennorm::WeightNorm<float> norm(units);
        norm.scale_from(weight_);  // the normalized weight starts as the weight itself
        on_weight_ = norm;
        break;
      }
    }
  }

  /// The start of the WeightNorm paper, where there is a WeightNorm: scale and bias such that each unit's sums have
  /// mean 0 and variance 1 on these inputs. Gives the activation.
  const Matrix& initialize(const Matrix& inputs, Stopwatch& watch) {
    if (on_weight_) {
      eigennorm::WeightNorm<float> norm(weight_.rows());
      const Matrix sums = inputs * norm.evaluate(weight_).transpose();
      norm.initialize(sums, bias_);
      on_weight_ = norm;
    }
    return forward(inputs, watch);
  }

  /// From now on every batch is a part of one that is spread over these members.
  void spread_over(eigennorm::Peers& peers) { spread_.peers = &peers; }

  /// From now on `forward` and `backward` count and normalize these rows alone; none: all.
  void normalize_only(const std::optional<eigennorm::Valid>& valid) { spread_.valid = valid; }

  const Matrix& forward(const Matrix& inputs, Stopwatch& watch) {
    if (on_weight_) {
      normalized_weight_.resizeLike(weight_);
      watch.time([&] { on_weight_->forward(weight_, normalized_weight_); });
    }
    sums_.noalias() = inputs * effective_weight().transpose();
    normalized_sums_.resizeLike(sums_);
    if (on_sums_) {
      watch.time([&] { on_sums_->forward(sums_, normalized_sums_, spread_); });
    } else {
      normalized_sums_ = sums_.rowwise() + bias_;
    }
    activation_ = activated(normalized_sums_);
    return activation_;
  }

  /// The same without a trace: const, so that threads may share a trained net.
  Matrix evaluate(const Matrix& inputs, const std::optional<eigennorm::Valid>& valid = {}) const {
    Matrix sums;
    sums.noalias() = inputs * (on_weight_ ? on_weight_->evaluate(weight_) : weight_).transpose();
    if (on_sums_) {
      eigennorm::Context<float> context;
      context.valid = valid;
      on_sums_->evaluate(sums, sums, context);
    } else {
      sums.rowwise() += bias_;
    }
    return activated(sums);
  }

  /// Takes the loss's derivative by the activation of the last `forward`, and leaves those by sums and
  /// parameters.
  void backward(const Matrix& inputs, const Matrix& by_activation, Stopwatch& watch) {
    if (nonlinearity_ == Nonlinearity::relu) {
      by_sums_ = (activation_.array() > 0).select(by_activation, 0.0F);
    } else {
      by_sums_ = by_activation.array() * activation_.array() * (1.0F - activation_.array());
    }
    if (on_sums_) {
      watch.time([&] { on_sums_->backward(sums_, by_sums_, by_sums_, spread_); });
    } else {
      bias_gradient_ = by_sums_.colwise().sum();
    }
    weight_gradient_.noalias() = by_sums_.transpose() * inputs;
    if (on_weight_) {
      watch.time([&] { on_weight_->backward(weight_, weight_gradient_, weight_gradient_); });
    }
  }

  /// The loss's derivative by the inputs; ask before `descend` moves the weight.
  Matrix by_inputs() const { return by_sums_ * effective_weight(); }

  void descend(float rate) {
    weight_ -= rate * weight_gradient_;
    if (!on_sums_) bias_ -= rate * bias_gradient_;
    for (auto* norm : {&on_sums_, &on_weight_}) {
      if (!*norm) continue;
      (*norm)->for_each_parameter([rate](std::string_view, eigennorm::Parameter<float>& parameter) {
        parameter.value -= rate * parameter.grad;
      });
      (*norm)->zero_grad();
    }
  }

  /// Of the last `forward`: what the nonlinearity was given, and what it made of it.
  const Matrix& normalized_sums() const { return normalized_sums_; }
  const Matrix& activation() const { return activation_; }
  /// WeightNorm's v, or the weight itself; and what the last `backward` left for it.
  const Matrix& weight() const { return weight_; }
  const Matrix& weight_gradient() const { return weight_gradient_; }

  /// Calls `f(values, count)` with each gradient that the last `backward` left.
  template <typename F>
  void for_each_gradient(F&& f) {
    f(weight_gradient_.data(), weight_gradient_.size());
    if (!on_sums_) f(bias_gradient_.data(), bias_gradient_.size());
    for (auto* norm : {&on_sums_, &on_weight_}) {
      if (!*norm) continue;
      (*norm)->for_each_parameter([&f](std::string_view, eigennorm::Parameter<float>& parameter) {
        f(parameter.grad.data(), parameter.grad.size());
      });
    }
  }

  /// Everything that training changed, by the names of a state_dict. (`File`: eigennorm::SafeTensors, which is not
  /// there everywhere.)
  template <typename File>
  void write_to(File& file, const std::string& prefix) const {
    if (on_sums_) save(*on_sums_, file, prefix + "norm.");
    if (on_weight_) {
      save(*on_weight_, weight_, file, prefix + "linear.");
    } else {
      file.add(prefix + "linear.weight", weight_);
    }
    if (!on_sums_) file.add(prefix + "linear.bias", bias_);
  }

  /// Takes over what `write_to` wrote of a layer made alike.
  template <typename File>
  void read_from(const File& file, const std::string& prefix) {
    if (on_sums_) load(*on_sums_, file, prefix + "norm.");
    if (on_weight_) {
      load(*on_weight_, weight_, file, prefix + "linear.");
    } else {
      weight_ = stored(weight_, file, prefix + "linear.weight");
    }
    if (!on_sums_) bias_ = stored(bias_, file, prefix + "linear.bias");
  }

  /// The normalization with running statistics, or nullptr.
  eigennorm::Normalization<float>* running_normalization() {
    return on_sums_ && on_sums_->running ? &*on_sums_ : nullptr;
  }

 private:
  const Matrix& effective_weight() const { return on_weight_ ? normalized_weight_ : weight_; }

  Matrix activated(const Matrix& sums) const {
    if (nonlinearity_ == Nonlinearity::relu) return sums.cwiseMax(0.0F);
    return sums.array().logistic();
  }

  std::optional<eigennorm::Normalization<float>> on_sums_, on_weight_;
  Matrix weight_, normalized_weight_, weight_gradient_;
  Nonlinearity nonlinearity_;
  Eigen::RowVectorXf bias_, bias_gradient_;
  eigennorm::Context<float> spread_;                      // for `on_sums_`
  Matrix sums_, normalized_sums_, activation_, by_sums_;  // of the last forward and backward
};

}  // namespace digits

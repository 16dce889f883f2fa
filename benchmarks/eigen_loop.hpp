#pragma once

#include <Eigen/Core>
#include <memory>

#include "mask.hpp"
#include "pool.hpp"
#include "workload.hpp"

/// \file
/// What the hand-written loops have in common.

namespace benchmarks::loops {

using Values = Eigen::ArrayXf;
using In = Eigen::Map<const Values>;
using Out = Eigen::Map<Values>;

/// 1 for each valid position, 0 for the others.
inline Values weights_of(const Mask* mask, const Workload& workload) {
  if (mask == nullptr) return {};
  const std::int64_t size = workload.size() / workload.features();
  return Eigen::Map<const Eigen::Array<bool, Eigen::Dynamic, 1>>(mask->valid.get(), size).cast<float>();
}

/// Parameters and what a forward leaves for its backward, by `groups`. Gradients have a column for each thread.
struct State {
  State(const Workload& workload, int threads, std::int64_t groups)
      : pool(threads),
        scale(Values::Ones(workload.features())),
        shift(Values::Zero(workload.features())),
        running_mean(Values::Zero(workload.features())),
        running_variance(Values::Ones(workload.features())),
        mean(Values::Zero(groups)),
        rstd(Values::Ones(groups)),
        dscale(Eigen::ArrayXXf::Zero(workload.features(), threads)),
        dshift(dscale),
        mask(mask_of(workload)),
        weights(weights_of(mask.get(), workload)) {}

  /// How many values a channel has, of so many with the invalid ones.
  float count(std::int64_t all) const {
    return static_cast<float>(mask == nullptr ? all : static_cast<std::int64_t>(mask->places.size()));
  }

  Pool pool;
  Values scale, shift, running_mean, running_variance, mean, rstd;
  Eigen::ArrayXXf dscale, dshift;
  std::shared_ptr<const Mask> mask;
  Values weights;
  bool has_moments = false;
};

/// A backward needs a forward before: its first call makes one.
template <typename Call>
Work with_moments(std::shared_ptr<State> state, Pass pass, Call call) {
  return [=](const Buffers& b) {
    if (pass == Pass::backward && !state->has_moments) call(b, *state, Pass::forward);
    state->has_moments = true;
    call(b, *state, pass);
  };
}

inline float reciprocal_root(float variance) { return 1.0F / std::sqrt(variance + static_cast<float>(epsilon)); }

constexpr bool has_relu(Extra extra) { return extra == Extra::relu || extra == Extra::residual_relu; }

/// What ReLU is of. `residual()`: what belongs to these values.
template <Extra extra, typename Normalized, typename Residual>
auto summed(const Normalized& normalized, [[maybe_unused]] const Residual& residual) {
  if constexpr (extra == Extra::residual_relu) {
    return normalized + residual();
  } else {
    return normalized;
  }
}

/// y, in one expression.
template <Extra extra, typename Normalized, typename Residual>
auto finished(const Normalized& normalized, const Residual& residual) {
  if constexpr (has_relu(extra)) {
    return summed<extra>(normalized, residual).max(0.0F);
  } else {
    return normalized;
  }
}

/// What ReLU lets pass. (By a factor: select takes 3 times as long on short rows.)
template <typename Result>
auto gated(const Result& y, const In& dy) {
  return dy * (y > 0.0F).template cast<float>();
}

/// BatchNorm of N x C x positions, and of channels that are last.
Work planes(const Workload& workload, Pass pass, int threads);
Work interleaved(const Workload& workload, Pass pass, int threads);

}  // namespace benchmarks::loops

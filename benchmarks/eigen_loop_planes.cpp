// The hand-written loops of BatchNorm where each channel has planes: N x C x H x W, N x C x T.

#include "eigen_loop.hpp"

namespace benchmarks::loops {
namespace {

/// Which positions of a plane count: all, ...
struct Whole {
  Whole(const State&, std::int64_t plane) : plane(plane) {}
  std::int64_t length(std::int64_t) const { return plane; }
  template <typename Expression>
  Expression only(const Expression& values, std::int64_t) const {
    return values;
  }
  std::int64_t plane;
};

/// ... the first ones of each sample, ...
struct First {
  First(const State& s, std::int64_t) : lengths(s.mask->lengths.data()) {}
  std::int64_t length(std::int64_t n) const { return lengths[n]; }
  template <typename Expression>
  Expression only(const Expression& values, std::int64_t) const {
    return values;
  }
  const std::int64_t* lengths;
};

/// ... or some: others are multiplied by 0.
struct Weighted {
  Weighted(const State& s, std::int64_t plane) : plane(plane), weights(s.weights.data()) {}
  std::int64_t length(std::int64_t) const { return plane; }
  template <typename Expression>
  auto only(const Expression& values, std::int64_t n) const {
    return values * In(weights + n * plane, plane);
  }
  std::int64_t plane;
  const float* weights;
};

/// The planes of one channel.
template <typename Kept>
struct Channel {
  std::int64_t samples, channels, plane, c;
  float count;
  Kept kept;
  const float* at(const float* x, std::int64_t n) const { return x + (n * channels + c) * plane; }
  float* at(float* y, std::int64_t n) const { return y + (n * channels + c) * plane; }
  In in(const float* x, std::int64_t n) const { return In(at(x, n), kept.length(n)); }
  Out out(float* y, std::int64_t n) const { return Out(at(y, n), kept.length(n)); }
  /// What is behind the length of sample n becomes 0.
  void clear_rest(float* y, std::int64_t n) const {
    if constexpr (std::is_same_v<Kept, First>) Out(at(y, n) + kept.length(n), plane - kept.length(n)).setZero();
  }
};

template <Extra extra, typename Kept>
void forward(const Buffers& b, const Channel<Kept>& c, State& s, bool evaluates) {
  float mean = 0, variance = 0;
  if (evaluates) {
    mean = s.running_mean[c.c];
    variance = s.running_variance[c.c];
  } else {
    for (std::int64_t n = 0; n < c.samples; ++n) mean += c.kept.only(c.in(b.x, n), n).sum();
    mean /= c.count;
    for (std::int64_t n = 0; n < c.samples; ++n) variance += c.kept.only((c.in(b.x, n) - mean).square(), n).sum();
    variance /= c.count;
  }
  const float rstd = reciprocal_root(variance);
  const float factor = rstd * s.scale[c.c], offset = s.shift[c.c] - mean * factor;
  for (std::int64_t n = 0; n < c.samples; ++n) {
    const auto normalized = c.kept.only(c.in(b.x, n) * factor + offset, n);
    c.out(b.y, n) = finished<extra>(normalized, [&] { return c.in(b.residual, n); });
    c.clear_rest(b.y, n);
  }
  if (evaluates) return;
  s.mean[c.c] = mean;
  s.rstd[c.c] = rstd;
}

template <Extra extra, typename Kept>
void backward(const Buffers& b, const Channel<Kept>& c, State& s) {
  const float mean = s.mean[c.c], rstd = s.rstd[c.c];
  const float factor = rstd * s.scale[c.c], shift = s.shift[c.c] - mean * factor;
  // What ReLU lets pass is kept where it is wanted, or where dx will be.
  float* passed = extra == Extra::relu ? b.y : b.second_result;
  const float* dy = has_relu(extra) ? passed : b.dy;
  float sum = 0, product = 0;
  for (std::int64_t n = 0; n < c.samples; ++n) {
    if constexpr (has_relu(extra)) {
      const auto y = summed<extra>(c.in(b.x, n) * factor + shift, [&] { return c.in(b.residual, n); });
      c.out(passed, n) = gated(y, c.in(b.dy, n));
    }
    sum += c.kept.only(c.in(dy, n), n).sum();
    product += c.kept.only(c.in(dy, n) * (c.in(b.x, n) - mean), n).sum();
  }
  s.dshift(c.c, 0) += sum;
  s.dscale(c.c, 0) += product * rstd;
  const float slope = product * rstd * rstd / c.count, offset = sum / c.count;
  for (std::int64_t n = 0; n < c.samples; ++n) {
    c.out(b.y, n) = c.kept.only((c.in(dy, n) - offset - (c.in(b.x, n) - mean) * slope) * factor, n);
    c.clear_rest(b.y, n);
  }
}

template <Extra extra, typename Kept>
Work make(const Workload& workload, Pass pass, int threads) {
  const std::int64_t samples = workload.shape[0], channels = workload.features(), plane = workload.plane();
  const auto call = [=](const Buffers& b, State& s, Pass direction) {
    const Kept kept(s, plane);
    s.pool.split(channels, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t c = first; c < last; ++c) {
        const Channel<Kept> channel{samples, channels, plane, c, s.count(samples * plane), kept};
        if (direction == Pass::backward) {
          backward<extra>(b, channel, s);
        } else {
          forward<extra>(b, channel, s, direction == Pass::evaluate);
        }
      }
    });
  };
  return with_moments(std::make_shared<State>(workload, threads, channels), pass, call);
}

}  // namespace

Work planes(const Workload& workload, Pass pass, int threads) {
  switch (workload.extra) {
    case Extra::none:
      return make<Extra::none, Whole>(workload, pass, threads);
    case Extra::relu:
      return make<Extra::relu, Whole>(workload, pass, threads);
    case Extra::residual_relu:
      return make<Extra::residual_relu, Whole>(workload, pass, threads);
    case Extra::lengths:
      return make<Extra::none, First>(workload, pass, threads);
    case Extra::random:
      return make<Extra::none, Weighted>(workload, pass, threads);
    default:
      return {};
  }
}

}  // namespace benchmarks::loops

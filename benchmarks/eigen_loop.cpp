// What a careful user of Eigen writes by hand, -O3 -march=native: rows and planes as Map<Array>, statistics and
// result in as few sweeps as they allow, interleaved channels added up row by row. The mean is one float, like in
// every such loop. Backward: of layer and batch norms.

#include <Eigen/Core>
#include <memory>
#include <vector>

#include "pool.hpp"
#include "workload.hpp"

namespace benchmarks {
namespace {

using Values = Eigen::ArrayXf;
using In = Eigen::Map<const Values>;
using Out = Eigen::Map<Values>;

/// Parameters and what a forward leaves for its backward.
struct State {
  explicit State(const Workload& workload, int threads)
      : pool(threads),
        scale(Values::Ones(workload.features())),
        shift(Values::Zero(workload.features())),
        mean(Values::Zero(workload.features())),
        rstd(Values::Ones(workload.features())) {}
  Pool pool;
  Values scale, shift, mean, rstd;
};

float reciprocal_root(float variance) { return 1.0F / std::sqrt(variance + static_cast<float>(epsilon)); }

void row_forward(const float* x, float* y, std::int64_t n, const State& s, bool centred) {
  const In in(x, n);
  Out out(y, n);
  const float mean = centred ? in.mean() : 0.0F;
  const float rstd = reciprocal_root((in - mean).square().mean());
  if (centred) {
    out = (in - mean) * rstd * s.scale + s.shift;
  } else {
    out = in * rstd * s.scale;
  }
}

/// By the mean and rstd of the row, found again: the loop keeps none.
void row_backward(const float* x, const float* dy, float* dx, std::int64_t n, const State& s, bool centred,
                  Values& dscale, Values& dshift) {
  const In in(x, n), d(dy, n);
  Out out(dx, n);
  const float mean = centred ? in.mean() : 0.0F;
  const float rstd = reciprocal_root((in - mean).square().mean());
  const float sum = centred ? (d * s.scale).mean() : 0.0F;
  const float product = (d * s.scale * (in - mean)).mean() * rstd;
  out = (d * s.scale - (sum + (in - mean) * (rstd * product))) * rstd;
  dscale += d * (in - mean) * rstd;
  if (centred) dshift += d;
}

Work rows(const Workload& workload, Pass pass, int threads) {
  const auto state = std::make_shared<State>(workload, threads);
  const std::int64_t n = workload.features(), count = workload.size() / n;
  const bool centred = workload.layer == Layer::layer_norm;
  return [=](const Buffers& b) {
    state->pool.split(count, 1, [&](std::int64_t first, std::int64_t last) {
      if (pass == Pass::forward) {
        for (std::int64_t r = first; r < last; ++r) row_forward(b.x + r * n, b.y + r * n, n, *state, centred);
        return;
      }
      Values dscale = Values::Zero(n), dshift = Values::Zero(n);
      for (std::int64_t r = first; r < last; ++r)
        row_backward(b.x + r * n, b.dy + r * n, b.y + r * n, n, *state, centred, dscale, dshift);
    });
  };
}

/// One channel of NCHW, plane by plane.
void channel(const Buffers& b, Pass pass, State& s, std::int64_t samples, std::int64_t channels, std::int64_t plane,
             std::int64_t c) {
  const auto at = [=](std::int64_t n) { return (n * channels + c) * plane; };
  const auto count = static_cast<float>(samples * plane);
  float mean = s.mean[c], rstd = s.rstd[c];
  if (pass != Pass::evaluate) {
    mean = 0;
    for (std::int64_t n = 0; n < samples; ++n) mean += In(b.x + at(n), plane).sum();
    mean /= count;
    float variance = 0;
    for (std::int64_t n = 0; n < samples; ++n) variance += (In(b.x + at(n), plane) - mean).square().sum();
    rstd = reciprocal_root(variance / count);
  }
  if (pass != Pass::backward) {
    const float factor = rstd * s.scale[c], offset = s.shift[c] - mean * factor;
    for (std::int64_t n = 0; n < samples; ++n) Out(b.y + at(n), plane) = In(b.x + at(n), plane) * factor + offset;
    return;
  }
  float sum = 0, product = 0;
  for (std::int64_t n = 0; n < samples; ++n) {
    sum += In(b.dy + at(n), plane).sum();
    product += (In(b.dy + at(n), plane) * (In(b.x + at(n), plane) - mean)).sum();
  }
  const float slope = product * rstd * rstd / count, offset = sum / count;
  for (std::int64_t n = 0; n < samples; ++n) {
    Out(b.y + at(n), plane) =
        (In(b.dy + at(n), plane) - offset - (In(b.x + at(n), plane) - mean) * slope) * (rstd * s.scale[c]);
  }
}

Work planes(const Workload& workload, Pass pass, int threads) {
  const auto state = std::make_shared<State>(workload, threads);
  const Workload w = workload;
  return [=](const Buffers& b) {
    state->pool.split(w.shape[1], 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t c = first; c < last; ++c) channel(b, pass, *state, w.shape[0], w.shape[1], w.plane(), c);
    });
  };
}

/// Channels on the last axis: all of them at once, row by row.
Work interleaved(const Workload& workload, Pass pass) {
  const auto state = std::make_shared<State>(workload, 1);
  const std::int64_t channels = workload.features(), rows = workload.size() / channels;
  return [=](const Buffers& b) {
    State& s = *state;
    const auto count = static_cast<float>(rows);
    Values mean = s.mean, rstd = s.rstd;
    if (pass != Pass::evaluate) {
      mean.setZero();
      for (std::int64_t r = 0; r < rows; ++r) mean += In(b.x + r * channels, channels);
      mean /= count;
      Values variance = Values::Zero(channels);
      for (std::int64_t r = 0; r < rows; ++r) variance += (In(b.x + r * channels, channels) - mean).square();
      rstd = (variance / count + static_cast<float>(epsilon)).rsqrt();
    }
    if (pass != Pass::backward) {
      const Values factor = rstd * s.scale, offset = s.shift - mean * factor;
      for (std::int64_t r = 0; r < rows; ++r)
        Out(b.y + r * channels, channels) = In(b.x + r * channels, channels) * factor + offset;
      return;
    }
    Values sum = Values::Zero(channels), product = sum;
    for (std::int64_t r = 0; r < rows; ++r) {
      const In d(b.dy + r * channels, channels);
      sum += d;
      product += d * (In(b.x + r * channels, channels) - mean);
    }
    const Values slope = product * rstd.square() / count, offset = sum / count, factor = rstd * s.scale;
    for (std::int64_t r = 0; r < rows; ++r) {
      Out(b.y + r * channels, channels) =
          (In(b.dy + r * channels, channels) - offset - (In(b.x + r * channels, channels) - mean) * slope) * factor;
    }
  };
}

/// Each row by its norm.
Work weights(const Workload& workload, Pass pass, int threads) {
  const auto state = std::make_shared<State>(workload, threads);
  const std::int64_t n = workload.shape[1], count = workload.shape[0];
  return [=](const Buffers& b) {
    state->pool.split(count, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) {
        const In v(b.x + r * n, n);
        const float inverse = 1 / v.matrix().norm();
        if (pass == Pass::forward) {
          Out(b.y + r * n, n) = v * (inverse * state->scale[r]);
        } else {
          const In d(b.dy + r * n, n);
          const float product = (d * v).sum() * inverse * inverse;
          Out(b.y + r * n, n) = (d - v * product) * (inverse * state->scale[r]);
        }
      }
    });
  };
}

/// Samples whose channels, `together` of them, share statistics.
Work sample_groups(const Workload& workload, Pass pass, int threads, std::int64_t together) {
  if (pass != Pass::forward) return {};
  const auto state = std::make_shared<State>(workload, threads);
  const std::int64_t plane = workload.plane(), channels = workload.features(), n = together * plane;
  const std::int64_t groups = workload.size() / n;
  return [=](const Buffers& b) {
    state->pool.split(groups, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t g = first; g < last; ++g) {
        const In in(b.x + g * n, n);
        const float mean = in.mean(), rstd = reciprocal_root((in - mean).square().mean());
        for (std::int64_t i = 0; i < together; ++i) {
          const std::int64_t c = (g * together + i) % channels, at = g * n + i * plane;
          const float factor = rstd * state->scale[c], offset = state->shift[c] - mean * factor;
          Out(b.y + at, plane) = In(b.x + at, plane) * factor + offset;
        }
      }
    });
  };
}

}  // namespace

Work eigen_loop(const Workload& workload, Pass pass, int threads) {
  switch (workload.layer) {
    case Layer::layer_norm:
    case Layer::rms_norm:
      return rows(workload, pass, threads);
    case Layer::batch_norm:
      if (workload.shape.size() == 4) return planes(workload, pass, threads);
      return threads == 1 ? interleaved(workload, pass) : Work();
    case Layer::batch_norm_last:
      return threads == 1 ? interleaved(workload, pass) : Work();
    case Layer::group_norm:
      return sample_groups(workload, pass, threads, workload.features() / group_count);
    case Layer::instance_norm:
      return sample_groups(workload, pass, threads, 1);
    default:
      return weights(workload, pass, threads);
  }
}

}  // namespace benchmarks

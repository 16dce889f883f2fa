// What a careful user of Eigen writes by hand, -O3 -march=native: rows and planes as Map<Array>, statistics and result
// in as few sweeps as they allow, interleaved channels added up row by row. A forward keeps mean and rstd (one float
// each) for its backward, which adds to the gradients of scale and shift; nothing is allocated in a call. Backward: of
// layer, RMS, batch and weight norms.

#include <Eigen/Core>
#include <memory>

#include "pool.hpp"
#include "workload.hpp"

namespace benchmarks {
namespace {

using Values = Eigen::ArrayXf;
using In = Eigen::Map<const Values>;
using Out = Eigen::Map<Values>;

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
        dshift(dscale) {}
  Pool pool;
  Values scale, shift, running_mean, running_variance, mean, rstd;
  Eigen::ArrayXXf dscale, dshift;
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

float reciprocal_root(float variance) { return 1.0F / std::sqrt(variance + static_cast<float>(epsilon)); }

void row_forward(const In& x, Out y, State& s, std::int64_t r, bool centred) {
  const float mean = centred ? x.mean() : 0.0F;
  const float rstd = reciprocal_root(centred ? (x - mean).square().mean() : x.square().mean());
  if (centred) {
    y = (x - mean) * rstd * s.scale + s.shift;
  } else {
    y = x * rstd * s.scale;
  }
  s.mean[r] = mean;
  s.rstd[r] = rstd;
}

void row_backward(const In& x, const In& dy, Out dx, State& s, std::int64_t r, bool centred, int piece) {
  const float mean = s.mean[r], rstd = s.rstd[r];
  if (centred) {
    const float sum = (dy * s.scale).mean(), slope = (dy * s.scale * (x - mean)).mean() * rstd * rstd;
    dx = (dy * s.scale - sum - (x - mean) * slope) * rstd;
    s.dscale.col(piece) += dy * ((x - mean) * rstd);
    s.dshift.col(piece) += dy;
  } else {
    const float slope = (dy * s.scale * x).mean() * rstd * rstd;
    dx = (dy * s.scale - x * slope) * rstd;
    s.dscale.col(piece) += dy * (x * rstd);
  }
}

Work rows(const Workload& workload, Pass pass, int threads) {
  const std::int64_t n = workload.features(), count = workload.size() / n;
  const bool centred = workload.layer == Layer::layer_norm;
  const auto call = [=](const Buffers& b, State& s, Pass direction) {
    s.pool.split(threads, 1, [&](std::int64_t piece, std::int64_t) {
      for (std::int64_t r = count * piece / threads; r < count * (piece + 1) / threads; ++r) {
        const In x(b.x + r * n, n);
        const Out result(b.y + r * n, n);
        if (direction == Pass::backward) {
          row_backward(x, In(b.dy + r * n, n), result, s, r, centred, static_cast<int>(piece));
        } else {
          row_forward(x, result, s, r, centred);
        }
      }
    });
    for (int piece = 1; direction == Pass::backward && piece < threads; ++piece) {
      for (Eigen::ArrayXXf* gradient : {&s.dscale, &s.dshift}) {
        gradient->col(0) += gradient->col(piece);
        gradient->col(piece).setZero();
      }
    }
  };
  return with_moments(std::make_shared<State>(workload, threads, count), pass, call);
}

/// The planes of one channel of NCHW.
struct Channel {
  std::int64_t samples, channels, plane, c;
  In in(const float* x, std::int64_t n) const { return In(x + (n * channels + c) * plane, plane); }
  Out out(float* y, std::int64_t n) const { return Out(y + (n * channels + c) * plane, plane); }
  float count() const { return static_cast<float>(samples * plane); }
};

void channel_forward(const Buffers& b, const Channel& c, State& s, bool evaluates) {
  float mean = 0, variance = 0;
  if (evaluates) {
    mean = s.running_mean[c.c];
    variance = s.running_variance[c.c];
  } else {
    for (std::int64_t n = 0; n < c.samples; ++n) mean += c.in(b.x, n).sum();
    mean /= c.count();
    for (std::int64_t n = 0; n < c.samples; ++n) variance += (c.in(b.x, n) - mean).square().sum();
    variance /= c.count();
  }
  const float rstd = reciprocal_root(variance);
  const float factor = rstd * s.scale[c.c], offset = s.shift[c.c] - mean * factor;
  for (std::int64_t n = 0; n < c.samples; ++n) c.out(b.y, n) = c.in(b.x, n) * factor + offset;
  if (evaluates) return;
  s.mean[c.c] = mean;
  s.rstd[c.c] = rstd;
}

void channel_backward(const Buffers& b, const Channel& c, State& s) {
  const float mean = s.mean[c.c], rstd = s.rstd[c.c];
  float sum = 0, product = 0;
  for (std::int64_t n = 0; n < c.samples; ++n) {
    sum += c.in(b.dy, n).sum();
    product += (c.in(b.dy, n) * (c.in(b.x, n) - mean)).sum();
  }
  s.dshift(c.c, 0) += sum;
  s.dscale(c.c, 0) += product * rstd;
  const float slope = product * rstd * rstd / c.count(), offset = sum / c.count(), factor = rstd * s.scale[c.c];
  for (std::int64_t n = 0; n < c.samples; ++n)
    c.out(b.y, n) = (c.in(b.dy, n) - offset - (c.in(b.x, n) - mean) * slope) * factor;
}

Work planes(const Workload& workload, Pass pass, int threads) {
  const std::int64_t samples = workload.shape[0], channels = workload.shape[1], plane = workload.plane();
  const auto call = [=](const Buffers& b, State& s, Pass direction) {
    s.pool.split(channels, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t c = first; c < last; ++c) {
        const Channel at{samples, channels, plane, c};
        if (direction == Pass::backward) {
          channel_backward(b, at, s);
        } else {
          channel_forward(b, at, s, direction == Pass::evaluate);
        }
      }
    });
  };
  return with_moments(std::make_shared<State>(workload, threads, channels), pass, call);
}

/// Channels [first, first + n) of all rows, where channels are the last axis.
struct Columns {
  std::int64_t rows, channels, first, n;
  In in(const float* x, std::int64_t r) const { return In(x + r * channels + first, n); }
  Out out(float* y, std::int64_t r) const { return Out(y + r * channels + first, n); }
  Out part(Values& of_channels) const { return Out(of_channels.data() + first, n); }
};

/// Numbers of each channel that a call needs room for.
struct Room {
  explicit Room(std::int64_t channels) : one(channels), other(channels), third(channels) {}
  Values one, other, third;
};

void columns_forward(const Buffers& b, const Columns& c, State& s, Room& room) {
  Out mean = c.part(s.mean), rstd = c.part(s.rstd), factor = c.part(room.one), offset = c.part(room.other);
  const auto count = static_cast<float>(c.rows);
  mean = c.in(b.x, 0);
  for (std::int64_t r = 1; r < c.rows; ++r) mean += c.in(b.x, r);
  mean /= count;
  Out variance = rstd;
  variance = (c.in(b.x, 0) - mean).square();
  for (std::int64_t r = 1; r < c.rows; ++r) variance += (c.in(b.x, r) - mean).square();
  rstd = (variance / count + static_cast<float>(epsilon)).rsqrt();
  factor = rstd * c.part(s.scale);
  offset = c.part(s.shift) - mean * factor;
  for (std::int64_t r = 0; r < c.rows; ++r) c.out(b.y, r) = c.in(b.x, r) * factor + offset;
}

void columns_evaluate(const Buffers& b, const Columns& c, State& s, Room& room) {
  const Out mean = c.part(s.running_mean), scale = c.part(s.scale), shift = c.part(s.shift);
  const auto rstd = (c.part(s.running_variance) + static_cast<float>(epsilon)).rsqrt();
  if (c.rows == 1) {
    c.out(b.y, 0) = (c.in(b.x, 0) - mean) * (rstd * scale) + shift;
    return;
  }
  Out factor = c.part(room.one), offset = c.part(room.other);
  factor = rstd * scale;
  offset = shift - mean * factor;
  for (std::int64_t r = 0; r < c.rows; ++r) c.out(b.y, r) = c.in(b.x, r) * factor + offset;
}

void columns_backward(const Buffers& b, const Columns& c, State& s, Room& room) {
  const Out mean = c.part(s.mean), rstd = c.part(s.rstd);
  Out sum = c.part(room.one), product = c.part(room.other), factor = c.part(room.third);
  sum.setZero();
  product.setZero();
  for (std::int64_t r = 0; r < c.rows; ++r) {
    const In dy = c.in(b.dy, r);
    sum += dy;
    product += dy * (c.in(b.x, r) - mean);
  }
  s.dshift.col(0).segment(c.first, c.n) += sum;
  s.dscale.col(0).segment(c.first, c.n) += product * rstd;
  const auto count = static_cast<float>(c.rows);
  sum /= count;
  product *= rstd.square() / count;
  factor = rstd * c.part(s.scale);
  for (std::int64_t r = 0; r < c.rows; ++r)
    c.out(b.y, r) = (c.in(b.dy, r) - sum - (c.in(b.x, r) - mean) * product) * factor;
}

/// All channels at once, row by row; with threads each its part of them, by whole cache lines.
Work interleaved(const Workload& workload, Pass pass, int threads) {
  const std::int64_t channels = workload.features(), count = workload.size() / channels;
  const auto room = std::make_shared<Room>(channels);
  const auto call = [=](const Buffers& b, State& s, Pass direction) {
    s.pool.split(channels, 16, [&](std::int64_t first, std::int64_t last) {
      const Columns columns{count, channels, first, last - first};
      if (direction == Pass::forward) columns_forward(b, columns, s, *room);
      if (direction == Pass::evaluate) columns_evaluate(b, columns, s, *room);
      if (direction == Pass::backward) columns_backward(b, columns, s, *room);
    });
  };
  return with_moments(std::make_shared<State>(workload, threads, channels), pass, call);
}

/// Each row by its norm, whose reciprocal is kept.
Work weights(const Workload& workload, Pass pass, int threads) {
  const std::int64_t n = workload.shape[1], count = workload.shape[0];
  const auto call = [=](const Buffers& b, State& s, Pass direction) {
    s.pool.split(count, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) {
        const In v(b.x + r * n, n);
        Out result(b.y + r * n, n);
        if (direction == Pass::forward) {
          s.rstd[r] = 1 / v.matrix().norm();
          result = v * (s.rstd[r] * s.scale[r]);
        } else {
          const In dw(b.dy + r * n, n);
          const float inverse = s.rstd[r], product = (dw * v).sum() * inverse;
          s.dscale(r, 0) += product;
          result = (dw - v * (product * inverse)) * (inverse * s.scale[r]);
        }
      }
    });
  };
  return with_moments(std::make_shared<State>(workload, threads, count), pass, call);
}

/// Samples whose channels, `together` of them, share statistics.
Work sample_groups(const Workload& workload, Pass pass, int threads, std::int64_t together) {
  if (pass != Pass::forward) return {};
  const std::int64_t plane = workload.plane(), channels = workload.features(), n = together * plane;
  const std::int64_t groups = workload.size() / n;
  const auto call = [=](const Buffers& b, State& s, Pass) {
    s.pool.split(groups, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t g = first; g < last; ++g) {
        const In in(b.x + g * n, n);
        const float mean = in.mean(), rstd = reciprocal_root((in - mean).square().mean());
        s.mean[g] = mean;
        s.rstd[g] = rstd;
        for (std::int64_t i = 0; i < together; ++i) {
          const std::int64_t c = (g * together + i) % channels, at = g * n + i * plane;
          const float factor = rstd * s.scale[c], offset = s.shift[c] - mean * factor;
          Out(b.y + at, plane) = In(b.x + at, plane) * factor + offset;
        }
      }
    });
  };
  return with_moments(std::make_shared<State>(workload, threads, groups), pass, call);
}

}  // namespace

Work eigen_loop(const Workload& workload, Pass pass, int threads) {
  switch (workload.layer) {
    case Layer::layer_norm:
    case Layer::rms_norm:
      return rows(workload, pass, threads);
    case Layer::batch_norm:
      return planes(workload, pass, threads);
    case Layer::batch_norm_last:
      return interleaved(workload, pass, threads);
    case Layer::group_norm:
      return sample_groups(workload, pass, threads, workload.features() / group_count);
    case Layer::instance_norm:
      return sample_groups(workload, pass, threads, 1);
    default:
      return weights(workload, pass, threads);
  }
}

}  // namespace benchmarks

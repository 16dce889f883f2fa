// What a careful user of Eigen writes by hand, -O3 -march=native: rows and planes as Map<Array>, statistics and result
// in as few sweeps as they allow, interleaved channels added up row by row. A forward keeps mean and rstd (one float
// each) for its backward, which adds to the gradients of scale and shift; nothing is allocated in a call. Backward: of
// layer, RMS, batch and weight norms. ReLU and a residual stand in the expression of the result; backward finds y again
// by the same expression.

#include "eigen_loop.hpp"

namespace benchmarks {
namespace {

using namespace loops;

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

struct Rows {
  std::int64_t n;
  bool centred, added;
};

/// Row r, with a sum that is kept or the gradient that reaches it, where there is one.
void row(const Buffers& b, State& s, Pass direction, const Rows& rows, std::int64_t r, int piece) {
  const std::int64_t n = rows.n, at = r * n;
  const In x(b.x + at, n);
  Out result(b.y + at, n);
  if (s.mask != nullptr && !s.mask->valid[static_cast<std::size_t>(r)]) {
    result.setZero();
  } else if (direction == Pass::backward) {
    row_backward(x, In(b.dy + at, n), result, s, r, rows.centred, piece);
    if (rows.added) result += In(b.residual + at, n);
  } else if (rows.added) {
    Out(b.second_result + at, n) = x + In(b.residual + at, n);
    row_forward(In(b.second_result + at, n), result, s, r, rows.centred);
  } else {
    row_forward(x, result, s, r, rows.centred);
  }
}

Work rows(const Workload& workload, Pass pass, int threads) {
  if (workload.extra == Extra::relu || workload.extra == Extra::residual_relu) return {};
  const std::int64_t n = workload.features(), count = workload.size() / n;
  const Rows all{n, workload.layer == Layer::layer_norm, workload.extra == Extra::added};
  const auto call = [=](const Buffers& b, State& s, Pass direction) {
    s.pool.split(threads, 1, [&](std::int64_t piece, std::int64_t) {
      for (std::int64_t r = count * piece / threads; r < count * (piece + 1) / threads; ++r)
        row(b, s, direction, all, r, static_cast<int>(piece));
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

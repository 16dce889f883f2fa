// The hand-written loops of BatchNorm where channels are the last axis.

#include "eigen_loop.hpp"

namespace benchmarks::loops {
namespace {

/// Which rows count: all, ...
struct All {
  explicit All(const State&) {}
  std::int64_t first() const { return 0; }
  bool operator()(std::int64_t) const { return true; }
};

/// ... or the valid ones.
struct Some {
  explicit Some(const State& s) : mask(*s.mask) {}
  std::int64_t first() const { return mask.places.front(); }
  bool operator()(std::int64_t r) const { return mask.valid[static_cast<std::size_t>(r)]; }
  const Mask& mask;
};

/// Channels [first, first + n) of all rows.
struct Columns {
  std::int64_t rows, channels, first, n;
  float count;
  In in(const float* x, std::int64_t r) const { return In(x + r * channels + first, n); }
  Out out(float* y, std::int64_t r) const { return Out(y + r * channels + first, n); }
  Out part(Values& of_channels) const { return Out(of_channels.data() + first, n); }
};

/// Numbers of each channel that a call needs room for.
struct Room {
  explicit Room(std::int64_t channels) : sum(channels), product(channels), factor(channels), offset(channels) {}
  Values sum, product, factor, offset;
};

template <Extra extra, typename Kept>
void write(const Buffers& b, const Columns& c, const Kept& kept, const Out& factor, const Out& offset) {
  for (std::int64_t r = 0; r < c.rows; ++r) {
    if (!kept(r)) {
      c.out(b.y, r).setZero();
      continue;
    }
    c.out(b.y, r) = finished<extra>(c.in(b.x, r) * factor + offset, [&] { return c.in(b.residual, r); });
  }
}

template <Extra extra, typename Kept>
void forward(const Buffers& b, const Columns& c, const Kept& kept, State& s, Room& room) {
  Out mean = c.part(s.mean), rstd = c.part(s.rstd), factor = c.part(room.factor), offset = c.part(room.offset);
  mean = c.in(b.x, kept.first());
  for (std::int64_t r = kept.first() + 1; r < c.rows; ++r) {
    if (kept(r)) mean += c.in(b.x, r);
  }
  mean /= c.count;
  Out variance = rstd;
  variance = (c.in(b.x, kept.first()) - mean).square();
  for (std::int64_t r = kept.first() + 1; r < c.rows; ++r) {
    if (kept(r)) variance += (c.in(b.x, r) - mean).square();
  }
  rstd = (variance / c.count + static_cast<float>(epsilon)).rsqrt();
  factor = rstd * c.part(s.scale);
  offset = c.part(s.shift) - mean * factor;
  write<extra>(b, c, kept, factor, offset);
}

template <Extra extra, typename Kept>
void evaluate(const Buffers& b, const Columns& c, const Kept& kept, State& s, Room& room) {
  const Out mean = c.part(s.running_mean), scale = c.part(s.scale), shift = c.part(s.shift);
  const auto rstd = (c.part(s.running_variance) + static_cast<float>(epsilon)).rsqrt();
  if (extra == Extra::none && c.rows == 1) {
    c.out(b.y, 0) = (c.in(b.x, 0) - mean) * (rstd * scale) + shift;
    return;
  }
  Out factor = c.part(room.factor), offset = c.part(room.offset);
  factor = rstd * scale;
  offset = shift - mean * factor;
  write<extra>(b, c, kept, factor, offset);
}

/// What ReLU lets pass of row r, as an expression: dy where it lets all.
template <Extra extra>
auto passed(const Buffers& b, const Columns& c, Room& room, std::int64_t r) {
  if constexpr (!has_relu(extra)) {
    return c.in(b.dy, r);
  } else {
    const auto normalized = c.in(b.x, r) * c.part(room.factor) + c.part(room.offset);
    const auto y = summed<extra>(normalized, [&] { return c.in(b.residual, r); });
    return gated(y, c.in(b.dy, r));
  }
}

/// The same, from where it has been written if somebody wants it: as the gradient of a residual.
template <Extra extra>
auto wanted(const Buffers& b, const Columns& c, Room& room, std::int64_t r) {
  if constexpr (extra == Extra::residual_relu) {
    return c.in(b.second_result, r);
  } else {
    return passed<extra>(b, c, room, r);
  }
}

template <Extra extra, typename Kept>
void backward(const Buffers& b, const Columns& c, const Kept& kept, State& s, Room& room) {
  const Out mean = c.part(s.mean), rstd = c.part(s.rstd);
  Out sum = c.part(room.sum), product = c.part(room.product), factor = c.part(room.factor);
  factor = rstd * c.part(s.scale);
  c.part(room.offset) = c.part(s.shift) - mean * factor;
  sum.setZero();
  product.setZero();
  for (std::int64_t r = 0; r < c.rows; ++r) {
    if (!kept(r)) continue;
    if constexpr (extra == Extra::residual_relu) c.out(b.second_result, r) = passed<extra>(b, c, room, r);
    const auto dy = wanted<extra>(b, c, room, r);
    sum += dy;
    product += dy * (c.in(b.x, r) - mean);
  }
  s.dshift.col(0).segment(c.first, c.n) += sum;
  s.dscale.col(0).segment(c.first, c.n) += product * rstd;
  sum /= c.count;
  product *= rstd.square() / c.count;
  for (std::int64_t r = 0; r < c.rows; ++r) {
    if (!kept(r)) {
      c.out(b.y, r).setZero();
      continue;
    }
    c.out(b.y, r) = (wanted<extra>(b, c, room, r) - sum - (c.in(b.x, r) - mean) * product) * factor;
  }
}

/// All channels at once, row by row; with threads each its part of them, by whole cache lines.
template <Extra extra, typename Kept>
Work make(const Workload& workload, Pass pass, int threads) {
  const std::int64_t channels = workload.features(), rows = workload.size() / channels;
  const auto room = std::make_shared<Room>(channels);
  const auto call = [=](const Buffers& b, State& s, Pass direction) {
    const Kept kept(s);
    s.pool.split(channels, 16, [&](std::int64_t first, std::int64_t last) {
      const Columns columns{rows, channels, first, last - first, s.count(rows)};
      if (direction == Pass::forward) forward<extra>(b, columns, kept, s, *room);
      if (direction == Pass::evaluate) evaluate<extra>(b, columns, kept, s, *room);
      if (direction == Pass::backward) backward<extra>(b, columns, kept, s, *room);
    });
  };
  return with_moments(std::make_shared<State>(workload, threads, channels), pass, call);
}

}  // namespace

Work interleaved(const Workload& workload, Pass pass, int threads) {
  switch (workload.extra) {
    case Extra::none:
      return make<Extra::none, All>(workload, pass, threads);
    case Extra::relu:
      return make<Extra::relu, All>(workload, pass, threads);
    case Extra::residual_relu:
      return make<Extra::residual_relu, All>(workload, pass, threads);
    case Extra::lengths:
    case Extra::random:
      return make<Extra::none, Some>(workload, pass, threads);
    default:
      return {};
  }
}

}  // namespace benchmarks::loops

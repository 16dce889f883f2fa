// libtorch, by its functions, gradients off. It allocates its results; main() lets the heap keep their memory.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <memory>

#include "mask.hpp"
#include "workload.hpp"

namespace benchmarks {
namespace {

struct State {
  at::Tensor scale, shift, running_mean, running_variance, mean, rstd, norm;
  at::Tensor kept;    // what autograd would keep of a forward: y where ReLU is behind the norm, the valid rows of x
  at::Tensor places;  // of the valid positions
};

bool has_relu(const Workload& w) { return w.extra == Extra::relu || w.extra == Extra::residual_relu; }

at::Tensor tensor(const float* data, const Workload& w) {
  const at::Tensor flat = at::from_blob(const_cast<float*>(data), w.shape, at::kFloat);
  if (w.layer != Layer::batch_norm_last) return flat;
  // Channels last: NHWC memory, which the library sees as NCHW. It knows no such order of sequences, but of N x C.
  return w.shape.size() == 4 ? flat.permute({0, 3, 1, 2}) : flat.view({-1, w.features()});
}

/// The valid positions as rows.
at::Tensor packed(const Workload& w, const State& s, const float* data) {
  at::Tensor x = tensor(data, w);
  if (w.layer == Layer::batch_norm) x = x.permute({0, 2, 1}).reshape({-1, w.features()});
  return x.view({-1, w.features()}).index_select(0, s.places);
}

/// Such rows at their positions, and 0 elsewhere.
at::Tensor unpacked(const Workload& w, const State& s, const at::Tensor& rows) {
  const std::int64_t n = w.features();
  const at::Tensor y = at::zeros({w.size() / n, n}).index_copy_(0, s.places, rows);
  if (w.layer != Layer::batch_norm) return y;
  return y.view({w.shape[0], w.plane(), n}).permute({0, 2, 1}).contiguous();
}

at::Tensor normalized(const Workload& w, bool train, State& s, const at::Tensor& x) {
  const std::int64_t n = w.features();
  at::Tensor y;
  switch (w.layer) {
    case Layer::layer_norm:
      std::tie(y, s.mean, s.rstd) = at::native_layer_norm(x, {n}, s.scale, s.shift, epsilon);
      break;
    case Layer::rms_norm:
      return at::rms_norm(x, {n}, s.scale, epsilon);
    case Layer::group_norm:
      std::tie(y, s.mean, s.rstd) =
          at::native_group_norm(x, s.scale, s.shift, w.shape[0], n, w.plane(), group_count, epsilon);
      break;
    case Layer::instance_norm:
      return at::instance_norm(x, s.scale, s.shift, {}, {}, true, 0.1, epsilon, false);
    case Layer::weight_norm:
      std::tie(y, s.norm) = at::_weight_norm_interface(x, s.scale.view({n, 1}), 0);
      break;
    default:
      std::tie(y, s.mean, s.rstd) =
          at::native_batch_norm(x, s.scale, s.shift, s.running_mean, s.running_variance, train, 0.1, epsilon);
  }
  return y;
}

at::Tensor forward(const Workload& w, bool train, State& s, const Buffers& b) {
  if (w.has_mask()) return unpacked(w, s, normalized(w, train, s, packed(w, s, b.x)));
  const at::Tensor x = tensor(b.x, w);
  if (w.extra == Extra::added) return normalized(w, train, s, x.add(tensor(b.residual, w)));
  at::Tensor y = normalized(w, train, s, x);
  if (w.extra == Extra::residual_relu) y.add_(tensor(b.residual, w));
  if (has_relu(w)) at::relu_(y);
  return y;
}

at::Tensor gradient(const Workload& w, State& s, const at::Tensor& x, const at::Tensor& dy) {
  const std::int64_t n = w.features();
  switch (w.layer) {
    case Layer::layer_norm:
      return std::get<0>(
          at::native_layer_norm_backward(dy, x, {n}, s.mean, s.rstd, s.scale, s.shift, {true, true, true}));
    case Layer::group_norm:
      return std::get<0>(at::native_group_norm_backward(dy, x, s.mean, s.rstd, s.scale, w.shape[0], n, w.plane(),
                                                        group_count, {true, true, true}));
    case Layer::weight_norm:
      return std::get<0>(at::_weight_norm_interface_backward(dy, x, s.scale.view({n, 1}), s.norm, 0));
    default:
      return std::get<0>(at::native_batch_norm_backward(dy, x, s.scale, s.running_mean, s.running_variance, s.mean,
                                                        s.rstd, true, epsilon, {true, true, true}));
  }
}

at::Tensor backward(const Workload& w, State& s, const Buffers& b) {
  if (w.has_mask()) return unpacked(w, s, gradient(w, s, s.kept, packed(w, s, b.dy)));
  at::Tensor dy = tensor(b.dy, w);
  if (has_relu(w)) dy = at::threshold_backward(dy, s.kept, 0);
  at::Tensor dx = gradient(w, s, tensor(b.x, w), dy);
  if (w.extra == Extra::added) dx.add_(tensor(b.residual, w));
  return dx;
}

}  // namespace

Work libtorch(const Workload& w, Pass pass, int threads) {
  if (pass == Pass::backward && (w.layer == Layer::rms_norm || w.layer == Layer::instance_norm)) return {};
  const auto state = std::make_shared<State>();
  State& s = *state;
  s.scale = at::ones({w.features()});
  s.shift = at::zeros({w.features()});
  s.running_mean = at::zeros({w.features()});
  s.running_variance = at::ones({w.features()});
  if (w.has_mask()) s.places = at::tensor(mask_of(w)->places, at::kLong);
  return [=](const Buffers& b) {
    const c10::InferenceMode no_gradients;
    if (at::get_num_threads() != threads) at::set_num_threads(threads);
    if (pass == Pass::backward && !state->rstd.defined() && !state->norm.defined()) {
      const at::Tensor y = forward(w, true, *state, b);
      if (has_relu(w)) state->kept = y;
      if (w.has_mask()) state->kept = packed(w, *state, b.x);
    }
    const at::Tensor result =
        pass == Pass::backward ? backward(w, *state, b) : forward(w, pass == Pass::forward, *state, b);
  };
}

}  // namespace benchmarks

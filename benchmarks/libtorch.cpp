// libtorch, by its functions, gradients off. It allocates its results; main() lets the heap keep their memory.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <memory>

#include "workload.hpp"

namespace benchmarks {
namespace {

struct State {
  at::Tensor scale, shift, running_mean, running_variance, mean, rstd, norm;
};

at::Tensor tensor(const float* data, const Workload& w) {
  const at::Tensor flat = at::from_blob(const_cast<float*>(data), w.shape, at::kFloat);
  // Channels last: NHWC memory, which the library sees as NCHW.
  return w.layer == Layer::batch_norm_last && w.shape.size() == 4 ? flat.permute({0, 3, 1, 2}) : flat;
}

void forward(const Workload& w, bool train, State& s, const at::Tensor& x) {
  const std::int64_t n = w.features();
  switch (w.layer) {
    case Layer::layer_norm:
      std::tie(std::ignore, s.mean, s.rstd) = at::native_layer_norm(x, {n}, s.scale, s.shift, epsilon);
      break;
    case Layer::rms_norm:
      at::rms_norm(x, {n}, s.scale, epsilon);
      break;
    case Layer::group_norm:
      std::tie(std::ignore, s.mean, s.rstd) =
          at::native_group_norm(x, s.scale, s.shift, w.shape[0], n, w.plane(), group_count, epsilon);
      break;
    case Layer::instance_norm:
      at::instance_norm(x, s.scale, s.shift, {}, {}, true, 0.1, epsilon, false);
      break;
    case Layer::weight_norm:
      std::tie(std::ignore, s.norm) = at::_weight_norm_interface(x, s.scale.view({n, 1}), 0);
      break;
    default:
      std::tie(std::ignore, s.mean, s.rstd) =
          at::native_batch_norm(x, s.scale, s.shift, s.running_mean, s.running_variance, train, 0.1, epsilon);
  }
}

bool backward(const Workload& w, State& s, const at::Tensor& x, const at::Tensor& dy) {
  const std::int64_t n = w.features();
  switch (w.layer) {
    case Layer::layer_norm:
      at::native_layer_norm_backward(dy, x, {n}, s.mean, s.rstd, s.scale, s.shift, {true, true, true});
      return true;
    case Layer::group_norm:
      at::native_group_norm_backward(dy, x, s.mean, s.rstd, s.scale, w.shape[0], n, w.plane(), group_count,
                                     {true, true, true});
      return true;
    case Layer::weight_norm:
      at::_weight_norm_interface_backward(dy, x, s.scale.view({n, 1}), s.norm, 0);
      return true;
    case Layer::batch_norm:
    case Layer::batch_norm_last:
      at::native_batch_norm_backward(dy, x, s.scale, s.running_mean, s.running_variance, s.mean, s.rstd, true, epsilon,
                                     {true, true, true});
      return true;
    default:
      return false;
  }
}

}  // namespace

Work libtorch(const Workload& w, Pass pass, int threads) {
  if (pass == Pass::backward && (w.layer == Layer::rms_norm || w.layer == Layer::instance_norm)) return {};
  const auto state = std::make_shared<State>();
  const at::Tensor one = at::ones({w.features()});
  *state = {one, one.clone(), at::zeros({w.features()}), one.clone(), {}, {}, {}};
  return [=](const Buffers& b) {
    const c10::InferenceMode no_gradients;
    if (at::get_num_threads() != threads) at::set_num_threads(threads);
    const at::Tensor x = tensor(b.x, w);
    if (pass != Pass::backward) {
      forward(w, pass == Pass::forward, *state, x);
    } else {
      if (!state->rstd.defined() && !state->norm.defined()) forward(w, true, *state, x);
      backward(w, *state, x, tensor(b.dy, w));
    }
  };
}

}  // namespace benchmarks

// oneDNN: layer, batch, group (also as instance) and RMS normalization; primitives made beforehand.

#include <omp.h>

#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "workload.hpp"

namespace benchmarks {
namespace {

using namespace dnnl;
using Tag = memory::format_tag;

struct State {
  engine cpu{engine::kind::cpu, 0};
  stream queue{cpu};
  primitive work;
  std::unordered_map<int, memory> arguments;
  memory x, dy, y;
};

memory::desc plain(std::vector<std::int64_t> shape, Tag tag) { return {shape, memory::data_type::f32, tag}; }

memory filled(const engine& cpu, const memory::desc& description, float value) {
  memory result(description, cpu);
  auto* data = static_cast<float*>(result.get_data_handle());
  for (std::size_t i = 0; i < description.get_size() / sizeof(float); ++i) data[i] = value;
  return result;
}

/// Adds whatever a primitive wants to keep: statistics, workspace, parameters and their gradients.
template <typename Description>
void finish(State& s, const Description& d, const memory::desc& parameters, bool backward) {
  s.work = primitive(d);
  for (const int argument : {DNNL_ARG_SCALE, DNNL_ARG_SHIFT}) s.arguments[argument] = filled(s.cpu, parameters, 1);
  s.arguments[DNNL_ARG_MEAN] = filled(s.cpu, d.mean_desc(), 0);
  s.arguments[DNNL_ARG_VARIANCE] = filled(s.cpu, d.variance_desc(), 1);
  if (backward) {
    for (const int argument : {DNNL_ARG_DIFF_SCALE, DNNL_ARG_DIFF_SHIFT})
      s.arguments[argument] = filled(s.cpu, parameters, 0);
  }
}

}  // namespace

Work onednn(const Workload& w, Pass pass, int threads) {
  if (w.layer == Layer::weight_norm) return {};
  omp_set_num_threads(threads);
  const auto state = std::make_shared<State>();
  State& s = *state;
  const bool backward = pass == Pass::backward;
  const bool rows = w.layer == Layer::layer_norm || w.layer == Layer::rms_norm;
  const Tag last_tag = w.shape.size() == 2 ? Tag::nc : Tag::nhwc;
  std::vector<std::int64_t> shape = w.shape;
  Tag tag = w.shape.size() == 2 ? Tag::nc : Tag::nchw;
  if (w.layer == Layer::batch_norm_last) {
    tag = last_tag;
    if (shape.size() == 4) shape = {w.shape[0], w.shape[3], w.shape[1], w.shape[2]};
  }
  const memory::desc data = plain(shape, tag), parameters = plain({w.features()}, Tag::a);
  const auto kind = pass == Pass::evaluate ? prop_kind::forward_inference : prop_kind::forward_training;
  normalization_flags flags = normalization_flags::use_scale | normalization_flags::use_shift;
  const auto eps = static_cast<float>(epsilon);
  try {
    if (rows) {
      if (w.layer == Layer::rms_norm) flags = normalization_flags::use_scale | normalization_flags::rms_norm;
      const layer_normalization_forward::primitive_desc forward(s.cpu, kind, data, data, eps, flags);
      if (backward) {
        finish(s,
               layer_normalization_backward::primitive_desc(s.cpu, prop_kind::backward, data, data, data, eps, flags,
                                                            forward),
               parameters, true);
      } else {
        finish(s, forward, parameters, false);
      }
    } else if (w.layer == Layer::group_norm || w.layer == Layer::instance_norm) {
      const std::int64_t groups = w.layer == Layer::group_norm ? group_count : w.features();
      const group_normalization_forward::primitive_desc forward(s.cpu, kind, data, data, groups, eps, flags);
      if (backward) {
        finish(s,
               group_normalization_backward::primitive_desc(s.cpu, prop_kind::backward, data, data, data, groups, eps,
                                                            flags, forward),
               parameters, true);
      } else {
        finish(s, forward, parameters, false);
      }
    } else {
      if (pass == Pass::evaluate) flags = flags | normalization_flags::use_global_stats;
      const batch_normalization_forward::primitive_desc forward(s.cpu, kind, data, data, eps, flags);
      if (backward) {
        finish(s,
               batch_normalization_backward::primitive_desc(s.cpu, prop_kind::backward, data, data, data, eps, flags,
                                                            forward),
               parameters, true);
      } else {
        finish(s, forward, parameters, false);
      }
    }
  } catch (const error&) {
    return {};
  }
  s.x = memory(data, s.cpu, DNNL_MEMORY_NONE);
  s.dy = memory(data, s.cpu, DNNL_MEMORY_NONE);
  s.y = memory(data, s.cpu, DNNL_MEMORY_NONE);
  s.arguments[DNNL_ARG_SRC] = s.x;
  s.arguments[backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST] = backward ? s.dy : s.y;
  if (backward) s.arguments[DNNL_ARG_DIFF_SRC] = s.y;
  return [=](const Buffers& b) {
    if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
    state->x.set_data_handle(const_cast<float*>(b.x));
    state->dy.set_data_handle(const_cast<float*>(b.dy));
    state->y.set_data_handle(b.y);
    state->work.execute(state->queue, state->arguments);
    state->queue.wait();
  };
}

}  // namespace benchmarks

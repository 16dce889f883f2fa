// oneDNN: layer, batch, group (also as instance) and RMS normalization; primitives made beforehand. ReLU is a
// flag of BatchNorm. (So is a residual before it, but no implementation for processors has it.)

#include <omp.h>

#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "workload.hpp"

namespace benchmarks {
namespace {

using namespace dnnl;
using Tag = memory::format_tag;

/// Primitives and what they are given. A backward's first call makes a forward, which leaves statistics and what ReLU
/// let pass.
struct State {
  engine cpu{engine::kind::cpu, 0};
  stream queue{cpu};
  primitive work, first;
  std::unordered_map<int, memory> arguments;
  memory x, dy, y;
  bool has_moments = false;
};

/// Outer sizes first, as the library has them: channels are axis 1.
memory::desc tensor(const Workload& w) {
  std::vector<std::int64_t> shape = w.shape;
  std::vector<Tag> tags = {Tag::ab, Tag::abc, Tag::abcd};
  if (w.layer == Layer::batch_norm_last) {
    shape.insert(shape.begin() + 1, shape.back());
    shape.pop_back();
    tags = {Tag::ab, Tag::acb, Tag::acdb};
  }
  return {shape, memory::data_type::f32, tags[shape.size() - 2]};
}

memory filled(const engine& cpu, const memory::desc& description, float value) {
  memory result(description, cpu);
  auto* data = static_cast<float*>(result.get_data_handle());
  for (std::size_t i = 0; i < description.get_size() / sizeof(float); ++i) data[i] = value;
  return result;
}

/// Adds whatever primitives keep: statistics, workspace, parameters and their gradients.
template <typename Description>
void add_arguments(State& s, const Workload& w, const Description& forward) {
  const memory::desc parameters({w.features()}, memory::data_type::f32, Tag::a);
  s.arguments[DNNL_ARG_SCALE] = filled(s.cpu, parameters, 1);
  for (const int argument : {DNNL_ARG_SHIFT, DNNL_ARG_DIFF_SCALE, DNNL_ARG_DIFF_SHIFT})
    s.arguments[argument] = filled(s.cpu, parameters, 0);
  s.arguments[DNNL_ARG_MEAN] = filled(s.cpu, forward.mean_desc(), 0);
  s.arguments[DNNL_ARG_VARIANCE] = filled(s.cpu, forward.variance_desc(), 1);
  const memory::desc workspace = forward.workspace_desc();
  if (!workspace.is_zero()) s.arguments[DNNL_ARG_WORKSPACE] = memory(workspace, s.cpu);
}

/// `more`: what the primitives of some layers are told besides.
template <typename Forward, typename Backward, typename... More>
void build(State& s, const Workload& w, Pass pass, normalization_flags flags, More... more) {
  const auto kind = pass == Pass::evaluate ? prop_kind::forward_inference : prop_kind::forward_training;
  const auto eps = static_cast<float>(epsilon);
  const memory::desc data = tensor(w);
  const typename Forward::primitive_desc forward(s.cpu, kind, data, data, more..., eps, flags);
  s.work = s.first = primitive(forward);
  add_arguments(s, w, forward);
  if (pass != Pass::backward) return;
  s.work = primitive(
      typename Backward::primitive_desc(s.cpu, prop_kind::backward, data, data, data, more..., eps, flags, forward));
}

/// Fails where the library has no such primitive.
void build(State& s, const Workload& w, Pass pass) {
  using Flags = normalization_flags;
  const Flags parameters = Flags::use_scale | Flags::use_shift;
  switch (w.layer) {
    case Layer::layer_norm:
      return build<layer_normalization_forward, layer_normalization_backward>(s, w, pass, parameters);
    case Layer::rms_norm:
      return build<layer_normalization_forward, layer_normalization_backward>(s, w, pass,
                                                                              Flags::use_scale | Flags::rms_norm);
    case Layer::group_norm:
    case Layer::instance_norm:
      return build<group_normalization_forward, group_normalization_backward>(
          s, w, pass, parameters, w.layer == Layer::group_norm ? group_count : w.features());
    default:
      Flags flags = pass == Pass::evaluate ? parameters | Flags::use_global_stats : parameters;
      if (w.extra == Extra::relu) flags = flags | Flags::fuse_norm_relu;
      return build<batch_normalization_forward, batch_normalization_backward>(s, w, pass, flags);
  }
}

/// Lets all primitives find their tensors, whichever they take.
void add_tensors(State& s, const Workload& w) {
  for (memory* one : {&s.x, &s.dy, &s.y}) *one = memory(tensor(w), s.cpu, DNNL_MEMORY_NONE);
  s.arguments[DNNL_ARG_SRC] = s.x;
  s.arguments[DNNL_ARG_DST] = s.y;
  s.arguments[DNNL_ARG_DIFF_DST] = s.dy;
  s.arguments[DNNL_ARG_DIFF_SRC] = s.y;
}

void set_tensors(State& s, const Buffers& b) {
  s.x.set_data_handle(const_cast<float*>(b.x));
  s.dy.set_data_handle(const_cast<float*>(b.dy));
  s.y.set_data_handle(b.y);
}

}  // namespace

Work onednn(const Workload& w, Pass pass, int threads) {
  if (w.layer == Layer::weight_norm || w.has_mask() || w.has_residual()) return {};
  omp_set_num_threads(threads);
  const auto state = std::make_shared<State>();
  try {
    build(*state, w, pass);
  } catch (const error&) {
    return {};
  }
  add_tensors(*state, w);
  return [=](const Buffers& b) {
    if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
    set_tensors(*state, b);
    if (pass == Pass::backward && !state->has_moments) state->first.execute(state->queue, state->arguments);
    state->has_moments = true;
    state->work.execute(state->queue, state->arguments);
    state->queue.wait();
  };
}

}  // namespace benchmarks

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/layer_facts.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/normalization.hpp"
#include "eigennorm/running_statistics.hpp"
#include "eigennorm/safetensors/elements.hpp"
#include "eigennorm/safetensors/file.hpp"
#include "eigennorm/safetensors/layer_reader.hpp"
#include "eigennorm/safetensors/names.hpp"

/// \file
/// Layers from a file, and into one.

namespace eigennorm {

namespace core {

/// What a file had of a layer, until it is known that all of it is right.
template <typename Scalar>
struct LayerState {
  Vector<Scalar> scale, shift;
  std::optional<RunningStatistics<Scalar>> running;

  /// (Sizes are the same, so nothing is allocated.)
  void move_into(Normalization<Scalar>& layer) {
    layer.scale.value = scale;
    layer.shift.value = shift;
    if (running) layer.running = std::move(running);
  }
};

/// The state that a layer's scale is: g of WeightNorm.
template <typename Scalar>
const char* scale_state(const Normalization<Scalar>& layer) {
  return LayerFacts::statistic(layer) == Statistic::sum_square ? "g" : "scale";
}

/// The extents that a layer was made with.
template <typename Scalar>
std::vector<std::int64_t> shape_of(const Normalization<Scalar>& layer) {
  const auto& extents = LayerFacts::geometry(layer).extents;
  return {extents.begin(), extents.end()};
}

template <typename Scalar>
std::optional<RunningStatistics<Scalar>> read_running(const Normalization<Scalar>& layer, LayerReader& reader) {
  const Statistic statistic = LayerFacts::statistic(layer);
  const std::int64_t features = layer.features();
  RunningStatistics<Scalar> running(features, statistic);
  if (layer.running) running = *layer.running;
  const std::vector<std::int64_t> shape = shape_of(layer);
  running.mean = reader.template statistics<Scalar>("running_mean", shape, false);
  if (statistic == Statistic::mean_variance)
    running.variance = reader.template statistics<Scalar>("running_variance", shape, true);
  running.batches = reader.batches().value_or(running.batches);
  return running;
}

template <typename Scalar>
LayerState<Scalar> read_state(const Normalization<Scalar>& layer, LayerReader& reader) {
  LayerState<Scalar> state;
  if (layer.scale.value.size() > 0) state.scale = reader.template values<Scalar>(scale_state(layer), shape_of(layer));
  if (layer.shift.value.size() > 0) state.shift = reader.template values<Scalar>("shift", shape_of(layer));
  const bool in_file = LayerFacts::may_have_running(layer) && reader.has("running_mean");
  if (layer.running || in_file) state.running = read_running(layer, reader);
  return state;
}

/// Collects what is to be written of a layer.
class LayerWriter {
 public:
  LayerWriter(std::string_view prefix, const Names& names, const char* layer)
      : prefix_(prefix), names_(names), layer_(layer) {}

  template <typename T>
  void add(std::string_view state, const View<const T>& values, std::vector<std::int64_t> shape) {
    const std::vector<std::string> keys = names_.keys(state);
    if (keys.empty()) {
      if (state == "batches") return;
      fail(std::string(layer_) + ": save: expected names with a key for " + std::string(state) + ", got none");
    }
    std::vector<unsigned char> bytes;
    const std::string problem = encode(values, bytes);
    if (!problem.empty()) fail(std::string(layer_) + ": save: " + in_quotes(prefix_ + keys[0]) + ": " + problem);
    tensors.push_back(stored(prefix_ + keys[0], type_name<T>(), std::move(shape), std::move(bytes)));
  }
  template <typename T>
  void add(std::string_view state, const T* values, std::vector<std::int64_t> shape) {
    View<const T> view{values, {}, {1}, Order::any};
    view.shape.rank = 1;
    view.shape[0] = 1;
    for (const std::int64_t extent : shape) view.shape[0] *= extent;
    add(state, view, std::move(shape));
  }

  std::vector<StoredTensor> tensors;

 private:
  std::string prefix_;
  const Names& names_;
  const char* layer_;
};

/// `scale_shape`: that of scale, which is g's of WeightNorm.
template <typename Scalar>
void write_state(const Normalization<Scalar>& layer, const std::vector<std::int64_t>& scale_shape,
                 LayerWriter& writer) {
  const std::vector<std::int64_t> shape = shape_of(layer);
  if (layer.scale.value.size() > 0) writer.add(scale_state(layer), layer.scale.value.data(), scale_shape);
  if (layer.shift.value.size() > 0) writer.add("shift", layer.shift.value.data(), shape);
  if (!layer.running) return;
  writer.add("running_mean", layer.running->mean.data(), shape);
  if (layer.running->variance.size() > 0) writer.add("running_variance", layer.running->variance.data(), shape);
  writer.add("batches", &layer.running->batches, {});
}

/// Only WeightNorm works on a tensor that a file has.
template <typename Scalar>
void check_weight_norm(const Normalization<Scalar>& layer) {
  if (LayerFacts::statistic(layer) == Statistic::sum_square) return;
  fail_with({LayerFacts::geometry(layer).name, ": expected a WeightNorm beside its v, got another layer"});
}

/// The shape of g beside a v of that shape: 1 on all axes but that of the outputs. PyTorch's g of a whole tensor has no
/// axes.
inline std::vector<std::int64_t> g_shape(const Geometry& geometry, const Shape& v) {
  const Roles roles = core::roles(geometry, v);
  std::vector<std::int64_t> shape;
  if (roles.features == 0) return shape;
  for (int axis = 0; axis < v.rank; ++axis) shape.push_back(roles.is_feature(axis) ? v[axis] : 1);
  return shape;
}

/// g, whose shape may say on which axis the outputs are.
template <typename Scalar>
Vector<Scalar> read_g(const Normalization<Scalar>& layer, const Shape& v, LayerReader& reader) {
  const std::vector<std::int64_t> expected = g_shape(LayerFacts::geometry(layer), v);
  const StoredTensor* g = reader.need("g", "shape " + shape_text(expected));
  if (g == nullptr) return {};
  const bool same_values = essential(g->shape) == essential(expected);
  if (same_values && g->shape.size() == expected.size() && g->shape.size() > 1 && g->shape != expected) {
    reader.note(*g, "expected shape " + shape_text(expected) + ", got " + shape_text(g->shape));
  }
  return reader.template values<Scalar>(*g, expected);
}

template <typename T>
Vector<T> read_v(const Shape& shape, LayerReader& reader) {
  const StoredTensor* v = reader.need("v", "shape " + shape_text(list_of(shape)));
  if (v == nullptr) return {};
  if (essential(v->shape) != essential(list_of(shape))) {
    reader.note(*v, "expected shape " + shape_text(list_of(shape)) + ", got " + shape_text(v->shape));
    return {};
  }
  return reader.template values<T>(*v, list_of(shape));
}

}  // namespace core

/// Takes a layer's state from a file: scale, shift and running statistics under `prefix`, "features.1." say, by
/// `names`.
///
/// The layer is made as the file's was: what is a setting (axes, eps, averaging, whether there is a scale or a shift)
/// is code. What it has, the file must have; running statistics are taken over where the file has them, by an
/// InstanceNorm or BatchNorm that had none, too. F64, F32, F16 and BF16 become Scalar; shapes such as (n, 1, 1) are
/// flattened. How many batches there were is taken over where the file says so. Gradients and moments stay.
///
/// **Errors.** One, which names the file and lists all that is wrong: keys that are missing (and the nearest one that
/// is there), other sizes, types that are none of numbers with a point, values beyond Scalar, running statistics that
/// are not finite, variances below 0, and keys under the prefix of which nothing was made, unless `leftovers` allows
/// them. The layer is as it was.
template <typename Scalar>
void load(Normalization<Scalar>& layer, const SafeTensors& file, std::string_view prefix,
          const Names& names = pytorch_names(), Leftovers leftovers = Leftovers::refused) {
  core::LayerFacts::check_settings(layer);
  core::LayerReader reader(file, prefix, names, core::LayerFacts::geometry(layer).name);
  core::LayerState<Scalar> state = core::read_state(layer, reader);
  reader.finish(leftovers);
  state.move_into(layer);
}

/// Takes g and v of a WeightNorm: g into `layer.scale`, v into your tensor, which has the shape of the file's (extents
/// of 1 apart). The bias of the linear layer itself, "bias" under the prefix, is no leftover.
template <typename Scalar, typename V>
void load(Normalization<Scalar>& layer, V&& v, const SafeTensors& file, std::string_view prefix,
          const Names& names = pytorch_names(), Leftovers leftovers = Leftovers::refused) {
  if constexpr (core::check_output<V, V, Scalar>()) {
    using T = core::Element<V>;
    core::LayerFacts::check_settings(layer);
    const Geometry& geometry = core::LayerFacts::geometry(layer);
    core::check_weight_norm(layer);
    const View<T> view = core::output_view(v);
    core::check_distinct(view.shape, view.strides, geometry.name, "v");
    core::roles(geometry, view.shape);
    core::LayerReader reader(file, prefix, names, geometry.name);
    core::LayerState<Scalar> state;
    if (layer.scale.value.size() > 0) state.scale = core::read_g(layer, view.shape, reader);
    if (layer.shift.value.size() > 0) state.shift = reader.template values<Scalar>("shift", core::shape_of(layer));
    const Vector<T> values = core::read_v<T>(view.shape, reader);
    reader.allow("bias");
    reader.finish(leftovers);
    state.move_into(layer);
    core::Elements<T> elements(view);
    for (const T& value : values) elements.next() = value;
  }
}

/// Adds a layer's state to a file, under `prefix` and by `names`, in the type of Scalar (a long double's as doubles).
/// Fails, and adds nothing, where a key is there already, there is no name for a part of the state, or a value is
/// beyond doubles.
template <typename Scalar>
void save(const Normalization<Scalar>& layer, SafeTensors& file, std::string_view prefix,
          const Names& names = pytorch_names()) {
  layer.check();
  core::LayerWriter writer(prefix, names, core::LayerFacts::geometry(layer).name);
  core::write_state(layer, core::shape_of(layer), writer);
  file.add_all(std::move(writer.tensors));
}

/// Adds g and v of a WeightNorm; g in PyTorch's shape, 1 on all axes of v but that of the outputs.
template <typename Scalar, typename V>
void save(const Normalization<Scalar>& layer, const V& v, SafeTensors& file, std::string_view prefix,
          const Names& names = pytorch_names()) {
  if constexpr (core::check_input<V, Scalar>()) {
    layer.check();
    const Geometry& geometry = core::LayerFacts::geometry(layer);
    core::check_weight_norm(layer);
    const auto view = core::view(v);
    core::check_strides(view.shape, view.strides, geometry.name, "v");
    core::LayerWriter writer(prefix, names, geometry.name);
    core::write_state(layer, core::g_shape(geometry, view.shape), writer);
    writer.add("v", view, core::list_of(view.shape));
    file.add_all(std::move(writer.tensors));
  }
}

}  // namespace eigennorm

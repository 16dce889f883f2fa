#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "masked.hpp"
#include "net_layers.hpp"
#include "vectors.hpp"

// Stored answers of masked layers, which nobody here computed: statistics of valid positions, zeros elsewhere.

using namespace test;

namespace {

Sizes sizes(const vectors::Tensor& tensor) { return Sizes(tensor.shape.begin(), tensor.shape.end()); }

Formula formula_of(const vectors::Case& c, std::size_t rank) {
  Formula formula{{}, {}, c.text("layer") == "rmsnorm" ? Kind::mean_square : Kind::mean_variance, c.number("epsilon")};
  if (c.has("axis")) {
    for (int axis = 0; axis < c.integer("naxes"); ++axis) formula.averaged.push_back(c.integer("axis") + axis);
    formula.features = formula.averaged;
    return formula;
  }
  const int channel = c.integer("channel_axis");
  formula.features = {channel};
  formula.groups = c.integer("groups", 1);
  for (int axis = 0; axis < static_cast<int>(rank); ++axis) {
    const bool averaged = axis == channel ? c.text("layer") == "groupnorm" : axis > 0 || c.text("layer") == "batchnorm";
    if (averaged) formula.averaged.push_back(axis);
  }
  return formula;
}

template <typename Scalar>
eigennorm::Normalization<Scalar> make_layer(const vectors::Case& c, const Sizes& shape) {
  using namespace eigennorm;
  const double epsilon = c.number("epsilon");
  const std::string kind = c.text("layer");
  const auto extent = [&](int axis) { return shape[static_cast<std::size_t>(axis)]; };
  if (c.has("axis")) {
    const int axis = c.integer("axis"), axes = c.integer("naxes");
    const Extents extents = axes == 1 ? Extents{extent(axis)} : Extents{extent(axis), extent(axis + 1)};
    if (kind == "rmsnorm") return RMSNorm<Scalar>(extents, epsilon);
    return LayerNorm<Scalar>(extents, epsilon);
  }
  const Channels channels = channels_on(c.integer("channel_axis"));
  const std::int64_t count = extent(c.integer("channel_axis"));
  if (kind == "groupnorm") return GroupNorm<Scalar>(c.integer("groups"), count, channels, samples_on(0), epsilon);
  if (kind == "instancenorm") return InstanceNorm<Scalar>(count, channels, samples_on(0), epsilon);
  return BatchNorm<Scalar>(count, channels, epsilon);
}

/// Natural scales of a masked call: those of its packed parts, in their places.
struct MaskedScales {
  Numbers y, dx, scale, shift, mean;
};

MaskedScales scales_of(const Formula& formula, const Sizes& shape, const Mask& mask, const reference::Parameters& by,
                       const reference::Running& running, const Numbers& x, const Numbers& dy, Real momentum,
                       bool fixed) {
  const reference::Roles whole(formula, shape);
  const Packing packing(formula, shape, mask, Eigen::RowMajor);
  MaskedScales result{
      Numbers(x.size(), 0), Numbers(x.size(), 0), Numbers(whole.features, 0), Numbers(whole.features, 0), {}};
  for (const Packed& part : packing.parts) {
    Formula own = formula;
    reference::Parameters parameters = by;
    if (packing.by_group) {
      own = Formula{{0}, {0}, formula.kind, formula.epsilon};
      for (std::size_t k = 0; k < part.elements.size(); ++k) {
        if (k == 0) parameters = {};
        if (!by.scale.empty()) parameters.scale.push_back(by.scale[whole.feature[part.elements[k]]]);
        if (!by.shift.empty()) parameters.shift.push_back(by.shift[whole.feature[part.elements[k]]]);
      }
    }
    const reference::Roles roles(own, part.shape);
    Numbers own_x, own_dy;
    for (const std::size_t element : part.elements) {
      own_x.push_back(x[element]);
      own_dy.push_back(dy[element]);
    }
    const reference::Statistics given =
        fixed ? reference::from_running(own, roles, running) : reference::statistics(own, roles, own_x);
    const reference::Scales scales =
        reference::natural_scales(own, roles, given, parameters, own_x, own_dy, fixed, reference::of_stored_answers);
    for (std::size_t k = 0; k < part.elements.size(); ++k) {
      result.y[part.elements[k]] = scales.y[k];
      result.dx[part.elements[k]] = scales.dx[k];
    }
    for (std::size_t f = 0; f < roles.features; ++f) {
      const std::size_t feature = packing.by_group ? whole.feature[part.elements[f]] : f;
      result.scale[feature] += scales.scale[f];
      result.shift[feature] += scales.shift[f];
    }
    if (!running.mean.empty())
      result.mean = reference::running_mean_scale(roles, own_x, reference::magnitudes(running.mean), momentum);
  }
  return result;
}

template <typename Scalar>
void check_stored(const vectors::Case& c) {
  using FieldType = Field<Scalar, Eigen::RowMajor>;
  const Sizes shape = sizes(c.in("x"));
  const Formula formula = formula_of(c, shape.size());
  const bool fixed = c.integer("training") == 0;
  eigennorm::Normalization<Scalar> layer = make_layer<Scalar>(c, shape);
  const auto assign = [&](const char* state, const char* name) {
    const vectors::Tensor* tensor = c.find("in", name);
    if (tensor == nullptr) return;
    const std::vector<Scalar> values(tensor->data.begin(), tensor->data.end());
    layer.assign(state, values.data(), static_cast<std::int64_t>(values.size()));
  };
  layer.use_scale(c.find("in", "gamma") != nullptr);
  layer.use_shift(c.find("in", "beta") != nullptr);
  assign("scale", "gamma");
  assign("shift", "beta");
  assign("running_mean", "running_mean");
  assign("running_variance", "running_var");
  if (layer.running && !fixed) {
    layer.running->averaging = eigennorm::momentum_of_new(c.number("momentum"));
    if (c.text("running_var") == "biased") layer.running->estimator = eigennorm::Estimator::biased;
  }
  if (fixed) layer.freeze();
  Mask mask{sizes(c.in("mask")), {}};
  for (const double value : c.in("mask").data) mask.values.push_back(value != 0);
  const MaskField<Eigen::ColMajor> field(mask);
  eigennorm::Context<Scalar> context;
  context.valid = field.valid();
  const Numbers x_numbers = nets::numbers(c.in("x")), dy_numbers = nets::numbers(c.in("dy"));
  reference::Running before;
  if (layer.running) before = running(layer);
  const MaskedScales scales =
      scales_of(formula, shape, mask, parameters(layer), before, x_numbers, dy_numbers, c.number("momentum", 0), fixed);
  const FieldType x(shape, x_numbers), dy(shape, dy_numbers);
  FieldType y(shape), dx(shape), evaluated(shape);
  if (fixed) evaluate(layer, x, evaluated, context);
  forward(layer, x, y, context);
  backward(layer, x, dy, dx, context);
  if (fixed) CHECK(same_bits(y, evaluated));
  const Tolerance limit = nets::tolerance(c);
  int checked = 0;
  const auto check = [&](const char* name, const Numbers& got, const Numbers& scale) {
    if (c.find("ref", name) == nullptr) return;
    INFO(name);
    CHECK(worst(got, nets::numbers(c, "ref", name), scale, limit) <= limit.limit);
    ++checked;
  };
  check("y", y.numbers(), scales.y);
  check("dx", dx.numbers(), scales.dx);
  check("dgamma", numbers(layer.scale.grad), scales.scale);
  check("dbeta", numbers(layer.shift.grad), scales.shift);
  if (layer.running && !fixed) {
    check("new_running_mean", running(layer).mean, scales.mean);
    check("new_running_var", running(layer).variance, nets::magnitudes(nets::numbers(c, "ref", "new_running_var")));
  }
  CHECK(checked >= 2);
}

}  // namespace

TEST_CASE("masked layers agree with the stored answers") {
  const std::vector<vectors::Case> cases = vectors::load(std::string(nets::folder) + "masked/manifest.txt");
  CHECK(cases.size() == 20);
  for (const vectors::Case& c : cases) {
    CAPTURE(c.id);
    if (c.dtype == "f64") {
      check_stored<double>(c);
    } else {
      check_stored<float>(c);
    }
  }
}

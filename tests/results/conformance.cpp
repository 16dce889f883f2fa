// Judges the layers against answers that were computed elsewhere.
//   conformance MANIFEST...
// Runs every case of every manifest, prints the worst error of each layer and type, names what failed. Ends
// with 0 if every case that the layers can express is within its limit.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "conformance_judge.hpp"
#include "conformance_scales.hpp"
#include "vectors.hpp"

namespace conformance {
namespace {

using namespace eigennorm;
using vectors::Case;

template <typename Array>
Values widened(const Array& array) {
  Values values;
  for (Eigen::Index i = 0; i < array.size(); ++i) values.push_back(static_cast<double>(array(i)));
  return values;
}

template <typename Scalar>
void set(Vector<Scalar>& parameter, const Values& values) {
  parameter.resize(static_cast<Eigen::Index>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    parameter(static_cast<Eigen::Index>(i)) = static_cast<Scalar>(values[i]);
  }
}

// Calls f with every value's coordinates, in row-major order.
template <typename Tensor, typename Function>
void for_each_coordinate(const Tensor& tensor, Function f) {
  constexpr std::size_t rank = Tensor::NumDimensions;
  Eigen::array<Eigen::Index, rank> at{};
  for (Eigen::Index i = 0; i < tensor.size(); ++i) {
    f(at);
    for (std::size_t axis = rank; axis-- > 0;) {
      if (++at[axis] < tensor.dimension(axis)) break;
      at[axis] = 0;
    }
  }
}

template <typename Tensor>
Tensor tensor_of(const vectors::Tensor& source) {
  Eigen::array<Eigen::Index, Tensor::NumDimensions> extents{};
  for (std::size_t axis = 0; axis < extents.size(); ++axis) extents[axis] = source.shape[axis];
  Tensor tensor(extents);
  std::size_t next = 0;
  for_each_coordinate(tensor,
                      [&](const auto& at) { tensor(at) = static_cast<typename Tensor::Scalar>(source.data[next++]); });
  return tensor;
}

template <typename Tensor>
Values values_of(const Tensor& tensor) {
  Values values;
  for_each_coordinate(tensor, [&](const auto& at) { values.push_back(static_cast<double>(tensor(at))); });
  return values;
}

Averaging averaging_of(const Case& c) {
  if (c.text("momentum") == "cumulative") return cumulative();
  const double momentum = c.number("momentum");
  return c.text("momentum_of") == "old" ? momentum_kept(momentum) : momentum_of_new(momentum);
}

template <typename Scalar>
Normalization<Scalar> layer_of(const Case& c, const vectors::Shape& shape) {
  const double eps = c.number("epsilon", 0);
  const int rank = rank_of(shape);
  if (c.op == "layernorm" || c.op == "rmsnorm") {
    const std::vector<std::int64_t> extents(shape.begin() + first_axis(c, shape), shape.end());
    if (c.op == "layernorm") return LayerNorm<Scalar>(extents, eps);
    return RMSNorm<Scalar>(extents, eps);
  }
  if (c.op == "weightnorm") {
    if (c.text("eff_dim") == "none") return WeightNorm<Scalar>(whole_tensor);
    const int axis = c.integer("eff_dim");
    return WeightNorm<Scalar>(shape[size(axis)], outputs_on(axis));
  }
  if (c.op == "lpnorm") {
    const int axis = (c.integer("axis") + rank) % rank;
    return Normalization<Scalar>(over(axis), no_axes, Extents{}, Statistic::sum_square, 0.0);
  }
  // Its epsilon is added to the standard deviation; at 1e-9 of values near 1 it is not seen in single
  // precision.
  if (c.op == "mvn") return Normalization<Scalar>(over(0, 2, 3), no_axes, Extents{}, Statistic::mean_variance, 0.0);
  const int channel_axis = c.integer("channel_axis", 1);
  const std::int64_t channels = shape[size(channel_axis)];
  if (c.op == "batchnorm") return BatchNorm<Scalar>(channels, channels_on(channel_axis), eps);
  if (c.op == "instancenorm") return InstanceNorm<Scalar>(channels, channels_on(channel_axis), samples_on(0), eps);
  return GroupNorm<Scalar>(c.integer("groups"), channels, channels_on(channel_axis), samples_on(0), eps);
}

template <typename Scalar>
void set_parameters(const Case& c, Normalization<Scalar>& layer) {
  const char* scale = c.op == "weightnorm" ? "g" : "gamma";
  if (const vectors::Tensor* given = c.find("in", scale)) {
    set(layer.scale.value, given->data);
  } else {
    layer.use_scale(false);
  }
  if (const vectors::Tensor* given = c.find("in", "beta")) {
    set(layer.shift.value, given->data);
  } else {
    layer.use_shift(false);
  }
}

template <typename Scalar>
void set_running(const Case& c, Normalization<Scalar>& layer, std::int64_t channels) {
  layer.running.emplace(channels);
  layer.running->averaging = averaging_of(c);
  layer.running->estimator = c.text("running_var") == "biased" ? Estimator::biased : Estimator::unbiased;
  set(layer.running->mean, initial_running_mean(c, size(channels)));
  set(layer.running->variance, value_or(c, "running_var", size(channels), c.number("init_running_var", 1)));
}

// Three training steps, then one evaluation.
template <typename Scalar, typename Tensor>
Named run_steps(const Case& c) {
  const vectors::Shape& shape = c.in("x1").shape;
  Normalization<Scalar> layer = layer_of<Scalar>(c, shape);
  set_parameters(c, layer);
  set_running(c, layer, shape[size(c.integer("channel_axis"))]);
  Named answers;
  for (int step = 1; step <= c.integer("steps"); ++step) {
    const std::string number = std::to_string(step);
    const Tensor x = tensor_of<Tensor>(c.in("x" + number));
    answers["y" + number] = values_of(Tensor(layer.forward(x)));
    answers["running_mean_" + number] = widened(layer.running->mean);
    answers["running_var_" + number] = widened(layer.running->variance);
  }
  answers["y_eval"] = values_of(Tensor(layer.evaluate(tensor_of<Tensor>(c.in("x_eval")))));
  return answers;
}

template <typename Scalar, typename Tensor>
Named run_once(const Case& c) {
  const bool weight = c.op == "weightnorm";
  const vectors::Tensor& source = c.in(weight ? "v" : "x");
  const Tensor x = tensor_of<Tensor>(source);
  Normalization<Scalar> layer = layer_of<Scalar>(c, source.shape);
  set_parameters(c, layer);
  const bool fixed = c.op == "batchnorm" && c.integer("training") == 0;
  if (c.op == "batchnorm") {
    // Without a momentum the case says nothing about averaging.
    if (c.has("momentum")) {
      set_running(c, layer, source.shape[size(c.integer("channel_axis"))]);
    } else {
      set(layer.running->mean, c.in("running_mean").data);
      set(layer.running->variance, c.in("running_var").data);
    }
    if (fixed) layer.freeze();
  }
  Named answers;
  Tensor y(x.dimensions());
  layer.forward(x, y);
  answers[weight ? "w" : "y"] = values_of(y);
  if (fixed && values_of(Tensor(layer.evaluate(x))) != answers["y"])
    throw std::logic_error("evaluate differs from forward");
  answers["mean"] = widened(layer.moments().mean());
  answers["invstd"] = widened(layer.moments().rstd());
  if (c.op == "batchnorm" && !fixed) {
    answers["var"] = widened(layer.moments().variance());
    answers["new_running_mean"] = widened(layer.running->mean);
    answers["new_running_var"] = widened(layer.running->variance);
  }
  if (weight) {
    for (const double rstd : answers["invstd"]) answers["norm"].push_back(1 / rstd);
  }
  if (c.find("in", weight ? "dw" : "dy")) {
    const Tensor dy = tensor_of<Tensor>(c.in(weight ? "dw" : "dy"));
    Tensor dx(x.dimensions());
    layer.backward(x, dy, dx);
    answers[weight ? "dv" : "dx"] = values_of(dx);
    answers[weight ? "dg" : "dgamma"] = widened(layer.scale.grad);
    answers["dbeta"] = widened(layer.shift.grad);
  }
  return answers;
}

template <typename Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <typename Scalar>
using RowVector = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;

// Row `index` of a stack of matrices, or the whole of one matrix.
template <typename Scalar>
Matrix<Scalar> matrix_of(const vectors::Tensor& source, Eigen::Index index = 0) {
  const std::size_t rank = source.shape.size();
  Matrix<Scalar> matrix(source.shape[rank - 2], source.shape[rank - 1]);
  for (Eigen::Index i = 0; i < matrix.size(); ++i) {
    matrix.data()[i] = static_cast<Scalar>(source.data[size(index * matrix.size() + i)]);
  }
  return matrix;
}

template <typename Scalar>
RowVector<Scalar> row_of(const vectors::Tensor& source) {
  RowVector<Scalar> row(source.shape[0]);
  for (Eigen::Index i = 0; i < row.size(); ++i) row(i) = static_cast<Scalar>(source.data[size(i)]);
  return row;
}

template <typename Derived>
Values row_major(const Eigen::DenseBase<Derived>& matrix) {
  Values values;
  for (Eigen::Index r = 0; r < matrix.rows(); ++r) {
    for (Eigen::Index k = 0; k < matrix.cols(); ++k) values.push_back(static_cast<double>(matrix(r, k)));
  }
  return values;
}

// y = x w^T + b, with w a normalized v.
template <typename Scalar>
Named run_weight_linear(const Case& c) {
  const auto x = matrix_of<Scalar>(c.in("x")), v = matrix_of<Scalar>(c.in("v")), dy = matrix_of<Scalar>(c.in("dy"));
  WeightNorm<Scalar> layer(v.rows(), outputs_on(c.integer("dim")));
  set(layer.scale.value, c.in("g").data);
  const Matrix<Scalar> w = layer.forward(v);
  const Matrix<Scalar> y = (x * w.transpose()).rowwise() + row_of<Scalar>(c.in("b"));
  const Matrix<Scalar> dw = dy.transpose() * x, dx = dy * w;
  const Matrix<Scalar> dv = layer.backward(v, dw);
  return {{"y", row_major(y)},
          {"dx", row_major(dx)},
          {"dv", row_major(dv)},
          {"dg", widened(layer.scale.grad)},
          {"db", row_major(dy.colwise().sum())}};
}

// Linear, batch normalization, relu, twice, then linear; mean squared error; plain gradient descent.
struct Network {
  using Block = Matrix<double>;
  Block w1, w2, w3;
  RowVector<double> b1, b2, b3;
  BatchNorm<double> norm1, norm2;

  explicit Network(const Case& c)
      : w1(matrix_of<double>(c.in("w1"))),
        w2(matrix_of<double>(c.in("w2"))),
        w3(matrix_of<double>(c.in("w3"))),
        b1(row_of<double>(c.in("b1"))),
        b2(row_of<double>(c.in("b2"))),
        b3(row_of<double>(c.in("b3"))),
        norm1(w1.rows(), channels_on(1), c.number("epsilon")),
        norm2(w2.rows(), channels_on(1), c.number("epsilon")) {
    set(norm1.scale.value, c.in("g1").data);
    set(norm1.shift.value, c.in("be1").data);
    set(norm2.scale.value, c.in("g2").data);
    set(norm2.shift.value, c.in("be2").data);
    norm1.running->averaging = norm2.running->averaging = averaging_of(c);
  }

  double step(const Block& x, const Block& target, double rate) {
    const Block h1 = (x * w1.transpose()).rowwise() + b1, n1 = norm1.forward(h1), a1 = n1.cwiseMax(0.0);
    const Block h2 = (a1 * w2.transpose()).rowwise() + b2, n2 = norm2.forward(h2), a2 = n2.cwiseMax(0.0);
    const Block error = ((a2 * w3.transpose()).rowwise() + b3) - target;

    const Block dy = error * (2.0 / static_cast<double>(error.size()));
    const Block dn2 = ((dy * w3).array() * (n2.array() > 0).cast<double>()).matrix();
    norm1.zero_grad();
    norm2.zero_grad();
    const Block dh2 = norm2.backward(h2, dn2);
    const Block dn1 = ((dh2 * w2).array() * (n1.array() > 0).cast<double>()).matrix();
    const Block dh1 = norm1.backward(h1, dn1);

    w3 -= rate * (dy.transpose() * a2);
    b3 -= rate * dy.colwise().sum();
    w2 -= rate * (dh2.transpose() * a1);
    b2 -= rate * dh2.colwise().sum();
    w1 -= rate * (dh1.transpose() * x);
    b1 -= rate * dh1.colwise().sum();
    for (BatchNorm<double>* norm : {&norm1, &norm2}) {
      norm->for_each_parameter([rate](auto, Parameter<double>& p) { p.value -= rate * p.grad; });
    }
    return error.squaredNorm() / static_cast<double>(error.size());
  }

  Block evaluate(const Block& x) const {
    const Block a1 = norm1.evaluate(Block((x * w1.transpose()).rowwise() + b1)).cwiseMax(0.0);
    const Block a2 = norm2.evaluate(Block((a1 * w2.transpose()).rowwise() + b2)).cwiseMax(0.0);
    return (a2 * w3.transpose()).rowwise() + b3;
  }

  void record(const std::string& prefix, Named& answers) const {
    answers[prefix + "w1"] = row_major(w1);
    answers[prefix + "w2"] = row_major(w2);
    answers[prefix + "w3"] = row_major(w3);
    answers[prefix + "b3"] = row_major(b3);
    answers[prefix + "g1"] = widened(norm1.scale.value);
    answers[prefix + "g2"] = widened(norm2.scale.value);
    answers[prefix + "be1"] = widened(norm1.shift.value);
    answers[prefix + "be2"] = widened(norm2.shift.value);
  }
};

Named run_training(const Case& c) {
  Network network(c);
  Named answers;
  for (int step = 0; step < c.integer("steps"); ++step) {
    const auto x = matrix_of<double>(c.in("X"), step), target = matrix_of<double>(c.in("Y"), step);
    answers["losses"].push_back(network.step(x, target, c.number("lr")));
    if (step == 0) network.record("step1_", answers);
  }
  network.record("final_", answers);
  answers["rm1"] = widened(network.norm1.running->mean);
  answers["rv1"] = widened(network.norm1.running->variance);
  answers["rm2"] = widened(network.norm2.running->mean);
  answers["rv2"] = widened(network.norm2.running->variance);
  answers["y_eval"] = row_major(network.evaluate(matrix_of<double>(c.in("x_eval"))));
  return answers;
}

template <typename Scalar, typename Data, int Rank, int Order>
Named run_tensor(const Case& c) {
  using Tensor = Eigen::Tensor<Data, Rank, Order>;
  return c.has_tag("running") ? run_steps<Scalar, Tensor>(c) : run_once<Scalar, Tensor>(c);
}

template <typename Scalar, typename Data, int Order>
Named run_layer(const Case& c) {
  const char* input = c.op == "weightnorm" ? "v" : c.has_tag("running") ? "x1" : "x";
  switch (rank_of(c.in(input).shape)) {
    case 1:
      return run_tensor<Scalar, Data, 1, Order>(c);
    case 2:
      return run_tensor<Scalar, Data, 2, Order>(c);
    case 3:
      return run_tensor<Scalar, Data, 3, Order>(c);
    case 4:
      return run_tensor<Scalar, Data, 4, Order>(c);
    case 5:
      return run_tensor<Scalar, Data, 5, Order>(c);
    default:
      throw std::runtime_error(c.id + ": a rank that no case has had so far");
  }
}

template <int Order>
Named run_type(const Case& c) {
  if (c.dtype == "f32") return run_layer<float, float, Order>(c);
  if (c.dtype == "f64") return run_layer<double, double, Order>(c);
  if (c.dtype == "f16") return run_layer<float, Eigen::half, Order>(c);
  if (c.dtype == "bf16") return run_layer<float, Eigen::bfloat16, Order>(c);
  throw std::runtime_error(c.id + ": unknown type " + c.dtype);
}

void run(const Case& c, Judge& judge) {
  static const std::vector<std::string> layers = {"batchnorm", "layernorm",  "groupnorm", "instancenorm",
                                                  "rmsnorm",   "weightnorm", "mvn",       "lpnorm"};
  if (c.op == "lpnorm" && c.integer("p") != 2) {
    judge.not_expressible(c.id, "divides by the sum of absolute values, which is no statistic of these layers");
  } else if (c.op == "mlp_bn") {
    judge.judge(c, run_training(c));
  } else if (c.op == "weightnorm_linear") {
    judge.judge(c, c.dtype == "f64" ? run_weight_linear<double>(c) : run_weight_linear<float>(c));
  } else if (std::find(layers.begin(), layers.end(), c.op) != layers.end()) {
    judge.judge(c, run_type<Eigen::RowMajor>(c));
    judge.judge(c, run_type<Eigen::ColMajor>(c));
  } else {
    judge.fail(c.id + ": unknown op " + c.op);
  }
}

}  // namespace
}  // namespace conformance

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MANIFEST...\n", argv[0]);
    return 2;
  }
  bool passed = true;
  for (int i = 1; i < argc; ++i) {
    std::printf("%s\n", argv[i]);
    conformance::Judge judge;
    try {
      for (const vectors::Case& c : vectors::load(argv[i])) {
        try {
          conformance::run(c, judge);
        } catch (const std::exception& error) {
          judge.fail(c.id + ": " + error.what());
        }
      }
    } catch (const std::exception& error) {
      judge.fail(error.what());
    }
    passed = judge.report() && passed;
  }
  return passed ? 0 : 1;
}

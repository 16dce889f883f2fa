#pragma once

// Linear layers and convolutions in long double, from their definition, and what else the stored cases of nets share.

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "reference.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace nets {

using reference::Numbers;
using reference::Real;

inline const char* const folder = "data/nets/";

inline Numbers numbers(const vectors::Tensor& tensor) { return Numbers(tensor.data.begin(), tensor.data.end()); }
inline Numbers numbers(const vectors::Case& c, const std::string& role, const std::string& name) {
  const vectors::Tensor* tensor = c.find(role, name);
  if (tensor == nullptr) throw std::out_of_range(c.id + ": no " + role + " " + name);
  return numbers(*tensor);
}
inline Numbers input_or(const vectors::Case& c, const std::string& name, std::size_t size, Real value) {
  const vectors::Tensor* tensor = c.find("in", name);
  return tensor == nullptr ? Numbers(size, value) : numbers(*tensor);
}

inline Numbers magnitudes(Numbers values) {
  for (Real& value : values) value = std::abs(value);
  return values;
}

/// Of one layer: where its numbers are. Two spatial axes, of extent 1 where there are fewer.
struct Convolution {
  bool transposed = false;
  std::int64_t outputs = 0, inputs = 0, groups = 1, stride = 1, padding = 0, dilation = 1, output_padding = 0;
  std::array<std::int64_t, 2> kernel{1, 1};
  int spatial = 0;  // how many of the axes there are

  Convolution(const vectors::Case& c, const std::string& kind, const vectors::Shape& weight)
      : transposed(kind.find("transpose") != std::string::npos),
        groups(c.integer("groups", 1)),
        stride(c.integer("stride", 1)),
        padding(c.integer("padding", 0)),
        dilation(c.integer("dilation", 1)),
        output_padding(c.integer("output_padding", 0)),
        spatial(static_cast<int>(weight.size()) - 2) {
    inputs = transposed ? weight[0] : weight[1] * groups;
    outputs = transposed ? weight[1] * groups : weight[0];
    for (int axis = 0; axis < spatial; ++axis) kernel[at(axis)] = weight[at(axis) + 2];
  }

  static std::size_t at(int axis) { return static_cast<std::size_t>(axis); }

  /// Where on an axis of the input tap k of output position o lies; -1: outside.
  std::int64_t source(int axis, std::int64_t o, std::int64_t k, std::int64_t extent) const {
    if (axis >= spatial) return 0;
    if (!transposed) {
      const std::int64_t i = o * stride - padding + k * dilation;
      return i < extent ? i : -1;
    }
    const std::int64_t scaled = o + padding - k * dilation;
    return scaled % stride == 0 && scaled / stride < extent && scaled >= 0 ? scaled / stride : -1;
  }

  std::int64_t output_extent(int axis, std::int64_t extent) const {
    if (axis >= spatial) return 1;
    const std::int64_t reach = dilation * (kernel[at(axis)] - 1) + 1;
    return transposed ? (extent - 1) * stride - 2 * padding + reach + output_padding
                      : (extent + 2 * padding - reach) / stride + 1;
  }
};

/// y = weight applied to x + bias, in logical order; of a linear layer the inputs are on the last axis.
inline Numbers apply(const Convolution& conv, const Numbers& x, vectors::Shape shape, const Numbers& weight,
                     const Numbers& bias) {
  if (conv.spatial == 0) shape = {static_cast<std::int64_t>(x.size()) / conv.inputs, conv.inputs};
  shape.resize(4, 1);
  const std::array<std::int64_t, 2> size{shape[2], shape[3]};
  const std::array<std::int64_t, 2> out{conv.output_extent(0, size[0]), conv.output_extent(1, size[1])};
  const std::int64_t in_group = conv.inputs / conv.groups, out_group = conv.outputs / conv.groups;
  Numbers y;
  for (std::int64_t n = 0; n < shape[0]; ++n)
    for (std::int64_t o = 0; o < conv.outputs; ++o)
      for (std::int64_t p = 0; p < out[0] * out[1]; ++p) {
        Real sum = bias[static_cast<std::size_t>(o)];
        for (std::int64_t i = 0; i < in_group; ++i)
          for (std::int64_t k = 0; k < conv.kernel[0] * conv.kernel[1]; ++k) {
            const std::int64_t channel = o / out_group * in_group + i;
            const std::int64_t row = conv.source(0, p / out[1], k / conv.kernel[1], size[0]);
            const std::int64_t column = conv.source(1, p % out[1], k % conv.kernel[1], size[1]);
            if (row < 0 || column < 0) continue;
            const std::int64_t first = conv.transposed ? channel : o, second = conv.transposed ? o % out_group : i;
            const std::int64_t width = conv.transposed ? out_group : in_group;
            const std::int64_t w = (first * width + second) * conv.kernel[0] * conv.kernel[1] + k;
            sum += weight[static_cast<std::size_t>(w)] *
                   x[static_cast<std::size_t>(((n * conv.inputs + channel) * size[0] + row) * size[1] + column)];
          }
        y.push_back(sum);
      }
  return y;
}

/// For each element of a result its channel: on axis 1.
inline std::vector<std::size_t> channels_of(const vectors::Shape& shape) {
  std::vector<std::size_t> channels;
  std::size_t size = 1, inner = 1;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) size *= static_cast<std::size_t>(shape[axis]);
  for (std::size_t axis = 2; axis < shape.size(); ++axis) inner *= static_cast<std::size_t>(shape[axis]);
  for (std::size_t i = 0; i < size; ++i) channels.push_back(i / inner % static_cast<std::size_t>(shape[1]));
  return channels;
}

/// Limits of data/nets/README.md; sums of products have twice that of layers.
inline test::Tolerance tolerance(const vectors::Case& c, bool products = false) {
  test::Tolerance tolerance = c.dtype == "f64"    ? test::tolerance<double>()
                              : c.dtype == "f16"  ? test::tolerance<Eigen::half>()
                              : c.dtype == "bf16" ? test::tolerance<Eigen::bfloat16>()
                                                  : test::tolerance<float>();
  if (products) tolerance.limit *= 2;
  return tolerance;
}

/// Rounded to the type of the case.
inline Numbers rounded(const vectors::Case& c, Numbers values) {
  for (Real& value : values)
    value = c.dtype == "f64" ? Real(static_cast<double>(value)) : Real(static_cast<float>(value));
  return values;
}

/// A tensor of any rank, from numbers in logical order, and back.
template <typename Tensor>
Tensor tensor_of(const vectors::Shape& shape, const Numbers& values) {
  using Data = typename Tensor::Scalar;
  test::Field<Data, int(Tensor::Layout)> field(reference::Sizes(shape.begin(), shape.end()), values);
  return Tensor(field.template map<Tensor::NumDimensions>());
}
template <typename Tensor>
Numbers values_of(const Tensor& tensor) {
  constexpr auto rank = static_cast<std::size_t>(Tensor::NumDimensions);
  Numbers values;
  Eigen::array<Eigen::Index, rank> at{};
  for (Eigen::Index i = 0; i < tensor.size(); ++i) {
    values.push_back(test::widened(tensor(at)));
    for (std::size_t axis = rank; axis-- > 0;) {
      if (++at[axis] < tensor.dimension(axis)) break;
      at[axis] = 0;
    }
  }
  return values;
}

}  // namespace nets

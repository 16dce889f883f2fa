#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <random>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "natural_scales.hpp"
#include "reference.hpp"
#include "same_bits.hpp"

// What the tests share: random numbers that are the same everywhere, tensors of any rank and order, the verbs
// on them, and how an error is measured.

namespace test {

using reference::Numbers;
using reference::own_scale;
using reference::Real;
using reference::Sizes;

/// Uniform and normal numbers. The standard distributions differ between libraries, the engine does not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// In [0, 1), 53 bits.
  double uniform() { return std::ldexp(static_cast<double>(engine_() >> 11), -53); }

  /// Mean 0, variance 1.
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

  Numbers normals(std::size_t size, double mean = 0, double deviation = 1) {
    Numbers numbers(size);
    for (Real& number : numbers) number = mean + deviation * normal();
    return numbers;
  }

 private:
  std::mt19937_64 engine_;
};

/// Normal numbers.
inline Eigen::MatrixXf random_matrix(Eigen::Index rows, Eigen::Index columns, std::uint64_t seed) {
  Random numbers(seed);
  Eigen::MatrixXf x(rows, columns);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(numbers.normal());
  return x;
}

/// The type of the parameters and statistics of a layer that works on `Data`.
template <typename Data>
using ScalarOf = std::conditional_t<std::is_same_v<Data, double>, double, float>;

template <typename Data>
Data rounded(Real number) {
  if constexpr (std::is_floating_point_v<Data>) {
    return static_cast<Data>(number);
  } else {
    return static_cast<Data>(static_cast<float>(number));
  }
}

template <typename Data>
Real widened(Data value) {
  if constexpr (std::is_floating_point_v<Data>) {
    return static_cast<Real>(value);
  } else {
    return static_cast<Real>(static_cast<float>(value));
  }
}

/// For each element in logical order its place in memory.
inline std::vector<std::size_t> places(const Sizes& shape, int order) {
  const std::size_t size = reference::size_of(shape);
  std::vector<std::size_t> result(size);
  for (std::size_t element = 0; element < size; ++element) {
    if (order == Eigen::RowMajor) {
      result[element] = element;
      continue;
    }
    std::size_t rest = element;
    std::size_t stride = size;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      const auto extent = static_cast<std::size_t>(shape[axis]);
      stride /= extent;
      result[element] += rest % extent * stride;
      rest /= extent;
    }
  }
  return result;
}

/// A dense tensor of any rank. It starts `offset` elements into its memory, so that no alignment can be
/// relied upon.
template <typename DataType, int StorageOrder>
class Field {
 public:
  using Data = DataType;
  using Scalar = ScalarOf<Data>;
  static constexpr int order = StorageOrder;

  /// Every value is NaN, so that an element that nobody writes is seen.
  explicit Field(Sizes shape, std::size_t offset = 1)
      : shape_(std::move(shape)),
        offset_(offset),
        size_(reference::size_of(shape_)),
        memory_(offset + size_, std::numeric_limits<Data>::quiet_NaN()) {}

  Field(Sizes shape, const Numbers& numbers, std::size_t offset = 1) : Field(std::move(shape), offset) {
    const std::vector<std::size_t> place = places(shape_, order);
    for (std::size_t i = 0; i < size_; ++i) data()[place[i]] = rounded<Data>(numbers[i]);
  }

  Numbers numbers() const {
    const std::vector<std::size_t> place = places(shape_, order);
    Numbers result(size_);
    for (std::size_t i = 0; i < size_; ++i) result[i] = widened(data()[place[i]]);
    return result;
  }

  const Sizes& shape() const { return shape_; }
  std::size_t size() const { return size_; }
  Data* data() { return memory_.data() + offset_; }
  const Data* data() const { return memory_.data() + offset_; }

  template <int Rank>
  Eigen::TensorMap<Eigen::Tensor<Data, Rank, order>> map() {
    return {data(), dimensions<Rank>()};
  }
  template <int Rank>
  Eigen::TensorMap<const Eigen::Tensor<Data, Rank, order>> map() const {
    return {data(), dimensions<Rank>()};
  }

 private:
  template <int Rank>
  Eigen::array<Eigen::Index, Rank> dimensions() const {
    Eigen::array<Eigen::Index, Rank> result;
    for (std::size_t axis = 0; axis < Rank; ++axis) result[axis] = shape_[axis];
    return result;
  }

  Sizes shape_;
  std::size_t offset_ = 0;
  std::size_t size_ = 0;
  std::vector<Data> memory_;
};

/// Types of data, and storage orders, to go through.
using FloatingFields = std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>,
                                  Field<double, Eigen::RowMajor>, Field<double, Eigen::ColMajor>>;
using AllFields =
    std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>, Field<double, Eigen::RowMajor>,
               Field<double, Eigen::ColMajor>, Field<Eigen::half, Eigen::RowMajor>, Field<Eigen::half, Eigen::ColMajor>,
               Field<Eigen::bfloat16, Eigen::RowMajor>, Field<Eigen::bfloat16, Eigen::ColMajor>>;

/// Calls `work` with the rank as a type.
template <typename Work>
void with_rank(std::size_t rank, const Work& work) {
  switch (rank) {
    case 1:
      return work(std::integral_constant<int, 1>{});
    case 2:
      return work(std::integral_constant<int, 2>{});
    case 3:
      return work(std::integral_constant<int, 3>{});
    case 4:
      return work(std::integral_constant<int, 4>{});
    case 5:
      return work(std::integral_constant<int, 5>{});
    case 6:
      return work(std::integral_constant<int, 6>{});
    case 7:
      return work(std::integral_constant<int, 7>{});
    case 8:
      return work(std::integral_constant<int, 8>{});
    default:
      throw std::logic_error("with_rank: expected a rank of 1 to 8");
  }
}

// (Not inlined rank by rank: the stack of one call has no room for the contexts of eight.)

template <typename Scalar, typename Data, int Order>
void forward(eigennorm::Normalization<Scalar>& layer, const Field<Data, Order>& x, Field<Data, Order>& y,
             const eigennorm::Context<Scalar>& context = {}) {
  with_rank(
      x.shape().size(), [&](auto rank) __attribute__((noinline)) {
        layer.forward(x.template map<rank>(), y.template map<rank>(), context);
      });
}

template <typename Scalar, typename Data, int Order>
void evaluate(const eigennorm::Normalization<Scalar>& layer, const Field<Data, Order>& x, Field<Data, Order>& y,
              const eigennorm::Context<Scalar>& context = {}) {
  with_rank(
      x.shape().size(), [&](auto rank) __attribute__((noinline)) {
        layer.evaluate(x.template map<rank>(), y.template map<rank>(), context);
      });
}

template <typename Scalar, typename Data, int Order>
void backward(eigennorm::Normalization<Scalar>& layer, const Field<Data, Order>& x, const Field<Data, Order>& dy,
              Field<Data, Order>& dx, const eigennorm::Context<Scalar>& context = {}) {
  with_rank(
      x.shape().size(), [&](auto rank) __attribute__((noinline)) {
        layer.backward(x.template map<rank>(), dy.template map<rank>(), dx.template map<rank>(), context);
      });
}

template <typename Scalar>
Numbers numbers(const eigennorm::Vector<Scalar>& vector) {
  return Numbers(vector.data(), vector.data() + vector.size());
}

template <typename Scalar>
reference::Parameters parameters(const eigennorm::Normalization<Scalar>& layer) {
  return {numbers(layer.scale.value), numbers(layer.shift.value)};
}

template <typename Scalar>
reference::Running running(const eigennorm::Normalization<Scalar>& layer) {
  return {numbers(layer.running->mean), numbers(layer.running->variance)};
}

/// Scale, shift and running statistics at which no two features are alike and none is neutral.
template <typename Scalar>
void randomize(eigennorm::Normalization<Scalar>& layer, Random& random) {
  for (Scalar& value : layer.scale.value) value = static_cast<Scalar>(1 + 0.5 * random.normal());
  for (Scalar& value : layer.shift.value) value = static_cast<Scalar>(random.normal());
  if (!layer.running) return;
  for (Scalar& value : layer.running->mean) value = static_cast<Scalar>(0.5 * random.normal());
  for (Scalar& value : layer.running->variance) value = static_cast<Scalar>(0.5 + random.uniform());
}

/// How close a result has to be to the truth: within `limit` units of roundoff of its scale, after one rounding of
/// the result itself where it is stored in 16 bits.
///
/// The limits 4 (float) and 8 (double) are those of the stored vectors. A result comes out of five or so
/// roundings (mean, difference, 1/sigma, scale, shift), each of at most one unit of its summand; an error in
/// summing up a statistic must not be seen beside them, however many values there are. double has twice the
/// limit because no wider type backs its statistics.
struct Tolerance {
  Real unit, limit;
  Real rounding = 0;  // of a result in 16 bits, relative
  Real smallest = 0;  // half the spacing of its subnormals
};

template <typename Data>
Tolerance tolerance() {
  const Real float_unit = std::ldexp(Real(1), -24);
  if constexpr (std::is_same_v<Data, double>) return {std::ldexp(Real(1), -53), 8};
  if constexpr (std::is_same_v<Data, Eigen::half>) {
    return {float_unit, 4, std::ldexp(Real(1), -11), std::ldexp(Real(1), -25)};
  }
  if constexpr (std::is_same_v<Data, Eigen::bfloat16>) {
    return {float_unit, 4, std::ldexp(Real(1), -8), std::ldexp(Real(1), -134)};
  }
  return {float_unit, 4};
}

/// The largest error in units of roundoff of its scale. Infinite where sizes differ or a result is not a
/// number.
inline Real worst(const Numbers& got, const Numbers& truth, const Numbers& scale, const Tolerance& tolerance) {
  const Real infinity = std::numeric_limits<Real>::infinity();
  if (got.size() != truth.size() || got.size() != scale.size()) return infinity;
  Real worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const Real allowed = 1.01L * std::max(tolerance.rounding * std::abs(truth[i]), tolerance.smallest);
    const Real error = std::abs(got[i] - truth[i]);
    if (error <= allowed) continue;
    const Real units = (error - allowed) / (tolerance.unit * scale[i]);
    if (!(units <= worst)) worst = std::isnan(units) ? infinity : units;
  }
  return worst;
}

/// Normal data about `offset`, with a mean that differs between neighbouring features.
inline Numbers sample(const reference::Roles& roles, double offset, Random& random) {
  Numbers x = random.normals(roles.size(), offset, 1.3);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += 0.25L * static_cast<Real>(roles.feature[i] % 3);
  return x;
}

}  // namespace test

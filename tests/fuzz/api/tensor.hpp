#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <eigennorm/eigennorm.hpp>
#include <iterator>
#include <utility>
#include <vector>

#include "bytes.hpp"
#include "layer.hpp"

// Tensors of a call, as views into one piece of memory.

namespace fuzz {

/// Which Eigen class.
enum class Family { tensor, matrix, vector };

struct Tensor {
  Family family = Family::tensor;
  Extents shape, strides;
  std::int64_t offset = 0;  // of the first element

  std::int64_t size() const {
    std::int64_t size = 1;
    for (const std::int64_t extent : shape) size *= extent;
    return size;
  }

  /// Where each element is, last axis fastest.
  std::vector<std::int64_t> places() const {
    std::vector<std::int64_t> result(static_cast<std::size_t>(size()));
    for (std::size_t element = 0; element < result.size(); ++element) {
      auto rest = static_cast<std::int64_t>(element);
      result[element] = offset;
      for (std::size_t axis = shape.size(); axis-- > 0;) {
        result[element] += rest % shape[axis] * strides[axis];
        rest /= shape[axis];
      }
    }
    return result;
  }

  /// Of the last element from the first, where no stride is negative.
  std::int64_t reach() const {
    std::int64_t reach = 0;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) reach += strides[axis] * (shape[axis] - 1);
    return reach;
  }

  /// The order of places in which memory holds a tensor without gaps.
  std::vector<std::size_t> packed_order(int order) const {
    Tensor packed = *this;
    packed.offset = 0;
    packed.strides = packed_strides(shape, order);
    std::vector<std::size_t> result;
    for (const std::int64_t place : packed.places()) result.push_back(static_cast<std::size_t>(place));
    return result;
  }

  static Extents packed_strides(const Extents& shape, int order) {
    Extents strides(shape.size());
    std::int64_t stride = 1;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const std::size_t axis = order == Eigen::RowMajor ? shape.size() - 1 - i : i;
      strides[axis] = stride;
      stride *= shape[axis];
    }
    return strides;
  }
};

/// A tensor somewhere in the `room` places from `base` on; with whatever strides its family allows.
inline Tensor draw_tensor(Bytes& bytes, const Extents& shape, Family family, int order, std::int64_t base,
                          std::int64_t room) {
  Tensor tensor{family, shape, Tensor::packed_strides(shape, order), base + bytes.below(8)};
  if (family != Family::matrix || tensor.size() == 0) return tensor;
  const std::size_t fast = order == Eigen::RowMajor ? 1 : 0, slow = 1 - fast;
  Extents strides(2);
  strides[fast] = bytes.pick(Extents{1, 1, 1, 1, 2, 3, 1, 1, 1, 1, 1, 2, 1, 0, -1, shape[slow]});
  const std::int64_t reach = std::max<std::int64_t>(shape[fast] * std::abs(strides[fast]), 1);
  strides[slow] = bytes.pick(
      Extents{reach, reach + 1, reach + 3, reach, reach + 7, reach, reach, 1, reach - 1, 2 * reach, -reach, 0});
  std::int64_t least = 0, most = 0;
  for (const std::size_t axis : {fast, slow}) {
    const std::int64_t last = strides[axis] * (shape[axis] - 1);
    (last < 0 ? least : most) += last;
  }
  if (most - least + 8 > room) return tensor;
  tensor.strides = strides;
  tensor.offset -= least;
  return tensor;
}

inline bool moves_backwards(const Tensor& tensor) {
  for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis) {
    if (tensor.shape[axis] > 1 && tensor.strides[axis] < 0) return true;
  }
  return false;
}

enum class Distinct { no, by_nesting, otherwise };

/// Whether no two elements share a place, and whether that is plain to see: each stride is wider than all narrower
/// ones together reach.
inline Distinct distinct(const Tensor& tensor) {
  if (tensor.family != Family::matrix) return Distinct::by_nesting;  // it has no gaps
  std::vector<std::int64_t> places = tensor.places();
  std::sort(places.begin(), places.end());
  if (std::adjacent_find(places.begin(), places.end()) != places.end()) return Distinct::no;
  std::vector<std::pair<std::int64_t, std::int64_t>> steps;
  for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis) {
    if (tensor.shape[axis] > 1) steps.emplace_back(tensor.strides[axis], tensor.shape[axis]);
  }
  std::sort(steps.begin(), steps.end());
  std::int64_t reach = 0;
  for (const auto& [stride, extent] : steps) {
    if (stride <= reach) return Distinct::otherwise;
    reach += stride * (extent - 1);
  }
  return Distinct::by_nesting;
}

enum class Sharing { none, same, some, unclear };

/// How two tensors of one shape share memory; unclear where they interleave with different strides. No stride is
/// negative.
inline Sharing sharing(const Tensor& a, const Tensor& b) {
  if (a.size() == 0) return Sharing::none;
  if (a.offset + a.reach() < b.offset || b.offset + b.reach() < a.offset) return Sharing::none;
  std::vector<std::int64_t> in_a = a.places(), in_b = b.places(), both;
  if (in_a == in_b) return Sharing::same;
  std::sort(in_a.begin(), in_a.end());
  std::sort(in_b.begin(), in_b.end());
  std::set_intersection(in_a.begin(), in_a.end(), in_b.begin(), in_b.end(), std::back_inserter(both));
  if (!both.empty()) return Sharing::some;
  for (std::size_t axis = 0; axis < a.shape.size(); ++axis) {
    if (a.shape[axis] > 1 && a.strides[axis] != b.strides[axis]) return Sharing::unclear;
  }
  return Sharing::none;
}

/// A tensor, and the memory that it is a view of.
template <typename Data>
struct Placed {
  Data* memory;
  const Tensor& tensor;

  template <int Rank, int Order>
  Eigen::TensorMap<Eigen::Tensor<Data, Rank, Order>> as_tensor() const {
    Eigen::array<Eigen::Index, Rank> extents;
    for (std::size_t axis = 0; axis < Rank; ++axis) extents[axis] = tensor.shape[axis];
    return {memory + tensor.offset, extents};
  }

  template <int Order>
  auto as_matrix() const {
    using Matrix = Eigen::Matrix<Data, Eigen::Dynamic, Eigen::Dynamic, Order>;
    using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    const std::size_t fast = Order == Eigen::RowMajor ? 1 : 0;
    return Eigen::Map<Matrix, 0, Stride>(memory + tensor.offset, tensor.shape[0], tensor.shape[1],
                                         Stride(tensor.strides[1 - fast], tensor.strides[fast]));
  }

  auto as_vector() const {
    return Eigen::Map<Eigen::Matrix<Data, Eigen::Dynamic, 1>>(memory + tensor.offset, tensor.size());
  }
};

template <int Order, typename Data, typename Verb, typename... Others>
void with_views_in_order(const Verb& verb, const Placed<Data>& first, const Others&... others) {
  if (first.tensor.family == Family::matrix)
    return verb(first.template as_matrix<Order>(), others.template as_matrix<Order>()...);
  if (first.tensor.family == Family::vector) return verb(first.as_vector(), others.as_vector()...);
  switch (first.tensor.shape.size()) {
    case 1:
      return verb(first.template as_tensor<1, Order>(), others.template as_tensor<1, Order>()...);
    case 2:
      return verb(first.template as_tensor<2, Order>(), others.template as_tensor<2, Order>()...);
    case 3:
      return verb(first.template as_tensor<3, Order>(), others.template as_tensor<3, Order>()...);
    case 4:
      return verb(first.template as_tensor<4, Order>(), others.template as_tensor<4, Order>()...);
    default:
      return verb(first.template as_tensor<5, Order>(), others.template as_tensor<5, Order>()...);
  }
}

/// Calls `verb` with each tensor as the Eigen object of its family; all have one family, rank and order.
template <typename Verb, typename... Tensors>
void with_views(int order, const Verb& verb, const Tensors&... tensors) {
  return order == Eigen::RowMajor ? with_views_in_order<Eigen::RowMajor>(verb, tensors...)
                                  : with_views_in_order<Eigen::ColMajor>(verb, tensors...);
}

}  // namespace fuzz

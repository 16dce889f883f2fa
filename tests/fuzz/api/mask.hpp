#pragma once

#include <algorithm>
#include <cstdint>
#include <eigennorm/eigennorm.hpp>
#include <optional>
#include <vector>

#include "bytes.hpp"
#include "layer.hpp"
#include "tensor.hpp"

// Masks of valid positions, right and wrong ones.

namespace fuzz {

/// A view of bools, and these: as many as it reaches, so that whoever looks beyond them is caught.
struct Mask {
  Tensor tensor;
  int order = Eigen::RowMajor;
  Eigen::Array<bool, Eigen::Dynamic, 1> flags;

  eigennorm::Valid view() {
    std::optional<eigennorm::Valid> valid;
    with_views(
        order, [&](const auto& flags_there) { valid.emplace(flags_there); }, Placed<bool>{flags.data(), tensor});
    return *valid;
  }

  bool goes_with(const Extents& x) const {
    bool fits = tensor.shape.size() == x.size();
    for (std::size_t axis = 0; fits && axis < x.size(); ++axis)
      fits = tensor.shape[axis] == x[axis] || tensor.shape[axis] == 1;
    return fits;
  }

  /// Whether each element of an x of this shape, with which the mask goes, is valid; last axis fastest.
  std::vector<bool> elements(const Extents& x) const {
    Tensor spread = tensor;
    spread.shape = x;
    for (std::size_t axis = 0; axis < x.size(); ++axis) {
      if (tensor.shape[axis] == 1) spread.strides[axis] = 0;
    }
    std::vector<bool> result;
    for (const std::int64_t place : spread.places()) result.push_back(flags[place]);
    return result;
  }

  /// The same, said otherwise: without gaps, and all bools of each axis that is not among `said_axes`.
  Mask spread(const Extents& x, unsigned said_axes) const {
    Mask result{{Family::tensor, x, {}, 0}, Eigen::ColMajor, {}};
    Extents& shape = result.tensor.shape;
    for (std::size_t axis = 0; axis < x.size(); ++axis) {
      if ((said_axes >> axis & 1U) != 0) shape[axis] = tensor.shape[axis];
    }
    result.tensor.strides = Tensor::packed_strides(shape, result.order);
    const std::vector<bool> valid = elements(shape);
    const std::vector<std::int64_t> places = result.tensor.places();
    result.flags.resize(static_cast<Eigen::Index>(places.size()));
    for (std::size_t i = 0; i < places.size(); ++i) result.flags[places[i]] = valid[i];
    return result;
  }
};

/// Numbers without an order; `next(n)` is below n.
class Mixer {
 public:
  explicit Mixer(int seed) : state_(static_cast<std::uint32_t>(seed) + 1) {}
  std::int64_t next(std::int64_t n) {
    state_ = state_ * 1664525U + 1013904223U;
    return static_cast<std::int64_t>(state_ >> 16U) % n;
  }

 private:
  std::uint32_t state_;
};

/// Says of each element whether it is valid; between elements, where nobody looks, are bools of any kind.
inline void draw_flags(Bytes& bytes, Mask& mask) {
  const int kind = bytes.below(8), number = bytes.next();
  Mixer mixer(number);
  for (bool& flag : mask.flags) flag = mixer.next(2) == 0;
  const std::vector<std::int64_t> places = mask.tensor.places();
  const std::int64_t row = mask.tensor.shape.back();
  std::int64_t length = 0;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto element = static_cast<std::int64_t>(i), size = static_cast<std::int64_t>(places.size());
    if (element % row == 0) length = mixer.next(row + 1);
    bool& flag = mask.flags[places[i]];
    if (kind == 0) flag = true;
    if (kind == 1) flag = false;
    if (kind == 2) flag = element == number % size;
    if (kind == 3) flag = element != number % size;
    if (kind == 4) flag = element % row < length;
    if (kind == 5) flag = mixer.next(8) != 0;
    if (kind == 6) flag = mixer.next(8) == 0;
  }
}

/// Another mask of the same shape, mostly of as many valid positions.
inline void change_flags(Bytes& bytes, Mask& mask) {
  const std::vector<std::int64_t> places = mask.tensor.places();
  if (places.empty()) return;
  const auto draw_place = [&] { return places[static_cast<std::size_t>(bytes.next()) % places.size()]; };
  bool& one = mask.flags[draw_place()];
  bool& other = mask.flags[draw_place()];
  if (bytes.one_in(4)) {
    one = !one;
  } else {
    std::swap(one, other);
  }
}

/// A mask for x, rarely of a wrong shape. `alike`: axes along which it may not vary, and rarely does.
inline Mask draw_mask(Bytes& bytes, const Extents& x, unsigned alike, std::int64_t room) {
  Extents shape = x;
  for (std::size_t axis = 0; axis < x.size(); ++axis) {
    const bool is_one = (alike >> axis & 1U) != 0 ? !bytes.one_in(32) : bytes.below(4) == 0;
    if (is_one) shape[axis] = 1;
  }
  if (bytes.one_in(32)) {
    std::int64_t& extent = shape[static_cast<std::size_t>(bytes.next()) % shape.size()];
    extent = std::max<std::int64_t>(extent + (bytes.below(2) == 0 ? 1 : -1), 0);
  }
  if (bytes.one_in(32)) {
    if (shape.size() < 5 && bytes.below(2) == 0) {
      shape.push_back(1);
    } else if (shape.size() > 1) {
      shape.pop_back();
    }
  }
  Mask mask;
  mask.order = bytes.below(2) == 0 ? Eigen::RowMajor : Eigen::ColMajor;
  Family family = shape.size() == 2 && bytes.below(4) != 0 ? Family::matrix : Family::tensor;
  if (family == Family::matrix && shape[1] == 1 && bytes.below(2) == 0) family = Family::vector;
  mask.tensor = draw_tensor(bytes, shape, family, mask.order, 0, room);
  const std::vector<std::int64_t> places = mask.tensor.places();
  if (places.empty() && family == Family::matrix) mask.tensor.strides = {-bytes.below(3), -bytes.below(3)};
  const std::int64_t end = places.empty() ? mask.tensor.offset : 1 + *std::max_element(places.begin(), places.end());
  mask.flags.resize(end);
  draw_flags(bytes, mask);
  return mask;
}

}  // namespace fuzz

#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "problem.hpp"

// Masks, and what a call with one is to be like: calls on packed tensors, made by plain loops that know of no run.

namespace test {

/// Valid positions of a tensor: extents of 1 stand for all.
struct Mask {
  Sizes shape;
  std::vector<char> values;  // in logical order

  bool varies(std::size_t axis) const { return shape[axis] > 1; }
  /// Of an element of a tensor of shape `whole`.
  bool at(std::size_t element, const Sizes& whole) const {
    std::size_t place = 0, step = 1;
    for (std::size_t axis = whole.size(); axis-- > 0;) {
      const auto extent = static_cast<std::size_t>(whole[axis]);
      if (shape[axis] > 1) place += element % extent * step;
      step *= static_cast<std::size_t>(shape[axis]);
      element /= extent;
    }
    return values[place] != 0;
  }
};

/// The same as a tensor of Eigen, of either order.
template <int Order>
class MaskField {
 public:
  explicit MaskField(const Mask& mask) : shape_(mask.shape), values_(new bool[mask.values.size()]) {
    const std::vector<std::size_t> place = places(shape_, Order);
    for (std::size_t i = 0; i < mask.values.size(); ++i) values_[place[i]] = mask.values[i] != 0;
  }

  eigennorm::Valid valid() const {
    eigennorm::Valid result{Eigen::Map<const Eigen::Array<bool, 1, 1>>(values_.get())};
    with_rank(shape_.size(), [&](auto rank) {
      Eigen::array<Eigen::Index, static_cast<std::size_t>(int(rank))> extents;
      for (std::size_t axis = 0; axis < extents.size(); ++axis) extents[axis] = shape_[axis];
      const Eigen::TensorMap<const Eigen::Tensor<bool, rank, Order>> map(values_.get(), extents);
      result = eigennorm::Valid(map);
    });
    return result;
  }

 private:
  Sizes shape_;
  std::unique_ptr<bool[]> values_;
};

enum class Kinds { random, lengths, one, none };

/// A mask that varies along those axes.
inline Mask make_mask(const Sizes& whole, const std::vector<bool>& varies, Kinds kind, Random& random) {
  Mask mask;
  for (std::size_t axis = 0; axis < whole.size(); ++axis) mask.shape.push_back(varies[axis] ? whole[axis] : 1);
  mask.values.assign(reference::size_of(mask.shape), 0);
  std::size_t last = whole.size();
  while (last > 0 && !varies[last - 1]) --last;
  const std::size_t row = last == 0 ? 1 : static_cast<std::size_t>(whole[last - 1]);
  for (std::size_t i = 0; i < mask.values.size(); i += row) {
    // (Some rows are empty, and some are whole.)
    const double share = random.uniform() * 1.6 - 0.3;
    for (std::size_t k = 0; k < row && i + k < mask.values.size(); ++k) {
      const bool within = static_cast<double>(k) < share * static_cast<double>(row);
      mask.values[i + k] = kind == Kinds::lengths ? within : kind == Kinds::random && random.uniform() < 0.7;
    }
  }
  if (kind == Kinds::one && !mask.values.empty())
    mask.values[static_cast<std::size_t>(random.uniform() * static_cast<double>(mask.values.size()))] = 1;
  return mask;
}

/// Elements of a tensor that are packed into one of their own, in the order of memory.
struct Packed {
  Sizes shape;
  std::vector<std::size_t> elements;  // logical numbers
};

/// What a mask leaves of a tensor: the tensor, where that is all; one packed tensor; or, where it varies along kept and
/// averaged axes, one of each place on those kept; or, where it varies along features, one of each group.
class Packing {
 public:
  bool by_group = false, by_sample = false;
  std::size_t together = 1;  // values of a group at each place on the averaged axes along which the mask varies
  std::vector<Packed> parts;

  Packing(const Formula& formula, const Sizes& whole, const Mask& mask, int order) {
    bool kept = false, averaged = false;
    for (std::size_t axis = 0; axis < whole.size(); ++axis) {
      if (!mask.varies(axis)) {
        if (reference::contains(formula.averaged, axis)) together *= static_cast<std::size_t>(whole[axis]);
        continue;
      }
      (reference::contains(formula.averaged, axis) ? averaged : kept) = true;
      by_group = by_group || reference::contains(formula.features, axis);
    }
    by_sample = !by_group && kept && averaged;
    const std::vector<std::size_t> memory = places(whole, order);
    std::vector<std::size_t> ordered(memory.size());
    for (std::size_t i = 0; i < memory.size(); ++i) ordered[memory[i]] = i;
    const reference::Roles roles(formula, whole);
    if (std::find(mask.values.begin(), mask.values.end(), 0) == mask.values.end()) {
      by_group = by_sample = false;
      parts.push_back({whole, std::move(ordered)});
      return;
    }
    std::vector<Packed> all(by_group ? roles.groups : by_sample ? kept_size(formula, whole, mask) : 1);
    for (const std::size_t element : ordered) {
      if (!mask.at(element, whole)) continue;
      all[by_group    ? roles.group[element]
          : by_sample ? kept_place(formula, whole, mask, element)
                      : 0]
          .elements.push_back(element);
    }
    for (Packed& part : all) {
      if (part.elements.empty()) continue;
      if (!by_group) arrange(formula, whole, mask, order, part.elements);
      part.shape = by_group ? Sizes{static_cast<std::ptrdiff_t>(part.elements.size())}
                            : packed_shape(formula, whole, mask, part.elements.size(), order);
      parts.push_back(std::move(part));
    }
  }

 private:
  static std::size_t kept_size(const Formula& formula, const Sizes& whole, const Mask& mask) {
    std::size_t size = 1;
    for (std::size_t axis = 0; axis < whole.size(); ++axis) {
      if (mask.varies(axis) && !reference::contains(formula.averaged, axis))
        size *= static_cast<std::size_t>(whole[axis]);
    }
    return size;
  }
  static std::size_t kept_place(const Formula& formula, const Sizes& whole, const Mask& mask, std::size_t element) {
    std::size_t place = 0, step = 1;
    for (std::size_t axis = whole.size(); axis-- > 0;) {
      const auto extent = static_cast<std::size_t>(whole[axis]);
      if (mask.varies(axis) && !reference::contains(formula.averaged, axis)) {
        place += element % extent * step;
        step *= extent;
      }
      element /= extent;
    }
    return place;
  }

  /// Whether an axis is one with others in the packed tensor: where the mask varies along it, or along one of its kind
  /// on either side of it.
  bool is_packed(const Formula& formula, const Mask& mask, std::size_t axis) const {
    const auto alike = [&](std::size_t other) {
      return !reference::contains(formula.features, other) &&
             reference::contains(formula.averaged, other) == reference::contains(formula.averaged, axis);
    };
    if (!alike(axis) || (by_sample && !reference::contains(formula.averaged, axis))) return false;
    bool before = false, behind = false;
    for (std::size_t other = 0; other < mask.shape.size(); ++other) {
      if (!mask.varies(other) || !alike(other)) continue;
      before = before || other <= axis;
      behind = behind || other >= axis;
    }
    return before && behind;
  }

  /// As the packed tensor has them: by the axes in the order of memory, those that are one by all their places.
  void arrange(const Formula& formula, const Sizes& whole, const Mask& mask, int order,
               std::vector<std::size_t>& elements) const {
    std::vector<std::pair<std::vector<std::size_t>, std::size_t>> keys;
    for (const std::size_t element : elements) {
      std::vector<std::size_t> index(whole.size()), key, as_one;
      std::size_t rest = element, fastest = 0;
      for (std::size_t axis = whole.size(); axis-- > 0;) {
        index[axis] = rest % static_cast<std::size_t>(whole[axis]);
        rest /= static_cast<std::size_t>(whole[axis]);
      }
      for (std::size_t i = 0; i < whole.size(); ++i) {
        const std::size_t axis = order == Eigen::RowMajor ? i : whole.size() - 1 - i;
        if (!is_packed(formula, mask, axis)) {
          key.push_back(index[axis]);
        } else {
          as_one.push_back(index[axis]);
          fastest = key.size();
        }
      }
      key.insert(key.begin() + static_cast<std::ptrdiff_t>(fastest), as_one.begin(), as_one.end());
      keys.emplace_back(key, element);
    }
    std::sort(keys.begin(), keys.end());
    for (std::size_t i = 0; i < keys.size(); ++i) elements[i] = keys[i].second;
  }

  /// Axes that are one are so in the place of the one that is fastest in memory.
  Sizes packed_shape(const Formula& formula, const Sizes& whole, const Mask& mask, std::size_t size, int order) const {
    Sizes shape = whole;
    std::ptrdiff_t others = 1;
    std::size_t fastest = whole.size();
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const std::size_t axis = order == Eigen::RowMajor ? i : whole.size() - 1 - i;
      const bool sample = by_sample && mask.varies(axis) && !reference::contains(formula.averaged, axis);
      if (sample || is_packed(formula, mask, axis)) {
        shape[axis] = 1;
        if (!sample) fastest = axis;
      } else {
        others *= whole[axis];
      }
    }
    if (fastest < whole.size()) shape[fastest] = static_cast<std::ptrdiff_t>(size) / others;
    return shape;
  }
};

}  // namespace test

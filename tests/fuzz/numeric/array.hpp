#pragma once

#include <eigennorm/eigennorm.hpp>
#include <vector>

#include "draw.hpp"
#include "support.hpp"

// A tensor in the memory it is a view of, so that what is written outside of it is seen.

namespace fuzz {

using reference::Numbers;
using reference::Sizes;

/// How the tensors of one call lie in memory: as tensors without gaps, or as matrices with strides of their own.
enum class Kinds { tensors, matrices };

template <typename DataType, int StorageOrder>
class Array {
 public:
  using Data = DataType;
  static constexpr int order = StorageOrder;
  using Matrix = Eigen::Matrix<Data, Eigen::Dynamic, Eigen::Dynamic, order>;
  using MatrixMap = Eigen::Map<Matrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

  /// Everything is NaN. Matrices have gaps between their rows and columns; all start anywhere.
  Array(const Sizes& shape, Kinds kinds, Random& random) : shape_(shape), start_(below(random, 5)) {
    if (kinds == Kinds::matrices) {
      const std::ptrdiff_t fast = shape_[order == Eigen::RowMajor ? 1 : 0];
      const std::ptrdiff_t slow = shape_[order == Eigen::RowMajor ? 0 : 1];
      inner_ = chance(random, 0.5) ? 1 : 1 + static_cast<std::ptrdiff_t>(below(random, 3));
      outer_ = fast * inner_ + static_cast<std::ptrdiff_t>(below(random, 4));
      for (const std::size_t place : test::places(shape_, order)) {
        const auto at = static_cast<std::ptrdiff_t>(place);
        places_.push_back(start_ + static_cast<std::size_t>(at / fast * outer_ + at % fast * inner_));
      }
      memory_.resize(start_ + static_cast<std::size_t>(slow * outer_) + 3);
    } else {
      places_ = test::places(shape_, order);
      for (std::size_t& place : places_) place += start_;
      memory_.resize(start_ + places_.size() + 3);
    }
    std::fill(memory_.begin(), memory_.end(), std::numeric_limits<Data>::quiet_NaN());
  }

  void fill(const Numbers& numbers) {
    for (std::size_t i = 0; i < places_.size(); ++i) memory_[places_[i]] = test::rounded<Data>(numbers[i]);
  }

  Numbers numbers() const {
    Numbers result;
    for (const std::size_t place : places_) result.push_back(test::widened(memory_[place]));
    return result;
  }

  bool has_bits_of(const Array& other) const { return test::same_bits(memory_, other.memory_); }

  /// Whether the memory between and around the elements is as it was made.
  bool gaps_are_untouched() const {
    std::vector<Data> others = memory_;
    const Data nan = std::numeric_limits<Data>::quiet_NaN();
    for (const std::size_t place : places_) others[place] = nan;
    for (const Data& other : others) {
      if (!test::same_bits(other, nan)) return false;
    }
    return true;
  }

  template <int Rank>
  Eigen::TensorMap<Eigen::Tensor<Data, Rank, order>> tensor() {
    Eigen::array<Eigen::Index, Rank> extents;
    for (std::size_t axis = 0; axis < Rank; ++axis) extents[axis] = shape_[axis];
    return {memory_.data() + start_, extents};
  }
  MatrixMap matrix() { return {memory_.data() + start_, shape_[0], shape_[1], {outer_, inner_}}; }

 private:
  Sizes shape_;
  std::size_t start_ = 0;
  std::ptrdiff_t inner_ = 1, outer_ = 1;
  std::vector<std::size_t> places_;  // of each element in logical order
  std::vector<Data> memory_;
};

/// Calls `verb` with each array as the Eigen object that it is a view by.
template <typename Verb, typename... Arrays>
void with_views(Kinds kinds, std::size_t rank, const Verb& verb, Arrays&... arrays) {
  if (kinds == Kinds::matrices) return verb(arrays.matrix()...);
  switch (rank) {
    case 1:
      return verb(arrays.template tensor<1>()...);
    case 2:
      return verb(arrays.template tensor<2>()...);
    case 3:
      return verb(arrays.template tensor<3>()...);
    case 4:
      return verb(arrays.template tensor<4>()...);
    default:
      return verb(arrays.template tensor<5>()...);
  }
}

}  // namespace fuzz

#pragma once

#include "eigennorm/core/requirements.hpp"

#include <Eigen/Core>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "eigennorm/core/axes.hpp"
#include "eigennorm/core/error.hpp"

/// \file
/// The door: any Eigen object whose values lie in memory becomes a View (pointer, shape, strides). Behind it there
/// are no Eigen types any more.

// Not every Eigen has the Tensor header, and it would be a quarter of what a compiler reads: so it is the caller's to
// include, before or after this. These are the declarations of Eigen 3.4 and 5, without the default arguments.
namespace Eigen {
template <typename Scalar, int Rank, int Options, typename Index>
class Tensor;
template <typename Scalar, typename Sizes, int Options, typename Index>
class TensorFixedSize;
template <typename Plain, int Options, template <class> class MakePointer>
class TensorMap;
template <typename Expression, typename Device>
struct TensorEvaluator;
struct DefaultDevice;
}  // namespace Eigen

namespace eigennorm {

/// Storage order of a view. `any` is a vector's: it has one axis that matters.
enum class Order { row_major, column_major, any };

/// Extents of a tensor in logical order.
struct Shape {
  int rank = 0;
  std::array<std::int64_t, max_rank> extents{};

  std::int64_t operator[](int axis) const { return extents[static_cast<std::size_t>(axis)]; }
  std::int64_t& operator[](int axis) { return extents[static_cast<std::size_t>(axis)]; }

  std::int64_t size() const {
    std::int64_t size = 1;
    for (int axis = 0; axis < rank; ++axis) size *= (*this)[axis];
    return size;
  }

  /// As error texts show it: "[2, 3]".
  core::TextPart text() const { return {extents.data(), rank}; }

  friend bool operator==(const Shape& a, const Shape& b) {
    bool same = a.rank == b.rank;
    for (int axis = 0; same && axis < a.rank; ++axis) same = a[axis] == b[axis];
    return same;
  }
  friend bool operator!=(const Shape& a, const Shape& b) { return !(a == b); }
};

using Strides = std::array<std::int64_t, max_rank>;

/// Where a tensor's values are: element (i0, i1, ...) is `data[i0 * strides[0] + i1 * strides[1] + ...]`. Not owning.
template <typename T>
struct View {
  T* data = nullptr;
  Shape shape;
  Strides strides{};
  Order order = Order::any;
};

namespace core {

template <typename Derived>
std::true_type derives_from_dense(const Eigen::DenseBase<Derived>*);
std::false_type derives_from_dense(const void*);

/// Whether a matrix class tells where its values are. (An IndexedView claims direct access, but does not.)
template <typename Dense, typename = void>
constexpr bool tells_memory = false;
template <typename Dense>
constexpr bool tells_memory<Dense, std::void_t<decltype(std::declval<const Dense&>().data()),
                                               decltype(std::declval<const Dense&>().innerStride()),
                                               decltype(std::declval<const Dense&>().outerStride())>> = true;

/// What a refused verb says that it returns: something that may stand where the right thing would, so that a
/// compiler says why it was refused and no more. A tensor expression's is the tensor to evaluate it into.
template <typename T, typename = void>
struct Refused {
  using Plain = std::decay_t<T>;
};
template <typename T>
struct Refused<T, std::void_t<decltype(T::NumDimensions), typename T::Index, typename T::Scalar>> {
  using Evaluator = Eigen::TensorEvaluator<const T, Eigen::DefaultDevice>;
  using Plain = Eigen::Tensor<std::remove_const_t<typename T::Scalar>, int(T::NumDimensions), int(Evaluator::Layout),
                              typename T::Index>;
};

/// What the library knows of an Eigen class. The general case is an expression: its values are in no memory.
template <typename T, typename = void>
struct Door {
  static constexpr bool direct = false;
  using Plain = typename Refused<T>::Plain;
};

/// Matrix, Array, Map, Ref, Block and the like: rank 2, always.
template <typename Dense>
struct Door<Dense, std::enable_if_t<decltype(derives_from_dense(std::declval<Dense*>()))::value>> {
  static constexpr bool direct = (int(Dense::Flags) & int(Eigen::DirectAccessBit)) != 0 && tells_memory<Dense>;
  static constexpr unsigned rank = 2;
  static constexpr bool vector = Dense::IsVectorAtCompileTime;
  static constexpr Order order = vector ? Order::any : Dense::IsRowMajor ? Order::row_major : Order::column_major;
  using Plain = typename Dense::PlainObject;

  static Shape shape(const Dense& x) {
    Shape shape;
    shape.rank = 2;
    shape[0] = x.rows();
    shape[1] = x.cols();
    return shape;
  }
  static Strides strides(const Dense& x) {
    const std::int64_t inner = x.innerStride();
    const std::int64_t outer = x.outerStride();
    return Dense::IsRowMajor ? Strides{outer, inner} : Strides{inner, outer};
  }
  static Plain plain(const Dense& x) {
    Plain y;
    y.resize(x.rows(), x.cols());
    return y;
  }
};

template <typename Tensor>
struct TensorDoor {
  static constexpr bool direct = true;
  static constexpr unsigned rank = Tensor::NumDimensions;
  static constexpr Order order = rank == 1                                     ? Order::any
                                 : int(Tensor::Layout) == int(Eigen::RowMajor) ? Order::row_major
                                                                               : Order::column_major;

  static Shape shape(const Tensor& x) {
    Shape shape;
    shape.rank = static_cast<int>(rank);
    // Unsigned, which converts to both index types that Eigen's tensor classes have.
    for (unsigned axis = 0; axis < rank; ++axis)
      shape[static_cast<int>(axis)] = static_cast<std::int64_t>(x.dimension(axis));
    return shape;
  }
  static Strides strides(const Tensor& x) {
    Strides strides{};
    std::int64_t stride = 1;
    for (unsigned i = 0; i < rank; ++i) {
      const unsigned axis = int(Tensor::Layout) == int(Eigen::RowMajor) ? rank - 1 - i : i;
      strides[axis] = stride;
      stride *= static_cast<std::int64_t>(x.dimension(axis));
    }
    return strides;
  }
};

template <typename T, int Rank, int Options, typename Index>
struct Door<Eigen::Tensor<T, Rank, Options, Index>> : TensorDoor<Eigen::Tensor<T, Rank, Options, Index>> {
  using Plain = Eigen::Tensor<T, Rank, Options, Index>;
  static Plain plain(const Plain& x) { return Plain(x.dimensions()); }
};

template <typename T, typename Sizes, int Options, typename Index>
struct Door<Eigen::TensorFixedSize<T, Sizes, Options, Index>>
    : TensorDoor<Eigen::TensorFixedSize<T, Sizes, Options, Index>> {
  using Plain = Eigen::TensorFixedSize<T, Sizes, Options, Index>;
  static Plain plain(const Plain&) { return Plain(); }
};

template <typename PlainOrConst, int Options, template <class> class MakePointer>
struct Door<Eigen::TensorMap<PlainOrConst, Options, MakePointer>>
    : TensorDoor<Eigen::TensorMap<PlainOrConst, Options, MakePointer>> {
  using Plain = std::remove_const_t<PlainOrConst>;
  static Plain plain(const Eigen::TensorMap<PlainOrConst, Options, MakePointer>& x) {
    if constexpr (std::is_constructible_v<Plain, decltype(x.dimensions())>) {
      return Plain(x.dimensions());
    } else {
      return Plain();
    }
  }
};

template <typename X>
using DoorOf = Door<std::remove_cv_t<std::remove_reference_t<X>>>;

/// The element type of an Eigen object, without const.
template <typename X>
using Element = std::remove_const_t<typename std::remove_reference_t<X>::Scalar>;

/// The owning object in which the returning form of a verb gives its result.
template <typename X>
using Plain = typename DoorOf<X>::Plain;

/// Data may be of the layer's own type, or 16-bit where that is float.
template <typename T, typename Scalar>
constexpr bool is_storage_of = std::is_same_v<T, Scalar> ||
                               (std::is_same_v<Scalar, float> &&
                                (std::is_same_v<T, Eigen::half> || std::is_same_v<T, Eigen::bfloat16>));

// Each check states its rule in one sentence, and says whether the rest of a verb may be compiled: where not, that
// sentence is all that the user reads.

template <typename X, typename Scalar>
constexpr bool check_input() {
  static_assert(DoorOf<X>::direct,
                "EigenNorm needs an Eigen object whose values are in memory (Matrix, Array, Map, Ref, Block, Tensor, "
                "TensorMap, TensorFixedSize); evaluate the expression into one first.");
  if constexpr (DoorOf<X>::direct) {
    constexpr bool has_rank = DoorOf<X>::rank >= 1 && DoorOf<X>::rank <= unsigned{max_rank};
    constexpr bool has_type = is_storage_of<Element<X>, Scalar>;
    static_assert(has_rank, "EigenNorm works on tensors of rank 1 to 8.");
    static_assert(has_type,
                  "The elements must be of the layer's Scalar type, or Eigen::half or Eigen::bfloat16 with a "
                  "layer of float.");
    return has_rank && has_type;
  }
  return false;
}

/// Checks `Y`, a second tensor of a call whose first is `X`.
template <typename X, typename Y, typename Scalar>
constexpr bool check_partner() {
  if constexpr (check_input<Y, Scalar>() && DoorOf<X>::direct) {
    constexpr bool same_type = std::is_same_v<Element<X>, Element<Y>>;
    constexpr bool same_order =
        DoorOf<X>::order == DoorOf<Y>::order || DoorOf<X>::order == Order::any || DoorOf<Y>::order == Order::any;
    static_assert(same_type, "The tensors of one call must have the same element type.");
    static_assert(same_order, "The tensors of one call must have the same storage order.");
    return same_type && same_order;
  }
  return false;
}

/// As `check_partner`, for a tensor that is written.
template <typename X, typename Y, typename Scalar>
constexpr bool check_output() {
  if constexpr (check_partner<X, Y, Scalar>()) {
    constexpr bool writable =
        !std::is_const_v<std::remove_pointer_t<decltype(std::declval<std::remove_reference_t<Y>&>().data())>>;
    static_assert(writable, "The output is const: EigenNorm cannot write into it.");
    return writable;
  }
  return false;
}

/// A tensor that is read.
template <typename X>
View<const Element<X>> view(const X& x) {
  return {x.data(), DoorOf<X>::shape(x), DoorOf<X>::strides(x), DoorOf<X>::order};
}

/// A tensor that is written.
template <typename Y>
View<Element<Y>> output_view(Y& y) {
  return {y.data(), DoorOf<Y>::shape(y), DoorOf<Y>::strides(y), DoorOf<Y>::order};
}

}  // namespace core
}  // namespace eigennorm

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "eigennorm/core/view.hpp"

/// \file
/// A view of a tensor whose element type is known at the call only.

namespace eigennorm::core {

enum class ViewedType { none, half, bfloat16, single, twofold, extended, other };

template <typename T>
constexpr ViewedType viewed_type = std::is_same_v<T, Eigen::half>       ? ViewedType::half
                                   : std::is_same_v<T, Eigen::bfloat16> ? ViewedType::bfloat16
                                   : std::is_same_v<T, float>           ? ViewedType::single
                                   : std::is_same_v<T, double>          ? ViewedType::twofold
                                   : std::is_same_v<T, long double>     ? ViewedType::extended
                                                                        : ViewedType::other;

/// As error texts call it.
inline const char* viewed_name(ViewedType type) {
  static constexpr const char* names[] = {"nothing", "half",        "bfloat16",    "float",
                                          "double",  "long double", "another type"};
  return names[static_cast<int>(type)];
}

/// A view that is assigned from any Eigen object whose values are in memory: `context.residual = r;`. It is checked
/// where it is used. An object that is no view itself has to outlive the call. `{}` is none.
/// (A context without any is made and copied for every call, so its numbers are not touched before there is a tensor.)
template <bool Written>
class AnyView {
 public:
  using Pointer = std::conditional_t<Written, void*, const void*>;

  AnyView() {}  // NOLINT(modernize-use-equals-default): arrays stay as they are
  AnyView(const AnyView& other) { copy(other); }
  AnyView& operator=(const AnyView& other) {
    if (this != &other) copy(other);
    return *this;
  }
  ~AnyView() = default;

  template <typename X, typename = std::enable_if_t<!std::is_base_of_v<AnyView, std::decay_t<X>>>>
  AnyView(X&& x) {  // NOLINT(google-explicit-constructor,bugprone-forwarding-reference-overload)
    static_assert(DoorOf<X>::direct,
                  "EigenNorm needs an Eigen object whose values are in memory (Matrix, Array, Map, Ref, Block, Tensor, "
                  "TensorMap, TensorFixedSize); evaluate the expression into one first.");
    if constexpr (DoorOf<X>::direct) {
      static_assert(std::is_lvalue_reference_v<X> || !std::is_same_v<std::decay_t<X>, Plain<X>>,
                    "A context holds views: this tensor would be gone before the call.");
      take(x);
    }
  }

  explicit operator bool() const { return type_ != ViewedType::none; }
  ViewedType type() const { return type_; }

  /// As a view of elements of T, which they are.
  template <typename T>
  View<T> as() const {
    View<T> view;
    view.data = static_cast<T*>(data_);
    view.order = order_;
    view.shape.rank = rank_;
    std::copy(extents_, extents_ + rank_, view.shape.extents.begin());
    std::copy(strides_, strides_ + rank_, view.strides.begin());
    return view;
  }

 private:
  template <typename X>
  void take(X& x) {
    constexpr bool has_rank = DoorOf<X>::rank >= 1 && DoorOf<X>::rank <= unsigned{max_rank};
    static_assert(has_rank, "EigenNorm works on tensors of rank 1 to 8.");
    if constexpr (Written) {
      static_assert(!std::is_const_v<std::remove_pointer_t<decltype(x.data())>>,
                    "The output is const: EigenNorm cannot write into it.");
    }
    if constexpr (has_rank && std::is_convertible_v<decltype(x.data()), Pointer>) {
      data_ = x.data();
      type_ = viewed_type<Element<X>>;
      order_ = DoorOf<X>::order;
      const Shape shape = DoorOf<X>::shape(x);
      const Strides strides = DoorOf<X>::strides(x);
      rank_ = shape.rank;
      std::copy(shape.extents.begin(), shape.extents.begin() + rank_, extents_);
      std::copy(strides.begin(), strides.begin() + rank_, strides_);
    }
  }
  void copy(const AnyView& other) {
    type_ = other.type_;
    if (type_ == ViewedType::none) return;
    data_ = other.data_;
    order_ = other.order_;
    rank_ = other.rank_;
    std::copy(other.extents_, other.extents_ + rank_, extents_);
    std::copy(other.strides_, other.strides_ + rank_, strides_);
  }

  ViewedType type_ = ViewedType::none;
  Pointer data_;
  Order order_;
  int rank_;
  std::int64_t extents_[max_rank], strides_[max_rank];
};

using AnyInput = AnyView<false>;
using AnyOutput = AnyView<true>;

}  // namespace eigennorm::core

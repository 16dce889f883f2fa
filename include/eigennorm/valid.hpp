#pragma once

#include "eigennorm/core/requirements.hpp"

#include <Eigen/Core>
#include <cstdint>
#include <type_traits>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/view.hpp"

/// \file
/// Which positions of a batch are there: the mask of padded sequences.

namespace eigennorm {

namespace core {

/// Whether an object of Eigen has values of its own, or may have: a `Ref<const ...>` holds a copy where it has to.
template <typename M>
constexpr bool may_own = std::is_same_v<Plain<M>, M>;
template <typename M, int Options, typename Stride>
constexpr bool may_own<Eigen::Ref<const M, Options, Stride>> = true;

}  // namespace core

/// The valid positions of x: a view of the caller's bools, which stay where they are until the call is done. Any Eigen
/// object in memory (Matrix, Array, Map, Block, Tensor, TensorMap) of x's rank, either storage order, any strides that
/// are not negative; an extent of 1, or a stride of 0, stands for all of x's. See Context::valid. A part of what a
/// function returns, such as `valid_lengths(lengths, 5).transpose()`, is gone before the call: name the bools first.
class Valid {
 public:
  template <typename Mask, typename = std::enable_if_t<!std::is_same_v<std::decay_t<Mask>, Valid>>>
  Valid(Mask&& mask) {  // NOLINT(google-explicit-constructor,bugprone-forwarding-reference-overload)
    using M = std::decay_t<Mask>;
    static_assert(core::DoorOf<M>::direct && std::is_same_v<core::Element<M>, bool>,
                  "Valid positions are an Eigen object of bool whose values are in memory.");
    if constexpr (core::DoorOf<M>::direct && std::is_same_v<core::Element<M>, bool>) {
      static_assert(!std::is_rvalue_reference_v<Mask&&> || !core::may_own<M>,
                    "Valid positions are a view: name the bools, so that they are there when the call is made.");
      const auto view = core::view(mask);
      data = view.data;
      shape = view.shape;
      strides = view.strides;
    }
  }

  const bool* data = nullptr;
  Shape shape;
  Strides strides{};
};

/// The mask of sequences of these lengths, each padded at its end to `positions`: one row a sequence. It is yours to
/// hold, and to give x's rank:
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
/// #include <unsupported/Eigen/CXX11/Tensor>
///
/// int main() {
///   Eigen::Tensor<float, 3, Eigen::RowMajor> x(2, 4, 5);   // sequences x channels x positions
///   x.setRandom();
///   const auto mask = eigennorm::valid_lengths(Eigen::Vector2i(5, 3), 5);
///   const Eigen::TensorMap<const Eigen::Tensor<bool, 3, Eigen::RowMajor>> valid(mask.data(), 2, 1, 5);
///   eigennorm::BatchNorm<float> layer(4);
///   eigennorm::Context<float> context;
///   context.valid = valid;
///   const auto y = layer.forward(x, context);
///   return y(1, 0, 4) == 0 ? 0 : 1;
/// }
/// \endcode
///
/// For channels that are last, sequences x positions x channels, its rank is `(mask.data(), 2, 5, 1)`. Lengths: an
/// Eigen vector of whole numbers. Fails where one is below 0 or above `positions`.
template <typename Lengths>
Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> valid_lengths(
    const Eigen::DenseBase<Lengths>& lengths, core::Integer positions) {
  static_assert(std::is_integral_v<typename Lengths::Scalar> && Lengths::IsVectorAtCompileTime,
                "Lengths are a vector of whole numbers.");
  const std::int64_t extent = positions;
  if (extent < 0) core::fail_with({"valid_lengths: expected a number of positions of at least 0, got ", extent});
  Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> valid(lengths.size(), extent);
  for (Eigen::Index i = 0; i < lengths.size(); ++i) {
    const auto length = static_cast<std::int64_t>(lengths.derived().coeff(i));
    if (length < 0 || length > extent) {
      core::fail_with({"valid_lengths: expected lengths from 0 to ", extent, ", got ", length, " at index ", i});
    }
    for (std::int64_t t = 0; t < extent; ++t) valid(i, t) = t < length;
  }
  return valid;
}

}  // namespace eigennorm

#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <eigennorm/eigennorm.hpp>

#include "support.hpp"

// What is fused with a call, from plain loops over the results of plain calls.

namespace test {

/// Makes a view of a context one of a field.
template <typename View, typename FieldType>
void view(View& to, FieldType& field) {
  with_rank(field.shape().size(), [&](auto rank) { to = field.template map<rank>(); });
}

/// A field whose value i is value(i), in the order of memory.
template <typename FieldType, typename Value>
FieldType made(const FieldType& like, const Value& value) {
  FieldType result(like.shape());
  for (std::size_t i = 0; i < like.size(); ++i) result.data()[i] = value(i);
  return result;
}

template <typename Data>
ScalarOf<Data> wide(Data value) {
  return static_cast<ScalarOf<Data>>(value);
}

/// The same values in the type of the layer.
template <typename FieldType>
auto widened_field(const FieldType& x) {
  Field<typename FieldType::Scalar, FieldType::order> result(x.shape());
  for (std::size_t i = 0; i < x.size(); ++i) result.data()[i] = wide(x.data()[i]);
  return result;
}

/// max(plain + residual, 0), each as far as it is there, rounded once. `plain`: y before it was rounded.
template <typename FieldType, typename Plain>
FieldType finished(const Plain& plain, const FieldType* residual, bool relu, const FieldType& like) {
  using Scalar = typename FieldType::Scalar;
  return made(like, [&](std::size_t i) {
    Scalar value = plain.data()[i];
    if (residual != nullptr) value = value + wide(residual->data()[i]);
    if (relu && value <= 0) value = 0;
    return static_cast<typename FieldType::Data>(value);
  });
}

/// dy where y is above 0, otherwise 0.
template <typename FieldType>
FieldType gated(const FieldType& y, const FieldType& dy) {
  using Data = typename FieldType::Data;
  return made(y, [&](std::size_t i) {
    return wide(y.data()[i]) > 0 ? dy.data()[i] : static_cast<Data>(typename FieldType::Scalar(0));
  });
}

template <typename FieldType>
FieldType sum_of(const FieldType& a, const FieldType& b) {
  return made(
      a, [&](std::size_t i) { return static_cast<typename FieldType::Data>(wide(a.data()[i]) + wide(b.data()[i])); });
}

}  // namespace test

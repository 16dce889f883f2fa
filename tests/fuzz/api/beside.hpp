#pragma once

#include <array>
#include <cstddef>
#include <eigennorm/eigennorm.hpp>
#include <optional>

#include "bytes.hpp"
#include "tensor.hpp"

// What a context has beside the tensors of its call: residuals, sums and their gradients.

namespace fuzz {

struct Beside {
  std::optional<Tensor> residual, residual_gradient, added, added_gradient;

  std::array<const std::optional<Tensor>*, 4> all() const {
    return {&residual, &residual_gradient, &added, &added_gradient};
  }

  /// As views of one order, each from the memory of its number on.
  template <typename Data, typename Context>
  void give(Context& context, int order, const std::array<Data*, 4>& memory) const {
    const auto view = [&](const std::optional<Tensor>& tensor, Data* from, auto& to) {
      if (!tensor) return;
      with_views(
          order, [&](auto values) { to = values; }, Placed<Data>{from, *tensor});
    };
    view(residual, memory[0], context.residual);
    view(residual_gradient, memory[1], context.residual_gradient);
    view(added, memory[2], context.added);
    view(added_gradient, memory[3], context.added_gradient);
  }
};

/// Mostly as a backward needs it after a forward that had `before`; `x`: of the backward.
inline Beside beside_backward(Bytes& bytes, const Beside& before, const Beside& drawn, const Tensor& x) {
  Beside result;
  const bool added = before.added.has_value(), residual = before.residual && !added;
  const auto takes = [&](bool usual) { return bytes.one_in(32) ? !usual : usual; };
  if (takes(residual)) result.residual = residual && !bytes.one_in(8) ? before.residual : drawn.residual;
  if (takes(residual && bytes.below(4) != 0)) result.residual_gradient = drawn.residual_gradient;
  if (takes(added && bytes.below(4) == 0)) result.added = bytes.one_in(8) ? drawn.added : x;
  if (takes(added && bytes.below(2) == 0)) result.added_gradient = drawn.added_gradient;
  return result;
}

/// Mostly what a forward or an evaluation takes, of what was drawn.
inline Beside beside_forward(Bytes& bytes, const Beside& drawn) {
  Beside result;
  const int kind = bytes.below(16);
  if (kind == 0) return result;
  if (kind == 15) return drawn;  // gradients are not asked for
  if (kind != 14) result.residual = drawn.residual;
  if (kind >= 8) result.added = drawn.added;
  if (kind == 13) result.added = result.residual;
  return result;
}

}  // namespace fuzz

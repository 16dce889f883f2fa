#pragma once

#include <cstddef>
#include <optional>

#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/core/written_once.hpp"

/// \file
/// What a layer remembers of the tensors of its last calls: mostly the next ones are of the same shape, and on a few
/// values it takes longer to cut a call into loops than to run them.

namespace eigennorm::core {

/// Whether tensors of one shape have the same strides.
template <typename... More>
bool are_alike(const Shape& shape, const Strides& first, const More&... more) {
  bool alike = true;
  for (int axis = 0; alike && axis < shape.rank; ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    alike = ((first[i] == more[i]) && ...);
  }
  return alike;
}

/// The loops of calls whose tensors all have one shape and the same strides, which were found to be those of distinct
/// elements: then any of them may be read or written.
class Plan {
 public:
  /// Null: of other tensors.
  const Partition* find(const Shape& shape, Order order, const Strides& strides) const {
    return known_ && shape == shape_ && order == order_ && are_alike(shape, strides, strides_) ? &partition_ : nullptr;
  }
  void keep(const Shape& shape, Order order, const Strides& strides, const Partition& partition) {
    known_ = true;
    shape_ = shape;
    order_ = order;
    strides_ = strides;
    partition_ = partition;
  }
  void forget() { known_ = false; }

 private:
  bool known_ = false;
  Shape shape_;
  Order order_ = Order::any;
  Strides strides_;
  Partition partition_;
};

/// The plans of a layer: that of the last call that trained it, and that of the first evaluation since.
class Plans {
 public:
  Plans() = default;
  // A layer that is copied or moved may become one of another geometry.
  Plans(const Plans&) noexcept {}
  Plans& operator=(const Plans&) noexcept {
    forget();
    return *this;
  }
  ~Plans() = default;

  /// For a call that nobody shares the layer with. What evaluations keep is forgotten.
  const Partition* find_trained(const Shape& shape, Order order, const Strides& strides) {
    evaluation_.forget();
    return trained_.find(shape, order, strides);
  }
  /// For an evaluation.
  const Partition* find(const Shape& shape, Order order, const Strides& strides) const {
    const Partition* const found = trained_.find(shape, order, strides);
    if (found != nullptr || !evaluation_.is_there()) return found;
    return evaluated_.find(shape, order, strides);
  }
  void keep_trained(const Shape& shape, Order order, const Strides& strides, const Partition& partition) {
    trained_.keep(shape, order, strides, partition);
  }
  void keep_evaluated(const Shape& shape, Order order, const Strides& strides, const Partition& partition) {
    evaluation_.try_write([&] { evaluated_.keep(shape, order, strides, partition); });
  }

 private:
  void forget() {
    trained_.forget();
    evaluation_.forget();
  }

  Plan trained_, evaluated_;
  WrittenOnce evaluation_;
};

/// The loops of a call: those of a plan, which stays as it is as long as the call lasts, or its own.
class Loops {
 public:
  explicit Loops(const Partition* known) : known_(known) {}
  explicit Loops(const Partition& own) : known_(nullptr), own_(own) {}

  const Partition& get() const { return known_ != nullptr ? *known_ : *own_; }

 private:
  const Partition* known_;
  std::optional<Partition> own_;
};

}  // namespace eigennorm::core

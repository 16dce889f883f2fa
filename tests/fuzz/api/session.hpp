#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <eigennorm/eigennorm.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "bytes.hpp"
#include "layer.hpp"
#include "rules.hpp"
#include "settings.hpp"
#include "tensor.hpp"
#include "watch.hpp"
#include "world.hpp"

// A program written by bytes: it makes layers, rightly and wrongly, changes their settings, and calls their verbs on
// tensors of one piece of memory. What the documentation says of each call is a rule that must hold.

namespace fuzz {

template <typename Data>
class Session {
 public:
  using Scalar = typename World<Data>::Scalar;
  using Layer = typename World<Data>::Layer;

  explicit Session(Bytes& bytes) : bytes_(bytes), large_(bytes.one_in(32)), room_(large_ ? 40960 : 1024) {
    world_.memory.resize(static_cast<std::size_t>(8 * room_));
    fill();
    using eigennorm::InstructionSet;
    (bytes.below(2) == 0 ? world_.own_set : world_.twin_set) = bytes.pick(std::vector<InstructionSet>{
        InstructionSet::avx512, InstructionSet::avx2, InstructionSet::baseline, InstructionSet::reference});
    if (bytes.one_in(4)) world_.stream_from = bytes.next();
  }

  void run() {
    const int most = large_ ? 10 : 100;
    for (int steps = 0; steps < most && !bytes_.empty(); ++steps) step();
  }

 private:
  struct Slot {
    LayerChoice choice;
    std::optional<Layer> layer;
    Trace trace;
  };

  // ---- steps

  void step() {
    const int kind = bytes_.below(32);
    // A layer is left to itself for a while, so that its calls have to do with each other.
    if (bytes_.one_in(8)) current_ = static_cast<std::size_t>(bytes_.below(3));
    Slot& slot = slots_[current_];
    if (!slot.layer || kind == 0) {
      make(slot);
    } else if (kind < 18) {
      call(slot);
    } else if (kind < 25) {
      change_settings(bytes_, *slot.layer, slot.choice.statistic);
    } else if (kind == 25) {
      call_with_other_rank(slot);
    } else if (kind == 26) {
      call_with_huge(slot);
    } else if (kind == 27) {
      copy_or_move(slot, slots_[static_cast<std::size_t>(bytes_.below(3))]);
    } else if (kind == 28) {
      const int choice = bytes_.below(4);
      if (choice == 0) scale_from(slot);
      if (choice == 1) has_masks_ = !has_masks_;
      if (choice == 2) has_beside_ = !has_beside_;
    } else if (kind == 29) {
      visit(bytes_, *slot.layer);
    } else if (kind == 30) {
      observe(slot);
    } else {
      spoil_memory();
    }
  }

  void make(Slot& slot) {
    const LayerChoice choice = draw_layer(bytes_);
    std::optional<Layer> made;
    const bool accepted = accepts([&] { made.emplace(make_layer<Scalar>(choice)); });
    require(accepted == choice.valid(), "a layer is made if and only if its arguments are right");
    if (!accepted) return;
    slot = {choice, std::move(made), {}};
  }

  // ---- whole layers

  void copy_or_move(Slot& from, Slot& to) {
    if (&from == &to) return;
    if (bytes_.below(2) == 0) {
      to = from;
      require(watch::bits(*to.layer) == watch::bits(*from.layer), "a copy has the bits of its original");
      return;
    }
    const watch::Bytes before = watch::bits(*from.layer);
    to = std::move(from);
    require(watch::bits(*to.layer) == before, "a moved layer keeps its bits");
    // What is left refuses every call.
    from.choice = to.choice;
    from.choice.moved_from = true;
    from.trace = {};
    from.trace.state = Trace::State::unknown;
  }

  /// WeightNorm alone can start from a weight.
  void scale_from(Slot& slot) {
    const bool whole = bytes_.below(2) == 0;
    Tensor v = tensor_at(Extents{1 + bytes_.below(6), 1 + bytes_.below(6)}, 0, Family::tensor);
    eigennorm::WeightNorm<Scalar> layer =
        whole ? eigennorm::WeightNorm<Scalar>(eigennorm::whole_tensor) : eigennorm::WeightNorm<Scalar>(3);
    const watch::Bytes before = watch::bits(layer);
    const bool accepted = accepts([&] { layer.scale_from(placed(v).template as_tensor<2, Eigen::RowMajor>()); });
    require(accepted == (whole || v.shape[0] == 3), "scale_from takes what forward takes");
    require(accepted || watch::bits(layer) == before, "a refused scale_from changes nothing");
    slot.choice = {};
    slot.choice.kind = whole ? LayerChoice::Kind::weight_norm_of_whole : LayerChoice::Kind::weight_norm;
    slot.choice.averaged = {AxisChoice::Kind::all_but, whole ? Extents{} : Extents{0}};
    slot.choice.features = {AxisChoice::Kind::these, whole ? Extents{} : Extents{0}};
    slot.choice.extents = {whole ? 1 : 3};
    slot.choice.statistic = eigennorm::Statistic::sum_square;
    slot.layer = layer;
    slot.trace = {};
  }

  /// Collects what a forward left, and gives it to the layer.
  void observe(Slot& slot) {
    const auto number = static_cast<std::size_t>(bytes_.below(2));
    auto& population = populations_[number];
    const std::int64_t before = population.batches();
    const int kind = bytes_.below(4);
    const bool accepted = accepts([&] {
      if (kind == 0) population.merge(populations_[1 - number]);
      if (kind == 1) population.observe(slot.layer->moments());
      if (kind == 2) population.observe(world_.moments[static_cast<std::size_t>(bytes_.below(2))]);
    });
    require(accepted || population.batches() == before, "a refused observation is not counted");
    if (kind != 3 || !slot.layer->running) return;
    const watch::Bytes layer_before = watch::bits(*slot.layer);
    const bool pooled = bytes_.below(2) == 0;
    if (!accepts([&] { slot.layer->running->assign(pooled ? population.pooled() : population.algorithm2()); })) {
      require(watch::bits(*slot.layer) == layer_before, "a refused assignment changes nothing");
    }
  }

  // ---- memory

  void fill() {
    std::uint32_t number = static_cast<std::uint32_t>(bytes_.next()) + 1;
    for (Data& value : world_.memory) {
      number = number * 1664525U + 1013904223U;
      value = static_cast<Data>(static_cast<float>(static_cast<int>(number >> 20U) - 2048) / 256.0F);
    }
  }

  void spoil_memory() {
    if (bytes_.below(2) == 0) return fill();
    const auto place = static_cast<std::size_t>(bytes_.next()) * 256U + static_cast<std::size_t>(bytes_.next());
    world_.memory[place % world_.memory.size()] = static_cast<Data>(static_cast<float>(draw_value<Scalar>(bytes_)));
  }

  Tensor tensor_at(const Extents& shape, int region, Family family, int order = Eigen::RowMajor) {
    return draw_tensor(bytes_, shape, family, order, region * room_, room_);
  }

  // ---- calls

  /// A shape that the layer fits, rarely another.
  Extents draw_shape(const LayerChoice& choice) {
    const std::size_t first = static_cast<std::size_t>(bytes_.below(5));
    Extents shape{2};
    for (std::size_t i = 0; i < 5; ++i) {
      const std::size_t rank = 1 + (first + i) % 5;
      if (const auto features = choice.features.mask(rank); features && choice.averaged.mask(rank)) {
        shape = shape_for(choice, rank, *features);
        if (choice.fit(shape)) break;
      }
    }
    if (bytes_.one_in(32))
      shape[static_cast<std::size_t>(bytes_.next()) % shape.size()] += bytes_.below(2) == 0 ? 1 : -1;
    for (std::int64_t& extent : shape) extent = std::max<std::int64_t>(extent, 0);
    return shape;
  }

  Extents shape_for(const LayerChoice& choice, std::size_t rank, unsigned features) {
    Extents shape(rank);
    std::size_t seen = 0;
    std::int64_t size = 1, left = choice.product();
    std::size_t of_features = 0;
    for (std::size_t axis = 0; axis < rank; ++axis) of_features += features >> axis & 1U;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      if ((features >> axis & 1U) != 0) {
        // One number stands for the product.
        shape[axis] = choice.extents.size() == of_features ? choice.extents[seen] : left;
        left = 1;
        ++seen;
      } else {
        shape[axis] = bytes_.pick(Extents{2, 3, 1, 4, 5, 2, 3, 8, 1, 6, 7, 2, 9, 16, 3, 0});
      }
      size *= shape[axis];
    }
    const bool grows = large_ && bytes_.below(2) == 0;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      if ((features >> axis & 1U) != 0 || size == 0) continue;
      if (size > room_ / 4) {
        size /= shape[axis];
        shape[axis] = 1;
      } else if (grows) {
        const std::int64_t times = (room_ - 64) / size;
        shape[axis] *= times;
        size *= times;
        break;
      }
    }
    return shape;
  }

  void call(Slot& slot) {
    Call call;
    call.verb =
        bytes_.pick(std::vector<Verb>{Verb::forward, Verb::backward, Verb::evaluate, Verb::forward, Verb::backward});
    call.returns = bytes_.one_in(6);
    call.on_pool = bytes_.one_in(large_ ? 2 : 16);
    call.order = bytes_.below(2) == 0 ? Eigen::RowMajor : Eigen::ColMajor;
    call.kept = bytes_.below(8) < 6 ? -1 : bytes_.below(2);
    const Trace& trace = call.kept < 0 ? slot.trace : traces_[static_cast<std::size_t>(call.kept)];
    if (call.verb == Verb::backward && trace.state == Trace::State::none && !bytes_.one_in(4))
      call.verb = Verb::forward;
    if (call.verb == Verb::backward && trace.state == Trace::State::known && !bytes_.one_in(8)) {
      call.x = trace.x;
      if (trace.order != eigennorm::Order::any && !bytes_.one_in(16))
        call.order = trace.order == eigennorm::Order::row_major ? Eigen::RowMajor : Eigen::ColMajor;
    } else {
      draw_x(slot.choice, call);
    }
    if (call.x.family == Family::vector) call.order = Eigen::ColMajor;
    draw_partners(call);
    if (has_beside_) draw_beside(trace, call);
    if (!is_inside(call.x) || !is_inside(call.dy) || !is_inside(call.result)) return;
    for (const std::optional<Tensor>* tensor : call.beside.all()) {
      if (*tensor && !is_inside(**tensor)) return;
    }
    const std::optional<Fit> fit = slot.choice.fit(call.x.shape);
    const unsigned alike = fit ? alike_axes(slot.choice, *fit) : 0;
    if (has_masks_) choose_mask(trace, alike, call);

    const Expected expectation = expected(*slot.layer, slot.choice, trace, call);
    const bool is_ordinary = world_.is_ordinary(*slot.layer, call, trace);
    const bool accepted = world_.run(*slot.layer, call, expectation, is_ordinary, fit ? said_axes(*fit) : ~0U);
    if (!accepted || call.verb != Verb::forward) return;
    if (call.kept >= 0) slot.trace = {};
    Trace& left = call.kept < 0 ? slot.trace : traces_[static_cast<std::size_t>(call.kept)];
    left = Trace(slot.choice, *fit, call, slot.layer->activation);
    if (is_ordinary) left.ordinary_x = world_.values(call.x);
  }

  void draw_x(const LayerChoice& choice, Call& call) {
    const Extents shape = draw_shape(choice);
    Family family = shape.size() == 2 && bytes_.below(4) != 0 ? Family::matrix : Family::tensor;
    if (family == Family::matrix && shape[1] == 1 && bytes_.below(2) == 0) family = Family::vector;
    call.x = tensor_at(shape, 0, family, call.order);
  }

  /// Tensors beside those of a call: on memory of their own, rarely over another.
  void draw_beside(const Trace& trace, Call& call) {
    Beside drawn;
    int region = 3;
    for (auto* tensor : {&drawn.residual, &drawn.residual_gradient, &drawn.added, &drawn.added_gradient}) {
      Extents shape = call.x.shape;
      if (bytes_.one_in(64)) ++shape[0];
      tensor->emplace(tensor_at(shape, region++, call.x.family, call.order));
      const int place = bytes_.below(16);
      if (place < 10) continue;
      const Tensor& under = place < 12 ? call.x : place < 14 ? call.dy : call.result;
      (*tensor)->offset = under.offset + (bytes_.one_in(4) ? 1 : 0);
      if (call.x.family == Family::matrix && !bytes_.one_in(4)) (*tensor)->strides = under.strides;
    }
    call.beside = call.verb == Verb::backward ? beside_backward(bytes_, trace.beside, drawn, call.x)
                                              : beside_forward(bytes_, drawn);
  }

  /// Mostly that of the forward, or of the last call.
  void choose_mask(const Trace& trace, unsigned alike, Call& call) {
    const bool goes_back = call.verb == Verb::backward;
    const int kind = bytes_.below(16);
    if (kind == 15) return;
    if (goes_back && kind < 12) {
      call.mask = trace.mask;
    } else if (!goes_back && kind < 4) {
      call.mask = last_mask_;
    } else {
      call.mask = draw_mask(bytes_, call.x.shape, alike, room_);
    }
    if (call.mask && (kind == 11 || kind == 3)) change_flags(bytes_, *call.mask);
    last_mask_ = call.mask;
  }

  /// dy and the result: of x's shape, rarely of another; on memory of their own, rarely over another tensor.
  void draw_partners(Call& call) {
    Extents other = call.x.shape;
    ++other[0];
    call.dy = tensor_at(bytes_.one_in(64) ? other : call.x.shape, 1, call.x.family, call.order);
    call.result = tensor_at(bytes_.one_in(32) ? other : call.x.shape, 2, call.x.family, call.order);
    const int place = bytes_.below(16);
    if (place < 12) return;
    const Tensor& under = place < 14 ? call.x : call.dy;
    call.result.offset = under.offset;
    // Exactly, or nearly.
    if (place % 2 == 1) {
      call.result.offset += bytes_.below(16);
    } else if (call.x.family == Family::matrix) {
      call.result.strides = under.strides;
    }
  }

  bool is_inside(const Tensor& tensor) const {
    for (const std::int64_t place : tensor.places()) {
      if (place < 0 || place >= static_cast<std::int64_t>(world_.memory.size())) return false;
    }
    return true;
  }

  // ---- calls that must be refused before anything is read

  void call_with_other_rank(Slot& slot) {
    const Tensor deep = tensor_at({2, 3, 4}, 0, Family::tensor), flat = tensor_at({2, 12}, 1, Family::tensor);
    const auto three = placed(deep).template as_tensor<3, Eigen::RowMajor>();
    auto two = placed(flat).template as_tensor<2, Eigen::RowMajor>();
    const int kind = bytes_.below(4);
    world_.must_refuse(*slot.layer, [&] {
      if (kind == 0) slot.layer->forward(three, two);
      if (kind == 1) slot.layer->evaluate(three, two);
      if (kind == 2) slot.layer->backward(three, three, two);
      if (kind == 3) slot.layer->backward(three, two);
    });
  }

  /// Tensors larger than any memory, over little or none: their shape is wrong for every layer but those without
  /// feature axes.
  void call_with_huge(Slot& slot) {
    if (slot.choice.features.mask(3) == 0U) return;
    const std::int64_t huge = (std::int64_t{1} << 20) + 7;
    const Tensor nowhere{Family::tensor, {huge, huge, huge + 2}, {}};
    const Tensor somewhere = tensor_at({2, 3, 4}, 0, Family::tensor);
    Data* const memory = bytes_.below(2) == 0 ? nullptr : world_.memory.data();
    auto large = Placed<Data>{memory, nowhere}.template as_tensor<3, Eigen::RowMajor>();
    auto small = placed(somewhere).template as_tensor<3, Eigen::RowMajor>();
    const int kind = bytes_.below(8);
    world_.must_refuse(*slot.layer, [&] {
      if (kind == 0) slot.layer->forward(small, large);
      if (kind == 1) slot.layer->forward(large, small);
      if (kind == 2) slot.layer->forward(large, large);
      if (kind == 3) slot.layer->evaluate(large, large);
      if (kind == 4) slot.layer->evaluate(small, large);
      if (kind == 5) slot.layer->backward(small, large, small);
      if (kind == 6) slot.layer->backward(large, large, large);
      if (kind == 7) slot.layer->backward(large, small, large);
    });
  }

  Placed<Data> placed(const Tensor& tensor) { return {world_.memory.data(), tensor}; }

  Bytes& bytes_;
  bool large_;
  std::int64_t room_;  // of each of seven tensors
  World<Data> world_;
  std::array<Slot, 3> slots_;
  std::size_t current_ = 0;
  std::array<Trace, 2> traces_;  // of the world's moments
  bool has_masks_ = false, has_beside_ = false;
  std::optional<Mask> last_mask_;
  std::array<eigennorm::PopulationStatistics<Scalar>, 2> populations_;
};

}  // namespace fuzz

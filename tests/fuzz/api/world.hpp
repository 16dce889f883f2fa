#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "bytes.hpp"
#include "count.hpp"
#include "pool.hpp"
#include "rules.hpp"
#include "watch.hpp"

// Calls, and what must hold of each: a refused one changes no bit of anything; an accepted one has the bits of its
// twin, the same call on packed copies, on this thread, with other instructions, and writes nothing but its result.

namespace fuzz {

using test::same_bits;

#if defined(__SANITIZE_ADDRESS__)
constexpr std::clock_t seconds = 10;
#elif defined(__has_feature)
constexpr std::clock_t seconds = __has_feature(address_sanitizer) ? 10 : 1;
#else
constexpr std::clock_t seconds = 1;
#endif

/// Whether `f` was accepted. Whatever else it throws is nobody's to catch. No call takes a second of the processor's
/// time, whatever sizes it was given (ten, where each access is checked: the reference kernels go value by value);
/// one that waits for ever is for libFuzzer to see.
template <typename F>
bool accepts(const F& f) {
  const std::clock_t begin = std::clock();
  bool accepted = true;
  try {
    f();
  } catch (const std::invalid_argument&) {
    accepted = false;
  }
  require(std::clock() - begin < seconds * CLOCKS_PER_SEC, "a call takes less than a second");
  ++(accepted ? call_count.accepted : call_count.refused);
  return accepted;
}

// ---- the same bits, but for which NaN a NaN is: processors differ in their signs

template <typename T>
bool alike(const T* a, const T* b, std::ptrdiff_t size) {
  for (std::ptrdiff_t i = 0; i < size; ++i) {
    const bool are_nan = a[i] != a[i] && b[i] != b[i];
    if (!are_nan && !same_bits(a[i], b[i])) return false;
  }
  return true;
}

template <typename Values, typename = typename Values::Scalar>
bool alike(const Values& a, const Values& b) {
  return a.size() == b.size() && alike(a.data(), b.data(), a.size());
}

template <typename Scalar>
bool alike(const eigennorm::Moments<Scalar>& a, const eigennorm::Moments<Scalar>& b) {
  return a.empty() == b.empty() && a.frozen() == b.frozen() && a.count() == b.count() && alike(a.mean(), b.mean()) &&
         alike(a.rstd(), b.rstd()) && alike(a.variance(), b.variance());
}

template <typename Scalar>
bool alike(const eigennorm::Normalization<Scalar>& a, const eigennorm::Normalization<Scalar>& b) {
  for (const auto& [left, right] : {std::pair(&a.scale, &b.scale), std::pair(&a.shift, &b.shift)}) {
    if (!alike(left->value, right->value) || !alike(left->grad, right->grad)) return false;
  }
  if (a.running.has_value() != b.running.has_value()) return false;
  if (a.running && (!alike(a.running->mean, b.running->mean) || !alike(a.running->variance, b.running->variance) ||
                    a.running->batches != b.running->batches)) {
    return false;
  }
  const auto moments = [](const auto& layer) -> const eigennorm::Moments<Scalar>* {
    try {
      return &layer.moments();
    } catch (const std::invalid_argument&) {
      return nullptr;  // none yet
    }
  };
  const auto *left = moments(a), *right = moments(b);
  return left == nullptr || right == nullptr ? left == right : alike(*left, *right);
}

inline const Eigen::ThreadPoolDevice& pool() {
  static const test::Pool three(3);
  return three.device();
}

/// The memory of all tensors, moments that calls may keep, and what no result depends on: instruction sets, and from
/// where on results are written past the caches.
template <typename Data>
class World {
 public:
  using Scalar = std::conditional_t<std::is_same_v<Data, double>, double, float>;
  using Layer = eigennorm::Normalization<Scalar>;
  using Moments = std::array<eigennorm::Moments<Scalar>, 2>;
  using Context = eigennorm::Context<Scalar>;
  static constexpr std::int64_t usual_limit = 4000000;

  std::vector<Data> memory;
  Moments moments;
  eigennorm::InstructionSet own_set = eigennorm::InstructionSet::avx512;
  eigennorm::InstructionSet twin_set = eigennorm::InstructionSet::avx512;
  std::int64_t stream_from = usual_limit;

  /// Whether the call was accepted. `is_ordinary`: its result must be finite. `said_axes`: along which a twin has
  /// the mask as it is.
  bool run(Layer& layer, const Call& call, Expected expectation, bool is_ordinary, unsigned said_axes) {
    const std::vector<Data> memory_before = memory;
    Layer twin = layer;
    Moments twin_moments = moments;
    std::vector<Data> returned;
    const eigennorm::Device device = call.on_pool ? eigennorm::Device(pool()) : eigennorm::Device();
    set_up(own_set, stream_from);
    const bool accepted = accepts([&] {
      Memories from;
      from.fill(memory.data());
      perform(layer, call, {device, moments_of(moments, call)}, from, returned);
    });
    require(expectation != Expected::accepted || accepted, "a right call is accepted");
    require(expectation != Expected::refused || !accepted, "a wrong call is refused");
    if (accepted) {
      check_counters(twin, layer, call);
      const Packed packed = run_twin(twin, twin_moments, memory_before, call, said_axes);
      check_results(call, memory_before, returned, packed);
      require(!is_ordinary || are_finite(packed[of_result]), "ordinary data have finite results");
      require(alike(layer, twin), "a layer does not depend on strides, threads and instructions");
    } else {
      require(same_bits(memory, memory_before), "a refused call writes nothing");
      require(watch::bits(layer) == watch::bits(twin), "a refused call leaves the layer as it was");
    }
    for (std::size_t i = 0; i < moments.size(); ++i) {
      require(accepted ? alike(moments[i], twin_moments[i]) : watch::bits(moments[i]) == watch::bits(twin_moments[i]),
              accepted ? "moments do not depend on strides, threads and instructions"
                       : "a refused call leaves moments as they were");
    }
    return accepted;
  }

  /// Whether nothing in a call comes near the limits of its types; `trace` is of the moments of a backward.
  bool is_ordinary(const Layer& layer, const Call& call, const Trace& trace) const {
    const bool goes_back = call.verb == Verb::backward;
    // A number of 16 bits ends at 65504, which d / sigma passes by right.
    if (sizeof(Data) == 2 && (goes_back || !(layer.eps >= 0.01))) return false;
    if (!are_ordinary(layer.scale.value) || !are_ordinary(layer.shift.value)) return false;
    if (layer.running && !(are_ordinary(layer.running->mean) && are_ordinary(layer.running->variance) &&
                           (layer.running->variance >= Scalar(0)).all())) {
      return false;
    }
    // A sum may come near 0.
    const Beside& beside = call.beside;
    if (beside.added || (beside.residual && !is_ordinary(*beside.residual))) return false;
    if (beside.added_gradient && !is_ordinary(*beside.added_gradient)) return false;
    if (!goes_back) return is_ordinary(call.x);
    // Nobody notices an x that is not that of its forward.
    return !trace.ordinary_x.empty() && trace.valid == call.valid() && trace.ordinary_x == values(call.x) &&
           is_ordinary(call.dy);
  }

  /// In logical order.
  std::vector<double> values(const Tensor& tensor) const {
    std::vector<double> result;
    for (const std::int64_t place : tensor.places()) {
      result.push_back(static_cast<double>(static_cast<Scalar>(memory[static_cast<std::size_t>(place)])));
    }
    return result;
  }

  /// For calls that are wrong whatever the layer.
  template <typename F>
  void must_refuse(const Layer& layer, const F& f) {
    const watch::Bytes layer_before = watch::bits(layer);
    const std::vector<Data> memory_before = memory;
    require(!accepts(f), "a wrong call is refused");
    require(same_bits(memory, memory_before), "a refused call writes nothing");
    require(watch::bits(layer) == layer_before, "a refused call leaves the layer as it was");
  }

 private:
  /// Tensors of a call.
  enum Role : std::size_t { of_x, of_dy, of_result, of_residual, of_residual_gradient, of_added, of_added_gradient };
  static constexpr std::size_t roles = 7;
  using Packed = std::array<std::vector<Data>, roles>;
  using Memories = std::array<Data*, roles>;

  static void set_up(eigennorm::InstructionSet set, std::int64_t limit) {
    eigennorm::limit_instruction_set(set);
    eigennorm::stream_results_from(limit);
  }

  static eigennorm::Moments<Scalar>* moments_of(Moments& moments, const Call& call) {
    return call.kept < 0 ? nullptr : &moments[static_cast<std::size_t>(call.kept)];
  }

  /// What is returned comes in the order of packed memory.
  static void perform(Layer& layer, const Call& call, Context context, const Memories& memory,
                      std::vector<Data>& returned) {
    // Its bools are there for this call alone.
    std::optional<Mask> mask = call.mask;
    if (mask) context.valid = mask->view();
    call.beside.give(context, call.order,
                     std::array<Data*, 4>{memory[of_residual], memory[of_residual_gradient], memory[of_added],
                                          memory[of_added_gradient]});
    const auto keep = [&](const auto& plain) { returned.assign(plain.data(), plain.data() + plain.size()); };
    const Layer& reading = layer;
    const Placed<Data> from{memory[of_x], call.x}, gradient{memory[of_dy], call.dy}, to{memory[of_result], call.result};
    if (call.verb == Verb::forward && call.returns) {
      with_views(
          call.order, [&](const auto& x) { keep(layer.forward(x, context)); }, from);
    } else if (call.verb == Verb::forward) {
      with_views(
          call.order, [&](const auto& x, auto y) { layer.forward(x, y, context); }, from, to);
    } else if (call.verb == Verb::evaluate && call.returns) {
      with_views(
          call.order, [&](const auto& x) { keep(reading.evaluate(x, context)); }, from);
    } else if (call.verb == Verb::evaluate) {
      with_views(
          call.order, [&](const auto& x, auto y) { reading.evaluate(x, y, context); }, from, to);
    } else if (call.returns) {
      with_views(
          call.order, [&](const auto& x, const auto& dy) { keep(layer.backward(x, dy, context)); }, from, gradient);
    } else {
      with_views(
          call.order, [&](const auto& x, const auto& dy, auto dx) { layer.backward(x, dy, dx, context); }, from,
          gradient, to);
    }
  }

  // ---- the twin

  /// The elements of a tensor in the order of packed memory, in an allocation of exactly their size.
  static std::vector<Data> packed(const Tensor& tensor, int order, const std::vector<Data>& memory) {
    const std::vector<std::size_t> to = tensor.packed_order(order);
    const std::vector<std::int64_t> from = tensor.places();
    std::vector<Data> result(to.size());
    for (std::size_t i = 0; i < to.size(); ++i) result[to[i]] = memory[static_cast<std::size_t>(from[i])];
    return result;
  }

  /// Those that a call has.
  static std::array<const Tensor*, roles> tensors_of(const Call& call) {
    std::array<const Tensor*, roles> tensors = {&call.x, call.verb == Verb::backward ? &call.dy : nullptr,
                                                &call.result};
    for (std::size_t i = 0; i < 4; ++i) {
      const std::optional<Tensor>& tensor = *call.beside.all()[i];
      if (tensor) tensors[of_residual + i] = &*tensor;
    }
    return tensors;
  }
  static bool writes(const Call& call, std::size_t number) {
    return number == of_result || number == (call.verb == Verb::backward ? of_residual_gradient : of_added);
  }
  static bool reads(const Call& call, std::size_t number) {
    const bool goes_back = call.verb == Verb::backward;
    if (number == of_x || number == of_residual) return true;
    return goes_back && (number == of_dy || number == of_added_gradient);
  }

  /// What is read where nothing is valid is NaN, and the mask is said otherwise. (Gradients of parameters are summed by
  /// what it says of samples, so for them no more than its places are others.)
  static void spoil_invalid(Call& same, unsigned said_axes, Packed& packed) {
    const std::vector<std::size_t> to = same.x.packed_order(same.order);
    const std::vector<bool> valid = same.valid();
    for (std::size_t number = 0; number < packed.size(); ++number) {
      if (!reads(same, number) || packed[number].size() != to.size()) continue;
      for (std::size_t i = 0; i < to.size(); ++i) {
        if (!valid[i]) packed[number][to[i]] = std::numeric_limits<Data>::quiet_NaN();
      }
    }
    const Mask mask = *same.mask;
    same.mask = mask.spread(same.x.shape, same.verb == Verb::backward ? ~0U : said_axes);
    if (number_of(valid) == same.x.size()) same.mask.reset();
  }

  /// All tensors after it.
  Packed run_twin(Layer& twin, Moments& twin_moments, const std::vector<Data>& before, const Call& call,
                  unsigned said_axes) {
    Packed all;
    const std::array<const Tensor*, roles> tensors = tensors_of(call);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (tensors[i] != nullptr) all[i] = packed(*tensors[i], call.order, before);
      if (i == of_result) all[i].assign(all[of_x].size(), Data(7));
    }
    Call same = call;
    same.returns = false;
    if (same.mask) spoil_invalid(same, said_axes, all);
    // Vectors go with either order, as tensors of two axes do not.
    const Family family = call.x.family == Family::vector ? Family::vector : Family::tensor;
    const auto repack = [&](Tensor& tensor) {
      tensor = {family, call.x.shape, Tensor::packed_strides(call.x.shape, call.order)};
    };
    for (Tensor* tensor : {&same.x, &same.dy, &same.result}) repack(*tensor);
    Beside& beside = same.beside;
    for (auto* tensor : {&beside.residual, &beside.residual_gradient, &beside.added, &beside.added_gradient}) {
      if (*tensor) repack(**tensor);
    }
    Memories at;
    for (std::size_t i = 0; i < all.size(); ++i) at[i] = all[i].data();
    // The sum is x of its backward.
    if (call.verb == Verb::backward) at[of_added] = at[of_x];
    set_up(twin_set, usual_limit);
    std::vector<Data> unused;
    const bool accepted = accepts([&] { perform(twin, same, {{}, moments_of(twin_moments, call)}, at, unused); });
    require(accepted, "what is accepted with strides is accepted without");
    return all;
  }

  void check_results(const Call& call, std::vector<Data> before, const std::vector<Data>& returned,
                     const Packed& packed) {
    const std::array<const Tensor*, roles> tensors = tensors_of(call);
    const std::vector<std::size_t> from = call.x.packed_order(call.order);
    const std::vector<bool> valid = call.valid();
    for (std::size_t number = 0; number < packed.size(); ++number) {
      if (!writes(call, number) || tensors[number] == nullptr) continue;
      const std::vector<Data>& result = packed[number];
      for (std::size_t i = 0; i < from.size(); ++i)
        require(valid[i] || same_bits(result[from[i]], Data(0)), "what is not valid is 0");
      if (number == of_result && call.returns) {
        require(returned.size() == result.size() &&
                    alike(returned.data(), result.data(), static_cast<std::ptrdiff_t>(result.size())),
                "a result is the same where it is returned");
        continue;
      }
      const std::vector<std::int64_t> to = tensors[number]->places();
      for (std::size_t i = 0; i < to.size(); ++i) {
        const auto place = static_cast<std::size_t>(to[i]);
        require(alike(&memory[place], &result[from[i]], 1),
                "a result does not depend on strides, threads and instructions");
        before[place] = memory[place];
      }
    }
    require(same_bits(memory, before), "nothing is written but results");
  }

  static void check_counters(const Layer& before, const Layer& after, const Call& call) {
    if (call.verb == Verb::evaluate) require(watch::bits(before) == watch::bits(after), "evaluate changes nothing");
    if (!before.running) return;
    const eigennorm::RunningStatistics<Scalar>&was = *before.running, &is = *after.running;
    const bool moves = call.verb == Verb::forward && was.update && number_of(call.valid()) > 0;
    require(is.batches + is.rejected_batches - was.batches - was.rejected_batches == (moves ? 1 : 0),
            "forward counts a batch where it moves the running statistics");
    const bool stayed = same_bits(was.mean, is.mean) && same_bits(was.variance, is.variance);
    require(is.batches != was.batches || stayed, "a batch that is not counted moves nothing");
  }

  static bool are_finite(const std::vector<Data>& values) {
    return std::all_of(values.begin(), values.end(), [](const Data& value) {
      return std::isfinite(static_cast<double>(static_cast<Scalar>(value)));
    });
  }

  static bool is_ordinary(Scalar value) {
    return value == 0 || (std::abs(value) >= Scalar(1e-4) && std::abs(value) <= Scalar(100));
  }

  template <typename Values>
  static bool are_ordinary(const Values& values) {
    for (const auto value : values) {
      if (!is_ordinary(static_cast<Scalar>(value))) return false;
    }
    return true;
  }

  bool is_ordinary(const Tensor& tensor) const { return are_ordinary(values(tensor)); }
};

}  // namespace fuzz

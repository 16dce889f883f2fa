#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/loop.hpp"

/// \file
/// How axes are named: `over(1, 2)`, `over_last(2)`, `all_but(0)`, `no_axes`, and the vocabulary of
/// the layers, `channels_on(1)`, `samples_on(0)`, `outputs_on(0)`, `whole_tensor`.
///
/// Axis numbers are logical: axis 0 is the first dimension as the user writes it, whatever the storage order, and -1
/// is the last one. They are resolved when a layer meets its input, because only then is the rank known.

namespace eigennorm {

namespace core {

template <typename T>
constexpr bool is_integer = std::is_convertible_v<T, std::int64_t> && !std::is_floating_point_v<T>;

template <typename... Ts>
constexpr bool all_integers = (is_integer<std::decay_t<Ts>> && ...);

/// An integer of any type. As a parameter it takes a `std::size_t` or an `Eigen::Index` without a warning, in
/// braces too, and no floating-point number, which would be an eps in a wrong place.
class Integer {
 public:
  template <typename T, typename = std::enable_if_t<is_integer<T>>>
  Integer(const T& value) : value_(static_cast<std::int64_t>(value)) {}  // NOLINT(google-explicit-constructor)

  operator std::int64_t() const { return value_; }  // NOLINT(google-explicit-constructor)

 private:
  std::int64_t value_;
};

/// At most `max_rank` integers, in place.
class ShortList {
 public:
  ShortList() = default;

  template <typename Iterator>
  ShortList(Iterator first, Iterator last, const char* owner) {
    static_assert(is_integer<std::decay_t<decltype(*first)>>, "Axes and extents are integers.");
    for (; first != last; ++first) {
      if (size_ == max_rank) fail_with({owner, ": expected at most ", max_rank, " entries, got more"});
      values_[static_cast<std::size_t>(size_++)] = static_cast<std::int64_t>(*first);
    }
  }

  int size() const { return size_; }
  const std::int64_t* begin() const { return values_.data(); }
  const std::int64_t* end() const { return values_.data() + size_; }
  std::int64_t operator[](int i) const { return values_[static_cast<std::size_t>(i)]; }

  TextPart text() const { return {begin(), size_}; }

 private:
  std::array<std::int64_t, max_rank> values_{};
  int size_ = 0;
};

}  // namespace core

/// A set of axes of a tensor whose rank is not known yet.
class AxisSet {
 public:
  /// The empty set.
  AxisSet() = default;

  /// The axes as bits, for a tensor of `rank` axes and of `shape`, which error texts show. Fails, in the name
  /// of `owner`, where an axis is out of range or named twice.
  std::uint32_t mask(int rank, const core::TextPart& shape, const char* owner) const {
    if (kind_ == Kind::last) {
      const std::int64_t count = list_[0];
      if (count > rank) {
        core::fail_with({owner, ": expected an input of at least ", count,
                         count == 1 ? " axis, got shape " : " axes, got shape ", shape});
      }
      return ((1U << count) - 1U) << (rank - count);
    }
    std::uint32_t named = 0;
    for (const std::int64_t given : list_) {
      const std::int64_t axis = given < 0 ? given + rank : given;
      if (axis < 0 || axis >= rank) {
        core::fail_with({owner, ": expected an input with axis ", given, ", got shape ", shape});
      }
      if ((named >> axis & 1U) != 0) {
        core::fail_with({owner, ": expected different axes, got axis ", axis, " twice in ", list_.text(),
                         " for an input of shape ", shape});
      }
      named |= 1U << axis;
    }
    return kind_ == Kind::these ? named : ((1U << rank) - 1U) & ~named;
  }

  /// Whether an axis is one of them, also where others fit no tensor of `rank` axes.
  bool has(int axis, int rank) const {
    if (kind_ == Kind::last) return axis >= rank - list_[0];
    const bool listed = std::any_of(list_.begin(), list_.end(),
                                    [=](std::int64_t given) { return (given < 0 ? given + rank : given) == axis; });
    return listed == (kind_ == Kind::these);
  }

  /// The first number that is listed in both, if any. (That 1 and -1 are one axis is known with the rank.)
  std::optional<std::int64_t> shared_with(const AxisSet& other) const {
    if (kind_ != Kind::these || other.kind_ != Kind::these) return std::nullopt;
    const auto* shared = std::find_first_of(list_.begin(), list_.end(), other.list_.begin(), other.list_.end());
    if (shared == list_.end()) return std::nullopt;
    return *shared;
  }

  /// Whether they are written the same.
  friend bool operator==(const AxisSet& a, const AxisSet& b) {
    return a.kind_ == b.kind_ && a.list_.size() == b.list_.size() &&
           std::equal(a.list_.begin(), a.list_.end(), b.list_.begin());
  }

  /// As error texts show it, in two pieces: "axis 1", "axes [1, 2]", "all axes but [0]", "the last axis",
  /// "the last axes, as many as 2".
  std::array<core::TextPart, 2> text() const {
    if (kind_ == Kind::last)
      return {list_[0] == 1 ? "the last axis" : "the last axes, as many as ",
              list_[0] == 1 ? core::TextPart("") : list_[0]};
    if (kind_ == Kind::all_but) return {"all axes but ", list_.text()};
    if (list_.size() == 1) return {"axis ", list_[0]};
    return {"axes ", list_.text()};
  }

 private:
  enum class Kind { these, last, all_but };

  AxisSet(Kind kind, core::ShortList list) : kind_(kind), list_(list) {}

  template <typename First, typename... Rest>
  friend AxisSet over(const First& first, Rest... rest);
  friend AxisSet over_last(std::int64_t count);
  template <typename... Axes>
  friend AxisSet all_but(Axes... axes);
  friend AxisSet all_but(const AxisSet& axes);
  friend AxisSet join(const AxisSet& a, const AxisSet& b);

  Kind kind_ = Kind::these;
  core::ShortList list_;
};

/// These axes: `over(1)`, `over(-2, -1)`, or those in one range of integers, such as a `std::vector<int>`.
template <typename First, typename... Rest>
AxisSet over(const First& first, Rest... rest) {
  if constexpr (core::all_integers<First, Rest...>) {
    const std::initializer_list<std::int64_t> list{static_cast<std::int64_t>(first),
                                                   static_cast<std::int64_t>(rest)...};
    return {AxisSet::Kind::these, core::ShortList(list.begin(), list.end(), "over")};
  } else {
    static_assert(sizeof...(Rest) == 0, "over() takes axis numbers, or one range of them.");
    return {AxisSet::Kind::these, core::ShortList(std::begin(first), std::end(first), "over")};
  }
}

/// The last `count` axes.
inline AxisSet over_last(std::int64_t count) {
  if (count < 1 || count > max_rank) {
    core::fail_with({"over_last: expected 1 to ", max_rank, " axes, got ", count});
  }
  const std::initializer_list<std::int64_t> list{count};
  return {AxisSet::Kind::last, core::ShortList(list.begin(), list.end(), "over_last")};
}

/// Every axis but these; `all_but()` is the whole tensor.
template <typename... Axes>
AxisSet all_but(Axes... axes) {
  static_assert(core::all_integers<Axes...>, "all_but() takes axis numbers or a set made by over().");
  const std::initializer_list<std::int64_t> list{static_cast<std::int64_t>(axes)...};
  return {AxisSet::Kind::all_but, core::ShortList(list.begin(), list.end(), "all_but")};
}

/// Every axis but those of a set made by `over()`.
inline AxisSet all_but(const AxisSet& axes) {
  if (axes.kind_ != AxisSet::Kind::these) {
    core::fail_with({"all_but: expected axes listed by over(), got ", axes.text()[0], axes.text()[1]});
  }
  return {AxisSet::Kind::all_but, axes.list_};
}

/// Both of two listed sets; an axis in both is an error when the set meets its tensor.
inline AxisSet join(const AxisSet& a, const AxisSet& b) {
  if (a.kind_ != AxisSet::Kind::these || b.kind_ != AxisSet::Kind::these) {
    core::fail_with(
        {"join: expected axes listed by over(), got ", a.text()[0], a.text()[1], " and ", b.text()[0], b.text()[1]});
  }
  std::array<std::int64_t, 2 * max_rank> both{};
  auto* end = std::copy(a.list_.begin(), a.list_.end(), both.data());
  end = std::copy(b.list_.begin(), b.list_.end(), end);
  return {AxisSet::Kind::these, core::ShortList(both.data(), end, "join")};
}

/// The empty set.
inline const AxisSet no_axes{};

/// Where the channels are.
struct Channels {
  AxisSet axes;
};
/// Where the samples are: the axes that InstanceNorm and GroupNorm keep apart beside the channels.
struct Samples {
  AxisSet axes;
};
/// Where the outputs of a weight tensor are.
struct Outputs {
  AxisSet axes;
};
/// One norm for a whole weight tensor.
struct WholeTensor {};

/// The channel axis of BatchNorm, MeanOnlyBatchNorm, GroupNorm and InstanceNorm: 1 in NCHW, -1 in NHWC.
inline Channels channels_on(core::Integer axis) { return {over(axis)}; }
/// The sample axes of InstanceNorm and GroupNorm; any number of them, none included.
template <typename... Axes>
Samples samples_on(Axes... axes) {
  if constexpr (sizeof...(Axes) == 0) {
    return {no_axes};
  } else {
    return {over(axes...)};
  }
}
/// The output axis of WeightNorm: 0 in PyTorch's layout (outputs, inputs).
inline Outputs outputs_on(core::Integer axis) { return {over(axis)}; }
/// WeightNorm with one norm, and one g, for the whole tensor.
inline constexpr WholeTensor whole_tensor{};

namespace core {

/// Fails, in the name of `owner`, where the same axis is written for channels and samples.
inline void check_apart(const Channels& channels, const Samples& samples, const char* owner) {
  const std::optional<std::int64_t> shared = channels.axes.shared_with(samples.axes);
  if (!shared) return;
  fail_with({owner, ": expected channels and samples on different axes, got axis ", *shared,
             " for both (samples_on says where the samples are, by default on axis 0)"});
}

}  // namespace core

/// The extents of the feature axes, in logical order: an integer, a list `{28, 28}`, or a range of integers. One
/// number stands for the product where there are several feature axes.
class Extents {
 public:
  template <typename T, typename = std::enable_if_t<core::is_integer<T>>>
  Extents(T count) : Extents({core::Integer(count)}) {}  // NOLINT(google-explicit-constructor)

  Extents(std::initializer_list<core::Integer> extents) : list_(extents.begin(), extents.end(), "Extents") {}

  template <typename Range, typename = decltype(std::begin(std::declval<const Range&>())),
            typename = std::enable_if_t<!std::is_same_v<Range, Extents>>>
  Extents(const Range& extents)  // NOLINT(google-explicit-constructor)
      : list_(std::begin(extents), std::end(extents), "Extents") {}

  int size() const { return list_.size(); }
  const std::int64_t* begin() const { return list_.begin(); }
  const std::int64_t* end() const { return list_.end(); }

  /// How many features they are.
  std::int64_t product() const {
    std::int64_t product = 1;
    for (const std::int64_t extent : list_) product *= extent;
    return product;
  }

  /// As error texts show it: "64", "[28, 28]".
  core::TextPart text() const { return size() == 1 ? core::TextPart(*begin()) : list_.text(); }

 private:
  core::ShortList list_;
};

}  // namespace eigennorm

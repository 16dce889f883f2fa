#include <algorithm>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <vector>

#include <eigennorm/core/overlap.hpp>

#include "catch.hpp"

// Which views share memory, judged against the sets of their addresses.

using namespace eigennorm;
using core::Overlap;

namespace {

template <typename T>
View<T> make_view(T* data, std::vector<std::int64_t> extents, std::vector<std::int64_t> strides) {
  View<T> v;
  v.data = data;
  v.shape.rank = static_cast<int>(extents.size());
  std::copy(extents.begin(), extents.end(), v.shape.extents.begin());
  std::copy(strides.begin(), strides.end(), v.strides.begin());
  return v;
}

template <typename T>
std::vector<const T*> places(const View<T>& v) {
  std::vector<const T*> result{v.data};
  for (int axis = 0; axis < v.shape.rank; ++axis) {
    std::vector<const T*> longer;
    for (const T* place : result) {
      for (std::int64_t i = 0; i < v.shape[axis]; ++i) {
        longer.push_back(place + i * v.strides[static_cast<std::size_t>(axis)]);
      }
    }
    result = longer;
  }
  return result;
}

Overlap truth(const View<float>& a, const View<float>& b) {
  const auto in_a = places(a), in_b = places(b);
  if (in_a == in_b && !in_a.empty()) return Overlap::same;
  const std::set<const float*> all(in_a.begin(), in_a.end());
  return std::any_of(in_b.begin(), in_b.end(), [&](const float* p) { return all.count(p) != 0; }) ? Overlap::partial
                                                                                                  : Overlap::none;
}

}  // namespace

TEST_CASE("blocks of one matrix: exact") {
  std::vector<float> memory(1000);
  int seen[3] = {0, 0, 0}, wrong = 0;
  for (const std::int64_t leading : {6, 7, 9}) {
    for (std::int64_t height = 1; height <= 3; ++height) {
      for (std::int64_t width = 1; width <= 4; ++width) {
        const auto a = make_view(memory.data() + 200, {height, width}, {leading, 1});
        for (std::int64_t shift = -40; shift <= 40; ++shift) {
          const auto b = make_view(memory.data() + 200 + shift, {height, width}, {leading, 1});
          const Overlap expected = truth(a, b);
          ++seen[static_cast<int>(expected)];
          wrong += core::overlap(a, b) != expected || core::overlap(b, a) != expected;
        }
      }
    }
  }
  CHECK(wrong == 0);
  for (const int count : seen) CHECK(count > 0);
}

TEST_CASE("strided views of three axes: exact") {
  std::vector<float> memory(2000);
  int wrong = 0;
  for (const std::vector<std::int64_t>& strides :
       std::vector<std::vector<std::int64_t>>{{40, 10, 3}, {3, 10, 40}, {31, 2, 9}, {24, 8, 2}}) {
    const auto a = make_view(memory.data() + 500, {3, 4, 3}, strides);
    for (std::int64_t shift = -150; shift <= 150; ++shift) {
      const auto b = make_view(memory.data() + 500 + shift, {3, 4, 3}, strides);
      wrong += core::overlap(a, b) != truth(a, b);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("different strides: never less than there is") {
  std::vector<float> memory(1000);
  for (std::int64_t shift = -60; shift <= 60; ++shift) {
    const auto a = make_view(memory.data() + 300, {3, 4}, {8, 1});
    const auto b = make_view(memory.data() + 300 + shift, {3, 4}, {9, 2});
    CAPTURE(shift);
    if (truth(a, b) != Overlap::none) CHECK(core::overlap(a, b) == Overlap::partial);
    if (shift >= 20 || shift <= -25) CHECK(core::overlap(a, b) == Overlap::none);
  }
  // The stride of an axis of one element does not matter.
  const auto a = make_view(memory.data(), {1, 4}, {4, 1}), b = make_view(memory.data(), {1, 4}, {77, 1});
  CHECK(core::overlap(a, b) == Overlap::same);
}

TEST_CASE("one value for many: never less than there is") {
  std::vector<float> memory(1000);
  for (const std::vector<std::int64_t>& strides : std::vector<std::vector<std::int64_t>>{{0, 1}, {8, 0}, {0, 0}}) {
    for (std::int64_t shift = -60; shift <= 60; ++shift) {
      const auto a = make_view(memory.data() + 300, {3, 4}, {8, 1});
      const auto b = make_view(memory.data() + 300 + shift, {3, 4}, strides);
      CAPTURE(strides, shift);
      if (truth(a, b) != Overlap::none) CHECK(core::overlap(a, b) == Overlap::partial);
      if (shift >= 20 || shift <= -20) CHECK(core::overlap(a, b) == Overlap::none);
    }
  }
}

TEST_CASE("empty views share nothing, views that are half an element apart share memory") {
  std::vector<float> memory(100);
  CHECK(core::overlap(make_view(memory.data(), {0, 4}, {4, 1}), make_view(memory.data(), {0, 4}, {4, 1})) ==
        Overlap::none);
  auto* bytes = reinterpret_cast<char*>(memory.data());
  const auto shifted = [&](std::int64_t by) { return make_view(reinterpret_cast<float*>(bytes + by), {10}, {1}); };
  CHECK(core::overlap(shifted(0), shifted(2)) == Overlap::partial);
  CHECK(core::overlap(shifted(0), shifted(38)) == Overlap::partial);
  CHECK(core::overlap(shifted(0), shifted(40)) == Overlap::none);
  CHECK(core::overlap(shifted(42), shifted(0)) == Overlap::none);
}

TEST_CASE("strides that a tensor may have") {
  const auto check = [](std::vector<std::int64_t> extents, std::vector<std::int64_t> strides) {
    float value = 0;
    const auto v = make_view(&value, extents, strides);
    core::check_strides(v.shape, v.strides, "Owner", "y");
    core::check_distinct(v.shape, v.strides, "Owner", "y");
  };
  CHECK_NOTHROW(check({3, 4}, {4, 1}));
  CHECK_NOTHROW(check({3, 4}, {1, 3}));
  CHECK_NOTHROW(check({3, 4}, {9, 2}));
  CHECK_NOTHROW(check({1, 4}, {0, 1}));
  CHECK_NOTHROW(check({3, 1}, {1, 0}));
  CHECK_NOTHROW(check({2, 3, 4}, {4, 8, 1}));
  CHECK_NOTHROW(check({}, {}));
  // Of what is only read, too.
  const auto check_input = [](std::vector<std::int64_t> extents, std::vector<std::int64_t> strides) {
    const float value = 0;
    const auto v = make_view(&value, extents, strides);
    core::check_strides(v.shape, v.strides, "Owner", "x");
  };
  CHECK_NOTHROW(check_input({2, 1, 2}, {1, 0, 1}));
  CHECK_NOTHROW(check_input({2, 4}, {0, 1}));
  CHECK_NOTHROW(check_input({4, 2}, {1, 0}));
  CHECK_NOTHROW(check_input({4, 2}, {0, 0}));
  CHECK_THROWS_AS(check_input({2, 4}, {-4, 1}), std::invalid_argument);
  CHECK_THROWS_AS(check_input({2, 4}, {0, -1}), std::invalid_argument);
  CHECK_THROWS_AS(check({3, 4}, {4, 0}), std::invalid_argument);
  CHECK_THROWS_AS(check({3, 4}, {0, 1}), std::invalid_argument);
  CHECK_THROWS_AS(check({3, 4}, {-4, 1}), std::invalid_argument);
  CHECK_THROWS_AS(check({3, 4}, {3, 1}), std::invalid_argument);
  CHECK_THROWS_AS(check({3, 4}, {1, 1}), std::invalid_argument);
}

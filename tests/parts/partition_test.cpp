#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <eigennorm/core/partition.hpp>

#include "catch.hpp"
#include "reference.hpp"

// Axis sets become loops: a table of what they merge to, and for every row of it the proof that the loops
// meet every value once, in memory order, under the right number.

using namespace eigennorm;
using core::Loop;
using core::Partition;
using core::Reduction;

namespace {

using Extents64 = std::vector<std::int64_t>;

struct Case {
  std::string name;
  std::vector<int> averaged, features;
  int groups;  // 0: the channels are not cut
  Extents64 shape;
  Order order;
  // Extents of the loops, slowest in memory first; the fastest axis is kept; positions of one feature in a
  // row.
  std::string kept, reduced;
  bool interleaved;
  std::string feature_kept, feature_reduced;
  bool feature_interleaved;
  std::int64_t run;
  bool features_kept;
};

constexpr Order rows = Order::row_major;
constexpr Order columns = Order::column_major;

// clang-format off
const std::vector<Case>& table() {
  static const std::vector<Case> cases = {
      {"BatchNorm NCHW", {0, 2, 3}, {1}, 0, {2, 3, 4, 5}, rows, "3", "2x20", false, "3", "2x20", false, 20, true},
      {"BatchNorm NCHW, columns", {0, 2, 3}, {1}, 0, {2, 3, 4, 5}, columns,
       "3", "20x2", false, "3", "20x2", false, 2, true},
      {"BatchNorm NHWC", {0, 1, 2}, {3}, 0, {2, 4, 5, 3}, rows, "3", "40", true, "3", "40", true, 1, true},
      {"BatchNorm NHWC, columns", {0, 1, 2}, {3}, 0, {2, 4, 5, 3}, columns, "3", "40", false, "3", "40", false, 40, true},
      {"BatchNorm N x C", {0}, {1}, 0, {7, 3}, rows, "3", "7", true, "3", "7", true, 1, true},
      {"BatchNorm N x C, columns", {0}, {1}, 0, {7, 3}, columns, "3", "7", false, "3", "7", false, 7, true},
      {"BatchNorm C x 1 x 1", {0, 2, 3}, {1}, 0, {5, 3, 1, 1}, rows, "3", "5", true, "3", "5", true, 1, true},
      {"BatchNorm of one sample", {0, 2, 3}, {1}, 0, {1, 3, 4, 5}, rows, "3", "20", false, "3", "20", false, 20, true},
      {"BatchNorm, one channel", {0, 2, 3}, {1}, 0, {2, 1, 4, 5}, rows, "", "40", false, "", "40", false, 40, true},
      {"LayerNorm, last axis", {1}, {1}, 0, {6, 5}, rows, "6", "5", false, "5", "6", true, 1, false},
      {"LayerNorm, last axis, columns", {1}, {1}, 0, {6, 5}, columns, "6", "5", true, "5", "6", false, 6, false},
      {"LayerNorm, last of 3", {2}, {2}, 0, {2, 3, 5}, rows, "6", "5", false, "5", "6", true, 1, false},
      {"LayerNorm, last of 3, columns", {2}, {2}, 0, {2, 3, 5}, columns, "3x2", "5", true, "5", "3x2", false, 6, false},
      {"LayerNorm, last two", {2, 3}, {2, 3}, 0, {2, 3, 4, 5}, rows, "6", "20", false, "20", "6", true, 1, false},
      // Features are numbered in logical order, which is not this memory's: they stay two axes.
      {"LayerNorm, last two, columns", {2, 3}, {2, 3}, 0, {2, 3, 4, 5}, columns, "3x2", "5x4", true, "5x4", "3x2", false, 6, false},
      {"LayerNorm, channels first", {1}, {1}, 0, {2, 3, 4, 5}, rows, "2x20", "3", true, "3", "2x20", false, 20, false},
      {"LayerNorm over axes 1 and 3", {1, 3}, {1, 3}, 0, {2, 3, 4, 5}, rows, "2x4", "3x5", false, "3x5", "2x4", true, 1, false},
      {"LayerNorm of everything", {0, 1}, {0, 1}, 0, {4, 6}, rows, "", "24", false, "24", "", true, 1, false},
      {"LayerNorm of everything, columns", {0, 1}, {0, 1}, 0, {4, 6}, columns, "", "6x4", false, "6x4", "", true, 1, false},
      {"GroupNorm NCHW", {1, 2, 3}, {1}, 3, {2, 6, 3, 3}, rows, "2x3", "2x9", false, "3x2", "2x9", false, 9, false},
      {"GroupNorm NCHW, columns", {1, 2, 3}, {1}, 3, {2, 6, 3, 3}, columns, "3x2", "9x2", true, "3x2", "9x2", false, 2, false},
      {"GroupNorm NHWC", {1, 2, 3}, {3}, 3, {2, 3, 3, 6}, rows, "2x3", "9x2", false, "3x2", "2x9", true, 1, false},
      {"GroupNorm NHWC, columns", {1, 2, 3}, {3}, 3, {2, 3, 3, 6}, columns, "3x2", "2x9", true, "3x2", "9x2", false, 18, false},
      {"GroupNorm, one group", {1, 2, 3}, {1}, 1, {2, 6, 3, 3}, rows, "2", "6x9", false, "6", "2x9", false, 9, false},
      {"GroupNorm, as many groups as channels", {1, 2, 3}, {1}, 6, {2, 6, 3, 3}, rows, "2x6", "9", false, "6", "2x9", false, 9, true},
      {"GroupNorm NHWC, groups of one", {1, 2, 3}, {3}, 6, {2, 3, 3, 6}, rows, "2x6", "9", true, "6", "2x9", true, 1, true},
      {"InstanceNorm NCHW", {2, 3}, {1}, 0, {2, 3, 4, 5}, rows, "2x3", "20", false, "3", "2x20", false, 20, true},
      {"InstanceNorm NHWC", {1, 2}, {3}, 0, {2, 4, 5, 3}, rows, "2x3", "20", true, "3", "2x20", true, 1, true},
      {"WeightNorm, rows", {1}, {0}, 0, {4, 7}, rows, "4", "7", false, "4", "7", false, 7, true},
      {"WeightNorm, columns of a row-major matrix", {0}, {1}, 0, {4, 7}, rows, "7", "4", true, "7", "4", true, 1, true},
      {"WeightNorm, whole tensor", {0, 1, 2}, {}, 0, {4, 7, 2}, rows, "", "56", false, "", "56", false, 56, true},
      {"Eight axes", {1, 3, 5, 7}, {1, 3, 5, 7}, 0, {2, 3, 2, 2, 1, 3, 2, 2}, rows, "2x2x2", "3x6x2", false, "3x6x2", "2x2x2", true, 1, false},
      {"A vector", {0}, {0}, 0, {9}, Order::any, "", "9", false, "9", "", true, 1, false},
      {"Nothing averaged", {}, {1}, 0, {3, 4}, rows, "3x4", "", true, "4", "3", true, 1, true},
  };
  return cases;
}
// clang-format on

Shape shape_of(const Extents64& extents) {
  Shape shape;
  shape.rank = static_cast<int>(extents.size());
  std::copy(extents.begin(), extents.end(), shape.extents.begin());
  return shape;
}

// Dense where `gap` is 0; otherwise that many elements are left out after the last one of every axis.
Strides strides_of(const Extents64& extents, Order order, std::int64_t gap) {
  Strides strides{};
  std::int64_t stride = 1 + gap;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const std::size_t axis = order == columns ? i : extents.size() - 1 - i;
    strides[axis] = stride;
    stride = stride * extents[axis] + gap;
  }
  return strides;
}

Geometry geometry_of(const Case& c) {
  Geometry geometry;
  geometry.averaged = over(c.averaged);
  geometry.features = over(c.features);
  std::vector<std::int64_t> extents;
  for (const int axis : c.features) extents.push_back(c.shape[static_cast<std::size_t>(axis)]);
  geometry.extents = extents;
  geometry.groups = c.groups;
  return geometry;
}

Partition partition_of(const Case& c, const std::array<Strides, core::max_tensors>& strides) {
  return core::partition(geometry_of(c), shape_of(c.shape), c.order, strides);
}

std::array<Strides, core::max_tensors> same(const Strides& strides) { return {strides, strides, strides, strides}; }

std::string text(const Loop& loop) {
  std::string result;
  for (int i = 0; i < loop.rank; ++i) {
    result += (i == 0 ? "" : "x") + std::to_string(loop.axes[static_cast<std::size_t>(i)].extent);
  }
  return result;
}

reference::Roles roles_of(const Case& c) {
  const reference::Formula formula{c.averaged, c.features, reference::Kind::mean_variance, 0, std::max(c.groups, 1)};
  return {formula, reference::Sizes(c.shape.begin(), c.shape.end())};
}

// The offset of every element, by its number in logical order.
Extents64 offsets_of(const Case& c, const Strides& strides) {
  Extents64 offsets{0};
  for (std::size_t axis = 0; axis < c.shape.size(); ++axis) {
    Extents64 longer;
    for (const std::int64_t offset : offsets) {
      for (std::int64_t i = 0; i < c.shape[axis]; ++i) longer.push_back(offset + i * strides[axis]);
    }
    offsets = longer;
  }
  return offsets;
}

// Walks a reduction; calls f(kept position, reduced position, where they are).
template <typename Function>
void walk(const Reduction& reduction, Function f) {
  for (std::int64_t k = 0; k < reduction.kept.size; ++k) {
    for (std::int64_t r = 0; r < reduction.reduced.size; ++r) {
      core::Offsets at = reduction.kept.at(k);
      const core::Offsets inside = reduction.reduced.at(r);
      for (std::size_t t = 0; t < core::max_tensors; ++t) at.tensor[t] += inside.tensor[t];
      at.group += inside.group;
      at.feature += inside.feature;
      f(k, r, at);
    }
  }
}

// Every element is met once, at its place in each tensor, under its group and feature; the elements of one
// kept position share `number` and follow each other in the order of the first tensor's memory.
template <typename Number>
void check_walk(const Case& c, const Reduction& reduction, const std::array<Strides, core::max_tensors>& strides,
                Number number) {
  const reference::Roles roles = roles_of(c);
  std::array<Extents64, core::max_tensors> offsets;
  for (std::size_t t = 0; t < core::max_tensors; ++t) offsets[t] = offsets_of(c, strides[t]);
  std::map<std::int64_t, std::size_t> element_at;
  for (std::size_t i = 0; i < offsets[0].size(); ++i) element_at[offsets[0][i]] = i;
  std::set<std::size_t> met;
  std::map<std::int64_t, std::size_t> number_of;
  std::int64_t before = -1;
  int wrong = 0;
  walk(reduction, [&](std::int64_t kept, std::int64_t reduced, const core::Offsets& at) {
    const auto found = element_at.find(at.tensor[0]);
    if (found == element_at.end()) {
      ++wrong;
      return;
    }
    const std::size_t element = found->second;
    wrong += !met.insert(element).second;
    for (std::size_t t = 0; t < core::max_tensors; ++t) wrong += at.tensor[t] != offsets[t][element];
    wrong += at.group != static_cast<std::int64_t>(roles.group[element]);
    wrong += at.feature != static_cast<std::int64_t>(roles.feature[element]);
    wrong += number_of.emplace(kept, number(roles, element)).first->second != number(roles, element);
    if (reduced > 0) wrong += at.tensor[0] <= before;
    before = at.tensor[0];
  });
  CHECK(wrong == 0);
  CHECK(met.size() == roles.size());
}

std::size_t group_number(const reference::Roles& roles, std::size_t element) { return roles.group[element]; }
std::size_t feature_number(const reference::Roles& roles, std::size_t element) { return roles.feature[element]; }

}  // namespace

TEST_CASE("what the axes merge to") {
  for (const Case& c : table()) {
    CAPTURE(c.name);
    const Partition p = partition_of(c, same(strides_of(c.shape, c.order, 0)));
    CHECK(text(p.groups.kept) == c.kept);
    CHECK(text(p.groups.reduced) == c.reduced);
    CHECK(p.groups.interleaved == c.interleaved);
    CHECK(text(p.features.kept) == c.feature_kept);
    CHECK(text(p.features.reduced) == c.feature_reduced);
    CHECK(p.features.interleaved == c.feature_interleaved);
    CHECK(p.run == c.run);
    CHECK(p.features_kept == c.features_kept);
    const reference::Roles roles = roles_of(c);
    CHECK(p.count == static_cast<std::int64_t>(roles.count));
    CHECK(p.size == static_cast<std::int64_t>(roles.size()));
    CHECK(p.groups.kept.size == static_cast<std::int64_t>(roles.groups));
    CHECK(p.features.kept.size == static_cast<std::int64_t>(roles.features));
  }
}

TEST_CASE("the loops meet every value once, in memory order, under its numbers") {
  for (const Case& c : table()) {
    for (const std::int64_t gap : {0, 3}) {
      CAPTURE(c.name, gap);
      const Strides dense = strides_of(c.shape, c.order, 0), wide = strides_of(c.shape, c.order, gap);
      // The tensors of one call may have different strides.
      const std::array<Strides, core::max_tensors> strides = {wide, dense, wide};
      const Partition p = partition_of(c, strides);
      check_walk(c, p.groups, strides, group_number);
      check_walk(c, p.features, strides, feature_number);
    }
  }
}

TEST_CASE("where all features are kept, their groups are the samples") {
  for (const Case& c : table()) {
    const Partition p = partition_of(c, same(strides_of(c.shape, c.order, 0)));
    if (!c.features_kept) continue;
    CAPTURE(c.name);
    CHECK(p.kept_features.size == p.features.kept.size);
    std::set<std::int64_t> groups;
    for (std::int64_t f = 0; f < p.kept_features.size; ++f) {
      for (std::int64_t s = 0; s < p.kept_samples.size; ++s) {
        const core::Offsets feature = p.kept_features.at(f), sample = p.kept_samples.at(s);
        CHECK(sample.feature == 0);
        groups.insert(feature.group + sample.group);
      }
    }
    CHECK(static_cast<std::int64_t>(groups.size()) == p.groups.kept.size);
  }
}

TEST_CASE("tiles meet every kept position once") {
  for (const Case& c : table()) {
    const Partition p = partition_of(c, same(strides_of(c.shape, c.order, 0)));
    for (const Reduction& reduction : {p.groups, p.features}) {
      for (const std::int64_t width : {1, 2, 4, 16}) {
        CAPTURE(c.name, width);
        std::set<std::int64_t> expected, met;
        for (std::int64_t k = 0; k < reduction.kept.size; ++k) expected.insert(reduction.kept.at(k).tensor[0]);
        std::int64_t lanes = 0;
        for (std::int64_t id = 0; id < reduction.tiles(width); ++id) {
          const core::Tile tile = reduction.tile(id, width);
          CHECK(tile.lanes >= 1);
          CHECK(tile.lanes <= width);
          lanes += tile.lanes;
          for (std::int64_t lane = 0; lane < tile.lanes; ++lane) {
            core::Offsets at = tile.base;
            at.step(tile.lane, lane);
            met.insert(at.tensor[0]);
          }
        }
        CHECK(met == expected);
        CHECK(lanes == reduction.kept.size);
      }
    }
  }
}

/// A loop of three axes that do not merge.
Loop of_three_axes() {
  Loop loop;
  for (const auto& [extent, stride] : {std::pair{2, 100}, {3, 30}, {4, 2}}) {
    core::Axis axis = core::no_axis();
    axis.extent = extent;
    axis.stride[0] = stride;
    axis.stride[1] = 3 * stride;
    loop.append(axis);
  }
  return loop;
}

TEST_CASE("runs of one tensor cover any stretch of positions") {
  const Loop loop = of_three_axes();
  REQUIRE(loop.rank == 3);
  for (std::int64_t first = 0; first < loop.size; ++first) {
    for (std::int64_t last = first; last <= loop.size; ++last) {
      std::vector<std::array<std::int64_t, 3>> expected, found;
      loop.for_each_run(first, last, [&](const core::Offsets& at, std::int64_t position, std::int64_t length) {
        expected.push_back({at.tensor[1], position, length});
      });
      loop.for_each_run_of(1, first, last, [&](std::int64_t offset, std::int64_t position, std::int64_t length) {
        found.push_back({offset, position, length});
      });
      CHECK(found == expected);
    }
  }
}

TEST_CASE("runs cover any stretch of positions") {
  const Case& c = table()[14];
  const Loop loop = partition_of(c, same(strides_of(c.shape, c.order, 0))).groups.reduced;
  REQUIRE(loop.rank == 2);
  for (std::int64_t first = 0; first < loop.size; ++first) {
    for (std::int64_t last = first; last <= loop.size; ++last) {
      std::int64_t next = first;
      loop.for_each_run(first, last, [&](const core::Offsets& at, std::int64_t position, std::int64_t length) {
        CHECK(position == next);
        CHECK(at.tensor[0] == loop.at(position).tensor[0]);
        // Within a run one step of the fastest axis leads from each to the next.
        for (std::int64_t i = 0; i < length; ++i) {
          CHECK(at.tensor[0] + i * loop.fastest().stride[0] == loop.at(position + i).tensor[0]);
        }
        next += length;
      });
      CHECK(next == last);
    }
  }
}

TEST_CASE("numbering does not depend on strides") {
  for (const Case& c : table()) {
    CAPTURE(c.name);
    std::array<Extents64, 2> numbers;
    for (const std::size_t wide : {0U, 1U}) {
      const Strides strides = strides_of(c.shape, c.order, wide == 0 ? 0 : 5);
      std::map<std::int64_t, std::int64_t> element_at;
      const Extents64 offsets = offsets_of(c, strides);
      for (std::size_t i = 0; i < offsets.size(); ++i) element_at[offsets[i]] = static_cast<std::int64_t>(i);
      walk(partition_of(c, same(strides)).groups, [&](std::int64_t, std::int64_t, const core::Offsets& at) {
        numbers[wide].push_back(element_at.at(at.tensor[0]));
      });
    }
    CHECK(numbers[0] == numbers[1]);
  }
}

TEST_CASE("neighbours merge only where they do in every tensor") {
  const Case& c = table()[13];
  const Strides dense = strides_of(c.shape, c.order, 0);
  Strides rows_apart = dense;
  for (const std::size_t axis : {0U, 1U, 2U}) rows_apart[axis] = dense[axis] / 5 * 6;
  CHECK(text(partition_of(c, {dense, dense, dense}).groups.reduced) == "20");
  CHECK(text(partition_of(c, {dense, rows_apart, dense}).groups.reduced) == "4x5");
  CHECK(text(partition_of(c, {dense, dense, rows_apart}).groups.reduced) == "4x5");
}

TEST_CASE("an axis without extent leaves nothing to meet") {
  for (Case c : table()) {
    for (std::size_t axis = 0; axis < c.shape.size(); ++axis) {
      CAPTURE(c.name, axis);
      Case empty = c;
      empty.shape[axis] = 0;
      const Partition p = partition_of(empty, same(strides_of(empty.shape, empty.order, 0)));
      CHECK(p.size == 0);
      CHECK(p.groups.kept.size * p.groups.reduced.size == 0);
      CHECK(p.features.kept.size * p.features.reduced.size == 0);
    }
  }
}

TEST_CASE("a geometry that does not fit the shape") {
  Geometry geometry;
  geometry.averaged = all_but(1);
  geometry.features = over(1);
  geometry.extents = 3;
  const auto fits = [&](const Extents64& shape) {
    core::partition(geometry, shape_of(shape), rows, same(strides_of(shape, rows, 0)));
  };
  CHECK_NOTHROW(fits({2, 3}));
  CHECK_THROWS_AS(fits({3, 2}), std::invalid_argument);
  CHECK_THROWS_AS(fits({3}), std::invalid_argument);
  geometry.averaged = geometry.features = over_last(2);
  geometry.extents = {2, 6};
  CHECK_NOTHROW(fits({5, 2, 6}));
  CHECK_THROWS_AS(fits({5, 6, 2}), std::invalid_argument);
  CHECK_THROWS_AS(fits({5, 3, 4}), std::invalid_argument);
  CHECK_THROWS_AS(fits({12}), std::invalid_argument);
  // One number stands for the product.
  geometry.extents = 12;
  CHECK_NOTHROW(fits({5, 6, 2}));
  CHECK_NOTHROW(fits({5, 3, 4}));
  CHECK_THROWS_AS(fits({5, 3, 5}), std::invalid_argument);
}

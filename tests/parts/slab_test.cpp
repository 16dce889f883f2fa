#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <eigennorm/core/slab_parts.hpp>

#include "catch.hpp"
#include "reference.hpp"

// Slabs of any partition, whatever its tiles and wherever values are cut, meet every element once, under its group and
// its feature; and the passes over them give each element the scale, the shift and the statistics that are its own.

using namespace eigennorm;
using core::Layout;
using core::Partition;
using core::Reduction;
using core::Segment;
using core::Slab;
using core::Tile;

namespace {

using Extents64 = std::vector<std::int64_t>;

struct Case {
  std::string name;
  std::vector<int> averaged, features;
  int groups = 0;  // 0: the channels are not cut
  Extents64 shape;
  Order order;
};

constexpr Order rows = Order::row_major;
constexpr Order columns = Order::column_major;

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

/// One tensor's memory: where each element is, by its number in logical order, and how much there is.
struct Memory {
  Strides strides{};
  Extents64 offsets{0};
  std::int64_t size = 1;

  /// Axes from `fastest` on, each with `gaps[i]` places left out behind its last element.
  Memory(const Extents64& shape, const std::vector<std::size_t>& fastest, const Extents64& gaps) {
    std::int64_t stride = 1 + gaps.back();
    for (std::size_t i = 0; i < shape.size(); ++i) {
      strides[fastest[i]] = stride;
      stride = stride * shape[fastest[i]] + gaps[i];
    }
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      Extents64 longer;
      for (const std::int64_t offset : offsets) {
        for (std::int64_t i = 0; i < shape[axis]; ++i) longer.push_back(offset + i * strides[axis]);
      }
      offsets = longer;
    }
    size = *std::max_element(offsets.begin(), offsets.end()) + 1;
  }
};

Partition partition_of(const Case& c, const std::vector<Memory>& memory) {
  Shape shape;
  shape.rank = static_cast<int>(c.shape.size());
  std::copy(c.shape.begin(), c.shape.end(), shape.extents.begin());
  Geometry geometry;
  geometry.averaged = over(c.averaged);
  geometry.features = over(c.features);
  Extents64 extents;
  for (const int axis : c.features) extents.push_back(c.shape[static_cast<std::size_t>(axis)]);
  geometry.extents = extents;
  geometry.groups = c.groups;
  return core::partition(geometry, shape, c.order,
                         {memory[0].strides, memory[1].strides, memory[2].strides, memory[3].strides});
}

std::vector<Memory> dense(const Case& c) {
  std::vector<std::size_t> axes(c.shape.size());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = c.order == columns ? i : axes.size() - 1 - i;
  const Memory memory(c.shape, axes, Extents64(axes.size() + 1, 0));
  return {memory, memory, memory, memory};
}

using Random = std::mt19937_64;

std::int64_t between(Random& random, std::int64_t least, std::int64_t most) {
  return std::uniform_int_distribution<std::int64_t>(least, most)(random);
}
bool one_in(Random& random, std::int64_t n) { return between(random, 1, n) == 1; }

Case random_case(Random& random) {
  Case c;
  c.order = one_in(random, 2) ? rows : columns;
  const std::int64_t rank = between(random, 1, 8);
  // Most are small; some have runs longer than what is copied together.
  std::int64_t room = one_in(random, 8) ? 20000 : 1500;
  for (std::int64_t axis = 0; axis < rank; ++axis) {
    const std::int64_t most = one_in(random, 3) ? room : std::min(room, one_in(random, 3) ? std::int64_t{40} : 5);
    c.shape.push_back(between(random, 1, std::max<std::int64_t>(most, 1)));
    room /= c.shape.back();
  }
  std::shuffle(c.shape.begin(), c.shape.end(), random);
  for (int axis = 0; axis < static_cast<int>(rank); ++axis) {
    if (one_in(random, 2)) c.averaged.push_back(axis);
    if (one_in(random, 3)) c.features.push_back(axis);
  }
  // An averaged axis of channels, cut.
  if (one_in(random, 3)) {
    const int axis = static_cast<int>(between(random, 0, rank - 1));
    c.features = {axis};
    if (!reference::contains(c.averaged, axis)) c.averaged.push_back(axis);
    std::sort(c.averaged.begin(), c.averaged.end());
    const std::int64_t extent = c.shape[static_cast<std::size_t>(axis)];
    do {
      c.groups = static_cast<int>(between(random, 1, extent));
    } while (extent % c.groups != 0);
  }
  return c;
}

/// The four tensors of a call: alike or not, dense or with gaps, in the order of their axes or in any other.
std::vector<Memory> random_memory(Random& random, const Case& c) {
  std::vector<std::size_t> axes(c.shape.size());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = c.order == columns ? i : axes.size() - 1 - i;
  std::vector<Memory> memory;
  const bool alike = one_in(random, 3), mixed = one_in(random, 5), gaps = !one_in(random, 3);
  for (int tensor = 0; tensor < core::max_tensors; ++tensor) {
    if (alike && tensor > 0) {
      memory.push_back(memory[0]);
      continue;
    }
    std::vector<std::size_t> fastest = axes;
    if (mixed) std::shuffle(fastest.begin(), fastest.end(), random);
    Extents64 left_out(axes.size() + 1, 0);
    for (std::int64_t& gap : left_out) gap = gaps && one_in(random, 4) ? between(random, 1, 3) : 0;
    memory.emplace_back(c.shape, fastest, left_out);
  }
  return memory;
}

std::string text(const Case& c) {
  std::string result = c.order == rows ? "rows " : "columns ";
  for (const std::int64_t extent : c.shape) result += std::to_string(extent) + " ";
  result += "averaged";
  for (const int axis : c.averaged) result += " " + std::to_string(axis);
  result += ", features";
  for (const int axis : c.features) result += " " + std::to_string(axis);
  return result + ", groups " + std::to_string(c.groups);
}

reference::Roles roles_of(const Case& c) {
  const reference::Formula formula{c.averaged, c.features, reference::Kind::mean_variance, 0, std::max(c.groups, 1)};
  return {formula, reference::Sizes(c.shape.begin(), c.shape.end())};
}

/// [0, count) in pieces.
std::vector<Segment> random_cut(Random& random, std::int64_t count) {
  std::vector<Segment> pieces;
  for (std::int64_t first = 0; first < count;) {
    const std::int64_t last = one_in(random, 4) ? count : first + between(random, 1, count - first);
    pieces.push_back({first, last});
    first = last;
  }
  return pieces;
}

/// One reduction of a partition, and what is known of it by logical numbers alone.
struct Subject {
  const Reduction& reduction;
  const std::vector<Memory>& memory;
  const reference::Roles& roles;
  const std::vector<std::size_t>& number;  ///< of the group, or of the feature, that is a lane
  bool groups;

  std::int64_t lane_number(const Tile& tile, std::int64_t lane) const {
    return groups ? tile.base.group + lane * tile.lane.group : tile.base.feature + lane * tile.lane.feature;
  }
};

/// Slabs meet each element once, at its place in every tensor, under its numbers.
int wrong_in_slabs(const Subject& of, const Layout& layout, std::int64_t width, Random& random) {
  std::vector<std::int64_t> element_at(index(of.memory[0].size), -1);
  for (std::size_t i = 0; i < of.roles.size(); ++i)
    element_at[index(of.memory[0].offsets[i])] = static_cast<std::int64_t>(i);
  std::vector<int> met(of.roles.size());
  // Where columns are lanes, each stands for its run.
  const std::int64_t run = layout.by_column ? layout.run() : 1;
  int wrong = 0;
  for (std::int64_t id = 0; id < of.reduction.tiles(width); ++id) {
    const Tile tile = of.reduction.tile(id, width);
    for (const Segment& part : random_cut(random, of.reduction.reduced.size)) {
      core::for_each_slab(layout, tile, part.first, part.last, [&](const Slab& slab) {
        for (std::int64_t r = 0; r < slab.row.extent; ++r) {
          for (std::int64_t c = 0; c < slab.column.extent * run; ++c) {
            core::Offsets at = slab.at;
            at.step(slab.row, r);
            at.step(slab.column, c / run);
            at.step(layout.inside, c % run);
            const std::int64_t offset = at.tensor[0];
            const std::int64_t element = offset < 0 || offset >= of.memory[0].size ? -1 : element_at[index(offset)];
            if (element < 0) {
              ++wrong;
              continue;
            }
            const auto e = index(element);
            ++met[e];
            for (std::size_t t = 0; t < core::max_tensors; ++t) wrong += at.tensor[t] != of.memory[t].offsets[e];
            wrong += at.group != static_cast<std::int64_t>(of.roles.group[e]);
            wrong += at.feature != static_cast<std::int64_t>(of.roles.feature[e]);
          }
        }
      });
    }
  }
  return wrong + static_cast<int>(std::count_if(met.begin(), met.end(), [](int times) { return times != 1; }));
}

/// A pass that writes what belongs to each element by its number, and checks what it is given with it.
class Writer {
 public:
  using Storage = int;
  using Scalar = float;
  static constexpr int nothing = -1;

  Writer(const Subject& of, const Layout& layout, bool scaled, bool shifted, bool over_input)
      : of_(of), layout_(layout), scaled_(scaled), shifted_(shifted) {
    const std::size_t inputs = layout.last - layout.first - 1;
    for (std::size_t k = 0; k <= inputs; ++k) {
      const Memory& memory = of.memory[layout.first + k];
      // What is read also says which tensor it is of.
      tensors_[k].assign(index(memory.size), nothing);
      for (std::size_t i = 0; k < inputs && i < of.roles.size(); ++i)
        tensors_[k][index(memory.offsets[i])] = value(i, k);
    }
    for (std::size_t f = 0; f < of.roles.features; ++f) {
      scale_.push_back(static_cast<float>(f) + 0.25F);
      shift_.push_back(static_cast<float>(f) + 0.5F);
    }
    met_.resize(of.roles.size());
    in_place_ = over_input && of.memory[layout.first + inputs - 1].offsets == of.memory[layout.last - 1].offsets;
    int* out = tensors_[in_place_ ? inputs - 1 : inputs].data();
    pass_ = {{tensors_[0].data(), inputs == 2 ? tensors_[1].data() : nullptr}, out, layout.first, inputs};
  }

  void by_rows(const Tile& tile, Segment part) {
    core::for_rows(pass_, layout_, tile, part, parameters(), Visitor([&](const Part& at) {
                     write(at, [&](std::int64_t r, std::int64_t) {
                       return of_.lane_number(tile, tile.lanes == 1 ? 0 : at.row + r);
                     });
                   }));
  }
  void by_columns(const Tile& tile, Segment part, std::int64_t most) {
    core::Columns<float> filled(layout_, tile.lanes, most);
    std::vector<float> numbers;
    for (std::int64_t t = 0; t < tile.lanes; ++t) numbers.push_back(static_cast<float>(of_.lane_number(tile, t)));
    const float* lanes = filled.fill(core::Columns<float>::high, numbers.data(), 1);
    core::for_columns(
        pass_, layout_, tile, part, parameters(), filled, Visitor([&](const Part& at) {
          wrong_ += at.column < 0 || at.column + at.size.columns > at.width ||
                    at.width > core::Columns<float>::most_columns(false);
          write(at, [&](std::int64_t, std::int64_t c) { return static_cast<std::int64_t>(lanes[at.column + c]); });
        }));
  }

  /// After all: each element was written once, with what is its own, and nothing else was.
  int wrong() const {
    int wrong = wrong_;
    std::vector<int> expected(tensors_[in_place_ ? pass_.inputs - 1 : pass_.inputs].size(), nothing);
    for (std::size_t i = 0; i < met_.size(); ++i) {
      wrong += met_[i] != 1;
      expected[index(of_.memory[pass_.written()].offsets[i])] = value(i, 2);
    }
    return wrong + (tensors_[in_place_ ? pass_.inputs - 1 : pass_.inputs] != expected);
  }

 private:
  using Part = core::Part<int, float>;
  using Visitor = core::Visitor<int, float>;

  static int value(std::size_t element, std::size_t tensor) { return static_cast<int>(element * 3 + tensor); }

  core::ScaleAndShift<float> parameters() const {
    return {scaled_ ? scale_.data() : nullptr, shifted_ ? shift_.data() : nullptr};
  }

  template <typename Lane>
  void write(const Part& part, const Lane& lane) {
    const core::Affine<float>& affine = part.affine;
    const core::Extent size = part.size;
    wrong_ += (affine.scale != nullptr) != scaled_ || (affine.shift != nullptr) != shifted_;
    if (scaled_ || shifted_) wrong_ += affine.column < 0 || affine.column > 1;
    if (wrong_ > 0) return;
    for (std::int64_t r = 0; r < size.rows; ++r) {
      for (std::int64_t c = 0; c < size.columns; ++c) {
        const int read = part.in[0](r)[c];
        if (read < 0 || read % 3 != 0 || index(read / 3) >= met_.size()) {
          ++wrong_;
          continue;
        }
        const std::size_t element = index(read / 3);
        if (pass_.inputs == 2) wrong_ += part.in[1](r)[c] != value(element, 1);
        ++met_[element];
        wrong_ += lane(r, c) != static_cast<std::int64_t>(of_.number[element]);
        const std::int64_t at = r * affine.row + c * affine.column;
        const std::size_t feature = of_.roles.feature[element];
        if (scaled_) wrong_ += affine.scale[at] != scale_[feature];
        if (shifted_) wrong_ += affine.shift[at] != shift_[feature];
        part.out(r)[c] = value(element, 2);
      }
    }
  }

  const Subject& of_;
  const Layout& layout_;
  bool scaled_, shifted_, in_place_ = false;
  std::array<std::vector<int>, 3> tensors_;
  std::vector<float> scale_, shift_;
  std::vector<int> met_;
  core::Pass<int> pass_{};
  int wrong_ = 0;
};

int wrong_in_pass(const Subject& of, const Layout& layout, std::int64_t width, Random& random) {
  Writer writer(of, layout, !one_in(random, 4), one_in(random, 2), one_in(random, 2));
  const std::int64_t most = one_in(random, 2) ? 256 : core::most_positions<float>;
  for (std::int64_t id = 0; id < of.reduction.tiles(width); ++id) {
    const Tile tile = of.reduction.tile(id, width);
    for (const Segment& part : random_cut(random, of.reduction.reduced.size)) {
      if (layout.by_column) {
        writer.by_columns(tile, part, most);
      } else {
        writer.by_rows(tile, part);
      }
    }
  }
  return writer.wrong();
}

/// How often each kind of work was met: a random test that misses one proves nothing of it.
struct Met {
  int by_column = 0, short_runs = 0, lanes_as_rows = 0, runs = 0, copies = 0;
};

void check(const Subject& of, Random& random, Met& met) {
  for (const auto& [first, last] : {std::pair<std::size_t, std::size_t>{0, 2}, {1, 3}, {0, 3}}) {
    const Layout layout(of.reduction, first, last);
    // A layout of columns has room for the parameters of so many.
    const std::int64_t most = layout.by_column ? core::most_positions<float> / layout.run() : 1000;
    for (const std::int64_t width : {std::int64_t{1}, std::int64_t{2}, between(random, 3, 15), std::int64_t{16},
                                     std::int64_t{64}, std::int64_t{1000}}) {
      if (width > most) continue;
      INFO("tensors " << first << " to " << last - 1 << ", lanes " << width);
      REQUIRE(wrong_in_slabs(of, layout, width, random) == 0);
      REQUIRE(wrong_in_pass(of, layout, width, random) == 0);
      met.by_column += layout.by_column && of.reduction.interleaved;
      met.short_runs += layout.by_column && !of.reduction.interleaved;
      met.lanes_as_rows += !layout.by_column && width > 1;
      met.runs += !layout.by_column && width == 1;
      met.copies += !Partition::steps_by(layout.by_column ? layout.lane : layout.inside, 1, first, last);
    }
  }
}

void check(const Case& c, const std::vector<Memory>& memory, Random& random, Met& met) {
  const Partition partition = partition_of(c, memory);
  const reference::Roles roles = roles_of(c);
  INFO(text(c));
  {
    INFO("groups");
    check({partition.groups, memory, roles, roles.group, true}, random, met);
  }
  {
    INFO("features");
    check({partition.features, memory, roles, roles.feature, false}, random, met);
  }
}

}  // namespace

TEST_CASE("slabs of any partition meet every element once, under its own numbers") {
  Met met;
  for (unsigned seed = 0; seed < 800; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    const Case c = random_case(random);
    check(c, random_memory(random, c), random, met);
  }
  for (const int times : {met.by_column, met.short_runs, met.lanes_as_rows, met.runs, met.copies}) CHECK(times > 50);
}

namespace {

struct Named {
  Case of;
  std::int64_t width;  // lanes of a tile
  std::string groups;  // the slabs of each tile: rows x columns
  std::string features;
};

std::string slabs_of(const Reduction& reduction, std::int64_t width) {
  const Layout layout(reduction, 0, core::max_tensors);
  std::string result;
  for (std::int64_t id = 0; id < reduction.tiles(width); ++id) {
    if (id > 0) result += " | ";
    std::string before;
    core::for_each_slab(layout, reduction.tile(id, width), 0, reduction.reduced.size, [&](const Slab& slab) {
      result += before + std::to_string(slab.row.extent) + "x" + std::to_string(slab.column.extent);
      before = " ";
    });
  }
  return result;
}

// clang-format off
const std::vector<Named>& named() {
  static const std::vector<Named> cases = {
      // A plane of each sample is a run; planes of one channel are rows.
      {{"BatchNorm NCHW", {0, 2, 3}, {1}, 0, {2, 3, 4, 5}, rows}, 1, "2x20 | 2x20 | 2x20", "2x20 | 2x20 | 2x20"},
      {{"BatchNorm NCHW, all channels", {0, 2, 3}, {1}, 0, {2, 3, 4, 5}, rows}, 3, "3x20 3x20", "3x20 3x20"},
      {{"BatchNorm NHWC", {0, 1, 2}, {3}, 0, {2, 4, 5, 3}, rows}, 3, "40x3", "40x3"},
      {{"BatchNorm NHWC, two lanes", {0, 1, 2}, {3}, 0, {2, 4, 5, 3}, rows}, 2, "40x2 | 40x1", "40x2 | 40x1"},
      {{"BatchNorm, planes of 2 x 2", {0, 2, 3}, {1}, 0, {5, 3, 2, 2}, rows}, 3, "5x3", "5x3"},
      {{"LayerNorm rows", {1}, {1}, 0, {6, 5}, rows}, 4, "1x4 | 1x2", "6x4 | 6x1"},
      {{"LayerNorm, one row", {1}, {1}, 0, {6, 5}, rows}, 1, "1x1 | 1x1 | 1x1 | 1x1 | 1x1 | 1x1", "6x1 | 6x1 | 6x1 | 6x1 | 6x1"},
      {{"LayerNorm column-major", {1}, {1}, 0, {6, 5}, columns}, 4, "5x4 | 5x2", "1x4 | 1x1"},
      {{"LayerNorm over two axes, column-major", {1, 2}, {1, 2}, 0, {6, 2, 5}, columns}, 16, "2x6 2x6 2x6 2x6 2x6", "1x2 | 1x2 | 1x2 | 1x2 | 1x2"},
      {{"GroupNorm NCHW", {1, 2, 3}, {1}, 2, {2, 6, 4, 5}, rows}, 1, "3x20 | 3x20 | 3x20 | 3x20", "2x20 | 2x20 | 2x20 | 2x20 | 2x20 | 2x20"},
      {{"GroupNorm NCHW, two groups", {1, 2, 3}, {1}, 2, {2, 6, 4, 5}, rows}, 2, "2x20 2x20 2x20 | 2x20 2x20 2x20", "2x20 2x20 | 2x20 | 2x20 2x20 | 2x20"},
      {{"GroupNorm NHWC", {1, 2, 3}, {3}, 2, {2, 4, 5, 6}, rows}, 2, "20x2 | 20x2", "20x2 20x2 | 20x1 20x1 | 20x2 20x2 | 20x1 20x1"},
      {{"InstanceNorm, planes of 2 x 2", {2, 3}, {1}, 0, {2, 3, 2, 2}, rows}, 16, "1x3 | 1x3", "2x3"},
      {{"InstanceNorm, one plane of 2 x 2", {2, 3}, {1}, 0, {2, 3, 2, 2}, rows}, 1, "1x1 | 1x1 | 1x1 | 1x1 | 1x1 | 1x1", "2x1 | 2x1 | 2x1"},
      {{"RMSNorm of 40 rows", {1}, {1}, 0, {40, 20}, rows}, 16, "16x20 | 16x20 | 8x20", "40x16 | 40x4"},
      {{"Runs of one group", {0, 2}, {1}, 0, {40, 2, 20}, rows}, 1, "16x20 16x20 8x20 | 16x20 16x20 8x20", "16x20 16x20 8x20 | 16x20 16x20 8x20"},
  };
  return cases;
}
// clang-format on

}  // namespace

TEST_CASE("the slabs of well-known layers") {
  for (const Named& each : named()) {
    CAPTURE(each.of.name, each.width);
    const Partition partition = partition_of(each.of, dense(each.of));
    CHECK(slabs_of(partition.groups, each.width) == each.groups);
    CHECK(slabs_of(partition.features, each.width) == each.features);
  }
}

TEST_CASE("well-known layers meet every element once") {
  Met met;
  Random random(1);
  for (const Named& each : named()) check(each.of, dense(each.of), random, met);
}

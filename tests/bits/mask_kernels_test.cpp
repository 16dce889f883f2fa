// What kernels do where a mask leaves values out, on every instruction set: values that are left are put side by side,
// kept among zeros and written back as a plain loop does it, nothing else is read or written; rows that are listed get
// the bits of rows taken one by one.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <eigennorm/core/mask_bits.hpp>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "kernels/tables.hpp"
#include "same_bits.hpp"

namespace {

using namespace eigennorm;
using kernels::MaskWord;
using test::reference_table;
using test::same_bits;
using test::tables;

/// Values between two pages that nobody may touch; `at_end`: the last of them is right before the second.
template <typename T>
class Guarded {
 public:
  Guarded(std::size_t count, bool at_end) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t inside = (count * sizeof(T) + page - 1) / page * page;
    bytes_ = inside + 2 * page;
    memory_ = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory_ != MAP_FAILED);
    char* const begin = static_cast<char*>(memory_) + page;
    REQUIRE(mprotect(begin, inside, PROT_READ | PROT_WRITE) == 0);
    values = reinterpret_cast<T*>(at_end ? begin + inside - count * sizeof(T) : begin);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(memory_, bytes_); }

  T* values;

 private:
  void* memory_;
  std::size_t bytes_;
};

/// A row of a mask as words, and where its valid positions are.
struct Row {
  std::vector<MaskWord> words;
  std::vector<std::int64_t> valid;

  explicit Row(const std::vector<char>& mask) {
    const std::unique_ptr<bool[]> bools(new bool[mask.size()]);
    for (std::size_t i = 0; i < mask.size(); ++i) bools[i] = mask[i] != 0;
    const core::MaskRow row(bools.get(), 1, static_cast<std::int64_t>(mask.size()));
    std::int64_t position = 0;
    row.for_each_word([&](std::uint64_t bits, std::int64_t start, std::int64_t lanes) {
      words.push_back({bits, lanes, start, position});
      position += __builtin_popcountll(bits);
    });
    words.push_back({~std::uint64_t{0}, 64, 0, std::numeric_limits<std::int64_t>::max()});
    for (std::size_t i = 0; i < mask.size(); ++i) {
      if (mask[i] != 0) valid.push_back(static_cast<std::int64_t>(i));
    }
  }
  std::int64_t count() const { return static_cast<std::int64_t>(valid.size()); }
  std::int64_t at(std::int64_t position) const { return valid[static_cast<std::size_t>(position)]; }
  const MaskWord* word_of(std::int64_t position) const {
    const MaskWord* word = words.data();
    while (word[1].position <= position) ++word;
    return word;
  }
};

std::vector<char> random_mask(std::size_t extent, double share, std::mt19937& random) {
  std::vector<char> mask(extent);
  std::bernoulli_distribution is_valid(share);
  for (char& each : mask) each = is_valid(random) ? 1 : 0;
  mask[extent / 2] = 1;
  return mask;
}

template <typename Storage>
Storage number(std::int64_t i) {
  return static_cast<Storage>(1.0F + static_cast<float>(i % 200) / 8);
}

template <typename Storage, typename Scalar>
class Selected {
 public:
  using Kernels = kernels::BlockKernels<Storage, Scalar>;

  Selected(const Kernels& of, const Row& row, std::int64_t extent)
      : kernels(of), row_(row), extent_(extent), x_(static_cast<std::size_t>(extent), true) {
    for (std::int64_t i = 0; i < extent; ++i) x_.values[i] = nan();
    for (const std::int64_t i : row.valid) x_.values[i] = number<Storage>(i);
  }

  /// Whether n values from position `first` on are put side by side.
  bool packs(std::int64_t first, std::int64_t n) const {
    Guarded<Storage> to(static_cast<std::size_t>(n + kernels::selection_room<Storage>), true);
    const MaskWord* const word = row_.word_of(first);
    kernels.select.pack(x_.values, word, first - word->position, n, to.values);
    std::vector<Storage> expected;
    for (std::int64_t i = 0; i < n; ++i) expected.push_back(x_.values[row_.at(first + i)]);
    return same_bits(expected.data(), to.values, expected.size());
  }

  /// Whether lanes up to `last` are kept, from `first` on, and written back.
  bool keeps(kernels::LaneRange of, bool stream) const {
    const MaskWord* const words = row_.words.data();
    const std::int64_t start = words->at, lanes = std::min(of.last, extent_ - start);
    const kernels::LaneRange meant{of.first, lanes};
    Guarded<Storage> copies(static_cast<std::size_t>((lanes + 15) / 16 * 16), true);
    kernels.select.keep(x_.values, words, meant, copies.values);
    Guarded<Storage> y(static_cast<std::size_t>(extent_), true);
    for (std::int64_t i = 0; i < extent_; ++i) y.values[i] = nan();
    std::vector<Storage> kept(static_cast<std::size_t>(lanes), zero()), written(y.values, y.values + extent_);
    for (const std::int64_t i : row_.valid) {
      if (i >= start + of.first && i < start + lanes) kept[static_cast<std::size_t>(i - start)] = x_.values[i];
    }
    if (!same_bits(kept.data(), copies.values, kept.size())) return false;
    // What is made of 0 may be anything, and is not written.
    for (std::int64_t i = 0; i < lanes; ++i) {
      if (kept[static_cast<std::size_t>(i)] == zero()) copies.values[i] = nan();
    }
    kernels.select.put_kept(copies.values, words, meant, y.values, stream);
    kernels.fence();
    for (std::int64_t i = of.first; i < lanes; ++i)
      written[static_cast<std::size_t>(start + i)] = kept[static_cast<std::size_t>(i)];
    return same_bits(written.data(), y.values, written.size());
  }

  const Kernels& kernels;

 private:
  static Storage nan() { return static_cast<Storage>(std::numeric_limits<float>::quiet_NaN()); }
  static Storage zero() { return static_cast<Storage>(0.0F); }

  const Row& row_;
  std::int64_t extent_;
  Guarded<Storage> x_;
};

template <typename Storage, typename Scalar>
void check_selection() {
  auto all = tables<Storage, Scalar>();
  all.emplace_back("reference", reference_table<Storage, Scalar>());
  std::mt19937 random(5);
  for (const std::int64_t extent : {1, 2, 15, 16, 17, 63, 64, 65, 100, 128, 300, 1000}) {
    for (const double share : {0.02, 0.3, 0.75, 1.0}) {
      const Row row(random_mask(static_cast<std::size_t>(extent), share, random));
      for (const auto& [name, table] : all) {
        const Selected<Storage, Scalar> selected(table, row, extent);
        INFO(name << ", " << extent << " positions, " << row.count() << " of them valid");
        for (int turn = 0; turn < 12; ++turn) {
          const auto up_to = [&](std::int64_t n) { return std::uniform_int_distribution<std::int64_t>(0, n)(random); };
          const std::int64_t first = turn == 0 ? 0 : up_to(row.count() - 1);
          REQUIRE(selected.packs(first, turn == 0 ? row.count() : 1 + up_to(row.count() - first - 1)));
          const std::int64_t lanes = row.valid.back() + 1 - row.words.front().at;
          const std::int64_t last = turn == 0 ? lanes : 1 + up_to(lanes - 1);
          REQUIRE(selected.keeps({turn == 0 ? 0 : up_to(std::min<std::int64_t>(last, 63)), last}, turn % 2 == 1));
        }
      }
    }
  }
}

TEST_CASE("What a mask leaves is put side by side, kept and written back, and nothing else is touched") {
  SECTION("float") { check_selection<float, float>(); }
  SECTION("double") { check_selection<double, double>(); }
  SECTION("half") { check_selection<Eigen::half, float>(); }
  SECTION("bfloat16") { check_selection<Eigen::bfloat16, float>(); }
}

/// Rows at random places of a tensor, with their parameters by column.
template <typename Storage, typename Scalar>
struct Listed {
  std::int64_t rows, lanes;
  std::vector<std::int32_t> places;
  std::vector<Storage> x, dy;
  std::vector<Scalar> high, low, rstd, mean, slope, scale, shift;

  Listed(std::int64_t row_count, std::int64_t lane_count, std::int64_t step, std::mt19937& random)
      : rows(row_count), lanes(lane_count) {
    std::normal_distribution<float> normal;
    std::int64_t place = 0;
    for (std::int64_t r = 0; r < rows; ++r, place += step * (1 + static_cast<std::int64_t>(random() % 3)))
      places.push_back(static_cast<std::int32_t>(place));
    for (std::int64_t i = 0; i < place + 64; ++i) {
      x.push_back(static_cast<Storage>(normal(random)));
      dy.push_back(static_cast<Storage>(normal(random)));
    }
    for (auto* each : {&high, &low, &rstd, &mean, &slope, &scale, &shift}) {
      for (std::int64_t i = 0; i < lanes; ++i) each->push_back(static_cast<Scalar>(normal(random)));
    }
  }
  kernels::Normalizers<Scalar> by() const { return {high.data(), low.data(), rstd.data(), 1, true}; }
  kernels::Gradient<Scalar> gradient(bool scale_first) const {
    return {by(), mean.data(), slope.data(), {scale.data(), nullptr, 0, 1}, scale_first};
  }

  /// y and dx of a table whose rows are listed; or of one that takes them one by one.
  std::vector<Storage> results(const kernels::BlockKernels<Storage, Scalar>& table, bool listed, bool scale_first,
                               kernels::Traffic traffic) const {
    std::vector<Storage> y(2 * x.size());
    Storage* const dx = y.data() + x.size();
    const kernels::Affine<Scalar> affine{scale.data(), shift.data(), 0, 1};
    if (listed) {
      const std::int32_t* const at = places.data();
      table.transform_listed({x.data(), at}, {y.data(), at}, {rows, lanes}, by(), affine, traffic);
      table.gradient_listed({x.data(), at}, {dy.data(), at}, {dx, at}, {rows, lanes}, gradient(scale_first), traffic);
      table.fence();
      return y;
    }
    for (const std::int32_t at : places) {
      table.transform({x.data() + at, 0}, {y.data() + at, 0}, {1, lanes}, by(), affine, {});
      table.gradient({x.data() + at, 0}, {dy.data() + at, 0}, {dx + at, 0}, {1, lanes}, gradient(scale_first), {});
    }
    return y;
  }
};

template <typename Storage, typename Scalar>
void check_listed() {
  const auto reference = reference_table<Storage, Scalar>();
  std::mt19937 random(7);
  for (const std::int64_t lanes : {1, 5, 16, 32, 33, 64, 100, 128, 200, 272}) {
    for (const std::int64_t rows : {1, 3, 4, 9, 64}) {
      for (const std::int64_t step : {lanes, (lanes + 63) / 64 * 64}) {
        const Listed<Storage, Scalar> listed(rows, lanes, step, random);
        for (const bool scale_first : {true, false}) {
          const std::vector<Storage> expected = listed.results(reference, false, scale_first, {});
          REQUIRE(same_bits(expected, listed.results(reference, true, scale_first, {})));
          for (const auto& [name, table] : tables<Storage, Scalar>()) {
            for (const kernels::Traffic traffic : {kernels::Traffic{false, 0}, kernels::Traffic{true, 64}}) {
              INFO(name << ", " << rows << " rows of " << lanes << ", "
                        << (traffic.stream() ? "streamed" : "as usual"));
              REQUIRE(same_bits(expected, listed.results(table, true, scale_first, traffic)));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("Rows that are listed get the bits of rows that are taken one by one") {
  SECTION("float") { check_listed<float, float>(); }
  SECTION("double") { check_listed<double, double>(); }
  SECTION("half") { check_listed<Eigen::half, float>(); }
  SECTION("bfloat16") { check_listed<Eigen::bfloat16, float>(); }
}

}  // namespace

#define EIGEN_USE_THREADS  // for Eigen::ThreadPoolDevice

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pool.hpp"
#include "spread_problem.hpp"

// A batch that is spread over members has the same bits on each, in every run and on any pool; those of one process
// where the tree of members is its order of segments; and zeros, constants and dead channels exactly.

using namespace test;

namespace {

using eigennorm::BatchNorm;
using eigennorm::channels_on;
using FloatField = Field<float, Eigen::RowMajor>;

Case images(const reference::Sizes& shape) {
  return row("NCHW", shape, Formula{{0, 2, 3}, {1}, Kind::mean_variance, 1e-5},
             [&](auto s) { return BatchNorm<decltype(s)>(shape[1]); });
}
Case matrix(std::ptrdiff_t rows, std::ptrdiff_t channels, double eps = 1e-5) {
  return row("N x C", {rows, channels}, Formula{{0}, {1}, Kind::mean_variance, eps},
             [&](auto s) { return BatchNorm<decltype(s)>(channels, channels_on(1), eps); });
}

template <typename FieldType>
bool same_results(const Spread<FieldType>& a, const Spread<FieldType>& b) {
  for (std::size_t i = 0; i < a.shares.size(); ++i) {
    const auto &one = a.shares[i], &other = b.shares[i];
    if (!same_statistics(one.layer, other.layer) || !same_bits(one.y, other.y) || !same_bits(one.dx, other.dx) ||
        !same_bits(one.layer.scale.grad, other.layer.scale.grad) ||
        !same_bits(one.layer.shift.grad, other.layer.shift.grad))
      return false;
  }
  return true;
}

/// y, dx, moments and running values of all members are those of one process.
template <typename FieldType>
void check_bits_of_one(const Case& which, const Parts& parts, double factor = 1) {
  Problem<FieldType> whole(which, 0.5, Random(3));
  for (Real& value : whole.x_numbers) value *= factor;
  whole.x = FieldType(which.shape, whole.x_numbers);
  whole.x_numbers = whole.x.numbers();
  Problem<FieldType> gathered = whole;
  Spread<FieldType> spread(whole, parts);
  Post post(static_cast<int>(parts.size()));
  spread.step(post);
  spread.gather(gathered);
  forward(whole.layer, whole.x, whole.y);
  backward(whole.layer, whole.x, whole.dy, whole.dx);
  for (const auto& share : spread.shares) CHECK(same_statistics(share.layer, whole.layer));
  CHECK(same_bits(gathered.y, whole.y));
  CHECK(same_bits(gathered.dx, whole.dx));
}

}  // namespace

TEST_CASE("the same bits in every run, whoever comes late, and on pools") {
  const Problem<FloatField> problem(images({40, 3, 40, 40}), 0.5, Random(1));
  const Parts parts = {11, 0, 5, 17, 7};
  Spread<FloatField> first(problem, parts);
  Post post(5);
  first.step(post);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Spread<FloatField> again(problem, parts);
    Post late(5);
    late.longest_delay = 3000;
    late.seed = seed;
    again.step(late);
    CHECK(same_results(first, again));
  }
  for (const int threads : {1, 2, 3}) {
    Spread<FloatField> again(problem, parts);
    Post pooled(5);
    const auto failures = on_members(pooled, [&](Peers& peers) {
      const Pool pool(threads);
      again.of(peers).forward(peers, pool.device());
      again.of(peers).backward(peers, pool.device());
    });
    for (const std::string& failure : failures) CHECK(failure == "");
    CHECK(same_results(first, again));
  }
}

// (A power of two makes 1e25 or 1e-30 of all values: then groups are out of range.)
TEMPLATE_TEST_CASE("parts of whole segments have the bits of one process where the tree is in its order", "", float,
                   double) {
  using FieldType = Field<TestType, Eigen::RowMajor>;
  constexpr std::ptrdiff_t segment = 65536;
  for (const double factor : {1.0, std::ldexp(1.0, 83), std::ldexp(1.0, -100)}) {
    INFO(factor);
    check_bits_of_one<FieldType>(images({3, 2, 256, 256}), {2, 1}, factor);
    check_bits_of_one<FieldType>(images({3, 2, 256, 256}), {1, 1, 1}, factor);
    check_bits_of_one<FieldType>(images({2, 2, 256, 256}), {0, 1, 0, 1}, factor);
    check_bits_of_one<FieldType>(matrix(2 * segment + 100, 2), {2 * segment, 100}, factor);
  }
}

TEST_CASE("one member that has all the values has the bits of one process, and so have those that only listen") {
  check_bits_of_one<FloatField>(images({7, 3, 5, 6}), {0, 7, 0});
  check_bits_of_one<FloatField>(matrix(1000, 70), {0, 0, 0, 1000});
}

TEST_CASE("data times a power of two, with eps 0, have the same y: also where they are out of range") {
  const Problem<FloatField> problem(matrix(64, 5, 0), 0.5, Random(2));
  const Parts parts = {20, 1, 0, 43};
  Spread<FloatField> plain(problem, parts);
  Post post(4);
  plain.step(post);
  for (const int exponent : {83, -100}) {
    Problem<FloatField> scaled = problem;
    for (Real& value : scaled.x_numbers) value = std::ldexp(value, exponent);
    Spread<FloatField> spread(scaled, parts);
    Post other(4);
    spread.step(other);
    for (std::size_t i = 0; i < parts.size(); ++i) CHECK(same_bits(spread.shares[i].y, plain.shares[i].y));
    // Sums, looks, scaled sums, and the sums of backward.
    CHECK(other.messages() == 4 * 6);
  }
}

namespace {

/// What the channels of a matrix hold, of which three members have 5, 4 and 3 rows.
Real channel_value(std::ptrdiff_t row, int channel, Real normal) {
  const int member = row < 5 ? 0 : row < 9 ? 1 : 2;
  switch (channel) {
    case 0:
      return 0;
    case 1:
      return 3.7L;
    case 2:
      return 1e25L;
    case 3:
      return 1e-30L;
    case 4:
      return member == 0 ? -0.0L : 0.0L;
    case 5:  // from here on not the bits of one process
      return member == 2 ? normal : 0;
    case 6:
      return normal * 1e25L;
    case 7:
      return normal * 1e-30L;
    case 8:
      return member == 0 ? 0.1L : normal;
    case 9:
      return member == 1 ? normal * 1e25L : normal;
    case 10:
      return member == 1 ? 1e-30L : 0;
    default:
      return normal;
  }
}
constexpr int exact_channels = 5, all_channels = 12;

}  // namespace

TEST_CASE("zeros, constants, dead channels and values out of range, also on one member alone") {
  for (const double eps : {1e-5, 0.0}) {
    Problem<FloatField> whole(matrix(12, all_channels, eps), 0, Random(5));
    Random random(6);
    for (std::size_t i = 0; i < whole.x_numbers.size(); ++i) {
      whole.x_numbers[i] = channel_value(static_cast<std::ptrdiff_t>(i) / all_channels,
                                         static_cast<int>(i) % all_channels, random.normal());
    }
    whole.x = FloatField(whole.x.shape(), whole.x_numbers);
    whole.x_numbers = whole.x.numbers();
    Problem<FloatField> gathered = whole;
    Spread<FloatField> spread(whole, {5, 4, 3});
    Post post(3);
    spread.step(post);
    spread.gather(gathered);
    forward(whole.layer, whole.x, whole.y);
    const Numbers y = gathered.y.numbers(), own = whole.y.numbers();
    const auto truth = reference::forward(whole.roles, whole.batch(), parameters(whole.layer), whole.x_numbers);
    const auto scale = whole.scales(whole.batch(), false).y;
    const auto& moments = gathered.layer.moments();
    for (std::size_t i = 0; i < y.size(); ++i) {
      const auto channel = static_cast<Eigen::Index>(i % all_channels);
      INFO("channel " << channel << ", eps " << eps);
      if (channel < exact_channels) {
        CHECK(same_bits(y[i], own[i]));
        CHECK(same_bits(moments.rstd()[channel], whole.layer.moments().rstd()[channel]));
        CHECK(same_bits(moments.mean()[channel], whole.layer.moments().mean()[channel]));
      } else {
        // (16 u: one summand may be most of a sum.)
        CHECK(worst({y[i]}, {truth[i]}, {scale[i]}, tolerance<float>()) <= 16);
      }
    }
  }
}

TEST_CASE("what is sent: one record up and one down for each member but the first, forward and backward") {
  for (const int members : {2, 3, 5, 8}) {
    for (const std::ptrdiff_t channels : {1, 64, 300}) {
      const Problem<FloatField> problem(matrix(32, channels), 0.5, Random(1));
      Parts parts(static_cast<std::size_t>(members), 0);
      for (std::ptrdiff_t i = 0; i < 32; ++i) ++parts[static_cast<std::size_t>(i) % parts.size()];
      Spread<FloatField> spread(problem, parts);
      Post post(members);
      spread.step(post);
      CHECK(post.messages() == 4 * static_cast<std::size_t>(members - 1));
      // Two doubles for each channel, and less than half a kilobyte before them.
      CHECK(post.largest() <= static_cast<std::size_t>(16 * channels) + 512);
      CHECK(post.bytes() == post.messages() * post.largest());
      const int levels = static_cast<int>(std::ceil(std::log2(members)));
      for (int i = 0; i < members; ++i) CHECK(post.sent_by(i) <= 2 * static_cast<std::size_t>(levels + 1));
    }
  }
}

TEST_CASE("evaluate of a layer without running statistics talks, and has the y of forward") {
  const Problem<FloatField> problem(matrix(30, 7), 0.5, Random(4));
  Spread<FloatField> spread(problem, {10, 0, 20});
  Post post(3);
  const auto failures = on_members(post, [&](Peers& peers) {
    auto& share = spread.of(peers);
    share.layer.running.reset();
    share.forward(peers);
    evaluate(share.layer, share.x, share.dx, share.context(peers));
  });
  for (const std::string& failure : failures) CHECK(failure == "");
  CHECK(post.messages() == 8);
  for (const auto& share : spread.shares) CHECK(same_bits(share.y, share.dx));
}

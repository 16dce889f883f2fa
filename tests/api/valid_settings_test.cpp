#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "members.hpp"
#include "pool.hpp"
#include "same_bits.hpp"
#include "support.hpp"
#include "watch.hpp"

// Valid positions as a setting of a call: how masks are made and given, who takes them, and what a call leaves alone.

using namespace eigennorm;
using test::same_bits;
using watch::bits;

namespace {

using Tensor = Eigen::Tensor<float, 3, Eigen::RowMajor>;
using Bools = Eigen::Tensor<bool, 3, Eigen::RowMajor>;
using Flags = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

Tensor tensor(std::int64_t n, std::int64_t c, std::int64_t t, std::uint64_t seed) {
  test::Random random(seed);
  Tensor x(n, c, t);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(random.normal());
  return x;
}

/// Sequences x 1 x positions.
Bools lengths(const std::vector<int>& of, std::int64_t positions) {
  Bools valid(static_cast<Eigen::Index>(of.size()), 1, positions);
  for (Eigen::Index n = 0; n < valid.dimension(0); ++n) {
    for (Eigen::Index t = 0; t < positions; ++t) valid(n, 0, t) = t < of[static_cast<std::size_t>(n)];
  }
  return valid;
}

template <typename Call>
std::string failure(const Call& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing";
}

/// (What is temporary lives as long as the statement that has the call.)
template <typename Mask>
Context<float> with(const Mask& valid) {
  Context<float> context;
  context.valid = valid;
  return context;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("valid_lengths has a row for each sequence") {
  const Flags mask = valid_lengths(Eigen::Vector3i(2, 0, 3), 3);
  Flags expected(3, 3);
  expected << true, true, false, false, false, false, true, true, true;
  CHECK((mask == expected).all());
  CHECK(valid_lengths(Eigen::VectorXi(0), 4).rows() == 0);
  const Eigen::Array<std::int64_t, 1, 2> more(1, 0);
  CHECK(valid_lengths(more, 1)(0, 0));
  CHECK(failure([] { valid_lengths(Eigen::Vector2i(1, 4), 3); }) ==
        "valid_lengths: expected lengths from 0 to 3, got 4 at index 1");
  CHECK(failure([] { valid_lengths(Eigen::Vector2i(-1, 3), 3); }) ==
        "valid_lengths: expected lengths from 0 to 3, got -1 at index 0");
  CHECK(failure([] { valid_lengths(Eigen::Vector2i(0, 0), -1); }) ==
        "valid_lengths: expected a number of positions of at least 0, got -1");
}

TEST_CASE("a mask may be any object of bools in memory, in either order, with any strides") {
  const Tensor x = tensor(3, 2, 5, 1);
  const Bools mask = lengths({5, 2, 3}, 5);
  BatchNorm<float> layer(2);
  const Tensor expected = layer.forward(x, with(mask));
  Eigen::Tensor<bool, 3> columns(3, 1, 5);
  for (int n = 0; n < 3; ++n) {
    for (int t = 0; t < 5; ++t) columns(n, 0, t) = mask(n, 0, t);
  }
  CHECK(same_bits(layer.forward(x, with(columns)), expected));
  const Eigen::TensorMap<const Bools> map(mask.data(), 3, 1, 5);
  CHECK(same_bits(layer.forward(x, with(map)), expected));
  // Matrices: sequences x channels of one position each, rows of a block.
  const Eigen::MatrixXf rows = test::random_matrix(20, 3, 2);
  BatchNorm<float> of_rows(3);
  Eigen::Array<bool, Eigen::Dynamic, 1> flags(20);
  for (int i = 0; i < 20; ++i) flags[i] = i % 3 != 0;
  const Eigen::MatrixXf one = of_rows.forward(rows, with(flags));
  Flags storage = Flags::Constant(20, 7, false);
  storage.col(4) = flags;
  CHECK(same_bits(of_rows.forward(rows, with(storage.col(4))), one));
  for (int i = 0; i < 20; ++i) CHECK((one.row(i).array() == 0).all() == (i % 3 == 0));
}

// Along an averaged axis next in memory, all of such a mask was taken for invalid: nothing was written, no batch
// counted.
TEST_CASE("a bool whose stride is 0 stands for all of its axis") {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using AnyStride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  const Rows x = test::random_matrix(3, 7, 19), dy = test::random_matrix(3, 7, 20);
  const auto check = [&](auto layer, const auto& repeated, const auto& once) {
    auto other = layer;
    CHECK(same_bits(layer.forward(x, with(repeated)), other.forward(x, with(once))));
    CHECK(same_bits(layer.backward(x, dy, with(repeated)), other.backward(x, dy, with(once))));
    CHECK(same_bits(layer.evaluate(x, with(repeated)), other.evaluate(x, with(once))));
    CHECK(bits(layer) == bits(other));
    return layer;
  };
  const Eigen::Array<bool, 3, 1> all(true, true, true), two(true, false, true);
  for (const auto* rows : {&all, &two}) {
    const Eigen::Map<const Flags, 0, AnyStride> repeated(rows->data(), 3, 7, AnyStride(1, 0));
    check(LayerNorm<float>(7), repeated, *rows);
  }
  const Flags one = Flags::Constant(1, 1, true);
  const Eigen::Map<const Flags, 0, AnyStride> repeated(one.data(), 1, 7, AnyStride(1, 0));
  CHECK(check(BatchNorm<float>(3, channels_on(0)), repeated, one).running->batches == 1);
  // For channels, which are valid together, it has to.
  Flags some(1, 7);
  some << true, false, true, true, false, true, true;
  check(BatchNorm<float>(3, channels_on(0)), Eigen::Map<const Flags, 0, AnyStride>(some.data(), 3, 7, AnyStride(0, 1)),
        some);
}

TEST_CASE("what is not valid is 0, whatever was there, and changes nothing") {
  const Bools mask = lengths({4, 0, 2, 5}, 5);
  const Tensor clean = tensor(4, 3, 5, 3), gradient = tensor(4, 3, 5, 4);
  Tensor x = clean, dy = gradient;
  for (Eigen::Index n = 0; n < 4; ++n) {
    for (Eigen::Index c = 0; c < 3; ++c) {
      for (Eigen::Index t = 0; t < 5; ++t) {
        if (!mask(n, 0, t)) x(n, c, t) = dy(n, c, t) = not_a_number;
      }
    }
  }
  for (const bool frozen : {false, true}) {
    CAPTURE(frozen);
    BatchNorm<float> layer(3), other(3);
    if (frozen) {
      layer.freeze();
      other.freeze();
    }
    const Context<float> context = with(mask);
    CHECK(same_bits(layer.forward(x, context), other.forward(clean, context)));
    CHECK(same_bits(layer.backward(x, dy, context), other.backward(clean, gradient, context)));
    CHECK(same_bits(layer.evaluate(x, context), other.evaluate(clean, context)));
    CHECK(bits(layer) == bits(other));
    const Tensor evaluated = layer.evaluate(x, context), whole = layer.evaluate(clean);
    for (Eigen::Index n = 0; n < 4; ++n) {
      for (Eigen::Index t = 0; t < 5; ++t) CHECK(evaluated(n, 1, t) == (mask(n, 0, t) ? whole(n, 1, t) : 0));
    }
  }
}

TEST_CASE("on a pool, from memory, and with results over what was read, there are the same bits") {
  const test::Pool pool(3);
  const Tensor x = tensor(40, 16, 700, 5), dy = tensor(40, 16, 700, 6);
  test::Random random(7);
  for (const bool scattered : {false, true}) {
    Bools mask(40, 1, 700);
    for (Eigen::Index n = 0; n < 40; ++n) {
      const auto length = static_cast<Eigen::Index>(random.uniform() * 700);
      for (Eigen::Index t = 0; t < 700; ++t) mask(n, 0, t) = scattered ? random.uniform() < 0.75 : t < length;
    }
    const auto check = [&](auto layer) {
      auto pooled = layer;
      Context<float> one = with(mask), many(pool.device());
      many.valid = mask;
      CHECK(same_bits(layer.forward(x, one), pooled.forward(x, many)));
      const Tensor dx = layer.backward(x, dy, one);
      Tensor over = dy;
      pooled.backward(x, over, over, many);
      CHECK(same_bits(dx, over));
      CHECK(bits(layer) == bits(pooled));
      Tensor y = x;
      layer.evaluate(y, y, many);
      CHECK(same_bits(layer.evaluate(x, one), y));
    };
    check(BatchNorm<float>(16));
    check(InstanceNorm<float>(16));
    check(GroupNorm<float>(4, 16));
    check(LayerNorm<float>(16, over(1)));
    check(LayerNorm<float>({16, 700}));
    // Nothing depends on what is streamed.
    const Tensor y = BatchNorm<float>(16).forward(x, with(mask));
    stream_results_from(1);
    CHECK(same_bits(BatchNorm<float>(16).forward(x, with(mask)), y));
    stream_results_from(4000000);
  }
}

TEST_CASE("one value stands for all of a gradient, also where positions are left out one by one") {
  const Eigen::MatrixXf x = test::random_matrix(40, 3, 18), dy = Eigen::MatrixXf::Constant(40, 3, 0.25F);
  using AnyStride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  const Eigen::Map<const Eigen::MatrixXf, 0, AnyStride> one(dy.data(), 40, 3, AnyStride(0, 0));
  Eigen::Array<bool, Eigen::Dynamic, 1> mask(40);
  for (int i = 0; i < 40; ++i) mask[i] = i % 3 != 0;
  BatchNorm<float> layer(3);
  layer.forward(x, with(mask));
  BatchNorm<float> other = layer;
  Eigen::MatrixXf dx(40, 3), expected(40, 3);
  layer.backward(x, one, dx, with(mask));
  other.backward(x, dy, expected, with(mask));
  CHECK(same_bits(dx, expected));
  CHECK(bits(layer) == bits(other));
}

TEST_CASE("a mask along features leaves each value its scale and its shift, in many rows, too") {
  const Eigen::Index rows = 40, columns = 104;
  const Eigen::MatrixXf x = test::random_matrix(rows, columns, 16);
  Eigen::Array<bool, 1, Eigen::Dynamic> mask(columns);
  for (Eigen::Index i = 0; i < columns; ++i) mask[i] = i > 30 && i % 3 != 0;
  LayerNorm<float> layer(columns), packed(mask.count());
  test::Random random(17);
  test::randomize(layer, random);
  Eigen::MatrixXf chosen(rows, mask.count());
  Eigen::Index to = 0;
  for (Eigen::Index i = 0; i < columns; ++i) {
    if (!mask[i]) continue;
    chosen.col(to) = x.col(i);
    packed.scale.value[to] = layer.scale.value[i];
    packed.shift.value[to++] = layer.shift.value[i];
  }
  const Eigen::MatrixXf y = layer.forward(x, with(mask)), expected = packed.forward(chosen);
  to = 0;
  for (Eigen::Index i = 0; i < columns; ++i) {
    if (mask[i]) CHECK(same_bits(y.col(i), expected.col(to++)));
  }
}

TEST_CASE("without a valid position a batch is like an empty one") {
  const Tensor x = tensor(2, 3, 4, 8), dy = tensor(2, 3, 4, 9);
  const Bools mask = lengths({0, 0}, 4);
  BatchNorm<float> layer(3);
  const RunningStatistics<float> before = *layer.running;
  const Tensor zero = x.constant(0);
  CHECK(same_bits(layer.forward(x, with(mask)), zero));
  CHECK(bits(*layer.running) == bits(before));
  CHECK(same_bits(layer.backward(x, dy, with(mask)), zero));
  CHECK((layer.scale.grad == 0).all());
  CHECK(same_bits(layer.evaluate(x, with(mask)), zero));
}

TEST_CASE("one valid position cannot move a running variance, and otherwise is its shift") {
  const Tensor x = tensor(2, 3, 4, 8);
  const Bools mask = lengths({0, 1}, 4);
  BatchNorm<float> layer(3);
  const auto before = bits(layer);
  CHECK(
      failure([&] { layer.forward(x, with(mask)); }) ==
      "BatchNorm: expected more than one value for each of the channels, whose variance moves the running one, got an "
      "input of shape [2, 3, 4] of which one value is valid");
  CHECK(bits(layer) == before);
  layer.running->update = false;
  layer.shift.value << 1, 2, 3;
  const Tensor y = layer.forward(x, with(mask));
  for (int c = 0; c < 3; ++c) CHECK(y(1, c, 0) == static_cast<float>(c + 1));
}

TEST_CASE("moments are those of what is valid; of groups without any there are none") {
  const Tensor x = tensor(3, 2, 4, 10);
  InstanceNorm<float> layer(2);
  layer.forward(x, with(lengths({4, 0, 2}, 4)));
  const Moments<float>& moments = layer.moments();
  CHECK(moments.groups() == 6);
  CHECK(moments.count() == 4);
  CHECK(moments.rstd()[2] == 0);
  CHECK(moments.mean()[3] == 0);
  CHECK(moments.mean()[4] == Approx((x(2, 0, 0) + x(2, 0, 1)) / 2));
}

TEST_CASE("running statistics of InstanceNorm are the mean over the samples that have values") {
  const Tensor x = tensor(3, 2, 6, 11);
  InstanceNorm<float> layer(2);
  layer.running.emplace(2);
  layer.running->averaging = momentum_of_new(1);
  layer.forward(x, with(lengths({6, 0, 3}, 6)));
  for (int c = 0; c < 2; ++c) {
    double mean = 0, variance = 0;
    for (const auto& [n, length] : {std::pair(0, 6), std::pair(2, 3)}) {
      double own = 0, squares = 0;
      for (int t = 0; t < length; ++t) own += double{x(n, c, t)} / length;
      for (int t = 0; t < length; ++t) squares += (x(n, c, t) - own) * (x(n, c, t) - own) / (length - 1);
      mean += own / 2;
      variance += squares / 2;
    }
    CHECK(layer.running->mean[c] == Approx(mean));
    CHECK(layer.running->variance[c] == Approx(variance));
  }
}

TEST_CASE("population statistics take what is valid, from moments and from x itself") {
  const Tensor x = tensor(3, 2, 4, 12);
  const Bools mask = lengths({4, 1, 0}, 4);
  BatchNorm<float> layer(2);
  layer.forward(x, with(mask));
  PopulationStatistics<float> of_moments, of_x, of_packed;
  of_moments.observe(layer.moments());
  of_x.observe(x, channels_on(1), with(mask));
  Eigen::Tensor<float, 2, Eigen::RowMajor> packed(2, 5);
  for (int c = 0; c < 2; ++c) {
    for (int t = 0; t < 4; ++t) packed(c, t) = x(0, c, t);
    packed(c, 4) = x(1, c, 0);
  }
  of_packed.observe(packed, channels_on(0));
  for (const auto* each : {&of_moments, &of_x}) {
    CHECK(each->count() == 5);
    CHECK(same_bits(each->pooled().mean, of_packed.pooled().mean));
    CHECK(same_bits(each->pooled().variance, of_packed.pooled().variance));
  }
  of_x.observe(x, channels_on(1), with(lengths({0, 0, 0}, 4)));
  CHECK(of_x.count() == 5);
  InstanceNorm<float> samples(2);
  samples.forward(x, with(mask));
  PopulationStatistics<float> of_samples;
  of_samples.observe(samples.moments());
  CHECK(of_samples.batches() == 2);
  CHECK(of_samples.count() == 5);
  for (int c = 0; c < 2; ++c) CHECK(of_samples.pooled().mean[c] == Approx(of_packed.pooled().mean[c]));
}

TEST_CASE("what is wrong is said, and nothing has changed") {
  const Tensor x = tensor(3, 2, 4, 13), dy = tensor(3, 2, 4, 14);
  BatchNorm<float> layer(2);
  layer.forward(x);
  Tensor y = x;
  const auto before = bits(layer);
  const auto refused = [&](const Valid& valid) {
    const std::string text = failure([&] { layer.forward(x, y, with(valid)); });
    CHECK(failure([&] { layer.evaluate(x, y, with(valid)); }) == text);
    CHECK(failure([&] { layer.backward(x, dy, y, with(valid)); }) == text);
    CHECK(bits(layer) == before);
    CHECK(same_bits(y, x));
    return text;
  };
  const Bools transposed(4, 1, 3), of_channels(3, 2, 4);
  const Flags matrix = valid_lengths(Eigen::Vector3i(4, 2, 3), 4);
  CHECK(refused(transposed) ==
        "BatchNorm: expected valid positions of x's shape [3, 2, 4], or of extent 1 where they are the same for all, "
        "got [4, 1, 3]");
  CHECK(contains(refused(matrix), "got [3, 4]"));
  CHECK(refused(of_channels) ==
        "BatchNorm: expected valid positions that are the same for all channels, of extent 1 on axis 1, got [3, 2, 4]");
  GroupNorm<float> groups(1, 2);
  CHECK(contains(failure([&] { groups.forward(x, with(of_channels)); }), "the same for all channels"));
  WeightNorm<float> weights(3);
  const Bools some = lengths({4, 2, 3}, 4);
  CHECK(failure([&] { weights.forward(x, with(some)); }) ==
        "WeightNorm: expected no valid positions (Context::valid) of a parameter that is normalized, got some");
}

TEST_CASE("backward needs the valid positions of its forward") {
  const Tensor x = tensor(3, 2, 4, 13), dy = tensor(3, 2, 4, 14);
  const Bools mask = lengths({4, 2, 3}, 4), fewer = lengths({4, 2, 2}, 4), all = lengths({4, 4, 4}, 4);
  BatchNorm<float> layer(2);
  layer.forward(x, with(mask));
  const auto before = bits(layer);
  CHECK(failure([&] { layer.backward(x, dy); }) ==
        "BatchNorm: expected the valid positions of its forward in backward, which are 18 values, got none, for 24 "
        "values");
  CHECK(failure([&] { layer.backward(x, dy, with(fewer)); }) ==
        "BatchNorm: expected the valid positions of its forward in backward, which are 18 values, got 16 values");
  CHECK(bits(layer) == before);
  layer.forward(x);
  CHECK(contains(failure([&] { layer.backward(x, dy, with(mask)); }),
                 "BatchNorm: expected no valid positions in backward, as in its forward, got some, of 18 values"));
  // All valid is as no mask.
  const Tensor dx = layer.backward(x, dy);
  CHECK(same_bits(layer.backward(x, dy, with(all)), dx));
}

TEST_CASE("a residual is added where it is valid, and nothing is written elsewhere but 0") {
  const Bools mask = lengths({4, 0, 2}, 4);
  const Tensor x = tensor(3, 2, 4, 13), dy = tensor(3, 2, 4, 14), zero = x.constant(0);
  Tensor residual = tensor(3, 2, 4, 15), y = x, dx = x, gradient = x;
  residual(2, 1, 3) = not_a_number;
  LayerNorm<float> layer(2, over(1));
  Context<float> context = with(mask), plain = context;
  context.residual = residual;
  context.residual_gradient = gradient;
  const Tensor alone = layer.forward(x, plain);
  layer.forward(x, y, context);
  layer.backward(x, dy, dx, context);
  for (Eigen::Index n = 0; n < 3; ++n) {
    for (Eigen::Index t = 0; t < 4; ++t) {
      CHECK(y(n, 1, t) == (mask(n, 0, t) ? alone(n, 1, t) + residual(n, 1, t) : 0));
      CHECK(gradient(n, 1, t) == (mask(n, 0, t) ? dy(n, 1, t) : 0));
    }
  }
  // A sum over x, of which then only what is valid is left.
  Tensor sum = x;
  context.residual_gradient = {};
  context.added = sum;
  layer.forward(sum, y, context);
  CHECK(sum(2, 1, 1) == x(2, 1, 1) + residual(2, 1, 1));
  CHECK(same_bits(y, layer.forward(sum, plain)));
  for (Eigen::Index t = 2; t < 4; ++t) CHECK(same_bits(sum(2, 1, t), 0.0F));
  // Nothing is valid; everything is.
  const Bools none = lengths({0, 0, 0}, 4), all = lengths({4, 4, 4}, 4);
  context.valid = none;
  layer.forward(x, y, context);
  CHECK(same_bits(y, zero));
  CHECK(same_bits(sum, zero));
  context.added = {};
  layer.forward(x, y, context);
  context.residual_gradient = gradient;
  layer.backward(x, dy, dx, context);
  CHECK(same_bits(gradient, zero));
  CHECK(same_bits(dx, zero));
  context.valid = all;
  layer.forward(x, y, context);
  context.valid.reset();
  CHECK(same_bits(y, layer.forward(x, context)));
}

TEST_CASE("a batch that is spread takes no mask, and no member waits") {
  test::Post post(2);
  const Tensor x = tensor(3, 2, 4, 15);
  const Bools mask = lengths({4, 2, 3}, 4);
  const auto failures = test::on_members(post, [&](Peers& peers) {
    BatchNorm<float> layer(2);
    Context<float> context;
    context.peers = &peers;
    if (peers.member() == 1) context.valid = mask;
    layer.forward(x, context);
  });
  for (const std::string& text : failures)
    CHECK(contains(text, "expected no valid positions (Context::valid) where the batch is spread, got some"));
}

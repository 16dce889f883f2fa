// Masks whose places are listed, or stand in words: scales by place, strides that differ from tensor to tensor.

#include <array>
#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "same_bits.hpp"

using namespace eigennorm;
using test::same_bits;

namespace {

using Tensor = Eigen::Tensor<float, 3, Eigen::RowMajor>;
using Shape3 = std::array<Eigen::Index, 3>;

TEST_CASE("rows that are listed have the scales of their places") {
  // Column-major: lanes are the first axis, and each place on the last has scales of its own.
  using Columns = Eigen::Tensor<float, 3>;
  Normalization<float> layer(over(1, 2), over(0, 2), Extents({20, 4}), Statistic::mean_variance, 1e-5);
  for (Eigen::Index i = 0; i < layer.scale.value.size(); ++i) layer.scale.value[i] = static_cast<float>(i + 1);
  Columns x(20, 6, 4), y(20, 6, 4), packed(20, 3, 4);
  x.setRandom();
  y.setConstant(7);
  Eigen::Tensor<bool, 3> mask(1, 6, 4);
  for (Eigen::Index i = 0; i < 24; ++i) mask.data()[i] = i % 2 == 0;
  Context<float> context;
  context.valid = mask;
  layer.forward(x, y, context);
  for (Eigen::Index i = 0; i < 3; ++i) packed.chip(i, 1) = x.chip(2 * i, 1);
  const Columns expected = Normalization<float>(layer).forward(packed);
  for (Eigen::Index n = 0; n < 20; ++n) {
    for (Eigen::Index t = 0; t < 4; ++t) {
      for (Eigen::Index i = 0; i < 6; ++i) CHECK(y(n, i, t) == (i % 2 == 0 ? expected(n, i / 2, t) : 0.0F));
    }
  }
}

// Runs too long to be put together in words, and gaps between them, which nothing but the walk over gaps clears.
TEST_CASE("gaps between long runs are 0") {
  const auto check = [](auto layer, const Eigen::Tensor<bool, 3, Eigen::RowMajor>& valid) {
    Tensor x(3, 4, 200), y(3, 4, 200), dx(3, 4, 200);
    x.setRandom();
    y.setConstant(7);
    dx.setConstant(7);
    Context<float> context;
    context.valid = valid;
    layer.forward(x, y, context);
    layer.backward(x, x, dx, context);
    int wrong = 0;
    for (Eigen::Index i = 0; i < x.size(); ++i) {
      const bool is_valid = valid(i / 800, 0, i % 200);
      wrong += is_valid ? y.data()[i] == 7 || dx.data()[i] == 7 : y.data()[i] != 0 || dx.data()[i] != 0;
    }
    CHECK(wrong == 0);
  };
  for (const Eigen::Index gap : {1, 5, 20, 70}) {
    CAPTURE(gap);
    Eigen::Tensor<bool, 3, Eigen::RowMajor> valid(3, 1, 200);
    for (Eigen::Index i = 0; i < valid.size(); ++i) {
      const Eigen::Index begin = 60 + 3 * (i / 200);
      valid.data()[i] = i % 200 < begin || i % 200 >= begin + gap;
    }
    check(BatchNorm<float>(4), valid);
    check(InstanceNorm<float>(4), valid);
    check(GroupNorm<float>(2, 4), valid);
  }
}

// Runs of whole samples are parts. Where it is one sample, its groups are channels side by side, as those of a whole
// BatchNorm are.
TEST_CASE("samples of channels that are last have the bits of those alone") {
  for (const Eigen::Index channels : {1, 17, 70}) {
    CAPTURE(channels);
    Tensor x(6, 20, channels), dy(6, 20, channels);
    x.setRandom();
    dy.setRandom();
    Eigen::Tensor<bool, 3, Eigen::RowMajor> valid(6, 1, 1);
    valid.setValues({{{true}}, {{true}}, {{false}}, {{true}}, {{false}}, {{true}}});
    Context<float> context;
    context.valid = valid;
    InstanceNorm<float> layer(channels, channels_on(-1));
    layer.scale.value.setRandom();
    const Tensor y = layer.forward(x, context), dx = layer.backward(x, dy, context);
    for (Eigen::Index n = 0; n < 6; ++n) {
      const Tensor own = x.slice(Shape3{n, 0, 0}, Shape3{1, 20, channels});
      const Tensor own_dy = dy.slice(Shape3{n, 0, 0}, Shape3{1, 20, channels});
      InstanceNorm<float> alone = layer;
      Tensor expected = alone.forward(own), expected_dx = alone.backward(own, own_dy);
      if (!valid(n, 0, 0)) expected.setZero(), expected_dx.setZero();
      CHECK(same_bits(Tensor(y.slice(Shape3{n, 0, 0}, Shape3{1, 20, channels})), expected));
      CHECK(same_bits(Tensor(dx.slice(Shape3{n, 0, 0}, Shape3{1, 20, channels})), expected_dx));
    }
  }
}

TEST_CASE("gradients of what is valid do not depend on strides") {
  GroupNorm<float> near(2, 8), apart(2, 8);
  Tensor x(3, 8, 50), dy(3, 8, 50), y(3, 8, 50), dx(3, 8, 50), wide(3, 8, 64);
  x.setRandom();
  dy.setRandom();
  Eigen::Tensor<bool, 3, Eigen::RowMajor> mask(3, 1, 50);
  for (Eigen::Index i = 0; i < 150; ++i) mask.data()[i] = i * 7 % 3 != 0;
  Context<float> context;
  context.valid = mask;
  near.forward(x, y, context);
  near.backward(x, dy, dx, context);
  // dy in rows that are further apart than those of x and dx.
  for (Eigen::Index i = 0; i < dy.size(); ++i) wide.data()[i / 50 * 64 + i % 50] = dy.data()[i];
  View<const float> rows = core::view(dy);
  rows.data = wide.data();
  rows.strides[0] = 8 * 64;
  rows.strides[1] = 64;
  apart.forward(x, y, context);
  core::Calls<float, float>::backward(apart, core::view(x), rows, core::output_view(dx), context);
  CHECK(same_bits(near.scale.grad, apart.scale.grad));
  CHECK(same_bits(near.shift.grad, apart.shift.grad));
}

}  // namespace

#define EIGEN_USE_THREADS  // for Eigen::ThreadPoolDevice

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "pool.hpp"
#include "support.hpp"
#include "watch.hpp"

// How normalization layers have failed elsewhere, one test for each kind of report, with the numbers of the reports
// where they give some. Other tests go deeper into each; here a reader finds whether a failure that he knows can
// happen.

using namespace eigennorm;
using Eigen::MatrixXf;
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using test::same_bits;

namespace {

/// Normal numbers about `mean`.
template <typename Matrix = Rows>
Matrix normal(Eigen::Index rows, Eigen::Index columns, std::uint64_t seed, double mean = 0) {
  test::Random random(seed);
  Matrix matrix(rows, columns);
  for (Eigen::Index i = 0; i < rows; ++i) {
    for (Eigen::Index j = 0; j < columns; ++j) {
      matrix(i, j) = static_cast<typename Matrix::Scalar>(mean + random.normal());
    }
  }
  return matrix;
}

template <typename Matrix>
bool are_near(const Matrix& a, const Matrix& b, float within) {
  return a.rows() == b.rows() && a.cols() == b.cols() && (a - b).cwiseAbs().maxCoeff() <= within;
}

}  // namespace

TEST_CASE("failure 1: a variance in one pass, of data far from zero") {
  Rows x(1, 4);
  x << 40000, 40001, 40002, 40003;
  LayerNorm<float> layer(4);
  Rows truth(1, 4);
  truth << -1.3416354F, -0.44721180F, 0.44721180F, 1.3416354F;
  CHECK(are_near(Rows(layer.forward(x)), truth, 3e-7F));

  // What is added to all values changes nothing, as long as the sums are exact: multiples of 1/16 up to 2^20.
  Rows near(64, 100);
  test::Random random(1);
  for (float& value : near.reshaped()) value = static_cast<float>(std::round(16 * random.normal())) / 16;
  for (const float offset : {1e3F, 1e4F, 1e5F, 1e6F}) {
    CAPTURE(offset);
    const Rows far = near.array() + offset;
    LayerNorm<float> rows(100);
    BatchNorm<float> columns(100);
    CHECK(are_near(Rows(rows.forward(far)), Rows(rows.forward(near)), 1e-6F));
    CHECK(are_near(Rows(columns.forward(far)), Rows(columns.forward(near)), 1e-6F));
    CHECK((columns.moments().variance() > 0).all());
  }
}

TEST_CASE("failure 2: a constant group is not exactly the shift") {
  for (const float value : {14.0F, 100.0F, 1234.0F, 0.1F, -3e38F}) {
    CAPTURE(value);
    const Rows x = Rows::Constant(3, 256, value);
    LayerNorm<float> rows(256, 1e-6);
    CHECK((rows.forward(x).array() == 0).all());
    BatchNorm<float> columns(256);
    columns.shift.value.setLinSpaced(-1, 1);
    CHECK((columns.forward(x).row(2).transpose().array() == columns.shift.value).all());
  }
}

TEST_CASE("failure 3: one value for a variance") {
  // Its unbiased variance is 0 / 0, which would stay in the running one for ever.
  BatchNorm<float> batch(3);
  const auto before = watch::bits(batch);
  CHECK_THROWS_AS(batch.forward(normal(1, 3, 1)), std::invalid_argument);
  CHECK(watch::bits(batch) == before);
  // Where no such variance is kept, one value is a constant group.
  InstanceNorm<float> instance(3);
  instance.shift.value << 1, 2, 3;
  const Rows y = instance.forward(normal(1, 3, 2));
  CHECK((y.row(0).transpose().array() == instance.shift.value).all());
}

TEST_CASE("failure 4: eps outside the root, twice, as a lower bound, in the running variance, or rounded away") {
  Rows x(2, 1);
  x << -0.001F, 0.001F;  // variance 1e-6
  const auto expected = static_cast<float>(0.001 / std::sqrt(1e-6 + 1e-5));
  BatchNorm<float> layer(1, channels_on(1), 1e-5);
  layer.running->averaging = cumulative();
  layer.running->estimator = Estimator::biased;
  CHECK(std::abs(layer.forward(x)(1, 0) - expected) < 1e-7F);
  CHECK(std::abs(layer.running->variance[0] - 1e-6F) < 1e-12F);
  CHECK(std::abs(layer.evaluate(x)(1, 0) - expected) < 1e-7F);
  // In sixteen bits 1e-8 is 0; here it is a double whatever the data are.
  Eigen::Matrix<Eigen::half, 1, 2, Eigen::RowMajor> small(Eigen::half(-1e-4F), Eigen::half(1e-4F));
  const auto value = static_cast<double>(static_cast<float>(small(0, 1)));
  LayerNorm<float> rows(2, 1e-8);
  const auto y = static_cast<float>(rows.forward(small)(0, 1));
  CHECK(std::abs(y - value / std::sqrt(value * value + 1e-8)) < 5e-4);
}

TEST_CASE("failure 5: a sum of squares that overflows") {
  const auto half = [](float value) { return Eigen::half(value); };
  Eigen::Matrix<Eigen::half, 1, 4, Eigen::RowMajor> sixteen(half(300), half(-300), half(60000), half(-60000));
  RMSNorm<float> rms(4);
  const float root = std::sqrt((300.0F * 300.0F + 60000.0F * 60000.0F) / 2);
  const Eigen::Matrix<Eigen::half, 1, 4, Eigen::RowMajor> of_half = rms.forward(sixteen);
  CHECK(std::abs(static_cast<float>(of_half(0, 2)) - 60000 / root) < 1e-3F);
  for (const float size : {2e19F, 1e20F, 1e30F, 3e38F}) {
    CAPTURE(size);
    Rows x(1, 4);
    x << size, -size, size, -size;
    const Rows truth = x / size;
    LayerNorm<float> layer(4);
    CHECK(are_near(Rows(rms.forward(x)), truth, 2e-7F));
    if (size < 1e38F) CHECK(are_near(Rows(layer.forward(x)), truth, 2e-7F));
    WeightNorm<float> weight(1);
    CHECK(are_near(Rows(weight.forward(x)), Rows(truth / 2), 2e-7F));
  }
}

TEST_CASE("failure 6: one bad batch spoils the running statistics, or a bound hides NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity}) {
    CAPTURE(bad);
    BatchNorm<float> layer(3);
    layer.forward(normal(8, 3, 1));
    const Vector<float> mean = layer.running->mean, variance = layer.running->variance;
    Rows x = normal(8, 3, 2);
    x(4, 1) = bad;
    const Rows y = layer.forward(x);
    CHECK(y.col(1).array().isNaN().all());
    CHECK((y.col(0).allFinite() && y.col(2).allFinite()));
    CHECK((same_bits(layer.running->mean, mean) && same_bits(layer.running->variance, variance)));
    CHECK((layer.running->batches == 1 && layer.running->rejected_batches == 1));
    CHECK(layer.evaluate(normal(8, 3, 3)).allFinite());
  }
}

TEST_CASE("failure 7: subnormal numbers are taken for zero, here or on other threads") {
  const float tiny = std::numeric_limits<float>::denorm_min();
  Rows x(600, 64);
  test::Random random(7);
  for (float& value : x.reshaped()) value = tiny * static_cast<float>(std::round(0x1p22 * random.normal()));
  Normalization<float> layer = LayerNorm<float>(64, 0.0);
  const Rows truth = layer.forward(Rows(x * 0x1p100F));
  const test::Pool pool(3);
  Rows here(600, 64), there(600, 64);
  layer.forward(x, here);
  layer.forward(x, there, pool.device());
  CHECK(are_near(here, truth, 2e-6F));
  CHECK(same_bits(here, there));
  // The norm of a row of subnormal weights is no zero to divide by.
  WeightNorm<float> weight(600);
  CHECK(are_near(Rows(weight.forward(x)).rowwise().norm().eval(), Eigen::VectorXf::Ones(600).eval(), 1e-6F));
}

#if __has_include(<sys/mman.h>)
TEST_CASE("failure 8: distances and numbers beyond 2^31") {
  // Three rows, each more than 2^31 elements behind the last: of 8.6 GB of addresses a few pages are used. The layers'
  // sizes beyond 2^31 are tested by big.cpp.
  const std::int64_t distance = (std::int64_t{1} << 31) + 4096;
  const std::size_t bytes = static_cast<std::size_t>(2 * distance + 4096) * sizeof(Eigen::bfloat16);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) FAIL("expected addresses for " << bytes << " bytes");
  using Matrix = Eigen::Matrix<Eigen::bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Matrix, 0, Eigen::OuterStride<>> far(static_cast<Eigen::bfloat16*>(memory), 3, 100,
                                                  Eigen::OuterStride<>(distance));
  const Matrix near = normal<Matrix>(3, 100, 8);
  for (Normalization<float> layer :
       {Normalization<float>(LayerNorm<float>(100)), Normalization<float>(BatchNorm<float>(100)),
        Normalization<float>(WeightNorm<float>(3))}) {
    Normalization<float> other = layer;
    const Matrix y = layer.forward(near), dx = layer.backward(near, y);
    far = near;
    CHECK(same_bits(Matrix(other.forward(far)), y));
    Matrix gradient(3, 100);
    other.backward(far, y, gradient);
    CHECK(same_bits(gradient, dx));
    far = y;
    other.backward(near, far, far);
    CHECK(same_bits(Matrix(far), dx));
    CHECK(same_bits(Vector<float>(layer.scale.grad * 2), other.scale.grad));
  }
  munmap(memory, bytes);
}
#endif

TEST_CASE("failure 9: no values, no groups") {
  LayerNorm<float> rows(5);
  BatchNorm<float> columns(3);
  for (Normalization<float>* layer :
       {static_cast<Normalization<float>*>(&rows), static_cast<Normalization<float>*>(&columns)}) {
    const Rows empty(0, layer->features());
    const Rows dy = empty;
    CHECK(layer->forward(empty).size() == 0);
    CHECK(layer->backward(empty, dy).size() == 0);
    CHECK(layer->evaluate(empty).size() == 0);
    CHECK((layer->scale.grad == 0).all());
  }
  CHECK(columns.running->batches == 0);
  CHECK_THROWS_AS(GroupNorm<float>(0, 6), std::invalid_argument);
  CHECK_THROWS_AS(GroupNorm<float>(4, 6), std::invalid_argument);
  CHECK_THROWS_AS(LayerNorm<float>(0), std::invalid_argument);
}

TEST_CASE("failure 10: results in the place of arguments, or of each other") {
  const Rows x = normal(9, 70, 1), dy = normal(9, 70, 2);
  LayerNorm<float> layer(70), other(70);
  const Rows y = layer.forward(x), dx = layer.backward(x, dy);
  Rows in_place = dy;
  other.forward(x);
  other.backward(x, in_place, in_place);
  CHECK(same_bits(in_place, dx));
  // One is the sum of dy * xhat, the other that of dy.
  CHECK(are_near(Rows(other.scale.grad.matrix().transpose()), Rows(dy.cwiseProduct(y).colwise().sum()), 1e-4F));
  CHECK(are_near(Rows(other.shift.grad.matrix().transpose()), Rows(dy.colwise().sum()), 1e-4F));
  // A result that lies over half of an argument cannot be right.
  Rows both = normal(18, 70, 3);
  auto first = both.topRows(9), shifted = both.middleRows(4, 9);
  CHECK_THROWS_AS(other.evaluate(first, shifted), std::invalid_argument);
}

TEST_CASE("failure 11: a row depends on its batch, or on the number of threads") {
  for (const Eigen::Index width : {4, 33, 768}) {
    // More than the 262,144 values from which on a call is shared out.
    const Eigen::Index rows = 270000 / width + 1000;
    CAPTURE(width);
    Normalization<float> layer = LayerNorm<float>(width);
    const Rows x = normal(rows, width, 1), dy = normal(rows, width, 2);
    const Rows y = layer.forward(x), dx = layer.backward(x, dy);
    const Vector<float> dscale = layer.scale.grad;
    for (int count = 1; count <= 8; ++count) {
      const test::Pool pool(count);
      Rows y_there(rows, width), dx_there(rows, width);
      layer.zero_grad();
      layer.forward(x, y_there, pool.device());
      layer.backward(x, dy, dx_there, pool.device());
      CHECK((same_bits(y_there, y) && same_bits(dx_there, dx) && same_bits(layer.scale.grad, dscale)));
    }
    int different = 0;
    for (Eigen::Index row = 0; row < rows; row += 37) {
      const Rows alone = layer.forward(x.row(row));
      different += !same_bits(alone, Rows(y.row(row)));
    }
    CHECK(different == 0);
  }
}

TEST_CASE("failure 12: threads that evaluate one layer meet in its members") {
  const BatchNorm<float> layer(70);
  std::array<int, 4> wrong{};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    // Different data in each, so that a memory which they share would show.
    const Rows x = normal(500, 70, t), expected = layer.evaluate(x);
    threads.emplace_back([&layer, x, expected, &count = wrong[t]] {
      Rows y(500, 70);
      for (int i = 0; i < 50; ++i) {
        layer.evaluate(x, y);
        count += !same_bits(y, expected);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::array<int, 4>{});
}

TEST_CASE("failure 13: a last part lost from the sums over the batch, or the two sums swapped") {
  // xhat is 1 or -1. By dy = 2 * xhat dscale grows by twice the number of values and dshift by 0 or so; by dy = 3 the
  // other way round.
  const auto check = [](Normalization<float> layer, const Rows& x, const Vector<float>& sign, float count) {
    layer.eps = 0;
    layer.forward(x);
    layer.backward(x, Rows(2 * x));
    const bool scale_is_right = (layer.scale.grad == 2 * count).all();
    const bool shift_is_right = (layer.shift.grad == 2 * count * sign).all();
    layer.zero_grad();
    layer.backward(x, Rows(Rows::Constant(x.rows(), x.cols(), 3)));
    return scale_is_right && shift_is_right && (layer.scale.grad == 3 * count * sign).all() &&
           (layer.shift.grad == 3 * count).all();
  };
  for (const Eigen::Index half : {1, 2, 3, 8, 31, 64, 257}) {
    for (const Eigen::Index rows : {1, 2, 3, 5, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 257, 1023, 1025, 2047}) {
      CAPTURE(rows, half);
      Vector<float> sign(2 * half);
      for (Eigen::Index j = 0; j < 2 * half; ++j) sign[j] = j % 2 == 0 ? 1.0F : -1.0F;
      const Rows by_rows = sign.matrix().transpose().replicate(rows, 1);
      CHECK(check(LayerNorm<float>(2 * half), by_rows, sign, static_cast<float>(rows)));
    }
  }
  // More than two axes: all samples and positions count, and no other axis is taken for the samples.
  Eigen::Tensor<float, 4, Eigen::RowMajor> x(7, 5, 3, 11);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = i / 33 % 2 == 0 ? 1.0F : -1.0F;
  const Eigen::Tensor<float, 4, Eigen::RowMajor> threes = x.constant(3);
  LayerNorm<float> layer({5, 3, 11}, 0.0);
  layer.forward(x);
  layer.backward(x, threes);
  CHECK((layer.shift.grad == 21).all());
  BatchNorm<float> batch(5);
  batch.forward(x);
  batch.backward(x, threes);
  CHECK((batch.shift.grad == 3 * 7 * 33).all());
}

TEST_CASE("failure 14: backward by the wrong statistics, and statistics that move twice or never") {
  const Rows x = normal(32, 3, 1), dy = normal(32, 3, 2);
  BatchNorm<float> layer(3), frozen(3);
  layer.forward(x);
  const Rows dx = layer.backward(x, dy);
  CHECK(layer.running->batches == 1);
  CHECK((layer.running->mean != 0).all());
  // An evaluation between the two leaves nothing behind.
  layer.evaluate(normal(5, 3, 3));
  CHECK(same_bits(Rows(layer.backward(x, dy)), dx));
  // A frozen layer goes back by fixed statistics: dx = dy * scale * rstd.
  frozen.freeze();
  frozen.forward(x);
  const float rstd = 1 / std::sqrt(1 + 1e-5F);
  CHECK(are_near(Rows(frozen.backward(x, dy)), Rows(dy * rstd), 1e-6F));
  // To compute a forward again, as checkpointing does, switch the update off.
  const auto running = watch::bits(*layer.running);
  layer.running->update = false;
  layer.forward(x);
  layer.running->update = true;
  CHECK(watch::bits(*layer.running) == running);
}

TEST_CASE("failure 15: shapes that do not fit") {
  BatchNorm<float> layer(9);
  const auto before = watch::bits(layer);
  CHECK_THROWS_AS(layer.forward(normal(4, 10, 1)), std::invalid_argument);
  CHECK_THROWS_AS(layer.forward(Eigen::Tensor<float, 1>(9)), std::invalid_argument);
  CHECK_THROWS_AS(layer.evaluate(normal(4, 8, 1)), std::invalid_argument);
  CHECK(watch::bits(layer) == before);
  BatchNorm<float> elsewhere(9, channels_on(2));
  CHECK_THROWS_AS(elsewhere.forward(normal(4, 9, 1)), std::invalid_argument);
  layer.scale.value = Vector<float>::Ones(11);
  CHECK_THROWS_AS(layer.forward(normal(4, 9, 1)), std::invalid_argument);
}

TEST_CASE("failure 16: weights of zero, g of another shape, and the axis that is not meant") {
  Rows v = normal(3, 4, 1);
  v.row(1).setZero();
  const Rows dw = normal(3, 4, 2);
  WeightNorm<float> layer(3);
  const Rows w = layer.forward(v), dv = layer.backward(v, dw);
  CHECK((w.row(1).array() == 0).all());
  CHECK((dv.row(1).array() == 0).all());
  CHECK(layer.scale.grad[1] == 0);
  CHECK((w.allFinite() && dv.allFinite()));
  layer.scale.value = Vector<float>::Ones(4);
  CHECK_THROWS_AS(layer.forward(v), std::invalid_argument);
  // -1 is the last axis; one norm over all has a word of its own.
  WeightNorm<float> last(4, outputs_on(-1)), whole(whole_tensor);
  last.scale_from(v);
  CHECK(std::abs(last.scale.value[2] - v.col(2).norm()) < 1e-6F);
  whole.scale_from(v);
  CHECK(std::abs(whole.scale.value[0] - v.norm()) < 1e-6F);
  CHECK(are_near(Rows(whole.forward(v)), v, 1e-6F));
}

TEST_CASE("failure 17: momentum the other way round, and which variance is kept") {
  Rows x(4, 1);
  x << 1, 3, 5, 7;  // mean 4, variance 5, unbiased 20/3
  const auto after = [&](Averaging averaging, Estimator estimator) {
    BatchNorm<float> layer(1);
    layer.running->averaging = averaging;
    layer.running->estimator = estimator;
    layer.forward(x);
    return std::array<float, 2>{layer.running->mean[0], layer.running->variance[0]};
  };
  const auto pytorch = after(momentum_of_new(0.25), Estimator::unbiased);
  CHECK((pytorch[0] == 1 && std::abs(pytorch[1] - (0.75F + 0.25F * 20 / 3)) < 1e-6F));
  const auto keras = after(momentum_kept(0.25), Estimator::biased);
  CHECK((keras[0] == 3 && std::abs(keras[1] - (0.25F + 0.75F * 5)) < 1e-6F));
}

TEST_CASE("failure 18: channels last gives other values, or fails in backward") {
  Eigen::Tensor<float, 4, Eigen::RowMajor> first(3, 5, 4, 7), dy_first(3, 5, 4, 7);
  test::Random random(18);
  for (Eigen::Index i = 0; i < first.size(); ++i) first.data()[i] = static_cast<float>(2 + random.normal());
  for (Eigen::Index i = 0; i < first.size(); ++i) dy_first.data()[i] = static_cast<float>(random.normal());
  const std::array<int, 4> to_last{0, 2, 3, 1};
  const Eigen::Tensor<float, 4, Eigen::RowMajor> last = first.shuffle(to_last), dy_last = dy_first.shuffle(to_last);
  BatchNorm<float> layer(5), layer_last(5, channels_on(-1));
  layer.scale.value = layer_last.scale.value = Vector<float>::LinSpaced(5, 0.5F, 2);
  const Eigen::Tensor<float, 4, Eigen::RowMajor> y = layer.forward(first), dx = layer.backward(first, dy_first);
  const Eigen::Tensor<float, 4, Eigen::RowMajor> y_last = layer_last.forward(last),
                                                 dx_last = layer_last.backward(last, dy_last);
  const Eigen::Tensor<float, 4, Eigen::RowMajor> y_moved = y.shuffle(to_last), dx_moved = dx.shuffle(to_last);
  float worst = 0;
  for (Eigen::Index i = 0; i < y.size(); ++i) {
    worst = std::max(worst, std::abs(y_moved.data()[i] - y_last.data()[i]));
    worst = std::max(worst, std::abs(dx_moved.data()[i] - dx_last.data()[i]));
  }
  CHECK(worst < 2e-6F);
  CHECK((layer.scale.grad - layer_last.scale.grad).abs().maxCoeff() < 1e-4F);
}

TEST_CASE("failure 19: a state without the counter, or with a negative variance") {
  const auto make = [] {
    BatchNorm<float> layer(2);
    layer.running->averaging = cumulative();
    return layer;
  };
  BatchNorm<float> layer = make(), restored = make();
  for (std::uint64_t step = 0; step < 5; ++step) layer.forward(normal(8, 2, step));
  std::vector<std::string> names;
  std::vector<std::vector<double>> file;
  layer.for_each_state([&](auto name, const auto& values) {
    names.emplace_back(name);
    file.emplace_back();
    for (Eigen::Index i = 0; i < values.size(); ++i) file.back().push_back(static_cast<double>(values[i]));
  });
  std::size_t place = 0;
  restored.for_each_state([&](auto name, auto values) {
    CHECK(names[place] == name);
    using Value = typename decltype(values)::Scalar;
    for (Eigen::Index i = 0; i < values.size(); ++i)
      values[i] = static_cast<Value>(file[place][static_cast<std::size_t>(i)]);
    ++place;
  });
  CHECK(place == names.size());
  CHECK(restored.running->batches == 5);
  CHECK(same_bits(Rows(restored.forward(normal(8, 2, 9))), Rows(layer.forward(normal(8, 2, 9)))));
  CHECK(watch::bits(*restored.running) == watch::bits(*layer.running));
  // What a damaged file brought is refused where it is assigned: a variance of -eps would be divided by as 0.
  Estimate<float> damaged{restored.running->mean, restored.running->variance};
  damaged.variance[1] = -1e-5F;
  CHECK_THROWS_AS(restored.running->assign(damaged), std::invalid_argument);
  CHECK(watch::bits(*restored.running) == watch::bits(*layer.running));
}

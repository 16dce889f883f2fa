#include <cmath>
#include <limits>

#include <eigennorm/eigennorm.hpp>

#include "batches.hpp"
#include "catch.hpp"
#include "watch.hpp"

// What does not enter running statistics: empty batches, and those that would make a value NaN or infinite.

using namespace eigennorm;
using test::batch;
using test::images;
using test::Matrix;
using test::special_layer;
using test::Tensor;
using watch::bits;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("an empty batch is not counted") {
  BatchNorm<double> layer = special_layer();
  layer.running->averaging = cumulative();
  const auto before = bits(*layer.running);
  const Matrix nothing(0, 3);
  CHECK(layer.forward(nothing).rows() == 0);
  CHECK(bits(*layer.running) == before);
  CHECK((layer.backward(nothing, nothing).size() == 0));
  // The next batch is the first one.
  const Matrix x = batch(5, 3, 111);
  layer.forward(x);
  CHECK(layer.running->mean(1) == Approx(x.col(1).mean()));
  CHECK(layer.running->batches == 1);
}

TEST_CASE("a batch with NaN or infinity is rejected whole, and spoils only its own channel's output") {
  const Matrix clean = batch(6, 3, 121), dy = batch(6, 3, 122);
  for (const double bad : {not_a_number, infinity, -infinity}) {
    CAPTURE(bad);
    BatchNorm<double> layer = special_layer();
    layer.running->averaging = cumulative();
    layer.forward(batch(6, 3, 123));
    BatchNorm<double> spared = layer;
    Matrix x = clean;
    x(2, 1) = bad;
    const Matrix y = layer.forward(x), good = spared.forward(clean);
    CHECK(y.col(1).array().isNaN().all());
    CHECK(bits(Matrix(y.col(0))) == bits(Matrix(good.col(0))));
    CHECK(bits(Matrix(y.col(2))) == bits(Matrix(good.col(2))));
    const Matrix dx = layer.backward(x, dy), good_dx = spared.backward(clean, dy);
    CHECK(dx.col(1).array().isNaN().all());
    CHECK(bits(Matrix(dx.col(0))) == bits(Matrix(good_dx.col(0))));
    CHECK(bits(Matrix(dx.col(2))) == bits(Matrix(good_dx.col(2))));

    // None of the running values moved, those of good channels included; only the counter tells.
    BatchNorm<double> untouched = special_layer();
    untouched.running->averaging = cumulative();
    untouched.forward(batch(6, 3, 123));
    CHECK(layer.running->rejected_batches == 1);
    CHECK(layer.running->batches == 1);
    layer.running->rejected_batches = 0;
    CHECK(bits(*layer.running) == bits(*untouched.running));
    // And training goes on as if it had not been there.
    const Matrix next = batch(6, 3, 124);
    layer.forward(next);
    untouched.forward(next);
    CHECK(bits(*layer.running) == bits(*untouched.running));
  }
}

TEST_CASE("a batch whose variance is too large for a running value is rejected, its output is right") {
  BatchNorm<float> layer(2);
  const auto before = bits(layer.running->mean), before_variance = bits(layer.running->variance);
  Eigen::MatrixXf x(2, 2);
  x << 1e25F, 1, -1e25F, 2;
  const Eigen::MatrixXf y = layer.forward(x);
  CHECK(y(0, 0) == Approx(1));
  CHECK(y(1, 0) == Approx(-1));
  CHECK(bits(layer.running->mean) == before);
  CHECK(bits(layer.running->variance) == before_variance);
  CHECK(layer.running->batches == 0);
  CHECK(layer.running->rejected_batches == 1);
}

TEST_CASE("where nothing is updated nothing is rejected") {
  BatchNorm<double> layer = special_layer();
  layer.freeze();
  Matrix x = batch(4, 3, 131);
  const Matrix good = layer.forward(x);
  x(1, 1) = not_a_number;
  const auto before = bits(*layer.running);
  const Matrix y = layer.forward(x);
  CHECK(bits(*layer.running) == before);
  // With fixed statistics a value spoils itself alone.
  CHECK(std::isnan(y(1, 1)));
  CHECK(bits(Matrix(y.row(0))) == bits(Matrix(good.row(0))));
  CHECK(y(2, 1) == good(2, 1));
  layer.unfreeze();
  layer.running->update = false;
  layer.forward(x);
  CHECK(layer.running->rejected_batches == 0);
}

TEST_CASE("MeanOnlyBatchNorm and InstanceNorm reject too") {
  MeanOnlyBatchNorm<double> mean_only(3);
  Matrix x = batch(4, 3, 141);
  x(0, 2) = infinity;
  const Matrix y = mean_only.forward(x);
  CHECK(y.col(2).array().isNaN().all());
  CHECK(y.leftCols(2).array().isFinite().all());
  CHECK((mean_only.running->mean == 0).all());
  CHECK(mean_only.running->rejected_batches == 1);

  InstanceNorm<double> instance(3);
  instance.running.emplace(3);
  Tensor images_with_nan = images(142);
  images_with_nan(2, 1, 0, 0) = not_a_number;
  instance.forward(images_with_nan);
  CHECK((instance.running->mean == 0).all());
  CHECK((instance.running->variance == 1).all());
  CHECK(instance.running->rejected_batches == 1);
  CHECK(instance.running->batches == 0);
}

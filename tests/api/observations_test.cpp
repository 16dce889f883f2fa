#define EIGEN_USE_THREADS  // for Eigen::ThreadPoolDevice

#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "pool.hpp"
#include "support.hpp"
#include "watch.hpp"

// PopulationStatistics that observe x itself, without a layer: the bits of a BatchNorm's forward whose moments are
// observed.

using namespace eigennorm;
using test::Random;
using test::Sizes;
using watch::bits;
using watch::refused;
using watch::state_bits;

namespace {

/// Both ways, side by side.
template <typename Scalar>
struct Both {
  std::int64_t features;
  std::int64_t axis;
  Statistic statistic = Statistic::mean_variance;
  PopulationStatistics<Scalar> by_layer{features, statistic}, by_itself{features, statistic}, unsized{};

  template <typename X>
  void observe(const X& x) {
    const Channels channels = channels_on(axis);
    if (statistic == Statistic::mean) {
      MeanOnlyBatchNorm<Scalar> layer(features, channels);
      layer.forward(x);
      by_layer.observe(layer.moments());
    } else {
      BatchNorm<Scalar> layer(features, channels);
      layer.running->update = false;
      layer.forward(x);
      by_layer.observe(layer.moments());
    }
    by_itself.observe(x, channels);
    if (statistic == Statistic::mean_variance) unsized.observe(x, channels);
  }
  bool agree() const {
    return state_bits(by_layer) == state_bits(by_itself) &&
           (statistic == Statistic::mean || state_bits(by_layer) == state_bits(unsized));
  }
};

/// Numbers of very different sizes, zeros of both signs among them.
test::Numbers mixed(Random& random, std::size_t size, test::Real largest) {
  test::Numbers numbers = random.normals(size, 0.4);
  for (std::size_t i = 0; i < size; ++i) {
    if (i % 7 == 3) numbers[i] *= largest;
    if (i % 7 == 4) numbers[i] /= largest;
    if (i % 11 == 5) numbers[i] = 0;
    if (i % 11 == 6) numbers[i] = -0.0L;
  }
  return numbers;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("x itself: the bits of a layer's forward", "", test::AllFields) {
  using Scalar = typename TestType::Scalar;
  struct Stream {
    std::int64_t axis;
    std::vector<Sizes> shapes;
  };
  const std::vector<Stream> streams = {
      {1, {{1, 17}, {1, 17}, {5, 17}, {1, 17}, {70, 17}, {1, 17}}},
      {-1, {{1, 1, 1, 5}, {2, 3, 4, 5}, {1, 1, 1, 5}, {1, 1, 1, 5}}},
      {1, {{3, 8, 5, 6}, {1, 8, 1, 1}, {1, 8, 40, 40}, {1, 8, 1, 1}}},
      {0, {{6}, {6}, {6}, {6}}},
      {0, {{6, 1}, {6, 9}, {6, 3000}, {6, 1}}},
      {1, {{1, 1}, {9, 1}, {1, 1}}},
  };
  const test::Real largest = std::is_same_v<typename TestType::Data, Eigen::half> ? 1000 : 1e18L;
  for (const Statistic statistic : {Statistic::mean_variance, Statistic::mean}) {
    for (const Stream& stream : streams) {
      Random random(1);
      const Sizes& shape = stream.shapes[0];
      const auto axis = static_cast<std::size_t>(stream.axis < 0 ? stream.axis + static_cast<std::int64_t>(shape.size())
                                                                 : stream.axis);
      Both<Scalar> both{shape[axis], stream.axis, statistic};
      for (const Sizes& next : stream.shapes) {
        INFO("axis " << stream.axis << ", " << next.size() << " axes");
        const TestType x(next, mixed(random, reference::size_of(next), largest));
        test::with_rank(next.size(), [&](auto rank) { both.observe(x.template map<rank>()); });
        CHECK(both.agree());
      }
      CHECK(both.by_itself.batches() == static_cast<std::int64_t>(stream.shapes.size()));
      CHECK(both.by_itself.count() == both.by_layer.count());
    }
  }
}

TEST_CASE("x itself: any Eigen object, any strides") {
  using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::MatrixXd matrix = Eigen::MatrixXd::Random(12, 20);
  const Rows rows = matrix;
  Both<double> both{5, 1};
  both.observe(matrix.block(3, 2, 1, 5));
  both.observe(matrix.block(3, 2, 4, 5));
  both.observe(rows.block(4, 1, 1, 5));
  both.observe(rows.block(4, 1, 3, 5));
  both.observe(Eigen::RowVectorXd(rows.row(2).head(5)));
  both.observe(Eigen::Map<const Eigen::MatrixXd, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>(matrix.data(), 1, 5,
                                                                                                   {24, 3}));
  both.observe(Eigen::Ref<const Eigen::MatrixXd>(matrix.leftCols(5)));
  both.observe(Eigen::Array<double, 1, 5>::Random().eval());
  CHECK(both.agree());
  Both<double> column{7, 0};
  column.observe(Eigen::VectorXd(matrix.col(3).head(7)));
  column.observe(matrix.col(4).head(7));
  CHECK(column.agree());
  Both<long double> wide{3, 1};
  for (int i = 0; i < 4; ++i) wide.observe(Eigen::Matrix<long double, 1, 3>::Random().eval());
  wide.observe(Eigen::Matrix<long double, 4, 3>::Random().eval());
  CHECK(wide.agree());
}

TEST_CASE("x itself, on a pool") {
  const test::Pool pool(3);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(40000, 6);
  PopulationStatistics<float> alone, together;
  alone.observe(x, channels_on(1));
  together.observe(x, channels_on(1), pool.device());
  together.observe(Eigen::MatrixXf(x.topRows(1)), channels_on(1), pool.device());
  alone.observe(Eigen::MatrixXf(x.topRows(1)), channels_on(1));
  CHECK(state_bits(alone) == state_bits(together));
}

TEST_CASE("a stream of single observations has the mean and the variance of all of them") {
  Random random(3);
  PopulationStatistics<float> population(4);
  Eigen::MatrixXd all(1000, 4);
  for (Eigen::Index i = 0; i < all.rows(); ++i) {
    for (Eigen::Index c = 0; c < 4; ++c) {
      all(i, c) = static_cast<float>(1e4 + static_cast<double>(c + 1) * random.normal());
    }
    population.observe(Eigen::RowVectorXf(all.row(i).cast<float>()), channels_on(1));
  }
  CHECK(population.count() == 1000);
  CHECK(population.batches() == 1000);
  const Estimate<float> estimate = population.pooled();
  for (Eigen::Index c = 0; c < 4; ++c) {
    const double mean = all.col(c).mean();
    CHECK(estimate.mean(c) == Approx(mean).epsilon(1e-7));
    CHECK(estimate.variance(c) == Approx((all.col(c).array() - mean).square().sum() / 999).epsilon(1e-6));
  }
}

TEST_CASE("two observations are enough for pooled, one is not, and Algorithm 2 needs a batch of two") {
  PopulationStatistics<double> population(2);
  CHECK(refused("PopulationStatistics::pooled", {"at least one observed batch", "none"},
                [&] { population.pooled(); }) == "");
  population.observe(Eigen::RowVector2d(1, 2), channels_on(1));
  CHECK(refused("PopulationStatistics::pooled", {"at least two values", "got one"}, [&] { population.pooled(); }) ==
        "");
  CHECK((population.pooled(Estimator::biased).variance == 0).all());
  population.observe(Eigen::RowVector2d(3, 8), channels_on(1));
  CHECK(population.pooled().variance(0) == 2);
  CHECK(population.pooled().variance(1) == 18);
  CHECK(population.pooled(Estimator::biased).variance(1) == 9);
  CHECK(refused("PopulationStatistics::algorithm2", {"one batch of two or more values", "2 of one value"},
                [&] { population.algorithm2(); }) == "");
  // A mean alone needs one value.
  PopulationStatistics<double> means(2, Statistic::mean);
  means.observe(Eigen::RowVector2d(1, 2), channels_on(1));
  CHECK(means.algorithm2().mean(1) == 2);
  CHECK(means.pooled().variance.size() == 0);
}

TEST_CASE("x that cannot be observed is refused and changes nothing") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  PopulationStatistics<double> population(3);
  population.observe(Eigen::MatrixXd(Eigen::MatrixXd::Random(4, 3)), channels_on(1));
  const auto state = [&] { return state_bits(population); };
  const auto before = state();
  static constexpr const char* owner = "PopulationStatistics::observe";
  const auto refuses = [&](const Eigen::MatrixXd& x, std::initializer_list<std::string> parts, std::int64_t axis = 1) {
    const std::string answer = refused(owner, parts, [&] { population.observe(x, channels_on(axis)); });
    return answer.empty() && state() == before ? std::string() : "not refused as it should be: " + answer;
  };
  for (const Eigen::Index rows : {1, 2, 50}) {
    for (const double bad : {nan, infinity, -infinity}) {
      Eigen::MatrixXd x = Eigen::MatrixXd::Random(rows, 3);
      x(rows / 2, 1) = bad;
      CHECK(refuses(x, {"finite", "NaN or infinity"}).empty());
    }
    // The square of its distance is beyond double.
    Eigen::MatrixXd x = Eigen::MatrixXd::Random(rows, 3);
    x.col(2).setConstant(1e200);
    CHECK(refuses(x, {"range", "larger"}).empty());
    CHECK(refuses(Eigen::MatrixXd::Random(rows, 4), {"3 channels", "axis 1", ", 4]"}).empty());
    CHECK(refuses(Eigen::MatrixXd::Random(rows, 3), {"axis 2", ", 3]"}, 2).empty());
  }
  // Nothing is added by nothing.
  population.observe(Eigen::MatrixXd(0, 3), channels_on(1));
  CHECK(state() == before);
  CHECK(refuses(Eigen::MatrixXd(0, 4), {"3 channels"}).empty());

  // Values that lie on each other.
  const Eigen::Map<const Eigen::MatrixXd, 0, Eigen::OuterStride<>> same(state().size() > 0 ? &infinity : nullptr, 1, 3,
                                                                        Eigen::OuterStride<>(0));
  CHECK(refused(owner, {"NaN"}, [&] { population.observe(same, channels_on(1)); }) == "");
  CHECK(state() == before);
  const double one = 1.5;
  const Eigen::Map<const Eigen::MatrixXd, 0, Eigen::OuterStride<>> spread(&one, 1, 3, Eigen::OuterStride<>(0));
  PopulationStatistics<double> of_spread(3), of_copy(3);
  of_spread.observe(spread, channels_on(1));
  of_copy.observe(Eigen::MatrixXd(spread), channels_on(1));
  CHECK((of_spread.pooled(Estimator::biased).mean == of_copy.pooled(Estimator::biased).mean).all());
  CHECK(refused(owner, {"3 channels", "axis 1", "[3, 1]", "channels_on(0)"},
                [&] { population.observe(Eigen::Vector3d(1, 2, 3), channels_on(1)); }) == "");
  CHECK(state() == before);

  // An object without a size takes none from what it refuses.
  PopulationStatistics<double> open;
  CHECK(refused(owner, {"NaN"}, [&] { open.observe(Eigen::RowVector2d(1, nan), channels_on(1)); }) == "");
  CHECK(refused(owner, {"at least one feature", "[3, 0]"},
                [&] { open.observe(Eigen::MatrixXd(3, 0), channels_on(1)); }) == "");
  open.observe(Eigen::MatrixXd(0, 5), channels_on(1));
  CHECK(open.batches() == 0);
  open.observe(Eigen::RowVector3d(1, 2, 3), channels_on(1));
  CHECK(open.batches() == 1);
  // One value is as large as it likes.
  PopulationStatistics<double> large(1);
  large.observe(Eigen::Matrix<double, 1, 1>(1e300), channels_on(1));
  CHECK(large.pooled(Estimator::biased).mean(0) == 1e300);
}

TEST_CASE("sums of moments that would leave the range are refused whole") {
  PopulationStatistics<double> population(2);
  population.observe(Eigen::MatrixXd(Eigen::MatrixXd::Random(4, 2)), channels_on(1));
  const auto before = state_bits(population);
  // The first sample of InstanceNorm could be added, the second not.
  Eigen::Tensor<double, 3> x(2, 2, 3);
  x.setRandom();
  for (Eigen::Index i = 0; i < 3; ++i) x(1, 0, i) = 1e200;
  InstanceNorm<double> layer(2);
  layer.forward(x);
  CHECK(refused("PopulationStatistics::observe", {"range"}, [&] { population.observe(layer.moments()); }) == "");
  CHECK(state_bits(population) == before);
  PopulationStatistics<double> far(2);
  far.observe(Eigen::RowVector2d(1, -1e200), channels_on(1));
  CHECK(refused("PopulationStatistics::merge", {"range"}, [&] { population.merge(far); }) == "");
  CHECK(state_bits(population) == before);
}

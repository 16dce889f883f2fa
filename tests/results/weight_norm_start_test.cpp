#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "net_layers.hpp"
#include "support.hpp"
#include "vectors.hpp"

// WeightNorm::initialize: g and bias from a first batch, against stored answers and by what they are for.

using namespace eigennorm;
using nets::Numbers;
using nets::Real;
using test::worst;

namespace {

template <typename Scalar>
struct Start {
  WeightNorm<Scalar> layer;
  Eigen::Matrix<Scalar, Eigen::Dynamic, 1> bias;

  template <typename Tensor>
  explicit Start(const Tensor& t) : layer(t.dimension(1)), bias(t.dimension(1)) {
    layer.initialize(t, bias);
  }
  Numbers g() const { return test::numbers(layer.scale.value); }
  Numbers b() const { return Numbers(bias.data(), bias.data() + bias.size()); }
};

template <typename Scalar, int Rank, int Order>
void check_given(const vectors::Case& c) {
  const vectors::Tensor& given = c.in("t_given");
  const auto t = nets::tensor_of<Eigen::Tensor<Scalar, Rank, Order>>(given.shape, nets::numbers(given));
  const Start<Scalar> start(t);
  const Numbers g = nets::numbers(c, "ref", "g_from_t"), b = nets::numbers(c, "ref", "b_from_t");
  Numbers g_scale, b_scale;
  for (std::size_t i = 0; i < g.size(); ++i) {
    b_scale.push_back(1 + std::abs(b[i]));  // b = -mu g
    g_scale.push_back(g[i] * b_scale[i]);
  }
  const test::Tolerance limits = nets::tolerance(c);
  CHECK(worst(start.g(), g, g_scale, limits) <= limits.limit);
  CHECK(worst(start.b(), b, b_scale, limits) <= limits.limit);
}

// End to end: w of a WeightNorm with scale 1, t, then the layer's output with the g and b that come of it.
template <typename Scalar, int Rank>
void check_net(const vectors::Case& c) {
  using Tensor = Eigen::Tensor<Scalar, Rank, Eigen::RowMajor>;
  const vectors::Tensor& v_given = c.in("v");
  const nets::Convolution conv(c, c.text("layer"), v_given.shape);
  const auto v = nets::tensor_of<Tensor>(v_given.shape, nets::numbers(v_given));
  const Numbers none(static_cast<std::size_t>(conv.outputs), 0), x = nets::numbers(c.in("x"));
  const Numbers w = nets::values_of(WeightNorm<Scalar>(conv.outputs).evaluate(v));
  const vectors::Shape shape = c.find("ref", "t")->shape;
  const Numbers t = nets::rounded(c, nets::apply(conv, x, c.in("x").shape, w, none));
  Start<Scalar> start(nets::tensor_of<Tensor>(shape, t));
  const Numbers y =
      nets::rounded(c, nets::apply(conv, x, c.in("x").shape, nets::values_of(start.layer.evaluate(v)), start.b()));

  const Numbers true_t = nets::numbers(c, "ref", "t"), g = nets::numbers(c, "ref", "g"),
                mu = nets::numbers(c, "ref", "mu");
  const Numbers T = nets::apply(conv, nets::magnitudes(x), c.in("x").shape, nets::magnitudes(w), none);
  const std::vector<std::size_t> channel = nets::channels_of(shape);
  Numbers A(g.size(), 0), g_scale, b_scale, y_scale;
  for (std::size_t i = 0; i < T.size(); ++i) A[channel[i]] = std::max(A[channel[i]], T[i]);
  for (std::size_t k = 0; k < g.size(); ++k) {
    g_scale.push_back(g[k] * (1 + A[k] * g[k]));
    b_scale.push_back(g[k] * (A[k] + std::abs(mu[k]) * (1 + A[k] * g[k])));
  }
  for (std::size_t i = 0; i < T.size(); ++i) {
    const std::size_t k = channel[i];
    y_scale.push_back(g[k] * (T[i] + std::abs(true_t[i]) * (1 + A[k] * g[k])) + b_scale[k]);
  }
  const test::Tolerance of_layers = nets::tolerance(c), of_products = nets::tolerance(c, true);
  CHECK(worst(t, true_t, T, of_products) <= of_products.limit);
  CHECK(worst(start.g(), g, g_scale, of_layers) <= of_layers.limit);
  CHECK(worst(start.b(), nets::numbers(c, "ref", "b"), b_scale, of_layers) <= of_layers.limit);
  CHECK(worst(y, nets::numbers(c, "ref", "y"), y_scale, of_products) <= of_products.limit);
}

template <typename Scalar>
void check(const vectors::Case& c) {
  if (c.in("v").shape.size() == 2) {
    check_given<Scalar, 2, Eigen::RowMajor>(c);
    check_given<Scalar, 2, Eigen::ColMajor>(c);
    check_net<Scalar, 2>(c);
  } else {
    check_given<Scalar, 3, Eigen::RowMajor>(c);
    check_given<Scalar, 3, Eigen::ColMajor>(c);
    check_net<Scalar, 3>(c);
  }
}

}  // namespace

TEST_CASE("WeightNorm's start agrees with the stored answers") {
  const std::vector<vectors::Case> cases = vectors::load(std::string(nets::folder) + "weightnorm_init/manifest.txt");
  CHECK(cases.size() == 4);
  for (const vectors::Case& c : cases) {
    CAPTURE(c.id);
    c.dtype == "f64" ? check<double>(c) : check<float>(c);
  }
}

TEST_CASE("after initialize, pre-activations have mean 0 and variance 1, wherever the outputs are") {
  const Eigen::MatrixXf t = (5 * test::random_matrix(40, 6, 3)).array() + 7;
  WeightNorm<float> layer(6), turned(6);
  Eigen::RowVectorXf bias(6);
  layer.initialize(t, bias);
  const Eigen::MatrixXf y = (t * layer.scale.value.matrix().asDiagonal()).rowwise() + bias;
  for (Eigen::Index k = 0; k < 6; ++k) {
    CHECK(y.col(k).mean() == Approx(0).margin(1e-5));
    CHECK(y.col(k).squaredNorm() / 40 == Approx(1).epsilon(1e-5));
  }
  Eigen::VectorXf long_bias = Eigen::VectorXf::Zero(12);
  turned.initialize(Eigen::MatrixXf(t.transpose()),
                    Eigen::Map<Eigen::VectorXf, 0, Eigen::InnerStride<2>>(long_bias.data(), 6), channels_on(0));
  CHECK((turned.scale.value == layer.scale.value).all());
  CHECK(long_bias[2] == bias[1]);
  CHECK(long_bias[1] == 0);

  const Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic> halves = t.cast<Eigen::half>();
  layer.use_scale(false);
  layer.initialize(halves, bias);  // g is what comes of it, so it is there afterwards
  CHECK(layer.scale.value.size() == 6);
}

TEST_CASE("a unit that does not vary has no start, and nothing changes") {
  using Catch::Matchers::ContainsSubstring;
  Eigen::MatrixXf t = test::random_matrix(8, 3, 4);
  t.col(1).setConstant(2.5F);
  WeightNorm<float> layer(3);
  layer.scale.value << 1, 2, 3;
  Eigen::VectorXf bias(3);
  bias << 4, 5, 6;
  CHECK_THROWS_WITH(
      layer.initialize(t, bias),
      "WeightNorm::initialize: expected finite values that differ for each output, got a variance of 0 for "
      "output 1");
  t(3, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH(layer.initialize(t, bias), ContainsSubstring("for output 1"));
  CHECK_THROWS_WITH(layer.initialize(Eigen::MatrixXf(0, 3), bias), ContainsSubstring("expected finite values"));
  CHECK_THROWS_WITH(layer.initialize(test::random_matrix(8, 4, 1), bias),
                    "WeightNorm::initialize: made for 3 outputs on axis 1, got an input of shape [8, 4]");
  Eigen::VectorXf short_bias(2);
  CHECK_THROWS_WITH(layer.initialize(test::random_matrix(8, 3, 1), short_bias),
                    "WeightNorm::initialize: expected a bias of 3 values on one axis, got shape [2, 1]");
  Eigen::MatrixXf far = test::random_matrix(8, 3, 4);
  far.col(2).array() += 1e6F;
  Eigen::Matrix<Eigen::half, 3, 1> half_bias(Eigen::half(4), Eigen::half(5), Eigen::half(6));
  CHECK_THROWS_WITH(layer.initialize(far, half_bias),
                    ContainsSubstring("expected a bias in the range of its type, got -"));
  CHECK(half_bias[0] == Eigen::half(4));
  CHECK(layer.scale.value[1] == 2);
  CHECK(bias == Eigen::Vector3f(4, 5, 6));
}

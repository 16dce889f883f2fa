#include <limits>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "members.hpp"
#include "spread_office.hpp"
#include "support.hpp"
#include "watch.hpp"

// A batch is spread over members, and one of them is wrong: all fail, with a text that names the layer, the member and
// what came; nobody has changed, nobody waits, and the next right call is as if nothing had been.

using namespace eigennorm;
using namespace test;

TEST_CASE("another number of channels on one member") {
  refused_everywhere(Verb::forward, {"[4]", "[3]"}, [](Desk& desk, Peers& peers) {
    BatchNorm<float> other(4);
    Matrix x = Matrix::Random(desk.x.rows(), 4), y = x;
    other.forward(x, y, with(peers));
  });
}

TEST_CASE("x of another number of channels than its layer, on one member") {
  refused_everywhere(Verb::forward, {"made for 3 channels", "got an input of shape"}, [](Desk& desk, Peers& peers) {
    Matrix x = Matrix::Random(5, 4), y = x;
    desk.layer.forward(x, y, with(peers));
  });
}

TEST_CASE("another layer, statistic, Scalar, Storage, eps or verb on one member") {
  refused_everywhere(Verb::forward, {"MeanOnlyBatchNorm", "mean of [3]"}, [](Desk& desk, Peers& peers) {
    MeanOnlyBatchNorm<float> other(3);
    other.forward(desk.x, desk.y, with(peers));
  });
  refused_everywhere(Verb::forward, {"double in a layer of double"}, [](Desk&, Peers& peers) {
    BatchNorm<double> other(3);
    Eigen::MatrixXd x = Eigen::MatrixXd::Random(4, 3), y = x;
    Context<double> context;
    context.peers = &peers;
    other.forward(x, y, context);
  });
  refused_everywhere(Verb::forward, {"half in a layer of float"}, [](Desk& desk, Peers& peers) {
    using Half = Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic>;
    const Half x = Half::Random(4, 3);
    Half y = x;
    desk.layer.forward(x, y, with(peers));
  });
  refused_everywhere(Verb::forward, {"eps 0.001", "eps 1e-05"}, [](Desk& desk, Peers& peers) {
    BatchNorm<float> other(3, 1e-3);
    other.forward(desk.x, desk.y, with(peers));
  });
  refused_everywhere(Verb::forward, {"backward of BatchNorm", "forward of BatchNorm"},
                     [](Desk& desk, Peers& peers) { desk.backward(peers); });
  refused_everywhere(Verb::backward, {"backward of BatchNorm", "forward of BatchNorm"},
                     [](Desk& desk, Peers& peers) { desk.forward(peers); });
  refused_everywhere(Verb::forward, {"evaluate of BatchNorm", "forward of BatchNorm"}, [](Desk& desk, Peers& peers) {
    BatchNorm<float> other(3);
    other.running.reset();
    other.evaluate(desk.x, desk.y, with(peers));
  });
  refused_everywhere(Verb::forward, {"running statistics move"}, [](Desk& desk, Peers& peers) {
    BatchNorm<float> other(3);
    other.running.reset();
    other.forward(desk.x, desk.y, with(peers));
  });
}

TEST_CASE("running statistics that move otherwise on one member") {
  refused_everywhere(Verb::forward, {"move by 0.1", "move by 0.2"}, [](Desk& desk, Peers& peers) {
    Normalization<float> other = desk.layer;
    other.running->averaging = momentum_of_new(0.2);
    other.forward(desk.x, desk.y, with(peers));
  });
  refused_everywhere(Verb::forward, {"move by 0.1, biased"}, [](Desk& desk, Peers& peers) {
    Normalization<float> other = desk.layer;
    other.running->estimator = Estimator::biased;
    other.forward(desk.x, desk.y, with(peers));
  });
  // Of plain averages one has had another number of batches.
  BatchNorm<float> averages(3);
  averages.running->averaging = cumulative();
  refused_everywhere(
      Verb::forward, {"move by 0.5", "move by 1"},
      [](Desk& desk, Peers& peers) {
        Normalization<float> other = desk.layer;
        other.running->batches = 0;
        other.forward(desk.x, desk.y, with(peers));
      },
      averages);
}

TEST_CASE("a wrong shape on one member") {
  refused_everywhere(Verb::forward, {"expected y of x's shape"}, [](Desk& desk, Peers& peers) {
    Matrix y(desk.x.rows() + 1, 3);
    desk.layer.forward(desk.x, y, with(peers));
  });
  refused_everywhere(Verb::forward, {"expected an input with axis 1"}, [](Desk& desk, Peers& peers) {
    Eigen::Tensor<float, 1> x(3), y(3);
    x.setZero();
    desk.layer.forward(x, y, with(peers));
  });
  refused_everywhere(Verb::forward, {"x and y of forward to share no memory"}, [](Desk& desk, Peers& peers) {
    Matrix x = Matrix::Random(4, 3);
    desk.layer.forward(x, x, with(peers));
  });
  refused_everywhere(Verb::backward, {"expected the x of its forward"}, [](Desk& desk, Peers& peers) {
    Matrix x = Matrix::Random(9, 3), dx = x;
    desk.layer.backward(x, x, dx, with(peers));
  });
  refused_everywhere(Verb::backward, {"expected dx of x's shape"}, [](Desk& desk, Peers& peers) {
    Matrix dx(desk.x.rows() + 2, 3);
    desk.layer.backward(desk.x, desk.dy, dx, with(peers));
  });
  refused_everywhere(Verb::forward, {"finite eps"}, [](Desk& desk, Peers& peers) {
    Normalization<float> other = desk.layer;
    other.eps = -1;
    other.forward(desk.x, desk.y, with(peers));
  });
}

TEST_CASE("backward before forward, or after one of another kind, on one member") {
  refused_everywhere(Verb::backward, {"expected a forward before backward"}, [](Desk& desk, Peers& peers) {
    BatchNorm<float> fresh(3);
    fresh.backward(desk.x, desk.dy, desk.dx, with(peers));
  });
  refused_everywhere(Verb::backward, {"expected the peers of its forward in backward, 1 in all, got 4"},
                     [](Desk& desk, Peers& peers) {
                       BatchNorm<float> other(3);
                       const Matrix x = Matrix::Random(5, 3);
                       other.forward(x);
                       other.backward(x, x, with(peers));
                       (void)desk;
                     });
}

TEST_CASE("backward without the peers of its forward is the caller's own error") {
  Office office;
  office.forward();
  Desk& desk = office.desks[0];
  CHECK(watch::refused(
            "BatchNorm", {"4 in all, got 1"}, [&] { desk.layer.backward(desk.x, desk.dy, desk.dx); }, desk.layer,
            desk.dx) == "");
  Post post(2);
  for (const std::string& failure : on_members(post, [&](Peers& peers) { office.of(peers).backward(peers); }))
    CHECK(failure.find("4 in all, got 2") != std::string::npos);
}

TEST_CASE("NaN or infinity on one member is an error of all, which names it") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    refused_everywhere(Verb::forward, {"expected finite values", "in group 1"}, [&](Desk& desk, Peers& peers) {
      Matrix x = Matrix::Random(6, 3), y(6, 3);
      x(4, 1) = bad;
      desk.layer.forward(x, y, with(peers));
    });
  }
}

TEST_CASE("without peers, NaN stays what it is") {
  BatchNorm<float> layer(3);
  Matrix x = Matrix::Random(6, 3);
  x(4, 1) = std::numeric_limits<float>::quiet_NaN();
  layer.forward(x);
  CHECK(layer.running->rejected_batches == 1);
}

TEST_CASE("one value in all cannot move a running variance, two can") {
  BatchNorm<float> layers[2] = {BatchNorm<float>(3), BatchNorm<float>(3)};
  for (const bool second : {false, true}) {
    Matrix y[2] = {Matrix::Zero(1, 3), Matrix::Zero(second ? 1 : 0, 3)};
    const std::vector<watch::Bytes> before = watch::bits_of_all(layers[0], layers[1], y[0], y[1]);
    Post post(2);
    const auto failures = on_members(post, [&](Peers& peers) {
      const int i = peers.member();
      const Matrix x = Matrix::Random(y[i].rows(), 3);
      layers[i].forward(x, y[i], with(peers));
    });
    for (const std::string& failure : failures) {
      INFO(failure);
      CHECK((failure.find("BatchNorm: expected more than one value") == 0) == !second);
      CHECK(failure.empty() == second);
    }
    if (!second) CHECK((watch::bits_of_all(layers[0], layers[1], y[0], y[1]) == before));
  }
  for (const BatchNorm<float>& layer : layers) {
    CHECK(layer.running->batches == 1);
    CHECK(layer.moments().count() == 2);
  }
}

TEST_CASE("no samples on any member: an empty tensor, which moves nothing") {
  std::vector<BatchNorm<float>> layers(3, BatchNorm<float>(3));
  Post post(3);
  const auto failures = on_members(post, [&](Peers& peers) {
    auto& layer = layers[static_cast<std::size_t>(peers.member())];
    const Matrix x(0, 3);
    Matrix y(0, 3), dx(0, 3);
    layer.forward(x, y, with(peers));
    layer.backward(x, y, dx, with(peers));
  });
  for (const std::string& failure : failures) CHECK(failure == "");
  for (const auto& layer : layers) {
    CHECK(layer.running->batches == 0);
    CHECK(layer.moments().count() == 0);
    CHECK(layer.running->mean.isZero());
  }
}

TEST_CASE("layers that keep samples apart do not talk, right or wrong") {
  const std::vector<Normalization<float>> apart = {
      LayerNorm<float>(4),
      LayerNorm<float>(4, over(0)),
      RMSNorm<float>(4),
      InstanceNorm<float>(4),
      InstanceNorm<float>(4, channels_on(0), samples_on(1)),
      InstanceNorm<float>(4, channels_on(0), samples_on()),
      InstanceNorm<float>(4, channels_on(1), samples_on()),
      GroupNorm<float>(2, 4),
      GroupNorm<float>(2, 4, channels_on(1), samples_on()),
      WeightNorm<float>(4),
      WeightNorm<float>(4, outputs_on(1)),
      WeightNorm<float>(whole_tensor),
  };
  for (const Normalization<float>& made : apart) {
    Post post(2);
    bool same[2] = {false, false};
    const auto failures = on_members(post, [&](Peers& peers) {
      Normalization<float> layer = made, alone = made;
      const Matrix x = test::random_matrix(4, 4, 1);
      Matrix y(4, 4), dx(4, 4), own_y(4, 4), own_dx(4, 4), wrong(3, 4);
      layer.forward(x, y, with(peers));
      alone.forward(x, own_y);
      layer.backward(x, y, dx, with(peers));
      alone.backward(x, y, own_dx);
      same[peers.member()] = test::same_bits(y, own_y) && test::same_bits(dx, own_dx);
      layer.evaluate(x, y, with(peers));
      layer.forward(x, wrong, with(peers));
    });
    CHECK((same[0] && same[1]));
    for (const std::string& failure : failures) CHECK(failure.find("expected y of x's shape") != std::string::npos);
    CHECK(post.messages() == 0);
  }
}

TEST_CASE("fixed statistics do not talk; statistics of the batch that move do") {
  std::vector<BatchNorm<float>> layers(2, BatchNorm<float>(3));
  Post post(2);
  const auto failures = on_members(post, [&](Peers& peers) {
    auto& layer = layers[static_cast<std::size_t>(peers.member())];
    const Matrix x = test::random_matrix(5, 3, 1);
    Matrix y(5, 3), dx(5, 3);
    layer.freeze();
    layer.forward(x, y, with(peers));
    layer.backward(x, y, dx, with(peers));
    layer.evaluate(x, y, with(peers));
  });
  for (const std::string& failure : failures) CHECK(failure == "");
  CHECK(post.messages() == 0);

  // Fixed statistics in use while they go on moving.
  BatchNorm<float> alone(3);
  alone.running->use_in_forward = true;
  layers = {alone, alone};
  const Matrix whole = test::random_matrix(10, 3, 1);
  Matrix whole_y(10, 3), y[2] = {Matrix(5, 3), Matrix(5, 3)};
  alone.forward(whole, whole_y);
  const auto again = on_members(post, [&](Peers& peers) {
    const int i = peers.member();
    const Matrix x = whole.middleRows(5 * i, 5);
    Matrix dx(5, 3);
    layers[static_cast<std::size_t>(i)].forward(x, y[i], with(peers));
    layers[static_cast<std::size_t>(i)].backward(x, x, dx, with(peers));
  });
  for (const std::string& failure : again) CHECK(failure == "");
  CHECK(post.messages() == 2);
  for (int i = 0; i < 2; ++i) {
    CHECK(test::same_bits(y[i], Matrix(whole_y.middleRows(5 * i, 5))));
    const auto& layer = layers[static_cast<std::size_t>(i)];
    CHECK(layer.moments().frozen());
    CHECK(layer.running->mean.isApprox(alone.running->mean));
    CHECK(layer.running->variance.isApprox(alone.running->variance));
    CHECK(layer.running->batches == 1);
  }
}

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "members.hpp"
#include "support.hpp"
#include "watch.hpp"

// A batch is spread over members, and one of them is wrong: all fail, with a text that names the layer, the member and
// what came; nobody has changed, nobody waits, and the next right call is as if nothing had been.

using namespace eigennorm;
using test::on_members;
using test::Post;

namespace {

using Matrix = Eigen::MatrixXf;
using Words = std::initializer_list<std::string>;
constexpr int members = 4;

Context<float> with(Peers& peers, Moments<float>* moments = nullptr) {
  Context<float> context({}, moments);
  context.peers = &peers;
  return context;
}

/// What one member has, in the middle of training.
struct Desk {
  explicit Desk(int number, const Normalization<float>& made)
      : layer(made),
        x(test::random_matrix(number == 3 ? 0 : 4 + number, made.features(), static_cast<std::uint64_t>(number) + 1)),
        dy(test::random_matrix(x.rows(), x.cols(), static_cast<std::uint64_t>(number) + 11)),
        y(x),
        dx(x) {}

  void forward(Peers& peers) { layer.forward(x, y, with(peers)); }
  void backward(Peers& peers) { layer.backward(x, dy, dx, with(peers)); }

  Normalization<float> layer;
  Matrix x, dy, y, dx;
};

watch::Bytes bits(const Desk& desk) {
  watch::Bytes all = watch::bits(desk.layer);
  for (const Matrix* each : {&desk.x, &desk.dy, &desk.y, &desk.dx}) watch::append(all, watch::bits(*each));
  return all;
}

struct Office {
  explicit Office(const Normalization<float>& layer = BatchNorm<float>(3)) {
    for (int i = 0; i < members; ++i) desks.emplace_back(i, layer);
  }

  Desk& of(Peers& peers) { return desks[static_cast<std::size_t>(peers.member())]; }
  void forward() {
    all_right([&](Peers& peers) { of(peers).forward(peers); });
  }
  void backward() {
    all_right([&](Peers& peers) { of(peers).backward(peers); });
  }
  void step() {
    forward();
    backward();
  }

  template <typename F>
  static void all_right(const F& f) {
    Post post(members);
    for (const std::string& failure : on_members(post, f)) CHECK(failure == "");
    CHECK(post.all_read());
  }

  std::vector<watch::Bytes> state() const {
    std::vector<watch::Bytes> all;
    for (const Desk& desk : desks) all.push_back(bits(desk));
    return all;
  }

  std::vector<Desk> desks;
};

enum class Verb { forward, backward };

/// Each member in turn does `wrong(desk, peers)` where the others do as they should. Text of all: the layer, that
/// member, and `words`.
template <typename Wrong>
void refused_everywhere(Verb verb, const Words& words, const Wrong& wrong,
                        const Normalization<float>& layer = BatchNorm<float>(3), const char* name = "BatchNorm") {
  for (int who = 0; who < members; ++who) {
    INFO("member " << who);
    Office office(layer), undisturbed(layer);
    office.step();
    undisturbed.step();
    if (verb == Verb::backward) {
      office.forward();
      undisturbed.forward();
    }
    const auto before = office.state();
    Post post(members);
    const auto failures = on_members(post, [&](Peers& peers) {
      if (peers.member() == who) return wrong(office.of(peers), peers);
      verb == Verb::forward ? office.of(peers).forward(peers) : office.of(peers).backward(peers);
    });
    CHECK(post.all_read());
    CHECK((office.state() == before));
    for (std::size_t i = 0; i < failures.size(); ++i) {
      INFO(failures[i]);
      CHECK(failures[i].find(name) != std::string::npos);
      // Where the first differs from the others, the next is the one that is named beside it.
      CHECK(failures[i].find("member " + std::to_string(who)) != std::string::npos);
      for (const std::string& word : words) CHECK(failures[i].find(word) != std::string::npos);
    }
    if (verb == Verb::forward) {
      office.step();
      undisturbed.step();
    } else {
      office.backward();
      undisturbed.backward();
    }
    CHECK((office.state() == undisturbed.state()));
  }
}

}  // namespace

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

namespace {

/// Threads that fail.
struct Broken {
  int numThreads() const { return 2; }
  int currentThreadId() const { return -1; }
  template <typename F>
  void parallelFor(Eigen::Index, const Eigen::TensorOpCost&, const F&) const {
    throw 1;
  }
};

}  // namespace

TEST_CASE("a device that throws on one member, whatever it throws, is an error of all") {
  refused_everywhere(Verb::forward, {"an exception that is no std::exception"}, [](Desk& desk, Peers& peers) {
    const Matrix x = Matrix::Random(200000, 3);
    Matrix y(200000, 3);
    const Broken broken;
    Context<float> context(broken);
    context.peers = &peers;
    desk.layer.forward(x, y, context);
  });
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

TEST_CASE("a record that none of this library made is an error, not a crash") {
  const auto cut_to = [](std::size_t size) { return [=](Peers::Record& record) { record.resize(size); }; };
  const auto put = [](std::int64_t core::SpreadHeader::*number, std::int64_t value) {
    return [=](Peers::Record& record) {
      core::SpreadHeader header{};
      std::memcpy(&header, record.data(), sizeof header);
      header.*number = value;
      std::memcpy(record.data(), &header, sizeof header);
    };
  };
  constexpr std::int64_t most = (std::numeric_limits<std::int64_t>::max)();
  const std::vector<std::function<void(Peers::Record&)>> changes = {
      cut_to(0),
      cut_to(7),
      cut_to(100),
      [](Peers::Record& record) { record.pop_back(); },
      [](Peers::Record& record) { record.resize(record.size() + 8); },
      [](Peers::Record& record) { record[0] ^= 1; },
      put(&core::SpreadHeader::last, most),
      put(&core::SpreadHeader::last, 1),
      put(&core::SpreadHeader::count, most),
      put(&core::SpreadHeader::count, -1),
      [](Peers::Record& record) { std::fill(record.begin() + 8, record.end(), static_cast<char>(0xff)); }};
  for (const auto& change : changes) {
    Office office;
    office.step();
    const auto before = office.state();
    Post post(members);
    post.change = [&](int from, int to, Peers::Record& record) {
      if (from == 2 && to == 0) change(record);
    };
    const auto failures = on_members(post, [&](Peers& peers) { office.of(peers).forward(peers); });
    for (const std::string& failure : failures) {
      INFO(failure);
      CHECK(failure.find("BatchNorm: expected") == 0);
      CHECK(failure.find("member 2") != std::string::npos);
    }
    CHECK((office.state() == before));
    office.step();
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

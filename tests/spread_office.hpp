#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "members.hpp"
#include "support.hpp"
#include "watch.hpp"

// Members of a spread batch in the middle of training, and what happens to all of them where one is wrong.

namespace test {

using namespace eigennorm;

using Matrix = Eigen::MatrixXf;
using Words = std::initializer_list<std::string>;
constexpr int members = 4;

inline Context<float> with(Peers& peers, Moments<float>* moments = nullptr) {
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

inline watch::Bytes bits(const Desk& desk) {
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

}  // namespace test

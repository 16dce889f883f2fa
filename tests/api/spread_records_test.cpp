#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "members.hpp"
#include "spread_office.hpp"

// Members whose records are none, and a device that fails while a part is summed: an error of all members.

using namespace eigennorm;
using namespace test;

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

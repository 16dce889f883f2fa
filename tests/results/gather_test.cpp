#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "batches.hpp"
#include "catch.hpp"
#include "members.hpp"
#include "watch.hpp"

// Statistics of a population whose batches several members observed.

using namespace eigennorm;
using test::batch;
using test::Matrix;
using test::on_members;
using test::Post;

namespace {

using Population = PopulationStatistics<double>;

/// Each member has observed so many batches.
std::vector<Population> observers(const std::vector<int>& batches) {
  std::vector<Population> all;
  std::uint64_t seed = 1;
  for (const int n : batches) {
    all.emplace_back();
    for (int i = 0; i < n; ++i, ++seed) {
      const Matrix x = batch(5 + static_cast<Eigen::Index>(seed % 3), 4, seed);
      all.back().observe(x, channels_on(1));
    }
  }
  return all;
}

std::vector<std::string> gather_all(std::vector<Population>& all) {
  Post post(static_cast<int>(all.size()));
  return on_members(post, [&](Peers& peers) { gather(all[static_cast<std::size_t>(peers.member())], peers); });
}

}  // namespace

TEST_CASE("all members have what all observed, in the same bits") {
  const std::vector<std::vector<int>> cases = {{3}, {2, 1}, {1, 0, 2}, {0, 0, 3, 1, 2}, {1, 1, 1, 1, 1, 1, 1, 1}};
  for (const std::vector<int>& batches : cases) {
    std::vector<Population> all = observers(batches);
    Population one;
    for (const Population& each : all) one.merge(each);
    for (const std::string& failure : gather_all(all)) CHECK(failure == "");
    for (const Population& each : all) {
      CHECK((watch::state_bits(each) == watch::state_bits(all[0])));
      CHECK(each.count() == one.count());
      CHECK(each.batches() == one.batches());
      CHECK(each.pooled().mean.isApprox(one.pooled().mean, 1e-14));
      CHECK(each.pooled().variance.isApprox(one.pooled().variance, 1e-13));
      CHECK(each.algorithm2().variance.isApprox(one.algorithm2().variance, 1e-13));
    }
  }
}

TEST_CASE("nobody has observed anything: nothing changes") {
  std::vector<Population> all(3);
  for (const std::string& failure : gather_all(all)) CHECK(failure == "");
  for (const Population& each : all) CHECK(each.batches() == 0);
}

TEST_CASE("another number of features on one member is an error on all, and changes nothing") {
  for (std::size_t who = 1; who < 4; ++who) {
    std::vector<Population> all = observers({2, 1, 0, 1});
    all[who] = Population();
    all[who].observe(Matrix(Matrix::Random(4, 3)), channels_on(1));
    std::vector<watch::Bytes> before;
    for (const Population& each : all) before.push_back(watch::state_bits(each));
    for (const std::string& failure : gather_all(all)) {
      INFO(failure);
      CHECK(failure.find("gather: expected") == 0);
      CHECK(failure.find("member " + std::to_string(who)) != std::string::npos);
      CHECK(failure.find("3 features") != std::string::npos);
      CHECK(failure.find("4 features") != std::string::npos);
    }
    for (std::size_t i = 0; i < all.size(); ++i) CHECK((watch::state_bits(all[i]) == before[i]));
  }
}

TEST_CASE("a state that nobody can have is an error on all, which names the member") {
  std::vector<Population> all = observers({2, 1, 1});
  all[1].for_each_state([](std::string_view name, auto& values) {
    if (name == "count") values[0] = -1;
  });
  for (const std::string& failure : gather_all(all)) {
    INFO(failure);
    CHECK(failure.find("member 1") != std::string::npos);
  }
}

TEST_CASE("a record of sizes that nobody can have is an error on all, not a crash") {
  const eigennorm::core::SpreadHeader header{};
  const auto start = reinterpret_cast<const char*>(&header);
  const auto features = reinterpret_cast<const char*>(&header.call.features) - start;
  const auto variances = reinterpret_cast<const char*>(&header.call.groups) - start;
  const std::vector<std::vector<std::int64_t>> sizes = {{1000, 1}, {1000, -1}, {-4, -4}, {std::int64_t{1} << 61, 0}};
  for (const auto& size : sizes) {
    std::vector<Population> all(2);
    Post post(2);
    post.change = [&](int from, int, Peers::Record& record) {
      if (from != 1 || post.messages() > 0) return;
      std::memcpy(record.data() + features, &size[0], sizeof size[0]);
      std::memcpy(record.data() + variances, &size[1], sizeof size[1]);
    };
    const auto failures =
        on_members(post, [&](Peers& peers) { gather(all[static_cast<std::size_t>(peers.member())], peers); });
    for (const std::string& failure : failures) {
      INFO(failure);
      CHECK(failure.find("gather: expected right calls on all members") == 0);
    }
    for (const Population& each : all) CHECK(each.batches() == 0);
  }
}

TEST_CASE("moments of spread forwards are observed by each, for they are those of the whole batch") {
  std::vector<BatchNorm<double>> layers(2, BatchNorm<double>(4));
  std::vector<Population> all(2);
  const Matrix whole = batch(12, 4, 1);
  Population one;
  one.observe(whole, channels_on(1));
  Post post(2);
  const auto failures = on_members(post, [&](Peers& peers) {
    const auto i = static_cast<std::size_t>(peers.member());
    const Matrix x = whole.middleRows(i == 0 ? 0 : 7, i == 0 ? 7 : 5);
    Context<double> context;
    context.peers = &peers;
    layers[i].forward(x, context);
    all[i].observe(layers[i].moments());
  });
  for (const std::string& failure : failures) CHECK(failure == "");
  CHECK((watch::state_bits(all[0]) == watch::state_bits(all[1])));
  CHECK(all[0].count() == 12);
  CHECK(all[0].pooled().variance.isApprox(one.pooled().variance, 1e-14));
}

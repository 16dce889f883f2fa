#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "batches.hpp"
#include "catch.hpp"
#include "watch.hpp"

// PopulationStatistics that are sized, saved and restored: a program that sees one observation at a time must not begin
// again at every start.

using namespace eigennorm;
using test::batch;
using test::Matrix;
using watch::bits;
using watch::refused;
using watch::state_bits;
using watch::state_sizes;
using watch::StateSizes;

namespace {

template <typename Scalar>
std::string written(const PopulationStatistics<Scalar>& population) {
  std::ostringstream stream;
  population.for_each_state([&](std::string_view name, auto& values) {
    using Value = typename std::decay_t<decltype(values)>::Scalar;
    stream << name << '\n';
    stream.write(reinterpret_cast<const char*>(values.data()),
                 values.size() * static_cast<std::int64_t>(sizeof(Value)));
  });
  return stream.str();
}

template <typename Scalar>
bool read(const std::string& file, PopulationStatistics<Scalar>& population) {
  std::istringstream stream(file);
  bool matches = true;
  population.for_each_state([&](std::string_view expected, auto& values) {
    using Value = typename std::decay_t<decltype(values)>::Scalar;
    std::string name;
    std::getline(stream, name);
    matches = matches && name == expected;
    stream.read(reinterpret_cast<char*>(values.data()), values.size() * static_cast<std::int64_t>(sizeof(Value)));
  });
  return matches && stream.good() && stream.peek() == std::char_traits<char>::eof();
}

template <typename Scalar>
watch::Bytes estimates(const PopulationStatistics<Scalar>& population) {
  watch::Bytes all;
  for (const Estimate<Scalar>& estimate : {population.algorithm2(), population.pooled()}) {
    watch::append(all, bits(estimate.mean));
    watch::append(all, bits(estimate.variance));
  }
  return all;
}

template <typename Scalar>
void observe_some(PopulationStatistics<Scalar>& population, std::uint64_t first) {
  for (std::uint64_t step = first; step < first + 10; ++step) {
    const Eigen::Index rows = step % 3 == 0 ? 1 : static_cast<Eigen::Index>(step % 3 + 3);
    using Values = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
    population.observe(Values(batch(rows, 3, step).cast<Scalar>()), channels_on(1));
  }
}

/// A state into which `spoil(name, values)` has written.
template <typename Spoil>
PopulationStatistics<double> spoiled(const Spoil& spoil) {
  PopulationStatistics<double> population(3);
  observe_some(population, 0);
  population.for_each_state([&](std::string_view name, auto& values) {
    using Value = typename std::decay_t<decltype(values)>::Scalar;
    spoil(name, values, Value());
  });
  return population;
}

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("the state of a population, by name and size") {
  CHECK(state_sizes(PopulationStatistics<float>(3)) ==
        StateSizes{{"mean", 3}, {"within", 3}, {"between", 3}, {"count", 1}, {"batches", 1}});
  CHECK(state_sizes(PopulationStatistics<float>(3, Statistic::mean)) ==
        StateSizes{{"mean", 3}, {"count", 1}, {"batches", 1}});
  CHECK(state_sizes(PopulationStatistics<float>()) == StateSizes{{"count", 1}, {"batches", 1}});
  PopulationStatistics<float> population(3);
  population.for_each_state([](std::string_view name, auto& values) {
    using Value = typename std::decay_t<decltype(values)>::Scalar;
    const bool counts = name == "count" || name == "batches";
    CHECK(std::is_same_v<Value, std::conditional_t<std::is_integral_v<Value>, std::int64_t, double>>);
    CHECK(std::is_integral_v<Value> == counts);
    CHECK(values(0) == 0);
  });
  const PopulationStatistics<float>& reading = population;
  reading.for_each_state(
      [](std::string_view, auto& values) { CHECK(std::is_const_v<std::remove_pointer_t<decltype(values.data())>>); });
  CHECK(population.count() == 0);
  CHECK(population.batches() == 0);
}

TEMPLATE_TEST_CASE("written, read into a new object, gone on with: the same bits", "", float, double, long double) {
  PopulationStatistics<TestType> undisturbed(3);
  observe_some(undisturbed, 0);
  PopulationStatistics<TestType> restored(3);
  REQUIRE(read(written(undisturbed), restored));
  CHECK(estimates(restored) == estimates(undisturbed));
  CHECK(restored.count() == undisturbed.count());
  CHECK(restored.batches() == 10);
  observe_some(restored, 10);
  observe_some(undisturbed, 10);
  CHECK(state_bits(restored) == state_bits(undisturbed));
  CHECK(estimates(restored) == estimates(undisturbed));
  // Restored before anything was observed, and merged.
  PopulationStatistics<TestType> empty(3), again(3);
  REQUIRE(read(written(empty), again));
  again.merge(undisturbed);
  CHECK(state_bits(again) == state_bits(undisturbed));
  // It forgets what it held.
  REQUIRE(read(written(empty), again));
  CHECK(again.count() == 0);
  observe_some(again, 20);
  observe_some(empty, 20);
  CHECK(state_bits(again) == state_bits(empty));
}

TEST_CASE("an object that is sized, or not") {
  CHECK(refused("PopulationStatistics", {"at least 1", "0"}, [] { PopulationStatistics<float>(0); }) == "");
  CHECK(refused("PopulationStatistics", {"at least 1", "-2"}, [] { PopulationStatistics<float>(-2); }) == "");
  for (const Statistic statistic : {Statistic::mean_square, Statistic::sum_square}) {
    CHECK(refused("PopulationStatistics", {"has a mean"}, [&] { PopulationStatistics<float>(2, statistic); }) == "");
  }
  // The size of a sized one is kept from the start.
  PopulationStatistics<double> sized(3), open;
  CHECK(refused("PopulationStatistics::observe", {"3 channels", "[4, 2]"},
                [&] { sized.observe(batch(4, 2, 1), channels_on(1)); }) == "");
  MeanOnlyBatchNorm<double> mean_only(3);
  mean_only.forward(batch(4, 3, 1));
  CHECK(refused("PopulationStatistics::observe", {"3 variances", "3 and 0"},
                [&] { sized.observe(mean_only.moments()); }) == "");
  CHECK(refused("PopulationStatistics::merge", {"3 means", "2"},
                [&] { sized.merge(PopulationStatistics<double>(2)); }) == "");
  open.merge(PopulationStatistics<double>(2));  // which had nothing to say
  open.observe(batch(4, 3, 1), channels_on(1));
  sized.merge(open);
  CHECK(sized.count() == 4);
  open.observe(mean_only.moments().empty() ? batch(4, 3, 1) : batch(2, 3, 1), channels_on(1));
  CHECK(open.count() == 6);
  // Means alone, from x itself.
  PopulationStatistics<double> means(3, Statistic::mean);
  means.observe(mean_only.moments());
  means.observe(batch(5, 3, 2), channels_on(1));
  means.observe(batch(1, 3, 3), channels_on(1));
  CHECK(means.count() == 10);
  CHECK(means.pooled().variance.size() == 0);
}

TEST_CASE("what was moved away can be asked for nothing") {
  PopulationStatistics<double> population(3);
  observe_some(population, 0);
  const PopulationStatistics<double> taken = std::move(population);
  CHECK(taken.batches() == 10);
  // NOLINTNEXTLINE(bugprone-use-after-move): that is the question
  CHECK(refused("PopulationStatistics::observe", {"moved away"},
                [&] { population.observe(batch(4, 3, 1), channels_on(1)); }) == "");
  CHECK(refused("PopulationStatistics::observe", {"moved away"},
                [&] { population.observe(batch(1, 3, 1), channels_on(1)); }) == "");
  CHECK(refused("PopulationStatistics::pooled", {"moved away"}, [&] { population.pooled(); }) == "");
  PopulationStatistics<double> other(3);
  CHECK(refused("PopulationStatistics::merge", {"moved away"}, [&] { other.merge(population); }) == "");
  population = taken;
  CHECK(written(population) == written(taken));
}

TEST_CASE("a state that cannot be is refused where it is used, by name") {
  const auto number = [](const char* which, std::int64_t wrong) {
    return spoiled([=](std::string_view name, auto& values, auto zero) {
      if (name == which) values(0) = static_cast<decltype(zero)>(wrong);
    });
  };
  const auto value = [](const char* which, double wrong) {
    return spoiled([=](std::string_view name, auto& values, auto zero) {
      if (name == which) values(1) = static_cast<decltype(zero)>(wrong);
    });
  };
  constexpr std::int64_t last = std::numeric_limits<std::int64_t>::max();
  struct Case {
    PopulationStatistics<double> state;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases = {
      {number("batches", -1), {"-1 batches"}},
      {number("batches", 0), {"0 batches", "values"}},
      {number("batches", 1000), {"1000 batches", "values"}},
      {number("count", 3), {"10 batches", "3 values"}},
      {number("count", -7), {"-7 values"}},
      {number("count", last), {"9223372036854775807 values"}},
      {value("mean", not_a_number), {"finite mean", "3 features", "nan at index 1"}},
      {value("mean", -infinity), {"finite mean", "-inf at index 1"}},
      {value("within", -1), {"within batches", "at least 0", "-1 at index 1"}},
      {value("within", infinity), {"within batches", "inf at index 1"}},
      {value("between", -0.5), {"between batches", "-0.5 at index 1"}},
      {value("between", not_a_number), {"between batches", "nan at index 1"}},
  };
  for (const Case& c : cases) {
    PopulationStatistics<double> population = c.state, other(3);
    observe_some(other, 0);
    const std::string before = written(population), other_before = written(other);
    const auto says = [&](const char* owner, auto call) {
      for (const std::string& part : c.parts) CHECK(refused(owner, {part}, call) == "");
      CHECK(written(population) == before);
      CHECK(written(other) == other_before);
    };
    BatchNorm<double> layer(3);
    layer.forward(batch(4, 3, 1));
    says("PopulationStatistics::observe", [&] { population.observe(layer.moments()); });
    says("PopulationStatistics::observe", [&] { population.observe(batch(1, 3, 1), channels_on(1)); });
    says("PopulationStatistics::observe", [&] { population.observe(batch(4, 3, 1), channels_on(1)); });
    says("PopulationStatistics::merge", [&] { population.merge(other); });
    says("PopulationStatistics::merge", [&] { other.merge(population); });
    says("PopulationStatistics::algorithm2", [&] { population.algorithm2(); });
    says("PopulationStatistics::pooled", [&] { population.pooled(); });
  }
  // Zeros have either sign.
  CHECK(value("within", -0.0).count() > 0);
  value("within", -0.0).pooled();
}

TEST_CASE("more values than can be counted") {
  auto population = spoiled([](std::string_view name, auto& values, auto zero) {
    if (name == "count") values(0) = static_cast<decltype(zero)>(std::numeric_limits<std::int64_t>::max() - 3);
  });
  const std::string before = written(population);
  CHECK(refused("PopulationStatistics::observe", {"fewer than", "values"},
                [&] { population.observe(batch(4, 3, 1), channels_on(1)); }) == "");
  CHECK(refused("PopulationStatistics::merge", {"fewer than", "values"}, [&] { population.merge(population); }) == "");
  CHECK(written(population) == before);
  population.observe(batch(1, 3, 1), channels_on(1));
  population.observe(batch(1, 3, 1), channels_on(1));
  CHECK(refused("PopulationStatistics::observe", {"fewer than", "values"},
                [&] { population.observe(batch(1, 3, 1), channels_on(1)); }) == "");
}

#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/peers.hpp"
#include "eigennorm/core/spread.hpp"
#include "eigennorm/population_statistics.hpp"
#include "eigennorm/statistic.hpp"

/// \file
/// Statistics of a population whose batches were observed by several members.

namespace eigennorm {

namespace core {

/// What a population's object has to be merged with others.
template <typename Scalar>
class Gathering {
 public:
  using Population = PopulationStatistics<Scalar>;
  using W = Wide<Scalar>;

  struct Size {
    std::int64_t features, variances;
  };

  static Size size_of(const Population& population) {
    Size size{0, 0};
    population.for_each_state([&](std::string_view name, const auto& values) {
      if (name == "mean") size.features = values.size();
      if (name == "within") size.variances = values.size();
    });
    return size;
  }
  /// With the two counts.
  static std::int64_t bytes(const Size& size) {
    return 2 * static_cast<std::int64_t>(sizeof(std::int64_t)) +
           (size.features + 2 * size.variances) * static_cast<std::int64_t>(sizeof(W));
  }
  static Population sized(const Size& size) {
    return Population(size.features, size.variances > 0 ? Statistic::mean_variance : Statistic::mean);
  }
  /// (Who knows no features is told by a record, of which nothing is believed.)
  static void check(const Size& size, const char* owner) {
    if (size.variances == 0 || size.variances == size.features) return;
    fail_with({owner, ": expected as many variances as features, ", size.features, ", or none, got ", size.variances});
  }

  static void write(const Population& population, Peers::Record& record) {
    char* to = numbers_of<char>(record);
    population.for_each_state([&](std::string_view, const auto& values) {
      const auto size = static_cast<std::size_t>(values.size()) * sizeof(*values.data());
      std::memcpy(to, values.data(), size);
      to += size;
    });
  }
  static void read(Peers::Record& record, Population& population) {
    const char* from = numbers_of<char>(record);
    population.for_each_state([&](std::string_view, auto& values) {
      const auto size = static_cast<std::size_t>(values.size()) * sizeof(*values.data());
      std::memcpy(values.data(), from, size);
      from += size;
    });
  }

  static void append_nothing(SpreadHeader&, Peers::Record&, const SpreadHeader&, Peers::Record&) {}
  static void append(SpreadHeader& to, Peers::Record& record, const SpreadHeader& from, Peers::Record& next) {
    struct Both {
      Population& own;
      const Population& other;
    };
    const Size size{to.call.features, to.call.groups};
    Population own = sized(size), other = sized(size);
    read(record, own);
    read(next, other);
    const Both both{own, other};
    const std::string failure = failure_of(
        [](const void* of) {
          const Both& given = *static_cast<const Both*>(of);
          given.own.merge(given.other);
        },
        &both);
    if (!failure.empty()) return to.set_problem(SpreadHeader::failure, from.first, failure);
    write(own, record);
  }
};

}  // namespace core

/// Where each member of `peers` has observed batches of its own: all get what all observed, merged in member order, the
/// same bits on each. Every member calls it; one whose object has not seen anything adds nothing. Fails on all,
/// unchanged, where one has another number of features, and where `PopulationStatistics::merge` would. (Moments of
/// forwards with peers are those of the whole batch already: they are observed by each member, and not gathered.)
template <typename Scalar>
void gather(PopulationStatistics<Scalar>& population, Peers& peers) {
  using Gathering = core::Gathering<Scalar>;
  static constexpr const char* name = "gather";
  Peers::Record record, next;
  core::SpreadMerge spread{&peers, name, {}};
  spread.call.verb = core::SpreadCall::gather;
  spread.call.scalar = spread.call.storage = std::numeric_limits<Scalar>::digits;
  std::strcpy(spread.call.name, "PopulationStatistics");
  // First what they are of, which some may not know.
  spread.merge(record, next, Gathering::append_nothing, [&] {
    PopulationStatistics<Scalar>().merge(population);  // what others may have written there is checked
    const auto own = Gathering::size_of(population);
    spread.call.features = own.features;
    spread.call.groups = own.variances;
    core::make_record(record, 0);
    return std::int64_t{0};
  });
  const typename Gathering::Size size{spread.call.features, spread.call.groups};
  if (size.features == 0) return;
  PopulationStatistics<Scalar> merged;
  spread.merge(record, next, Gathering::append, [&] {
    Gathering::check(size, name);
    merged = Gathering::sized(size);
    merged.merge(population);
    core::make_record(record, Gathering::bytes(size));
    Gathering::write(merged, record);
    return std::int64_t{0};
  });
  Gathering::read(record, merged);
  population = merged;
}

}  // namespace eigennorm

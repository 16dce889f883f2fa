#pragma once

#include <algorithm>
#include <cstdint>

#include "eigennorm/core/partition.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// The summaries of groups where they are kept.

namespace eigennorm::core {

using kernels::Summaries;

/// Room for the summaries of groups, by number: each number of all in one array.
template <typename Scalar>
struct SummariesView {
  using W = Wide<Scalar>;
  static constexpr bool two_parts = Summaries<Scalar>::two_parts;
  static constexpr std::int64_t numbers = two_parts ? 4 : 2;

  W* data = nullptr;
  std::int64_t groups = 0;

  /// Of the groups of a tile.
  void put(const Tile& tile, const Summaries<Scalar>& from) const {
    for (std::int64_t t = 0; t < tile.lanes; ++t) put(tile.base.group + t * tile.lane.group, from, t);
  }
  /// Of one group.
  void put(std::int64_t group, const Summaries<Scalar>& from, std::int64_t t) const {
    data[group] = from.mean[t];
    data[groups + group] = from.m2[t];
    if constexpr (two_parts) {
      data[2 * groups + group] = from.low[t];
      data[3 * groups + group] = from.lost[t];
    }
  }
  /// Of all groups.
  void put(const Summaries<Scalar>& from) const {
    std::copy(from.mean, from.mean + groups, data);
    std::copy(from.m2, from.m2 + groups, data + groups);
    if constexpr (two_parts) {
      std::copy(from.low, from.low + groups, data + 2 * groups);
      std::copy(from.lost, from.lost + groups, data + 3 * groups);
    }
  }
  /// Those of groups [first, first + n), to places from `at` on.
  void get(std::int64_t first, std::int64_t n, Summaries<Scalar>& to, std::int64_t at = 0) const {
    const W* from = data + first;
    std::copy(from, from + n, to.mean + at);
    std::copy(from + groups, from + groups + n, to.m2 + at);
    if constexpr (two_parts) {
      std::copy(from + 2 * groups, from + 2 * groups + n, to.low + at);
      std::copy(from + 3 * groups, from + 3 * groups + n, to.lost + at);
    }
  }
};

/// Which half of a call is done, where others' sums come in between: a batch that is spread over members.
enum class Half { both, sums, results };

}  // namespace eigennorm::core

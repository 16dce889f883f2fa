#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "eigennorm/core/forward.hpp"
#include "eigennorm/core/scaled_statistics.hpp"
#include "eigennorm/core/spread.hpp"
#include "eigennorm/core/spread_room.hpp"
#include "eigennorm/core/summaries_view.hpp"

/// \file
/// The statistics of a batch that is spread over members: each sums its part, all merge the sums in member order.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// The summaries in a record of so many bytes.
template <typename Scalar>
SummariesView<Scalar> summaries_in(Peers::Record& record) {
  const auto numbers = static_cast<std::int64_t>((record.size() - header_bytes) / sizeof(Wide<Scalar>));
  return {numbers_of<Wide<Scalar>>(record), numbers / SummariesView<Scalar>::numbers};
}

/// Appends the summaries of the members behind. Who has no values changes nothing.
template <typename Scalar>
[[gnu::cold]] void append_summaries(SpreadHeader& to, Peers::Record& record, const SpreadHeader& from,
                                    Peers::Record& next) {
  constexpr std::int64_t most = most_lanes<Scalar>;
  if (from.count == 0) return;
  const SummariesView<Scalar> all = summaries_in<Scalar>(record), more = summaries_in<Scalar>(next);
  Summaries<Scalar> sums, others;
  for (std::int64_t first = 0; first < all.groups; first += most) {
    const std::int64_t n = (std::min)(most, all.groups - first);
    sums.count = static_cast<Wide<Scalar>>(to.count);
    others.count = static_cast<Wide<Scalar>>(from.count);
    all.get(first, n, sums);
    more.get(first, n, others);
    merge(sums, 0, others, n, is_centred(static_cast<Statistic>(to.call.statistic)));
    for (std::int64_t i = 0; i < n; ++i) all.put(first + i, sums, i);
  }
  to.count += from.count;
}

/// Appends what the members behind know of groups that are out of range.
template <typename Scalar>
[[gnu::cold]] void append_looks(SpreadHeader& to, Peers::Record& record, const SpreadHeader& from,
                                Peers::Record& next) {
  if (from.count == 0) return;
  const auto n = (record.size() - header_bytes) / sizeof(Look<Scalar>);
  auto* const looks = numbers_of<Look<Scalar>>(record);
  const auto* const others = numbers_of<Look<Scalar>>(next);
  for (std::size_t i = 0; i < n; ++i) {
    const Look<Scalar>& other = others[i];
    if (to.count == 0) {
      looks[i] = other;
      continue;
    }
    Look<Scalar>& look = looks[i];
    const bool alike = look.first == other.first && std::signbit(look.first) == std::signbit(other.first);
    if (!alike || other.varied != 0) look.varied = 1;
    look.largest = (std::max)(look.largest, other.largest);
  }
  to.count += from.count;
}

/// The statistics of one forward call whose batch is spread.
template <typename Storage, typename Scalar>
class SpreadStatistics {
 public:
  using W = Wide<Scalar>;
  using Call = ForwardCall<Storage, Scalar>;

  SpreadStatistics(SpreadMerge& spread, SpreadRoom<Scalar>& room, const Device& device)
      : spread_(spread), room_(room), device_(device) {}

  /// The first merge, then those of groups that are out of range; fails on all members where one has a wrong call, or
  /// NaN or infinity. `make` checks the call of this one and returns it. Returns the number of values in a group.
  template <typename Make>
  std::int64_t find(const Make& make) {
    count_ = spread_.merge(room_.sums, room_.next, append_summaries<Scalar>, [&] {
      call_ = make();
      return sum();
    });
    room_.out.clear();
    if (count_ == 0) return 0;
    finish({}, true);
    if (!room_.out.empty()) settle();
    return count_;
  }

  /// Puts them where they are kept.
  void put(const MomentsView<Scalar>& to) {
    finish(to, false);
    for (const Outlier<Scalar>& each : room_.out) {
      if (!each.found) continue;
      to.high[each.group] = each.high;
      to.low[each.group] = each.low;
      to.rstd[each.group] = each.rstd;
      if (to.variance != nullptr) to.variance[each.group] = each.variance;
    }
  }

 private:
  std::int64_t bytes(std::int64_t groups) const {
    return groups * SummariesView<Scalar>::numbers * static_cast<std::int64_t>(sizeof(W));
  }
  std::int64_t values() const { return call_.partition->size == 0 ? 0 : call_.partition->count; }

  [[gnu::cold]] std::int64_t sum() {
    make_record(room_.sums, bytes(call_.partition->groups.kept.size));
    if (values() == 0) return 0;
    Call call = call_;
    call.y = nullptr;
    call.half = Half::sums;
    call.summaries = summaries_in<Scalar>(room_.sums);
    forward(call, device_);
    return values();
  }

  /// From the sums of all to statistics, or to a list of those groups that are out of range.
  [[gnu::cold]] void finish(const MomentsView<Scalar>& to, bool list) {
    constexpr std::int64_t most = most_lanes<Scalar>;
    const SummariesView<Scalar> all = summaries_in<Scalar>(room_.sums);
    const kernels::Rule<Scalar> rule = rule_of<Scalar>(call_.statistic, count_, call_.eps);
    Summaries<Scalar> of;
    Statistics<Scalar> found;
    of.count = static_cast<W>(count_);
    Tile tile{{}, 0, no_axis()};
    tile.lane.group = 1;
    for (std::int64_t first = 0; first < all.groups; first += most) {
      tile.base.group = first;
      tile.lanes = tile.lane.extent = (std::min)(most, all.groups - first);
      all.get(first, tile.lanes, of);
      fill_up(tile.lanes, of);
      for (std::int64_t g = 0; g < tile.lanes; g += most_rows) {
        const unsigned out = call_.kernels->finish({g, (std::min)(tile.lanes - g, most_rows)}, rule, of, found);
        for (std::int64_t k = 0; list && k < most_rows; ++k) {
          if ((out >> k & 1U) != 0) room_.out.push_back({first + g + k, 0, 0, false, -1, 0, false, 0, 0, 0, 0});
        }
      }
      to.put(tile, found);
    }
  }

  /// What becomes of groups that are out of range.
  [[gnu::cold]] void settle() {
    auto& out = room_.out;
    const auto n = static_cast<std::int64_t>(out.size());
    spread_.merge(room_.more, room_.next, append_looks<Scalar>, [&] { return look(); });
    Statistics<Scalar> found;
    std::int64_t scaled = 0;
    const auto* const looks = numbers_of<Look<Scalar>>(room_.more);
    for (std::int64_t i = 0; i < n; ++i) {
      Outlier<Scalar>& each = out[static_cast<std::size_t>(i)];
      if (looks[i].largest == 0) continue;
      if (needs_scaling(looks[i], call_.statistic, call_.eps, 0, found)) {
        std::frexp(looks[i].largest, &each.exponent);
        each.place = scaled++;
      } else {
        take(found, each);
      }
    }
    if (scaled == 0) return;
    const std::int64_t count =
        spread_.merge(room_.more, room_.next, append_summaries<Scalar>, [&] { return sum_scaled(scaled); });
    const SummariesView<Scalar> all = summaries_in<Scalar>(room_.more);
    Summaries<Scalar> of;
    of.count = static_cast<W>(count);
    for (Outlier<Scalar>& each : out) {
      if (each.place < 0) continue;
      all.get(each.place, 1, of);
      finish_scaled(of, 0, each.exponent, call_.statistic, call_.eps, 0, found);
      take(found, each);
    }
  }
  static void take(const Statistics<Scalar>& found, Outlier<Scalar>& to) {
    to.found = true;
    to.high = found.high[0];
    to.low = found.low[0];
    to.rstd = found.rstd[0];
    to.variance = found.variance[0];
  }

  [[gnu::cold]] std::int64_t look() {
    auto& out = room_.out;
    make_record(room_.more, static_cast<std::int64_t>(out.size() * sizeof(Look<Scalar>)));
    if (values() == 0) return 0;
    visit({});
    auto* looks = numbers_of<Look<Scalar>>(room_.more);
    for (const Outlier<Scalar>& each : out) {
      const Look<Scalar> look{each.first, each.largest, static_cast<Scalar>(each.varied)};
      if (!look.is_finite()) {
        fail_with({spread_.name, ": expected finite values where a batch is spread, got NaN or infinity in group ",
                   each.group});
      }
      *looks++ = look;
    }
    return values();
  }

  [[gnu::cold]] std::int64_t sum_scaled(std::int64_t scaled) {
    make_record(room_.more, bytes(scaled));
    if (values() == 0) return 0;
    visit(summaries_in<Scalar>(room_.more));
    return values();
  }

  /// Sums the values of those groups that are scaled; or, where there is no room for sums, looks at those of all.
  [[gnu::cold]] void visit(const SummariesView<Scalar>& sums) {
    const Partition& partition = *call_.partition;
    const Layout layout(partition.groups, 0, 2);
    const std::int64_t width = tile_width<Scalar>(partition, layout, 12 * block_size, device_.threads());
    device_.parallel_for(partition.groups.tiles(width), partition.count * width,
                         [&](std::int64_t first, std::int64_t last) {
                           for (std::int64_t id = first; id < last; ++id) visit(partition.groups.tile(id, width), sums);
                         });
  }
  void visit(const Tile& tile, const SummariesView<Scalar>& sums) {
    for (std::int64_t g = 0; g < tile.lanes; g += most_rows) {
      const kernels::Range lanes{g, (std::min)(tile.lanes - g, most_rows)};
      Outlier<Scalar>* found[most_rows];
      unsigned which = 0;
      for (std::int64_t k = 0; k < lanes.count; ++k) {
        found[k] = outlier(tile.base.group + (g + k) * tile.lane.group);
        if (found[k] != nullptr && (sums.data == nullptr || found[k]->place >= 0)) which |= 1U << k;
      }
      if (which != 0) visit(tile, lanes, which, found, sums);
    }
  }
  Outlier<Scalar>* outlier(std::int64_t group) {
    const auto at = std::lower_bound(room_.out.begin(), room_.out.end(), group,
                                     [](const Outlier<Scalar>& each, std::int64_t g) { return each.group < g; });
    return at == room_.out.end() || at->group != group ? nullptr : &*at;
  }
  // (Not inlined, so that what it needs of the stack is there only then.)
  [[gnu::noinline]] void visit(const Tile& tile, kernels::Range lanes, unsigned which, Outlier<Scalar>** found,
                               const SummariesView<Scalar>& sums) {
    ScaledStatistics<Storage, Scalar> scaled(*call_.kernels, call_.x, *call_.partition, call_.statistic, call_.eps);
    Look<Scalar> looks[most_rows];
    int exponents[most_rows] = {};
    Summaries<Scalar> of;
    for (std::int64_t k = 0; k < lanes.count; ++k) {
      if ((which >> k & 1U) != 0) exponents[k] = found[k]->exponent;
    }
    if (sums.data == nullptr) {
      scaled.look(tile, lanes, which, looks);
    } else {
      scaled.sum(tile, lanes, which, exponents, of);
    }
    for (std::int64_t k = 0; k < lanes.count; ++k) {
      if ((which >> k & 1U) == 0) continue;
      if (sums.data != nullptr) {
        sums.put(found[k]->place, of, k);
        continue;
      }
      found[k]->first = looks[k].first;
      found[k]->largest = looks[k].largest;
      found[k]->varied = looks[k].varied != 0;
    }
  }

  SpreadMerge& spread_;
  SpreadRoom<Scalar>& room_;
  const Device& device_;
  Call call_{};
  std::int64_t count_ = 0;
};

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

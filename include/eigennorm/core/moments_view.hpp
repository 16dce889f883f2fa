#pragma once

#include <algorithm>
#include <cstdint>

#include "eigennorm/core/partition.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// The statistics of a call where they are kept.

namespace eigennorm::core {

using kernels::Statistics;

/// Where the statistics of each group are kept, by group number; null: nowhere.
template <typename Scalar>
struct MomentsView {
  Scalar* high = nullptr;
  Scalar* low = nullptr;
  Scalar* rstd = nullptr;
  Wide<Scalar>* variance = nullptr;

  /// As if groups began with number `group`.
  MomentsView starting_at(std::int64_t group) const {
    MomentsView view = *this;
    for (Scalar** each : {&view.high, &view.low, &view.rstd}) {
      if (*each != nullptr) *each += group;
    }
    if (variance != nullptr) view.variance += group;
    return view;
  }

  /// Of the groups of a tile. (One group is not worth three calls of memmove.)
  void put(const Tile& tile, const Statistics<Scalar>& from) const {
    if (high == nullptr) return;
    const std::int64_t step = tile.lane.group, group = tile.base.group, lanes = tile.lanes;
    if (step == 1 && lanes > 1) {
      std::copy(from.high, from.high + lanes, high + group);
      std::copy(from.low, from.low + lanes, low + group);
      std::copy(from.rstd, from.rstd + lanes, rstd + group);
      if (variance != nullptr) std::copy(from.variance, from.variance + lanes, variance + group);
      return;
    }
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      high[group + t * step] = from.high[t];
      low[group + t * step] = from.low[t];
      rstd[group + t * step] = from.rstd[t];
    }
    for (std::int64_t t = 0; variance != nullptr && t < tile.lanes; ++t) variance[group + t * step] = from.variance[t];
  }
  /// Of group 0 alone.
  void put_first(const Statistics<Scalar>& from) const {
    if (high == nullptr) return;
    *high = from.high[0];
    *low = from.low[0];
    *rstd = from.rstd[0];
    if (variance != nullptr) *variance = from.variance[0];
  }
  void get(const Tile& tile, Statistics<Scalar>& to) const {
    const std::int64_t step = tile.lane.group, group = tile.base.group, lanes = tile.lanes;
    if (step == 1 && lanes > 1) {
      std::copy(high + group, high + group + lanes, to.high);
      std::copy(low + group, low + group + lanes, to.low);
      std::copy(rstd + group, rstd + group + lanes, to.rstd);
      return;
    }
    for (std::int64_t t = 0; t < tile.lanes; ++t) {
      to.high[t] = high[group + t * step];
      to.low[t] = low[group + t * step];
      to.rstd[t] = rstd[group + t * step];
    }
  }
};

/// r and d of Batch Renormalization, by feature number; null: there are none.
template <typename Scalar>
struct Corrections {
  Wide<Scalar>* r = nullptr;
  Wide<Scalar>* d = nullptr;

  /// Whether nothing is corrected.
  bool neutral(std::int64_t features) const {
    for (std::int64_t i = 0; r != nullptr && i < features; ++i) {
      if (r[i] != 1 || d[i] != 0) return false;
    }
    return true;
  }
};

}  // namespace eigennorm::core

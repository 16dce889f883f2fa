#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/device.hpp"
#include "eigennorm/core/schedule.hpp"
#include "eigennorm/core/slab.hpp"
#include "eigennorm/core/statistics.hpp"
#include "eigennorm/streaming.hpp"

/// \file
/// y, by each group's own statistics or by given ones.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

using kernels::Normalizers;
using kernels::Traffic;

/// One forward call. Tensor 0 is x, tensor 1 is y.
template <typename Storage, typename Scalar>
struct ForwardCall {
  const Partition* partition;
  Statistic statistic;
  Wide<Scalar> eps;
  const Storage* x;
  Storage* y;           ///< null: only statistics are wanted
  const Scalar* scale;  ///< by feature number; null: 1
  const Scalar* shift;  ///< by feature number; null: 0
  MomentsView<Scalar> moments;
  const BlockKernels<Storage, Scalar>* kernels;
  const Layout* layout = nullptr;
  bool stream = false;  ///< y goes past the caches
};

/// A parameter that is read again for each of many rows, copied to where no vector crosses a cache line (a transform in
/// L2 takes a quarter longer otherwise).
template <typename Scalar>
class AlignedParameter {
 public:
  AlignedParameter(const Scalar* from, std::int64_t size) : from_(from) {
    if (from == nullptr || size == 0 || size > room) return;
    std::copy(from, from + size, values_);
    from_ = values_;
  }
  AlignedParameter(const AlignedParameter&) = delete;
  AlignedParameter& operator=(const AlignedParameter&) = delete;

  const Scalar* get() const { return from_; }

 private:
  static constexpr std::int64_t room = (std::min)(block_size, 6144 / static_cast<std::int64_t>(sizeof(Scalar)));

  alignas(64) Scalar values_[room];
  const Scalar* from_;
};

/// How many values of each parameter a task of so many tiles copies: all, or none where that is not worth it.
inline std::int64_t copied_parameters(const Partition& partition, const Layout& layout, std::int64_t tiles) {
  constexpr std::int64_t worth_copying = 8;
  const bool again = layout.inside.feature == 1 && tiles * layout.lane.extent >= worth_copying;
  return again && !partition.features_kept ? partition.features.kept.size : 0;
}

/// What passes of results ask for where columns are lanes: rows that are four kilobytes of float ahead.
inline std::int64_t rows_ahead(std::int64_t width) { return (std::max)(block_size / width, std::int64_t{4}); }

/// Writes y of values of the lanes of a tile, where rows are runs: of one lane, all of them (`by` has step 0).
template <typename Storage, typename Scalar>
void transform_rows(const ForwardCall<Storage, Scalar>& call, ScaleAndShift<Scalar> affine, const Tile& tile,
                    Segment part, const Normalizers<Scalar>& by, std::int64_t next) {
  const Pass<Storage> pass{{call.x, nullptr}, call.y, call.layout->first, 1};
  for_rows(pass, *call.layout, tile, part, affine, Visitor<Storage, Scalar>([&](const Part<Storage, Scalar>& at) {
             call.kernels->transform(at.in[0], at.out, at.size, by.from(at.row), at.affine,
                                     at.traffic(call.stream, next));
           }));
}

/// The same where columns are lanes. (Not inlined, so that their arrays are on the stack only where they are needed.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void transform_columns(const ForwardCall<Storage, Scalar>& call, ScaleAndShift<Scalar> affine,
                                         const Tile& tile, Segment part, const Normalizers<Scalar>& by,
                                         std::int64_t next) {
  const Pass<Storage> pass{{call.x, nullptr}, call.y, call.layout->first, 1};
  Columns<Scalar> columns(*call.layout, tile.lanes, call.stream ? most_positions<Scalar> : 256);
  const Normalizers<Scalar> of{columns.fill(Columns<Scalar>::high, by.high, 1),
                               columns.fill(Columns<Scalar>::low, by.low, 1),
                               columns.fill(Columns<Scalar>::rstd, by.rstd, 1), 1, true};
  for_columns(
      pass, *call.layout, tile, part, affine, columns, Visitor<Storage, Scalar>([&](const Part<Storage, Scalar>& at) {
        const Traffic traffic = at.traffic(call.stream, next != 0 ? next : rows_ahead(at.width) * at.in[0].step);
        call.kernels->transform(at.in[0], at.out, at.size, of.from(at.column), at.affine, traffic);
      }));
}

/// A task of a forward call by own statistics.
template <typename Storage, typename Scalar>
class ForwardTask {
 public:
  using W = Wide<Scalar>;
  using Call = ForwardCall<Storage, Scalar>;

  struct Sums {
    static constexpr bool two_parts = Summaries<Scalar>::two_parts;
    static constexpr std::int64_t numbers = two_parts ? 4 : 2;
    Summaries<Scalar> of;

    void clear(std::int64_t) { of.count = 0; }
    void add(const Sums& next, std::int64_t lanes) {
      merge(of, 0, next.of, lanes, true);
      of.count = of.count + next.of.count;
    }
    void put(W* to, std::int64_t lanes) const {
      to = std::copy(of.mean, of.mean + lanes, to);
      to = std::copy(of.m2, of.m2 + lanes, to);
      if constexpr (two_parts) std::copy(of.lost, of.lost + lanes, std::copy(of.low, of.low + lanes, to));
    }
    void get(const W* from, std::int64_t lanes, std::int64_t count) {
      of.count = static_cast<W>(count);
      std::copy(from, from + lanes, of.mean);
      std::copy(from + lanes, from + 2 * lanes, of.m2);
      if constexpr (two_parts) {
        std::copy(from + 2 * lanes, from + 3 * lanes, of.low);
        std::copy(from + 3 * lanes, from + 4 * lanes, of.lost);
      }
    }
  };

  ForwardTask(const Call& call, std::int64_t tiles)
      : call_(call),
        scale_(call.scale, copied_parameters(*call.partition, *call.layout, tiles)),
        shift_(call.shift, copied_parameters(*call.partition, *call.layout, tiles)) {}

  std::int64_t segments() const { return segments_in(call_.partition->count); }
  std::int64_t values_in(std::int64_t segment) const {
    return (std::min)(segment_size, call_.partition->count - segment * segment_size);
  }
  bool writes() const { return call_.y != nullptr; }

  void begin(std::int64_t, const Tile& tile) { tile_ = &tile; }

  void sum(std::int64_t number, Sums& sums) const {
    const Partition& partition = *call_.partition;
    const Segment part = segment(number, partition.count);
    const bool lanes = are_lanes(partition.groups, *tile_, 0, 1);
    const bool rows = Partition::steps_by(partition.values.fastest(), 1, 0, 1);
    for (std::int64_t block = part.first; block < part.last; ++block) {
      const std::int64_t first = block * block_size, n = values_in_block(block, partition.count);
      if (lanes) {
        append_lanes(first, n, sums.of);
      } else if (rows && is_one_run(partition.values, first, n)) {
        append_rows(*tile_, first, n, 0, nullptr, sums.of);
      } else {
        append_copies(first, n, sums.of);
      }
      sums.of.count = sums.of.count + static_cast<W>(n);
    }
  }

  void finish(Sums& sums) {
    const kernels::Rule<Scalar> rule = rule_of<Scalar>(call_.statistic, call_.partition->count, call_.eps);
    // Behind the last, up to sixteen, what raises no exception of floating point.
    for (std::int64_t i = tile_->lanes; tile_->lanes > 1 && i % most_rows != 0; ++i) {
      sums.of.mean[i] = 0;
      sums.of.m2[i] = 1;
      if constexpr (Sums::two_parts) sums.of.low[i] = sums.of.lost[i] = 0;
    }
    for (std::int64_t g = 0; g < tile_->lanes; g += most_rows) {
      const std::int64_t count = (std::min)(tile_->lanes - g, most_rows);
      const unsigned out = call_.kernels->finish({g, count}, rule, sums.of, statistics_);
      if (out != 0) find_scaled(g, count, out);
    }
    call_.moments.put(*tile_, statistics_);
  }

  void write(std::int64_t first, std::int64_t last) const {
    if (!writes()) return;
    const Layout& layout = *call_.layout;
    const Partition& partition = *call_.partition;
    const std::int64_t values = tile_->lanes * partition.count;
    if (layout.by_column) {
      const std::int64_t next = next_after<Storage>(values, partition.size, 1, tile_->lanes * layout.run());
      transform_columns(call_, {scale_.get(), shift_.get()}, *tile_, {first, last}, statistics_.by(), next);
    } else {
      const std::int64_t next = next_after<Storage>(values, partition.size, 1, tile_->lanes * tile_->lane.stride[0]);
      transform_rows(call_, {scale_.get(), shift_.get()}, *tile_, {first, last},
                     statistics_.by(tile_->lanes == 1 ? 0 : 1), next);
    }
  }

 private:
  /// (What else is on the stack grows with Scalar.)
  using Copies = Buffer<Storage, (sizeof(Scalar) > 4 ? 24 : 32) * 1024>;

  bool centred() const { return is_centred(call_.statistic); }

  void append_rows(const Tile& tile, std::int64_t first, std::int64_t n, std::int64_t at, Storage* buffer,
                   Summaries<Scalar>& to) const {
    const auto x = value_rows<Storage, Scalar>({*call_.kernels, call_.x, 0}, call_.partition->values, tile,
                                               {first, first + n}, buffer);
    append_block(RowSource<Storage, Scalar>{*call_.kernels, x, tile.lanes}, centred(), n, at, to);
  }
  // (Not inlined, so that what they need of the stack is there only then.)
  [[gnu::noinline]] void append_lanes(std::int64_t first, std::int64_t n, Summaries<Scalar>& to) const {
    std::int64_t offsets[block_size];
    const auto x = lane_rows(call_.x + tile_->base.tensor[0], 0, call_.partition->values, first, n, offsets);
    append_block(LaneSource<Storage, Scalar>{*call_.kernels, x, tile_->lanes}, centred(), n, 0, to);
  }
  [[gnu::noinline]] void append_copies(std::int64_t first, std::int64_t n, Summaries<Scalar>& to) const {
    Copies buffer;
    for (std::int64_t t = 0; t < tile_->lanes; t += Copies::lanes) {
      const Tile some = lanes_of(*tile_, t, (std::min)(Copies::lanes, tile_->lanes - t));
      append_rows(some, first, n, t, buffer.values, to);
    }
  }
  [[gnu::noinline]] void find_scaled(std::int64_t g, std::int64_t count, unsigned out) {
    for (std::int64_t i = g; i < g + count; ++i) {
      if ((out >> (i - g) & 1U) == 0) continue;
      ScaledStatistics<Storage, Scalar>(*call_.kernels, call_.x, call_.partition->values, lanes_of(*tile_, i, 1))
          .find(call_.statistic, call_.eps, i, statistics_);
    }
  }

  const Call& call_;
  AlignedParameter<Scalar> scale_, shift_;
  const Tile* tile_ = nullptr;
  Statistics<Scalar> statistics_;
};

/// Runs a forward call by each group's own statistics.
template <typename Storage, typename Scalar>
void forward(ForwardCall<Storage, Scalar>& call, const Device& device) {
  const Partition& partition = *call.partition;
  call.stream = call.y != nullptr && kernels::streams<Storage>(partition.size);
  const Layout layout(partition.groups, 0, 2);
  call.layout = &layout;
  const std::int64_t width = tile_width<Scalar>(partition, layout, 12 * block_size, device.threads());
  run_tiles<ForwardTask<Storage, Scalar>>(call, {0, partition.groups.tiles(width), width}, device);
  // It is gone. (The call is not copied: a few values would wait for it.)
  call.layout = nullptr;
}

/// Statistics of each feature, by feature number.
template <typename Scalar>
struct Given {
  const Scalar* mean = nullptr;      ///< null: 0
  const Scalar* variance = nullptr;  ///< null: `rstd`
  const Scalar* rstd = nullptr;      ///< null: 1
};

/// The given statistics of some lanes that are features.
template <typename Storage, typename Scalar>
class GivenStatistics {
 public:
  static constexpr std::int64_t most = most_positions<Scalar>;

  void find(const ForwardCall<Storage, Scalar>& call, const Given<Scalar>& given, const Tile& tile) {
    const std::int64_t feature = tile.base.feature, step = tile.lane.feature;
    std::fill(low_, low_ + tile.lanes, Scalar(0));
    take(given.mean, feature, step, tile.lanes, Scalar(0), high_);
    take(given.variance != nullptr ? given.variance : given.rstd, feature, step, tile.lanes, Scalar(1), rstd_);
    if (given.variance != nullptr) call.kernels->reciprocal_roots(rstd_, tile.lanes, call.eps, rstd_);
  }
  Normalizers<Scalar> by(std::int64_t step) const { return {high_, low_, rstd_, step, false}; }

 private:
  static void take(const Scalar* from, std::int64_t feature, std::int64_t step, std::int64_t n, Scalar none,
                   Scalar* to) {
    if (from == nullptr) {
      std::fill(to, to + n, none);
    } else if (step == 1) {
      std::copy(from + feature, from + feature + n, to);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[feature + i * step];
    }
  }

  alignas(64) Scalar high_[most], low_[most], rstd_[most];
};

/// y by given statistics of each feature. `first`: the number of the tensor that is x; y is the next.
template <typename Storage, typename Scalar>
void transform_given(ForwardCall<Storage, Scalar> call, const Given<Scalar>& given, std::size_t first,
                     const Device& device) {
  const Partition& partition = *call.partition;
  const Reduction& features = partition.features;
  call.stream = kernels::streams<Storage>(partition.size);
  const Layout layout(features, first, first + 2);
  call.layout = &layout;
  const std::int64_t run = layout.run(), most = GivenStatistics<Storage, Scalar>::most;
  const std::int64_t positions = layout.by_column ? most : most_rows * most;
  const std::int64_t width = run > segment_size ? 1 : std::clamp(positions / run, std::int64_t{1}, most);
  // Whole runs, of one lane also parts of them.
  const std::int64_t unit = width == 1 ? 1 : run;
  const std::int64_t in_task = (std::max)(segment_size / (width * unit), std::int64_t{1}) * unit;
  const std::int64_t count = features.reduced.size, bands = (count + in_task - 1) / in_task;
  const std::int64_t tiles = features.tiles(width);
  constexpr std::int64_t next = 512;
  device.parallel_for(tiles * bands, partition.size / (tiles * bands), [&](std::int64_t task, std::int64_t last) {
    while (task < last) {
      // The bands of one tile together.
      const std::int64_t id = task / bands, end = (std::min)(last, (id + 1) * bands);
      const Tile tile = features.tile(id, width);
      const Segment part{(task - id * bands) * in_task, (std::min)((end - id * bands) * in_task, count)};
      GivenStatistics<Storage, Scalar> statistics;
      statistics.find(call, given, tile);
      if (layout.by_column) {
        transform_columns(call, {call.scale, call.shift}, tile, part, statistics.by(1), 0);
      } else {
        transform_rows(call, {call.scale, call.shift}, tile, part, statistics.by(tile.lanes == 1 ? 0 : 1), next);
      }
      task = end;
    }
    if (call.stream) call.kernels->fence();
  });
}

/// Keeps given statistics as those of every group.
template <typename Storage, typename Scalar>
void keep_given(const ForwardCall<Storage, Scalar>& call, const Given<Scalar>& given) {
  const MomentsView<Scalar>& to = call.moments;
  const Loop& kept = call.partition->groups.kept;
  for (std::int64_t i = 0; i < kept.size; ++i) {
    const Offsets at = kept.at(i);
    to.high[at.group] = given.mean == nullptr ? Scalar(0) : given.mean[at.feature];
    to.low[at.group] = 0;
    to.rstd[at.group] = 1;
    if (given.variance != nullptr)
      call.kernels->reciprocal_roots(given.variance + at.feature, 1, call.eps, to.rstd + at.group);
    if (to.variance != nullptr)
      to.variance[at.group] = given.variance == nullptr ? 0 : static_cast<Wide<Scalar>>(given.variance[at.feature]);
  }
}

/// Runs a forward call by given statistics.
template <typename Storage, typename Scalar>
void forward_given(const ForwardCall<Storage, Scalar>& call, const Given<Scalar>& given, const Device& device) {
  if (call.moments.high != nullptr) keep_given(call, given);
  if (call.y != nullptr) transform_given(call, given, 0, device);
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

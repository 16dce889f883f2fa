#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/device.hpp"
#include "eigennorm/core/given.hpp"
#include "eigennorm/core/scaled_statistics.hpp"
#include "eigennorm/core/schedule.hpp"
#include "eigennorm/core/statistics.hpp"
#include "eigennorm/core/summaries_view.hpp"
#include "eigennorm/core/transform.hpp"
#include "eigennorm/streaming.hpp"

/// \file
/// y, by each group's own statistics.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// Those groups of a tile that are out of range. (Not inlined: it is rare, and takes room on the stack.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] void find_out_of_range(const ForwardCall<Storage, Scalar>& call, const Tile& tile,
                                         kernels::Range lanes, unsigned out, Statistics<Scalar>& to) {
  ScaledStatistics<Storage, Scalar>(*call.kernels, call.x, *call.partition, call.statistic, call.eps)
      .find(tile, lanes, out, to);
}

/// Behind the last of so many groups, up to sixteen, what raises no exception of floating point.
template <typename Scalar>
void fill_up(std::int64_t lanes, Summaries<Scalar>& of) {
  for (std::int64_t i = lanes; lanes > 1 && i % most_rows != 0; ++i) {
    of.mean[i] = 0;
    of.m2[i] = 1;
    if constexpr (Summaries<Scalar>::two_parts) of.low[i] = of.lost[i] = 0;
  }
}

/// From the summaries of a tile's groups to their statistics, in `to` and where they are kept.
template <typename Storage, typename Scalar>
void finish_tile(const ForwardCall<Storage, Scalar>& call, const Tile& tile, Summaries<Scalar>& of,
                 Statistics<Scalar>& to) {
  const kernels::Rule<Scalar> rule = rule_of<Scalar>(call.statistic, call.partition->count, call.eps);
  fill_up(tile.lanes, of);
  for (std::int64_t g = 0; g < tile.lanes; g += most_rows) {
    const std::int64_t count = (std::min)(tile.lanes - g, most_rows);
    const unsigned out = call.kernels->finish({g, count}, rule, of, to);
    if (out != 0) find_out_of_range(call, tile, {g, count}, out, to);
  }
  call.moments.put(tile, to);
}

/// The sums of a forward call by own statistics.
template <typename Storage, typename Scalar>
class ForwardSums {
 public:
  using W = Wide<Scalar>;
  using Call = ForwardCall<Storage, Scalar>;

  struct Sums {
    using View = SummariesView<Scalar>;
    static constexpr std::int64_t numbers = View::numbers;
    Summaries<Scalar> of;

    void clear(std::int64_t) { of.count = 0; }
    void add(const Sums& next, std::int64_t lanes) {
      merge(of, 0, next.of, lanes, true);
      of.count = of.count + next.of.count;
    }
    void put(W* to, std::int64_t lanes) const { View{to, lanes}.put(of); }
    void get(W* from, Segment to) {
      const std::int64_t lanes = to.last - to.first;
      View{from, lanes}.get(0, lanes, of, to.first);
    }
    void count_is(std::int64_t values) { of.count = static_cast<W>(values); }
  };

  ForwardSums(const Call& call, std::int64_t) : call_(call) {}

  /// (None where others have made the sums.)
  static std::int64_t segments(const Call& call) {
    return call.half == Half::results ? 0 : segments_in(call.partition->count);
  }
  static std::int64_t values_in(const Call& call, std::int64_t segment) {
    return (std::min)(segment_size, call.partition->count - segment * segment_size);
  }

  void begin(std::int64_t, const Tile& tile) { tile_ = &tile; }

  void sum(std::int64_t number, Sums& sums) const {
    if (call_.half == Half::results) return;
    const Partition& partition = *call_.partition;
    const Segment part = segment(number, partition.count);
    const bool lanes = are_lanes(partition.groups, *tile_, 0, 1);
    for (std::int64_t block = part.first; block < part.last; ++block) {
      const std::int64_t first = block * block_size, n = values_in_block(block, partition.count);
      if (call_.adds) add_ahead(block, part);
      if (lanes) {
        append_lanes(first, n, sums.of);
      } else if (are_rows(partition.values, 0, {first, first + n})) {
        append_rows(*tile_, first, n, 0, nullptr, sums.of);
      } else {
        append_copies(first, n, sums.of);
      }
      sums.of.count = sums.of.count + static_cast<W>(n);
    }
  }

 private:
  /// (What else is on the stack grows with Scalar.)
  using Copies = Buffer<Storage, (sizeof(Scalar) > 4 ? 24 : 32) * 1024>;

  bool centred() const { return is_centred(call_.statistic); }

  /// Makes x from block `block` on where it is a sum: as much as stays in L2, of one long run several blocks.
  void add_ahead(std::int64_t block, Segment part) const {
    const std::int64_t together = (std::max)(32 / tile_->lanes, std::int64_t{1});
    if ((block - part.first) % together != 0) return;
    const std::int64_t last = (std::min)(block + together, part.last) * block_size;
    add_terms(call_, *tile_, {block * block_size, (std::min)(last, call_.partition->count)});
  }

  void append_rows(const Tile& tile, std::int64_t first, std::int64_t n, std::int64_t at, Storage* buffer,
                   Summaries<Scalar>& to) const {
    const auto x = value_rows<Storage, Scalar>({*call_.kernels, call_.x, 0}, call_.partition->values, tile,
                                               {first, first + n}, buffer);
    const Scalar quiet =
        call_.half == Half::both ? quiet_up_to<Scalar>(call_.statistic, call_.partition->count) : Scalar(0);
    append_block(RowSource<Storage, Scalar>{*call_.kernels, x, tile.lanes, quiet}, centred(), n, at, to);
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

 protected:
  const Call& call_;
  const Tile* tile_ = nullptr;
};

/// A task of such a call.
template <typename Storage, typename Scalar>
class ForwardTask : public ForwardSums<Storage, Scalar> {
 public:
  using Summing = ForwardSums<Storage, Scalar>;
  using Call = ForwardCall<Storage, Scalar>;
  using typename Summing::Sums;

  ForwardTask(const Call& call, std::int64_t tiles)
      : Summing(call, tiles),
        scale_(call.scale, copied_parameters(*call.partition, *call.layout, tiles)),
        shift_(call.shift, copied_parameters(*call.partition, *call.layout, tiles)) {}

  bool writes() const { return call_.y != nullptr; }

  void finish(Sums& sums) {
    if (call_.half == Half::both) return finish_tile(call_, *tile_, sums.of, statistics_);
    if (call_.half == Half::sums) return call_.summaries.put(*tile_, sums.of);
    call_.moments.get(*tile_, statistics_);
  }

  void write(std::int64_t first, std::int64_t last) const {
    if (!writes()) return;
    const Layout& layout = *call_.layout;
    const Partition& partition = *call_.partition;
    const std::int64_t values = tile_->lanes * partition.count;
    if (layout.by_column) {
      const std::int64_t next = next_after<Storage>(values, partition.whole, 1, tile_->lanes * layout.run());
      transform_columns(call_, {scale_.get(), shift_.get()}, *tile_, {first, last}, statistics_.by(), next);
    } else {
      const std::int64_t next = next_after<Storage>(values, partition.whole, 1, tile_->lanes * tile_->lane.stride[0]);
      transform_rows(call_, {scale_.get(), shift_.get()}, *tile_, {first, last},
                     statistics_.by(tile_->lanes == 1 ? 0 : 1), next);
    }
  }

 private:
  using Summing::call_;
  using Summing::tile_;

  AlignedParameter<Scalar> scale_, shift_;
  Statistics<Scalar> statistics_;
};

/// Whether all groups are rows of one tile: a frame, or a small batch.
template <typename Scalar>
bool is_one_tile_of_rows(const Partition& partition) {
  return partition.size <= 12 * block_size && partition.groups.kept.rank <= 1 &&
         partition.groups.kept.size <= most_lanes<Scalar> && partition.groups.reduced.rank <= 1 && partition.rows(2) &&
         partition.groups.reduced.fastest().feature <= 1;
}

/// Such a call: nothing has to be cut. (What a task costs is more than what a frame of 64 values takes.)
template <typename Storage, typename Scalar>
void forward_one_tile(const ForwardCall<Storage, Scalar>& call) {
  const Partition& partition = *call.partition;
  const Tile tile = partition.groups.tile(0, most_lanes<Scalar>);
  const auto& base = tile.base;
  const Rows<const Storage> x{call.x + base.tensor[0], tile.lane.stride[0]};
  Summaries<Scalar> summaries;
  Statistics<Scalar> statistics;
  summaries.count = 0;
  RowSource<Storage, Scalar> source{*call.kernels, x, tile.lanes, quiet_up_to<Scalar>(call.statistic, partition.count)};
  for (std::int64_t block = 0; block < blocks_in(partition.count); ++block) {
    const std::int64_t n = values_in_block(block, partition.count);
    source.x.data = x(0) + block * block_size;
    append_block(source, is_centred(call.statistic), n, 0, summaries);
    summaries.count = summaries.count + static_cast<Wide<Scalar>>(n);
  }
  finish_tile(call, tile, summaries, statistics);
  if (call.y == nullptr) return;
  const kernels::Affine<Scalar> affine{call.scale, call.shift, tile.lane.feature,
                                       partition.groups.reduced.fastest().feature};
  call.kernels->transform(x, {call.y + base.tensor[1], tile.lane.stride[1]}, {tile.lanes, partition.count},
                          statistics.by(), affine, {});
}

/// What finish makes the statistics of a quiet group of: those of zeros are right.
template <typename Scalar>
void summarize_quiet(std::int64_t n, Summaries<Scalar>& to) {
  to.count = static_cast<Wide<Scalar>>(n);
  to.mean[0] = to.m2[0] = 0;
  if constexpr (Summaries<Scalar>::two_parts) to.low[0] = to.lost[0] = 0;
}

/// Such a tile of one group, of a block at most: one kernel does all. Returns false, and has done nothing, where there
/// is no such kernel. (The group begins where its tensors do: a loop of places, which need not, has two axes.)
template <typename Storage, typename Scalar>
bool forward_frame(const ForwardCall<Storage, Scalar>& call) {
  const Partition& partition = *call.partition;
  const kernels::BlockKernels<Storage, Scalar>& kernels = *call.kernels;
  const std::int64_t n = partition.count;
  if (partition.groups.kept.size != 1 || n > block_size || kernels.normalize == nullptr) return false;
  const kernels::Affine<Scalar> affine{call.scale, call.shift, 0, partition.groups.reduced.fastest().feature};
  const auto rule = rule_of<Scalar>(call.statistic, n, call.eps);
  const Scalar quiet = quiet_up_to<Scalar>(call.statistic, n);
  Statistics<Scalar> statistics;
  bool done = false;
  if (quiet != 0 && RowSource<Storage, Scalar>{kernels, {call.x, 0}, 1, quiet}.is_quiet(0, n)) {
    Summaries<Scalar> summary;
    summarize_quiet(n, summary);
    kernels.finish({0, 1}, rule, summary, statistics);
  } else {
    done = kernels.normalize(call.x, call.y, n, is_centred(call.statistic), rule, affine, statistics);
  }
  if (!done) {
    find_out_of_range(call, partition.groups.tile(0, 1), {0, 1}, 1, statistics);
    if (call.y != nullptr) kernels.transform({call.x, 0}, {call.y, 0}, {1, n}, statistics.by(), affine, {});
  }
  call.moments.put_first(statistics);
  return true;
}

/// Runs a forward call by each group's own statistics.
template <typename Storage, typename Scalar>
void forward(ForwardCall<Storage, Scalar>& call, const Device& device) {
  const Partition& partition = *call.partition;
  if (call.y != nullptr && call.half != Half::sums && call.moments.high != nullptr && !call.adds &&
      are_columns_apart(partition)) {
    // First all sums, by tiles; then y, of all channels.
    ForwardCall<Storage, Scalar> sums = call;
    sums.y = nullptr;
    if (call.half == Half::both) forward(sums, device);
    return transform_given(call, {call.moments.high, nullptr, call.moments.rstd, call.moments.low}, 0, device);
  }
  call.stream = call.y != nullptr && kernels::streams<Storage>(partition.whole);
  if (!call.stream && call.half == Half::both && is_one_tile_of_rows<Scalar>(partition) && call.fused == nullptr) {
    if (!forward_frame(call)) forward_one_tile(call);
    return;
  }
  const Layout layout(partition.groups, 0, call.tensors());
  call.layout = &layout;
  const int threads = device.threads_for(partition.size);
  const std::int64_t width = tile_width<Scalar>(partition, layout, 12 * block_size, threads);
  const std::int64_t tiles = partition.groups.tiles(width);
  if (call.adds && !takes_whole_tiles(partition, tiles, threads)) {
    add_all_terms(call, partition.groups, width, device);
    call.adds = false;
  }
  run_tiles<ForwardTask<Storage, Scalar>>(call, {0, tiles, width}, device);
  call.adds = false;
  // It is gone. (The call is not copied: a few values would wait for it.)
  call.layout = nullptr;
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/backward_call.hpp"
#include "eigennorm/core/blocks.hpp"
#include "eigennorm/core/given.hpp"
#include "eigennorm/core/gradient_sums.hpp"
#include "eigennorm/core/piece_sums.hpp"
#include "eigennorm/core/schedule.hpp"
#include "eigennorm/core/slab_parts.hpp"
#include "eigennorm/core/statistics.hpp"
#include "eigennorm/core/summaries_view.hpp"

/// \file
/// dx, and the sums of each group that it is made of.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// What a group's dx is corrected by, from its sums: the mean of d, and the slope of what goes along with xhat.
template <typename Scalar>
void correction_of(const GradientSums<Scalar>& sums, Statistic statistic, std::int64_t count, Scalar& mean,
                   Scalar& slope) {
  const auto n = static_cast<Wide<Scalar>>(count);
  const Wide<Scalar> product = sums.product.total();
  mean = is_centred(statistic) ? static_cast<Scalar>(sums.sum.total() / n) : Scalar(0);
  slope = Scalar(0);
  if (has_sigma(statistic)) slope = static_cast<Scalar>(statistic == Statistic::sum_square ? product : product / n);
}

/// The scale of each value of a block of a group: where it is contiguous there, otherwise copied.
template <typename Scalar>
Affine<Scalar> scales_of(const Scalar* scale, const Loop& values, std::int64_t feature, std::int64_t first,
                         std::int64_t n, Scalar* buffer) {
  const std::int64_t step = values.fastest().feature;
  if (is_one_run(values, first, n) && step <= 1) return {scale + feature + values.at(first).feature, nullptr, 0, step};
  values.for_each_run(first, first + n, [&](const Offsets& at, std::int64_t position, std::int64_t length) {
    for (std::int64_t i = 0; i < length; ++i) buffer[position - first + i] = scale[feature + at.feature + i * step];
  });
  return {buffer, nullptr, 0, 1};
}

/// A task of a backward call: dx of its tiles, and where every feature is kept also the sums of each group.
template <typename Storage, typename Scalar>
class BackwardTask {
 public:
  using W = Wide<Scalar>;
  using Call = BackwardCall<Storage, Scalar>;
  using Summing = BackwardTask;
  static constexpr std::int64_t most = most_lanes<Scalar>;

  struct Sums {
    static constexpr std::int64_t numbers = GradientTotals<Scalar>::room(1);
    alignas(64) W room[static_cast<std::size_t>(numbers * most)];

    GradientTotals<Scalar> totals() { return GradientTotals<Scalar>(room, most); }
    void clear(std::int64_t lanes) {
      for (std::int64_t i = 0; i < numbers; ++i) std::fill(room + i * most, room + i * most + lanes, W(0));
    }
    void add(Sums& next, std::int64_t lanes) {
      for (std::int64_t t = 0; t < lanes; ++t) {
        GradientSums<Scalar> sum = totals().get(t);
        sum.add(next.totals().get(t));
        totals().put(t, sum);
      }
    }
    void put(W* to, std::int64_t lanes) {
      for (std::int64_t k = 0; k < numbers; ++k) to = std::copy(room + k * most, room + k * most + lanes, to);
    }
    void get(const W* from, Segment to) {
      const std::int64_t lanes = to.last - to.first;
      for (std::int64_t k = 0; k < numbers; ++k, from += lanes)
        std::copy(from, from + lanes, room + k * most + to.first);
    }
    void count_is(std::int64_t) {}
  };

  BackwardTask(const Call& call, std::int64_t) : call_(call), cut_(*call.partition, call.scale != nullptr) {}

  /// (None where others have made the sums.)
  static std::int64_t segments(const Call& call) {
    return call.half == Half::results ? 0 : GroupPieces(*call.partition, call.scale != nullptr).segments;
  }
  static std::int64_t values_in(const Call&, std::int64_t) { return 0; }
  bool writes() const { return !call_.frozen && call_.half != Half::sums && call_.mean == nullptr; }

  void begin(std::int64_t id, const Tile& tile) {
    tile_ = &tile;
    call_.moments.get(tile, statistics_);
    // Of its wave, where pieces are kept; tiles are single groups then.
    if (call_.pieces == nullptr) return;
    const std::int64_t in_sample = call_.partition->groups.kept.size / PieceSums<Scalar>::samples_in(*call_.partition);
    sample_ = id / in_sample % PieceSums<Scalar>::wave(*call_.partition);
  }

  void sum(std::int64_t number, Sums& sums) const {
    if (call_.half == Half::results) return;
    const Partition& partition = *call_.partition;
    const GradientTotals<Scalar> totals = sums.totals();
    const Segment segment = cut_.segment(number);
    if (runs_are_rows()) return sum_feature_runs(segment, totals);
    for (std::int64_t piece = segment.first; piece < segment.last; ++piece) {
      alignas(64) Scalar plain[most], product[most];
      sum_piece(cut_.first_value(piece), cut_.values_in(piece), {plain, product});
      if (!cut_.by_runs && call_.pieces == nullptr) {
        call_.kernels->flush(plain, tile_->lanes, totals.sum, totals.sum_lost);
        call_.kernels->flush(product, tile_->lanes, totals.product, totals.product_lost);
        continue;
      }
      const std::int64_t feature =
          cut_.by_runs ? tile_->base.feature + partition.groups.reduced.at(cut_.first_value(piece)).feature : 0;
      for (std::int64_t t = 0; t < tile_->lanes; ++t)
        add(totals, t, plain[t], product[t], feature + t * tile_->lane.feature, piece % cut_.per_run);
    }
  }

  void finish(Sums& sums) {
    if (call_.half == Half::results) return correct();
    const GradientTotals<Scalar> totals = sums.totals();
    const Partition& partition = *call_.partition;
    const std::int64_t group = tile_->base.group, step = tile_->lane.group;
    if (call_.half == Half::sums) call_.all.put_all(group, step, tile_->lanes, totals);
    if (partition.features_kept && call_.wants_parameters) call_.sums.put_all(group, step, tile_->lanes, totals);
    if (call_.frozen) return;
    correct(totals, partition.count);
    if (call_.mean == nullptr) return;
    std::copy(mean_, mean_ + tile_->lanes, call_.mean + group);
    std::copy(slope_, slope_ + tile_->lanes, call_.slope + group);
  }

  void write(std::int64_t first, std::int64_t last) const {
    if (!writes()) return;
    const std::int64_t values = tile_->lanes * call_.partition->count;
    if (call_.layout->by_column) {
      gradient_columns(call_, *tile_, {first, last}, gradient({}),
                       next_after<Storage>(values, call_.partition->whole, 2, tile_->lanes * call_.layout->run()));
    } else {
      write_rows({first, last},
                 next_after<Storage>(values, call_.partition->whole, 2, tile_->lanes * tile_->lane.stride[0]));
    }
  }

 private:
  /// Of x and of dy: the wider Scalar is, the more room the rest takes.
  static constexpr std::int64_t buffer_bytes =
      (std::max)((std::min)(64 / static_cast<std::int64_t>(sizeof(Scalar)), std::int64_t{16}) * 1024,
                 block_size* static_cast<std::int64_t>(sizeof(Storage)));
  using Copies = Buffer<Storage, buffer_bytes>;
  using KernelSums = kernels::Sums<Scalar>;

  /// By the sums of all members. (Not inlined, so that its room is on the stack only here.)
  [[gnu::noinline]] void correct() {
    Sums of_all;
    const GradientTotals<Scalar> totals = of_all.totals();
    for (std::int64_t t = 0; t < tile_->lanes; ++t)
      totals.put(t, call_.all.get(tile_->base.group + t * tile_->lane.group));
    correct(totals, call_.count);
  }
  /// What correction_of does, for all lanes.
  void correct(const GradientTotals<Scalar>& totals, std::int64_t count) {
    const std::int64_t lanes = tile_->lanes;
    const auto n = static_cast<W>(count);
    std::fill(mean_, mean_ + lanes, Scalar(0));
    std::fill(slope_, slope_ + lanes, Scalar(0));
    if (is_centred(call_.statistic)) call_.kernels->quotients(totals.sum, totals.sum_lost, lanes, n, mean_);
    if (!has_sigma(call_.statistic)) return;
    const W divisor = call_.statistic == Statistic::sum_square ? W(1) : n;
    call_.kernels->quotients(totals.product, totals.product_lost, lanes, divisor, slope_);
  }

  Normalizers<Scalar> by() const { return statistics_.by(tile_->lanes == 1 ? 0 : 1); }
  kernels::Gradient<Scalar> gradient(const Affine<Scalar>& affine) const {
    return {by(), mean_, slope_, affine, !call_.partition->features_kept};
  }
  /// Whether the tile is one group of such runs, side by side in the tensors of sums.
  bool runs_are_rows() const {
    const Axis run = call_.partition->groups.reduced.fastest();
    return cut_.by_runs && !call_.layout->by_column && !call_.layout->has_places() && tile_->lanes == 1 &&
           run.extent == cut_.run && Partition::steps_by(run, 1, 0, 2);
  }
  /// Whether values have their own scales in sums.
  bool scaled() const { return call_.scale != nullptr && !call_.partition->features_kept && !cut_.by_runs; }

  void add(const GradientTotals<Scalar>& totals, std::int64_t t, Scalar plain, Scalar product, std::int64_t feature,
           std::int64_t block) const {
    if (call_.pieces != nullptr) call_.pieces->put(sample_, block, feature, plain, product);
    GradientSums<Scalar> sum = totals.get(t);
    sum.add(plain, product, cut_.by_runs ? call_.scale[feature] : Scalar(1));
    totals.put(t, sum);
  }

  /// The sums of values [first, first + n) of each lane, at most a block.
  void sum_piece(std::int64_t first, std::int64_t n, KernelSums sums) const {
    const Partition& partition = *call_.partition;
    const Loop& values = partition.values;
    const bool lanes = are_lanes(partition.groups, *tile_, 0, 2) && (!scaled() || tile_->lane.feature == 0);
    if (lanes) return sum_lanes(first, n, sums);
    const bool rows = Partition::steps_by(values.fastest(), 1, 0, 2) && is_in_place(values, first, n);
    if (rows && (!scaled() || is_direct(first, n))) return sum_rows({0, tile_->lanes}, {first, first + n}, {}, sums);
    sum_copies(first, n, sums);
  }
  bool is_direct(std::int64_t first, std::int64_t n) const {
    const Loop& reduced = call_.partition->groups.reduced;
    return is_one_run(reduced, first, n) && reduced.fastest().feature == 1;
  }

  struct Room {
    Storage* x = nullptr;
    Storage* dy = nullptr;
    Scalar* scales = nullptr;
  };

  /// The sums of some values of some lanes as rows, copied where there is room.
  void sum_rows(Segment lanes, Segment part, const Room& room, KernelSums sums) const {
    const Loop& values = call_.partition->values;
    const Tile tile = lanes_of(*tile_, lanes.first, lanes.last - lanes.first);
    const std::int64_t n = part.last - part.first;
    const auto x = value_rows<Storage, Scalar>({*call_.kernels, call_.x, 0}, values, tile, part, room.x);
    const auto dy = value_rows<Storage, Scalar>({*call_.kernels, call_.dy, 1}, values, tile, part, room.dy);
    // Lanes whose scales are their own and are copied: one by one.
    const std::int64_t together = scaled() && tile.lane.feature != 0 && room.scales != nullptr ? 1 : tile.lanes;
    for (std::int64_t t = 0; t < tile.lanes; t += together) {
      Affine<Scalar> affine;
      if (scaled()) affine = scales_of_row(tile.base.feature + t * tile.lane.feature, part, room.scales);
      affine.row = tile.lane.feature;
      if (call_.gated) return sum_gated(lanes, x, dy, n, room.dy, sums);
      call_.kernels->gradient_sums({x(t), x.step}, {dy(t), dy.step}, {together, n}, by().from(lanes.first + t), affine,
                                   {sums.plain + t, sums.product + t});
    }
  }
  /// The same of rows whose dy still has to pass the gate. `room`: for copies of dy, where there are some; null: none.
  void sum_gated(Segment lanes, Rows<const Storage> x, Rows<const Storage> dy, std::int64_t n, Storage* room,
                 KernelSums sums) const {
    const Normalizers<Scalar> own = by().from(lanes.first);
    const kernels::Fused<Storage, Scalar> gate = gate_of(lanes.first, own);
    const Extent size{lanes.last - lanes.first, n};
    if (room != nullptr) {
      const std::int64_t step = dy.data == room ? dy.step : n;
      call_.kernels->gate(x, dy, {room, step}, size, gate, {});
      return call_.kernels->gradient_sums(x, {room, step}, size, own, {}, sums);
    }
    // (Blocks follow each other in memory: what is asked for is half of the next.)
    constexpr std::int64_t next = block_size / 2;
    with_gate(call_, x, dy, size, gate, next, [&](auto passed, std::int64_t r, std::int64_t c, Extent part) {
      call_.kernels->gradient_sums({x(r) + c, x.step}, passed, part, own.from(r), {},
                                   {sums.plain + r, sums.product + r});
    });
  }
  kernels::Fused<Storage, Scalar> gate_of(std::int64_t lane, const Normalizers<Scalar>& own) const {
    return {own, affine_from(lane, tile_->lane.feature, 0), {nullptr, 0}, true};
  }
  /// Scale and shift of a lane's feature and those behind it.
  Affine<Scalar> affine_from(std::int64_t lane, std::int64_t row, std::int64_t column) const {
    const std::int64_t feature = tile_->base.feature + lane * tile_->lane.feature;
    return {Affine<Scalar>::at(call_.scale, feature), Affine<Scalar>::at(call_.shift, feature), row, column};
  }
  Affine<Scalar> scales_of_row(std::int64_t feature, Segment part, Scalar* buffer) const {
    const std::int64_t n = part.last - part.first;
    const Loop& reduced = call_.partition->groups.reduced;
    const Affine<Scalar> affine = scales_of(call_.scale, reduced, feature, part.first, n, buffer);
    if (affine.column != 0) return affine;
    std::fill(buffer, buffer + n, *affine.scale);
    return {buffer, nullptr, 0, 1};
  }

  // (Not inlined, so that what they need of the stack is there only then.)
  [[gnu::noinline]] void sum_lanes(std::int64_t first, std::int64_t n, KernelSums sums) const {
    std::int64_t x_offsets[block_size], dy_offsets[block_size];
    Scalar scales[block_size];
    const Loop& values = call_.partition->values;
    const auto x = lane_rows(call_.x + tile_->base.tensor[0], 0, values, first, n, x_offsets);
    const auto dy = lane_rows(call_.dy + tile_->base.tensor[1], 1, values, first, n, dy_offsets);
    Affine<Scalar> affine;
    if (scaled()) {
      affine = scales_of(call_.scale, call_.partition->groups.reduced, tile_->base.feature, first, n, scales);
      affine.row = affine.column;
      affine.column = 0;
    }
    Normalizers<Scalar> own = statistics_.by();
    own.by_column = true;
    if (call_.gated) return call_.kernels->lane_gated_sums(x, dy, {n, tile_->lanes}, own, affine_from(0, 0, 1), sums);
    call_.kernels->lane_gradient_sums(x, dy, {n, tile_->lanes}, own, affine, sums);
  }

  [[gnu::noinline]] void sum_copies(std::int64_t first, std::int64_t n, KernelSums sums) const {
    Copies x_copies, dy_copies;
    Scalar scales[block_size];
    for (std::int64_t t = 0; t < tile_->lanes; t += Copies::lanes) {
      sum_rows({t, (std::min)(t + Copies::lanes, tile_->lanes)}, {first, first + n},
               {x_copies.values, dy_copies.values, scales}, {sums.plain + t, sums.product + t});
    }
  }

  /// One group whose features change between runs that are rows.
  void sum_feature_runs(Segment segment, const GradientTotals<Scalar>& totals) const {
    const std::int64_t last = segment.last == cut_.pieces ? call_.partition->count : cut_.first_value(segment.last);
    std::int64_t position = cut_.first_value(segment.first);
    for_each_slab(*call_.layout, *tile_, position, last, [&](const Slab& whole) {
      // Long runs block by block, one after the other.
      const std::int64_t rows = whole.column.extent > block_size ? 1 : whole.row.extent;
      for (std::int64_t r = 0; r < whole.row.extent; r += rows) {
        for (std::int64_t c = 0; c < whole.column.extent; c += block_size) {
          Slab slab = whole;
          slab.at.step(whole.row, r);
          slab.at.step(whole.column, c);
          slab.row.extent = rows;
          slab.column.extent = (std::min)(block_size, whole.column.extent - c);
          sum_feature_rows(slab, position % cut_.run / block_size, totals);
          position += rows * slab.column.extent;
        }
      }
    });
  }
  void sum_feature_rows(const Slab& slab, std::int64_t block, const GradientTotals<Scalar>& totals) const {
    Scalar plain[most_rows], product[most_rows];
    call_.kernels->gradient_sums({call_.x + slab.at.tensor[0], slab.row.stride[0]},
                                 {call_.dy + slab.at.tensor[1], slab.row.stride[1]}, slab.size(), by(), {},
                                 {plain, product});
    for (std::int64_t r = 0; r < slab.row.extent; ++r)
      add(totals, 0, plain[r], product[r], slab.at.feature + r * slab.row.feature, block);
  }

  void write_rows(Segment part, std::int64_t next) const {
    for_rows(pass_of(call_), *call_.layout, *tile_, part, ScaleAndShift<Scalar>{call_.scale, call_.shift},
             Visitor<Storage, Scalar>([&](const Part<Storage, Scalar>& at) {
               kernels::Gradient<Scalar> own = gradient({}).from(at.row, 0);
               own.affine = at.affine;
               if (call_.gated) return write_gated(at, own, at.traffic(call_.stream, next));
               call_.kernels->gradient(at.in[0], at.in[1], at.out, at.size, own, at.traffic(call_.stream, next));
             }));
  }

  void write_gated(const Part<Storage, Scalar>& at, const kernels::Gradient<Scalar>& own, Traffic traffic) const {
    const auto write = [&](Rows<const Storage> passed, std::int64_t r, std::int64_t c, Extent size) {
      call_.kernels->gradient({at.in[0](r) + c, at.in[0].step}, passed, {at.out(r) + c, at.out.step}, size,
                              own.from(r, c), traffic);
    };
    with_gate(call_, at.in[0], at.in[1], at.size, {own.by, own.affine, {nullptr, 0}, true}, traffic.next(), write);
  }

  const Call& call_;
  GroupPieces cut_;
  const Tile* tile_ = nullptr;
  std::int64_t sample_ = 0;
  Statistics<Scalar> statistics_;
  alignas(64) Scalar mean_[most], slope_[most];
};

/// dx where it is made apart from the sums: see are_columns_apart.
template <typename Storage, typename Scalar>
void gradient_apart(const BackwardCall<Storage, Scalar>& call, const Device& device) {
  const Reduction& groups = call.partition->groups;
  const MomentsView<Scalar>& moments = call.moments;
  const kernels::Gradient<Scalar> all{
      {moments.high, moments.low, moments.rstd, 1, true}, call.mean, call.slope, {call.scale, call.shift, 0, 1}, false};
  if (!call.stream && is_one_slab<Scalar>(*call.partition, 0, 3)) {
    const Axis row = groups.reduced.fastest();
    const auto gradient = call.gated ? call.kernels->gradient_gated : call.kernels->gradient;
    return gradient({call.x, row.stride[0]}, {call.dy, row.stride[1]}, {call.dx, row.stride[2]},
                    {row.extent, groups.kept.size}, all, {});
  }
  const auto write = [&](const Tile& tile, Segment part) {
    gradient_columns(call, tile, part, all.from(0, tile.base.group), 0);
  };
  for_each_band(groups, {(std::min)(groups.kept.size, Columns<Scalar>::most_columns(call.gated)), 1}, device, write,
                call.stream ? call.kernels->fence : nullptr);
}

/// dx, and where every feature is kept also the sums of each group; where call.pieces is set, those of each feature.
template <typename Storage, typename Scalar>
void input_gradient(BackwardCall<Storage, Scalar> call, const Device& device) {
  using Task = BackwardTask<Storage, Scalar>;
  const Partition& partition = *call.partition;
  const Layout layout(partition.groups, 0, 3);
  call.layout = &layout;
  // Groups whose runs are rows one by one.
  const bool one_by_one = !partition.groups.interleaved && GroupPieces(partition, call.scale != nullptr).by_runs;
  const std::int64_t width =
      one_by_one ? 1 : tile_width<Scalar>(partition, layout, 6 * block_size, device.threads_for(partition.size));
  const std::int64_t tiles = partition.groups.tiles(width);
  if (call.pieces == nullptr) {
    run_tiles<Task>(call, {0, tiles, width}, device);
    if (call.mean != nullptr) gradient_apart(call, device);
    return;
  }
  // A wave of samples at a time, whose pieces then are added to their features.
  using Pieces = PieceSums<Scalar>;
  const std::int64_t samples = Pieces::samples_in(partition), wave = Pieces::wave(partition);
  const std::int64_t in_sample = tiles / samples, per_run = GroupPieces(partition, true).per_run;
  for (std::int64_t sample = 0; sample < samples; sample += wave) {
    const std::int64_t end = (std::min)(sample + wave, samples);
    run_tiles<Task>(call, {sample * in_sample, end * in_sample, width}, device);
    const std::int64_t count = (end - sample) * per_run;
    device.parallel_for(partition.features.kept.size, count, [&](std::int64_t first, std::int64_t last) {
      call.pieces->add(first, last, sample * per_run, count);
    });
  }
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/core/partition.hpp"
#include "eigennorm/kernels/block.hpp"

/// \file
/// The values of a tile for kernels of sums: blocks, where they lie or, from scattered memory, copied.

namespace eigennorm::core {

using kernels::block_size;
using kernels::most_rows;
using kernels::segment_size;
using kernels::step_size;

/// Blocks [first, last) of a group.
struct Segment {
  std::int64_t first, last;
};

inline std::int64_t blocks_in(std::int64_t count) { return (count + block_size - 1) / block_size; }
inline std::int64_t segments_in(std::int64_t count) { return (count + segment_size - 1) / segment_size; }
inline Segment segment(std::int64_t number, std::int64_t count) {
  const std::int64_t first = number * kernels::segment_blocks;
  return {first, (std::min)(first + kernels::segment_blocks, blocks_in(count))};
}
inline std::int64_t values_in_block(std::int64_t block, std::int64_t count) {
  return (std::min)(block_size, count - block * block_size);
}

/// Whether values [first, first + n) of a loop belong to one run.
inline bool is_one_run(const Loop& values, std::int64_t first, std::int64_t n) {
  if (values.rank <= 1) return true;
  if (values.places != nullptr) {
    const Run& run = values.places->run_of(first);
    return first + n <= run.position + run.length;
  }
  const std::int64_t extent = values.axes[static_cast<std::size_t>(values.rank - 1)].extent;
  return first % extent + n <= extent;
}

/// Whether they are, with nothing left out between them. (A run of which words leave some is one run still.)
inline bool is_in_place(const Loop& values, std::int64_t first, std::int64_t n) {
  return (values.places == nullptr || values.places->words == nullptr) && is_one_run(values, first, n);
}

/// Whether the lanes of a tile are neighbours in memory in tensors [first, last), enough of them for kernels of lanes.
inline bool are_lanes(const Reduction& reduction, const Tile& tile, std::size_t first, std::size_t last) {
  return reduction.interleaved && tile.lanes >= most_rows && Partition::steps_by(tile.lane, 1, first, last);
}

/// Values [first, first + n) of such lanes, at most a block. `offsets`: room for one of each row.
template <typename Storage>
kernels::LaneRows<const Storage> lane_rows(const Storage* data, std::size_t tensor, const Loop& values,
                                           std::int64_t first, std::int64_t n, std::int64_t* offsets) {
  const std::int64_t step = values.fastest().stride[tensor];
  if (values.places != nullptr && values.places->offsets != nullptr) {
    const std::int32_t* const places = values.places->offsets + first;
    for (std::int64_t i = 0; i < n; ++i) offsets[i] = places[i];
    return {data + values.places->runs[0].at.tensor[tensor], offsets};
  }
  if (is_one_run(values, first, n)) return {data + values.at(first).tensor[tensor], step};
  values.for_each_run(first, first + n, [&](const Offsets& at, std::int64_t position, std::int64_t length) {
    for (std::int64_t i = 0; i < length; ++i) offsets[position - first + i] = at.tensor[tensor] + i * step;
  });
  return {data, offsets};
}

/// Copies of values of some lanes, small enough for L1 and the stack. Not initialized.
template <typename Storage, std::int64_t Bytes>
struct Buffer {
  /// Lanes of which there is room for a block.
  static constexpr std::int64_t lanes =
      (std::min)(Bytes / static_cast<std::int64_t>(sizeof(Storage)) / block_size, most_rows);
  static_assert(lanes > 0);

  alignas(64) Storage values[static_cast<std::size_t>(lanes * block_size + kernels::selection_room<Storage>)];
};

/// A tensor that sums are read from, by its number in a loop.
template <typename Storage, typename Scalar>
struct Input {
  const kernels::BlockKernels<Storage, Scalar>& kernels;
  const Storage* data;
  std::size_t tensor;
};

/// What words leave of values [first, last) of the lanes of a tile, as rows. `buffer` has room for more.
template <typename Storage, typename Scalar>
[[gnu::noinline]] kernels::Rows<const Storage> packed_rows(const Input<Storage, Scalar>& from, const Places& places,
                                                           const Tile& tile, Segment part, Storage* buffer) {
  const std::int64_t n = part.last - part.first;
  const kernels::MaskWord* const word = places.word_of(part.first);
  const Storage* x = from.data + tile.base.tensor[from.tensor];
  for (std::int64_t t = 0; t < tile.lanes; ++t, x += tile.lane.stride[from.tensor])
    from.kernels.select.pack(x, word, part.first - word->position, n, buffer + t * n);
  return {buffer, n};
}

/// The same of positions whose places are listed.
template <typename Storage, typename Scalar>
[[gnu::noinline]] kernels::Rows<const Storage> gathered_rows(const Input<Storage, Scalar>& from, const Places& places,
                                                             const Tile& tile, Segment part, bool lane_by_lane,
                                                             Storage* buffer) {
  const std::int64_t n = part.last - part.first, lane = tile.lane.stride[from.tensor];
  const Storage* x = from.data + tile.base.tensor[from.tensor] + places.runs[0].at.tensor[from.tensor];
  const std::int32_t* offsets = places.offsets + part.first;
  for (std::int64_t t = 0; lane_by_lane && t < tile.lanes; ++t) {
    for (std::int64_t i = 0; i < n; ++i) buffer[t * n + i] = x[offsets[i] + t * lane];
  }
  for (std::int64_t i = 0; !lane_by_lane && i < n; ++i) {
    for (std::int64_t t = 0; t < tile.lanes; ++t) buffer[t * n + i] = x[offsets[i] + t * lane];
  }
  return {buffer, n};
}

/// Values [first, last) of the lanes of a tile as rows: copied to `buffer`. (Not inlined: most values are read where
/// they are.)
template <typename Storage, typename Scalar>
[[gnu::noinline]] kernels::Rows<const Storage> copied_rows(const Input<Storage, Scalar>& from, const Loop& values,
                                                           const Tile& tile, Segment part, Storage* buffer) {
  const std::int64_t n = part.last - part.first, stride = values.fastest().stride[from.tensor],
                     lane_stride = tile.lane.stride[from.tensor];
  // While one run is copied, the next but one comes from memory.
  const std::int64_t next = values.rank < 2 || values.places != nullptr
                                ? 0
                                : 2 * values.axes[static_cast<std::size_t>(values.rank - 2)].stride[from.tensor];
  // Lane by lane where a block's cache lines are still near for the next lane.
  constexpr std::int64_t longest_near_step = 16;
  const bool lane_by_lane = stride <= longest_near_step;
  if (values.places != nullptr && values.places->words != nullptr)
    return packed_rows(from, *values.places, tile, part, buffer);
  if (values.places != nullptr && values.places->offsets != nullptr)
    return gathered_rows(from, *values.places, tile, part, lane_by_lane, buffer);
  const Storage* const data = from.data + tile.base.tensor[from.tensor];
  values.for_each_run_of(from.tensor, part.first, part.last, [&](auto offset, auto position, auto length) {
    const Storage* x = data + offset;
    Storage* to = buffer + (position - part.first);
    if (stride == 1 || length == 1) {
      from.kernels.copy({x, lane_stride}, {to, n}, {tile.lanes, length}, {false, next});
      return;
    }
    for (std::int64_t t = 0; lane_by_lane && t < tile.lanes; ++t) {
      for (std::int64_t i = 0; i < length; ++i) to[t * n + i] = x[i * stride + t * lane_stride];
    }
    for (std::int64_t i = 0; !lane_by_lane && i < length; ++i) {
      for (std::int64_t t = 0; t < tile.lanes; ++t) to[t * n + i] = x[i * stride + t * lane_stride];
    }
  });
  return {buffer, n};
}

/// Whether some values of a group follow each other in memory.
inline bool are_rows(const Loop& values, std::size_t tensor, Segment part) {
  const std::int64_t n = part.last - part.first;
  return (n == 1 || Partition::steps_by(values.fastest(), 1, tensor, tensor + 1)) && is_in_place(values, part.first, n);
}

/// Values [first, last) of the lanes of a tile as rows: where they are, or copied to `buffer`.
template <typename Storage, typename Scalar>
kernels::Rows<const Storage> value_rows(const Input<Storage, Scalar>& from, const Loop& values, const Tile& tile,
                                        Segment part, Storage* buffer) {
  const std::size_t tensor = from.tensor;
  if (are_rows(values, tensor, part))
    return {from.data + tile.base.tensor[tensor] + values.offset(part.first, tensor), tile.lane.stride[tensor]};
  return copied_rows(from, values, tile, part, buffer);
}

/// Lanes [first, first + count) of a tile.
inline Tile lanes_of(const Tile& tile, std::int64_t first, std::int64_t count) {
  Tile some{tile.base, count, tile.lane};
  some.lane.extent = count;
  some.base.step(tile.lane, first);
  return some;
}

}  // namespace eigennorm::core

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/walk.hpp"

/// \file
/// Between memory of any stride and contiguous blocks.

namespace eigennorm::kernels {

/// A block of values [first, first + n) of every lane of a tile: in the tensor itself where they follow each
/// other there,
/// otherwise copied into `buffer`, lane t at `t * block_size`.
template <typename Storage>
const Storage* read_block(const Storage* data, std::size_t tensor, const Reduction& reduction,
                          const Tile& tile, std::int64_t first, std::int64_t n, Storage* buffer) {
  const std::int64_t stride = reduction.reduced.fastest().stride[tensor];
  const Storage* base = data + tile.base.tensor[tensor];
  const Storage* direct = nullptr;
  reduction.reduced.for_each_run(first, first + n,
                                 [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
                                   const Storage* from = base + offsets.tensor[tensor];
                                   Storage* to = buffer + (position - first);
                                   if (tile.lanes > 1) {
                                     const std::int64_t lane_stride = tile.lane.stride[tensor];
                                     for (std::int64_t i = 0; i < length; ++i) {
                                       for (std::int64_t t = 0; t < tile.lanes; ++t)
                                         to[t * block_size + i] = from[i * stride + t * lane_stride];
                                     }
                                   } else if (stride != 1 && length > 1) {
                                     for (std::int64_t i = 0; i < length; ++i) to[i] = from[i * stride];
                                   } else if (length == n) {
                                     direct = from;
                                   } else {
                                     std::copy(from, from + length, to);
                                   }
                                 });
  return direct != nullptr ? direct : buffer;
}

/// Where a block can be written in place: the tensor itself where its values follow each other there,
/// otherwise null.
template <typename Storage>
Storage* place_of_block(Storage* data, std::size_t tensor, const Reduction& reduction, const Tile& tile,
                        std::int64_t first, std::int64_t n) {
  const Axis fastest = reduction.reduced.fastest();
  if (tile.lanes > 1 || (fastest.stride[tensor] != 1 && n > 1) || first % fastest.extent + n > fastest.extent)
    return nullptr;
  return data + tile.base.tensor[tensor] + reduction.reduced.at(first).tensor[tensor];
}

/// Writes a block that has no place of its own: the way back of `read_block`.
template <typename Storage>
void write_block(Storage* data, std::size_t tensor, const Reduction& reduction, const Tile& tile,
                 std::int64_t first, std::int64_t n, const Storage* buffer) {
  const std::int64_t stride = reduction.reduced.fastest().stride[tensor];
  Storage* base = data + tile.base.tensor[tensor];
  reduction.reduced.for_each_run(first, first + n,
                                 [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
                                   Storage* to = base + offsets.tensor[tensor];
                                   const Storage* from = buffer + (position - first);
                                   if (tile.lanes > 1) {
                                     const std::int64_t lane_stride = tile.lane.stride[tensor];
                                     for (std::int64_t i = 0; i < length; ++i) {
                                       for (std::int64_t t = 0; t < tile.lanes; ++t)
                                         to[i * stride + t * lane_stride] = from[t * block_size + i];
                                     }
                                   } else if (stride != 1) {
                                     for (std::int64_t i = 0; i < length; ++i) to[i * stride] = from[i];
                                   } else {
                                     std::copy(from, from + length, to);
                                   }
                                 });
}

/// A parameter for the values of a block of a group: the parameter itself where it is contiguous there,
/// otherwise copied.
template <typename Scalar>
const Scalar* read_parameter(const Scalar* from, const Loop& values, std::int64_t feature, std::int64_t first,
                             std::int64_t n, Scalar* buffer) {
  const std::int64_t stride = values.fastest().feature;
  const Scalar* direct = nullptr;
  values.for_each_run(first, first + n,
                      [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
                        const Scalar* run = from + feature + offsets.feature;
                        if (length == n && stride == 1) {
                          direct = run;
                          return;
                        }
                        for (std::int64_t i = 0; i < length; ++i)
                          buffer[position - first + i] = run[i * stride];
                      });
  return direct != nullptr ? direct : buffer;
}

/// Calls `f(tile)` for the tiles [first, last) of a reduction.
template <typename F>
void for_each_tile(const Reduction& reduction, std::int64_t width, std::int64_t first, std::int64_t last,
                   F&& f) {
  if (reduction.interleaved) {
    for (std::int64_t id = first; id < last; ++id) f(reduction.tile(id, width));
    return;
  }
  const Axis axis = reduction.kept.fastest();
  reduction.kept.for_each_run(first, last, [&](const Offsets& offsets, std::int64_t, std::int64_t length) {
    Tile tile{offsets, 1, Axis{}};
    for (std::int64_t i = 0; i < length; ++i) {
      f(static_cast<const Tile&>(tile));
      tile.base.step(axis, 1);
    }
  });
}

}  // namespace eigennorm::kernels

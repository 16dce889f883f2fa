#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/walk.hpp"

/// \file
/// Between memory of any stride and contiguous blocks.

namespace eigennorm::kernels {

/// Values [first, first + n) of every lane of a tile, at most a block: in the tensor itself where there is one
/// lane and they follow each other there, otherwise copied into `buffer`, lane t at `t * step`.
template <typename Storage, typename Scalar>
const Storage* read_block(const BlockKernels<Storage, Scalar>& kernels, const Storage* data,
                          std::size_t tensor, const Loop& values, const Tile& tile, std::int64_t first,
                          std::int64_t n, Storage* buffer, std::int64_t step) {
  const std::int64_t stride = values.fastest().stride[tensor];
  const std::int64_t lane_stride = tile.lane.stride[tensor];
  const Storage* base = data + tile.base.tensor[tensor];
  const Storage* direct = nullptr;
  // While one run is copied, the next but one comes from memory.
  const std::int64_t next =
      values.rank < 2 ? 0 : 2 * values.axes[static_cast<std::size_t>(values.rank - 2)].stride[tensor];
  values.for_each_run(first, first + n,
                      [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
                        const Storage* from = base + offsets.tensor[tensor];
                        Storage* to = buffer + (position - first);
                        if (stride == 1 || length == 1) {
                          if (tile.lanes == 1 && length == n) {
                            direct = from;
                          } else {
                            kernels.copy({from, lane_stride}, {to, step}, tile.lanes, length, {false, next});
                          }
                          return;
                        }
                        for (std::int64_t i = 0; i < length; ++i) {
                          for (std::int64_t t = 0; t < tile.lanes; ++t)
                            to[t * step + i] = from[i * stride + t * lane_stride];
                        }
                      });
  return direct != nullptr ? direct : buffer;
}

/// Where such values can be written in place: the tensor itself, or null.
template <typename Storage>
Storage* place_of_block(Storage* data, std::size_t tensor, const Loop& values, const Tile& tile,
                        std::int64_t first, std::int64_t n) {
  const Axis fastest = values.fastest();
  if (tile.lanes > 1 || (fastest.stride[tensor] != 1 && n > 1) || first % fastest.extent + n > fastest.extent)
    return nullptr;
  return data + tile.base.tensor[tensor] + values.at(first).tensor[tensor];
}

/// Writes values that have no place of their own: the way back of `read_block`.
template <typename Storage, typename Scalar>
void write_block(const BlockKernels<Storage, Scalar>& kernels, Storage* data, std::size_t tensor,
                 const Loop& values, const Tile& tile, std::int64_t first, std::int64_t n,
                 const Storage* buffer, std::int64_t step) {
  const std::int64_t stride = values.fastest().stride[tensor];
  const std::int64_t lane_stride = tile.lane.stride[tensor];
  Storage* base = data + tile.base.tensor[tensor];
  values.for_each_run(first, first + n,
                      [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
                        Storage* to = base + offsets.tensor[tensor];
                        const Storage* from = buffer + (position - first);
                        if (stride == 1 || length == 1) {
                          kernels.copy({from, step}, {to, lane_stride}, tile.lanes, length, {});
                          return;
                        }
                        for (std::int64_t i = 0; i < length; ++i) {
                          for (std::int64_t t = 0; t < tile.lanes; ++t)
                            to[i * stride + t * lane_stride] = from[t * step + i];
                        }
                      });
}

/// Lanes that are gathered from scattered memory together: a cache line of float.
constexpr std::int64_t gathered_lanes = 16;

/// Values of some lanes, copied together where memory has them scattered: as many of each as there is room for, and
/// all small enough for L1 and the stack. Not initialized.
template <typename Storage, std::int64_t Bytes>
struct Gathered {
  static constexpr std::int64_t room = Bytes / static_cast<std::int64_t>(sizeof(Storage));
  /// Lanes of which there is room for a step.
  static constexpr std::int64_t lanes = (std::min)(room / step_size, gathered_lanes);
  /// The longest part of one lane.
  static constexpr std::int64_t longest = (std::min)(room, block_size);

  /// Values of each of so many lanes that there is room for, of a block at most.
  static std::int64_t length(std::int64_t lanes) { return (std::min)(room / lanes, block_size); }
  /// The same in whole steps.
  static std::int64_t part(std::int64_t lanes) { return length(lanes) / step_size * step_size; }

  /// The lanes of a tile from `start` on of whose n values, at most a block, there is room for; a kernel's rows at
  /// most.
  static Tile some(const Tile& tile, std::int64_t start, std::int64_t n) {
    static_assert(room >= block_size);
    Tile some{tile.base, (std::min)({tile.lanes - start, room / n, most_rows}), tile.lane};
    some.base.step(tile.lane, start);
    return some;
  }
  /// How far apart they are kept: by as much as there is, because rows 4 KB apart get into each other's way in L1.
  static std::int64_t step(std::int64_t lanes, std::int64_t n) {
    return (std::max)(n, room / lanes / tree_lanes * tree_lanes);
  }

  alignas(64) Storage values[static_cast<std::size_t>(room)];
};

/// Whether the lanes of a tile are summed side by side; of several loops, only as many as are copied.
inline bool sums_in_place(const Partition& partition, const Tile& tile, std::size_t tensors) {
  return partition.groups.interleaved && Partition::steps_by(tile.lane, 1, 0, tensors) &&
         (tile.lanes == gathered_lanes || (tile.lanes > gathered_lanes && partition.values.rank <= 1));
}

/// Whether rows [first, first + n) of interleaved lanes are equally far apart.
inline bool is_one_run(const Loop& values, std::int64_t first, std::int64_t n) {
  const std::int64_t extent = values.fastest().extent;
  return first % extent + n <= extent;
}

/// Such rows.
template <typename Storage>
Rows<const Storage> lanes_in_place(const Storage* data, std::size_t tensor, const Loop& values,
                                   const Tile& tile, std::int64_t first) {
  return {data + tile.base.tensor[tensor] + values.at(first).tensor[tensor], values.fastest().stride[tensor]};
}

/// Others, copied, `gathered_lanes` wide.
template <typename Storage>
Rows<const Storage> gather_lanes(const Storage* data, std::size_t tensor, const Loop& values,
                                 const Tile& tile, std::int64_t first, std::int64_t n, Storage* buffer) {
  const Axis fastest = values.fastest();
  const Storage* base = data + tile.base.tensor[tensor];
  values.for_each_run(
      first, first + n, [&](const Offsets& offsets, std::int64_t position, std::int64_t length) {
        for (std::int64_t i = 0; i < length; ++i) {
          const Storage* from = base + offsets.tensor[tensor] + i * fastest.stride[tensor];
          std::copy(from, from + gathered_lanes, buffer + (position - first + i) * gathered_lanes);
        }
      });
  return {buffer, gathered_lanes};
}

/// A parameter that is read again for each of many rows, copied to where no vector crosses a cache line (a
/// transform in L2 takes a quarter longer otherwise).
template <typename Scalar>
class AlignedParameter {
 public:
  AlignedParameter(const Scalar* from, bool each, std::int64_t n, std::int64_t rows) : from_(from) {
    constexpr std::int64_t worth_copying = 8;
    if (from == nullptr || !each || n > room || rows < worth_copying) return;
    std::copy(from, from + n, values_);
    from_ = values_;
  }
  AlignedParameter(const AlignedParameter&) = delete;
  AlignedParameter& operator=(const AlignedParameter&) = delete;

  const Scalar* get() const { return from_; }

 private:
  static constexpr std::int64_t room =
      (std::min)(block_size, 8192 / static_cast<std::int64_t>(sizeof(Scalar)));

  alignas(64) Scalar values_[room];
  const Scalar* from_;
};

/// n values that are all the same, by pieces that compilers copy as vectors.
template <typename Scalar>
void fill(Scalar* to, std::int64_t n, Scalar value) {
  Scalar pattern[16];
  std::fill(pattern, pattern + 16, value);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) std::copy(pattern, pattern + 16, to + i);
  std::fill(to + i, to + n, value);
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
                        Scalar* to = buffer + (position - first);
                        if (length == n && stride == 1) {
                          direct = run;
                        } else if (stride == 0) {
                          fill(to, length, *run);
                        } else {
                          for (std::int64_t i = 0; i < length; ++i) to[i] = run[i * stride];
                        }
                      });
  return direct != nullptr ? direct : buffer;
}

}  // namespace eigennorm::kernels

#pragma once

#include <eigennorm/eigennorm.hpp>

#include "block_kernels.hpp"

// The kernels are compiled once, here in instances.cpp and in block_kernels.cpp, for all tests: otherwise each would build
// them again for every type and instruction set. That users need no such files is what the programs, consumers and link
// tests show.

#define EIGENNORM_INSTANCES(word, Storage, Scalar)                             \
  word template struct eigennorm::kernels::ForwardStatistics<Storage, Scalar>; \
  word template struct eigennorm::kernels::ForwardWrites<Storage, Scalar>;     \
  word template struct eigennorm::kernels::ForwardRows<Storage, Scalar>;       \
  word template struct eigennorm::kernels::ForwardTiles<Storage, Scalar>;      \
  word template struct eigennorm::kernels::ForwardGiven<Storage, Scalar>;      \
  word template struct eigennorm::kernels::BackwardSums<Storage, Scalar>;      \
  word template struct eigennorm::kernels::BackwardWrites<Storage, Scalar>;    \
  word template struct eigennorm::kernels::BackwardRows<Storage, Scalar>;      \
  word template struct eigennorm::kernels::BackwardTiles<Storage, Scalar>;     \
  word template struct eigennorm::kernels::FeatureSums<Storage, Scalar>;

#define EIGENNORM_ALL_INSTANCES(word)               \
  EIGENNORM_INSTANCES(word, float, float)           \
  EIGENNORM_INSTANCES(word, Eigen::half, float)     \
  EIGENNORM_INSTANCES(word, Eigen::bfloat16, float) \
  EIGENNORM_INSTANCES(word, double, double)

#ifndef EIGENNORM_DEFINES_INSTANCES
EIGENNORM_ALL_INSTANCES(extern)
#endif

EIGENNORM_BLOCK_KERNELS(extern)

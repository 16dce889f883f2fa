#pragma once

#include <eigennorm/eigennorm.hpp>

// The kernels are compiled once, in instances.cpp, for all tests: otherwise each would build them again for every type and
// instruction set. That users need no such file is what the programs, consumers and link tests show.

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
  word template struct eigennorm::kernels::FeatureSums<Storage, Scalar>;       \
  word template const eigennorm::kernels::BlockKernels<Storage, Scalar>&       \
  eigennorm::kernels::block_kernels<Storage, Scalar>();

#define EIGENNORM_ALL_INSTANCES(word)               \
  EIGENNORM_INSTANCES(word, float, float)           \
  EIGENNORM_INSTANCES(word, Eigen::half, float)     \
  EIGENNORM_INSTANCES(word, Eigen::bfloat16, float) \
  EIGENNORM_INSTANCES(word, double, double)

#ifndef EIGENNORM_DEFINES_INSTANCES
EIGENNORM_ALL_INSTANCES(extern)
#endif

#pragma once

#include <Eigen/Core>
#include <eigennorm/kernels/dispatch.hpp>

// The functions on one block, of every instruction set: compiled once, in block_kernels.cpp, for the tests that call
// them.

#define EIGENNORM_BLOCK_KERNELS_OF(word, Storage, Scalar)                \
  word template const eigennorm::kernels::BlockKernels<Storage, Scalar>& \
  eigennorm::kernels::block_kernels<Storage, Scalar>();

#define EIGENNORM_BLOCK_KERNELS(word)                      \
  EIGENNORM_BLOCK_KERNELS_OF(word, float, float)           \
  EIGENNORM_BLOCK_KERNELS_OF(word, Eigen::half, float)     \
  EIGENNORM_BLOCK_KERNELS_OF(word, Eigen::bfloat16, float) \
  EIGENNORM_BLOCK_KERNELS_OF(word, double, double)

#ifndef EIGENNORM_DEFINES_BLOCK_KERNELS
EIGENNORM_BLOCK_KERNELS(extern)
#endif

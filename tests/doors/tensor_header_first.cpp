#define EIGEN_USE_THREADS
// clang-format off
#include <unsupported/Eigen/CXX11/Tensor>
#include <eigennorm/group_norm.hpp>
// clang-format on

#include "tensor_header.hpp"
#include "tensor_header.inl"

double tensors_of_first() { return use_tensors(); }

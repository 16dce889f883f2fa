#pragma once

#include "eigennorm/core/calls.hpp"

/// \file
/// Everything that a unit compiled with EIGENNORM_COMPILED leaves to the linker, for builds without CMake. One source
/// file of the program defines EIGENNORM_IMPLEMENTATION before it includes eigennorm.hpp, which then includes this.
/// It takes as long as five units without EIGENNORM_COMPILED; with CMake the target `eigennorm::compiled` does the
/// same in five files.

template class eigennorm::Normalization<float>;
template class eigennorm::Normalization<double>;
template class eigennorm::Normalization<long double>;
template struct eigennorm::core::Calls<float, float>;
template struct eigennorm::core::Calls<Eigen::half, float>;
template struct eigennorm::core::Calls<Eigen::bfloat16, float>;
template struct eigennorm::core::Calls<double, double>;
template struct eigennorm::core::Calls<long double, long double>;

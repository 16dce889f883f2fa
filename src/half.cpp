#include "eigennorm/core/calls.hpp"

template struct eigennorm::core::Calls<Eigen::half, float>;

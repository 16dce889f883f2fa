#include "eigennorm/core/calls.hpp"

template struct eigennorm::core::Calls<Eigen::bfloat16, float>;

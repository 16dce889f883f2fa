#include "eigennorm/core/calls.hpp"

template class eigennorm::Normalization<float>;
template struct eigennorm::core::Calls<float, float>;

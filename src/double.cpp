#include "eigennorm/core/calls.hpp"

template class eigennorm::Normalization<double>;
template struct eigennorm::core::Calls<double, double>;

#include "eigennorm/core/calls.hpp"

template class eigennorm::Normalization<long double>;
template struct eigennorm::core::Calls<long double, long double>;

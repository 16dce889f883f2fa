#include "without_kernels.inl"

namespace eigennorm {

template class GroupNorm<float>;
template class GroupNorm<double>;

}  // namespace eigennorm

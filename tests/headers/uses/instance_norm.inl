#include "without_kernels.inl"

namespace eigennorm {

template class InstanceNorm<float>;
template class InstanceNorm<double>;

}  // namespace eigennorm

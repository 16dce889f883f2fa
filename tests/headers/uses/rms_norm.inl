#include "without_kernels.inl"

namespace eigennorm {

template class RMSNorm<float>;
template class RMSNorm<double>;

}  // namespace eigennorm

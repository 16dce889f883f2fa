#include "without_kernels.inl"

namespace eigennorm {

template class WeightNorm<float>;
template class WeightNorm<double>;

}  // namespace eigennorm

#include "without_kernels.inl"

namespace eigennorm {

template class BatchNorm<float>;
template class BatchNorm<double>;
template class MeanOnlyBatchNorm<float>;
template class MeanOnlyBatchNorm<double>;

}  // namespace eigennorm

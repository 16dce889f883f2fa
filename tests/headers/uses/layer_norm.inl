#include "without_kernels.inl"

namespace eigennorm {

template class LayerNorm<float>;
template class LayerNorm<double>;

}  // namespace eigennorm

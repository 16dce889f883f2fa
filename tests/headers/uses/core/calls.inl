#include "../without_kernels.inl"

namespace eigennorm {

template class Normalization<float>;
template struct core::Calls<float, float>;

}  // namespace eigennorm

#include "without_kernels.inl"

namespace eigennorm {

template class WeightNorm<float>;
template class WeightNorm<double>;
inline void use(WeightNorm<float>& layer, const Eigen::MatrixXf& t, Eigen::VectorXf& bias) {
  layer.initialize(t, bias);
}

}  // namespace eigennorm

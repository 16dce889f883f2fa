#include "without_kernels.inl"

namespace eigennorm {

inline void use(const Normalization<float>& layer, const Eigen::MatrixXf& weight, const Eigen::VectorXf& bias) {
  fold(layer, weight);
  fold(layer, weight, bias, outputs_on(1), 2);
}

}  // namespace eigennorm

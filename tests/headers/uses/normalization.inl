#include "without_kernels.inl"

namespace eigennorm {

template struct Context<float>;
template class Normalization<float>;
inline void use(Normalization<float>& layer, Eigen::MatrixXf& x, Eigen::Map<Eigen::MatrixXf>& y) {
  layer.forward(x, y);
  layer.evaluate(x, y);
  layer.backward(x, y, x);
  y = layer.forward(x);
}

}  // namespace eigennorm

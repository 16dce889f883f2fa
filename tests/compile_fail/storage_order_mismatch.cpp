// expect: The tensors of one call must have the same storage order.
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::Tensor<float, 3, Eigen::RowMajor> x(4, 5, 8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  Eigen::Tensor<float, 3, Eigen::RowMajor> y(4, 5, 8);
  layer.forward(x, y);
#else
  Eigen::Tensor<float, 3, Eigen::ColMajor> y(4, 5, 8);
  layer.forward(x, y);
#endif
}

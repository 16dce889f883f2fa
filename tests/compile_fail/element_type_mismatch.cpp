// expect: The tensors of one call must have the same element type.
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::Tensor<Eigen::half, 3> x(4, 5, 8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  Eigen::Tensor<Eigen::half, 3> y(4, 5, 8);
  layer.forward(x, y);
#else
  Eigen::Tensor<float, 3> y(4, 5, 8);
  layer.forward(x, y);
#endif
}

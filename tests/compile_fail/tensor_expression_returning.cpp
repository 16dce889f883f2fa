// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::Tensor<float, 3, Eigen::RowMajor> x(4, 5, 8), z;
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  auto y = layer.forward(x);
#else
  auto y = layer.forward(x + x);
  Eigen::Tensor<float, 3, Eigen::RowMajor> w = layer.forward(x + x);
  z = layer.forward(x + x);
#endif
}

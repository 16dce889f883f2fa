// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::Tensor<float, 3, Eigen::RowMajor> x(4, 5, 8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  layer.forward(x);
#else
  layer.forward(x + x);
#endif
}

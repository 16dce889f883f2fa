// expect: EigenNorm works on tensors of rank 1 to 8.
#include <eigennorm/eigennorm.hpp>

int main() {
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  Eigen::Tensor<float, 8> x(1, 1, 1, 1, 1, 1, 4, 8);
  layer.forward(x);
#else
  Eigen::Tensor<float, 9> x(1, 1, 1, 1, 1, 1, 1, 4, 8);
  layer.forward(x);
#endif
}

// expect: EigenNorm works on tensors of rank 1 to 8.
#include <eigennorm/eigennorm.hpp>

int main() {
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  Eigen::Tensor<float, 1> x(8);
  layer.forward(x);
#else
  Eigen::Tensor<float, 0> x;
  layer.forward(x);
#endif
}

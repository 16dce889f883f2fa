// expect: The elements must be of the layer's Scalar type
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::Tensor<Eigen::half, 2> x(4, 8);
#ifdef CONTROL
  eigennorm::LayerNorm<float> layer(8);
  layer.forward(x);
#else
  eigennorm::LayerNorm<double> layer(8);
  layer.forward(x);
#endif
}

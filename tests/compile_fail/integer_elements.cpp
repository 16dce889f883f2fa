// expect: The elements must be of the layer's Scalar type
#include <eigennorm/eigennorm.hpp>

int main() {
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  Eigen::MatrixXf x(4, 8);
  layer.forward(x);
#else
  Eigen::MatrixXi x(4, 8);
  layer.forward(x);
#endif
}

// expect: The elements must be of the layer's Scalar type
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::MatrixXd x(4, 8);
#ifdef CONTROL
  eigennorm::LayerNorm<double> layer(8);
  layer.forward(x);
#else
  eigennorm::LayerNorm<float> layer(8);
  layer.forward(x);
#endif
}

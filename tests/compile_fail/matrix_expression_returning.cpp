// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::MatrixXf x(4, 8), z;
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  Eigen::MatrixXf y = layer.forward(x);
#else
  Eigen::MatrixXf y = layer.forward(2.0f * x);
  auto w = layer.forward(2.0f * x);
  z = layer.forward(2.0f * x);
#endif
}

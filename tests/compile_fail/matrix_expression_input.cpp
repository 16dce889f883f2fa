// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::MatrixXf x(4, 8), y(4, 8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  layer.forward(x, y);
#else
  layer.forward(x + x, y);
#endif
}

// expect: use evaluate
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::MatrixXf x(4, 8), y(4, 8);
  const eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  layer.evaluate(x, y);
#else
  layer.forward(x, y);
#endif
}

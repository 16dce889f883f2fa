// expect: use evaluate
#include <eigennorm/eigennorm.hpp>

int main() {
  const Eigen::MatrixXf x(4, 8);
  Eigen::MatrixXf z;
  const eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  auto y = layer.evaluate(x);
#else
  auto y = layer.forward(x);
  const Eigen::MatrixXf w = layer.forward(x);
  z = layer.forward(x);
#endif
}

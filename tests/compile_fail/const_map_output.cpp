// expect: The output is const: EigenNorm cannot write into it.
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::MatrixXf x(4, 8), y(4, 8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  layer.evaluate(x, Eigen::Map<Eigen::MatrixXf>(y.data(), 4, 8));
#else
  layer.evaluate(x, Eigen::Map<const Eigen::MatrixXf>(y.data(), 4, 8));
#endif
}

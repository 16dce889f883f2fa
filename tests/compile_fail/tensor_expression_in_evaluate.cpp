// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::Tensor<float, 3, Eigen::RowMajor> x(4, 5, 8);
  const eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  layer.evaluate(x);
#else
  layer.evaluate(x + x);
#endif
}

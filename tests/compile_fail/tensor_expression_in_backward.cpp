// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::Tensor<float, 3, Eigen::RowMajor> x(4, 5, 8), dy(4, 5, 8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  layer.backward(x, dy);
#else
  layer.backward(x, dy * 2.0f);
#endif
}

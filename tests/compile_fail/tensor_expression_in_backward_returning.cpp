// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::Tensor<float, 3> x(4, 5, 8), dy(4, 5, 8), c;
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  auto a = layer.backward(x, dy);
#else
  auto a = layer.backward(x * 2.0f, dy);
  Eigen::Tensor<float, 3> b = layer.backward(x * 2.0f, dy);
  c = layer.backward(x * 2.0f, dy);
#endif
}

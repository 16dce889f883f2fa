// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::ArrayXXf x(4, 8), dy(4, 8), dx(4, 8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  layer.backward(x, dy, dx);
#else
  layer.backward(x, dy * 2.0f, dx);
#endif
}

// expect: backward adds to the layer's gradients, so it changes it
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::MatrixXf x(4, 8), dy(4, 8), dx(4, 8);
#ifdef CONTROL
  eigennorm::LayerNorm<float> layer(8);
#else
  const eigennorm::LayerNorm<float> layer(8);
#endif
  layer.backward(x, dy, dx);
}

// expect: backward adds to the layer's gradients, so it changes it
#include <eigennorm/eigennorm.hpp>

int main() {
  const Eigen::Tensor<float, 3> x(4, 5, 8), dy(4, 5, 8);
  Eigen::Tensor<float, 3> c;
#ifdef CONTROL
  eigennorm::LayerNorm<float> layer(8);
#else
  const eigennorm::LayerNorm<float> layer(8);
#endif
  auto a = layer.backward(x, dy);
  const Eigen::Tensor<float, 3> b = layer.backward(x, dy);
  c = layer.backward(x, dy);
}

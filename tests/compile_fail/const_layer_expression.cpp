// expect: use evaluate
#include <eigennorm/eigennorm.hpp>

int main() {
  const Eigen::Tensor<float, 3, Eigen::RowMajor> x(4, 5, 8);
  const eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  const auto y = layer.evaluate(x);
#else
  const auto y = layer.forward(x + x);
#endif
}

// expect: The output is const: EigenNorm cannot write into it.
#include <eigennorm/eigennorm.hpp>
#include <utility>

int main() {
  Eigen::MatrixXf x(4, 8), y(4, 8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  layer.forward(x, y);
#else
  layer.forward(x, std::as_const(y));
#endif
}

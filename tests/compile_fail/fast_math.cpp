// expect: -ffast-math
// flags: -ffast-math
#include <eigennorm/eigennorm.hpp>

int main() {
  eigennorm::LayerNorm<float> layer(8);
  layer.evaluate(Eigen::MatrixXf(4, 8));
}

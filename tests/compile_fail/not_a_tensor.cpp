// expect: EigenNorm needs an Eigen object whose values are in memory
#include <eigennorm/eigennorm.hpp>
#include <vector>

int main() {
  std::vector<float> x(8);
  eigennorm::LayerNorm<float> layer(8);
#ifdef CONTROL
  auto y = layer.forward(Eigen::Map<Eigen::RowVectorXf>(x.data(), 8));
#else
  auto y = layer.forward(x);
#endif
}

#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <eigennorm/version.hpp>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 8);
  const Eigen::MatrixXf y = eigennorm::LayerNorm<float>(8).forward(x);
  std::printf("EigenNorm %d.%d.%d\n", EIGENNORM_VERSION_MAJOR, EIGENNORM_VERSION_MINOR, EIGENNORM_VERSION_PATCH);
  return y.rows() == 4 && y.cols() == 8 ? 0 : 1;
}

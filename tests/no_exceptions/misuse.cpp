// Built without exceptions: what is right runs, what is wrong prints its text and aborts.
#include <cstdio>
#include <eigennorm/eigennorm.hpp>

int main() {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 8);
  eigennorm::LayerNorm<float> right(8);
  const Eigen::MatrixXf y = right.forward(x);
  const Eigen::MatrixXf dx = right.backward(x, y);
  std::printf("%ld values went forward and back\n", static_cast<long>(dx.size()));
  std::fflush(stdout);

  eigennorm::LayerNorm<float> wrong(7);
  wrong.forward(x);
  std::printf("still running\n");
}

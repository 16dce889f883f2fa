// expect: The output is const: EigenNorm cannot write into it.
#include <eigennorm/eigennorm.hpp>

int main() {
  const Eigen::MatrixXf x(4, 8);
  Eigen::MatrixXf gradient(4, 8);
  eigennorm::Context<float> context;
#ifdef CONTROL
  context.residual_gradient = gradient;
#else
  context.residual_gradient = x;
#endif
}

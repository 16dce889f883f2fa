// expect: A context holds views: this tensor would be gone before the call.
#include <eigennorm/eigennorm.hpp>

int main() {
  const Eigen::MatrixXf x(4, 8);
  eigennorm::Context<float> context;
#ifdef CONTROL
  const Eigen::MatrixXf residual(x);
  context.residual = residual;
#else
  context.residual = Eigen::MatrixXf(x);
#endif
}

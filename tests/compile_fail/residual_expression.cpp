// expect: EigenNorm needs an Eigen object whose values are in memory (Matrix, Array, Map, Ref, Block, Tensor, TensorMap, TensorFixedSize)
#include <eigennorm/eigennorm.hpp>

int main() {
  const Eigen::MatrixXf x(4, 8);
  eigennorm::Context<float> context;
#ifdef CONTROL
  context.residual = x;
#else
  context.residual = 2 * x;
#endif
}

// expect: A bare number is no momentum: write momentum_of_new(0.1) as in PyTorch, or momentum_kept(0.9) as in Keras, Flax and ONNX.
#include <eigennorm/eigennorm.hpp>

int main() {
  eigennorm::BatchNorm<float> layer(8);
#ifdef CONTROL
  layer.running->averaging = eigennorm::momentum_of_new(0.1);
#else
  layer.running->averaging = 0.1;
#endif
}

// expect: Two integers: write LayerNorm({28, 28}) for the extents of two axes, or eps as a floating-point number.
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::LayerNorm<float> layer({28, 28}), other(28, 1e-6);
#else
  eigennorm::LayerNorm<float> layer(28, 28);
#endif
}

// expect: Two integers: write RMSNorm({28, 28}) for the extents of two axes, or eps as a floating-point number.
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::RMSNorm<float> layer({28, 28}), other(28, 1e-6);
#else
  eigennorm::RMSNorm<float> layer(28, 28);
#endif
}

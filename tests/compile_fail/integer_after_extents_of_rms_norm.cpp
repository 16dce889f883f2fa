// expect: An axis is written over(1), eps as a floating-point number (1e-5).
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::RMSNorm<float> layer({28}, eigennorm::over(1)), other({28, 28}, 1e-6);
#else
  eigennorm::RMSNorm<float> layer({28}, 1);
#endif
}

// expect: An axis is written channels_on(-1), eps as a floating-point number (1e-5).
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::BatchNorm<float> layer{64, 1e-3};
#else
  eigennorm::BatchNorm<float> layer{64, 0};
#endif
}

// expect: An axis is written channels_on(-1), eps as a floating-point number (1e-5).
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::GroupNorm<float> layer(8, 64, eigennorm::channels_on(1)), other(8, 64, 1e-6);
#else
  eigennorm::GroupNorm<float> layer(8, 64, 1);
#endif
}

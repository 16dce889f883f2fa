// expect: An axis of samples is written samples_on(0), eps as a floating-point number (1e-5).
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::GroupNorm<float> layer(8, 64, eigennorm::channels_on(-1), 1e-6);
#else
  eigennorm::GroupNorm<float> layer(8, 64, eigennorm::channels_on(-1), 0);
#endif
}

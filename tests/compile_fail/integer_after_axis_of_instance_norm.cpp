// expect: An axis of samples is written samples_on(0), eps as a floating-point number (1e-5).
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::InstanceNorm<float> layer(8, eigennorm::channels_on(-1), eigennorm::samples_on(0));
#else
  eigennorm::InstanceNorm<float> layer(8, eigennorm::channels_on(-1), 0);
#endif
}

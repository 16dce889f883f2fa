// expect: An axis is written channels_on(-1), and MeanOnlyBatchNorm has no eps.
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::MeanOnlyBatchNorm<float> layer(64);
#else
  eigennorm::MeanOnlyBatchNorm<float> layer(64, 1e-3);
#endif
}

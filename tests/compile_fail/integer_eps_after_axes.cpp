// expect: eps is written as a floating-point number (1e-5).
#include <eigennorm/eigennorm.hpp>

int main() {
  using namespace eigennorm;
#ifdef CONTROL
  BatchNorm<float> batch(64, channels_on(1), 1.0);
  LayerNorm<float> layer(96, over(1), 1.0);
  RMSNorm<float> rms(96, over(1), 1.0);
  GroupNorm<float> group(8, 64, channels_on(1), samples_on(0), 1.0);
  InstanceNorm<float> instance(64, channels_on(1), samples_on(0), 1.0);
#else
  BatchNorm<float> batch(64, channels_on(1), 1);
  LayerNorm<float> layer(96, over(1), 1);
  RMSNorm<float> rms(96, over(1), 1);
  GroupNorm<float> group(8, 64, channels_on(1), samples_on(0), 1);
  InstanceNorm<float> instance(64, channels_on(1), samples_on(0), 1);
#endif
}

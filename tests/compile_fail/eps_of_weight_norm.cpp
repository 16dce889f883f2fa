// expect: An axis is written outputs_on(0), and WeightNorm has no eps.
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::WeightNorm<float> layer(10);
#else
  eigennorm::WeightNorm<float> layer(10, 1e-5);
#endif
}

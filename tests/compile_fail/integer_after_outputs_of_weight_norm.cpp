// expect: An axis is written outputs_on(0), and WeightNorm has no eps.
#include <eigennorm/eigennorm.hpp>

int main() {
#ifdef CONTROL
  eigennorm::WeightNorm<float> layer(10, eigennorm::outputs_on(1));
#else
  eigennorm::WeightNorm<float> layer(10, 1);
#endif
}

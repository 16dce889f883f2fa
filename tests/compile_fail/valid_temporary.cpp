// expect: Valid positions are a view: name the bools, so that they are there when the call is made.
#include <eigennorm/eigennorm.hpp>

int main() {
  eigennorm::Context<float> context;
#ifdef CONTROL
  const auto mask = eigennorm::valid_lengths(Eigen::Vector2i(2, 3), 3);
  context.valid = mask;
#else
  context.valid = eigennorm::valid_lengths(Eigen::Vector2i(2, 3), 3);
#endif
}

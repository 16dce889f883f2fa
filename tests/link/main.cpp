// Each unit makes, resizes, copies, uses and destroys what the other one made. Whoever does what, the results must be
// the same to the bit.
#include <cstdio>

#include "same_bits.hpp"
#include "unit.hpp"

using test::same_bits;

int main() {
  const Unit units[] = {first_unit, second_unit};
  std::vector<double> expected_small, expected_large;
  int failures = 0;
  for (const Unit& maker : units) {
    for (const Unit& other : units) {
      for (const Unit& destroyer : units) {
        std::unique_ptr<Layers> made = maker.make(70);
        const std::vector<double> small = other.use(*made);
        std::unique_ptr<Layers> copied = other.copy(*made);
        destroyer.destroy(std::move(made));
        maker.resize(*copied, 300);
        std::unique_ptr<Layers> copied_again = maker.copy(*copied);
        const std::vector<double> large = other.use(*copied_again);
        destroyer.destroy(std::move(copied));
        destroyer.destroy(std::move(copied_again));

        if (expected_small.empty()) {
          expected_small = small;
          expected_large = large;
        }
        if (!same_bits(small, expected_small) || !same_bits(large, expected_large)) {
          std::printf("other bits: made by %s, used by %s, destroyed by %s\n", maker.name, other.name, destroyer.name);
          ++failures;
        }
      }
    }
  }
  std::printf("%zu and %zu values, %d failures\n", expected_small.size(), expected_large.size(), failures);
  return failures;
}

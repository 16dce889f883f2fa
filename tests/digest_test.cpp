#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iomanip>
#include <sstream>
#include <string>
#include <vector>

#include "catch.hpp"
#include "problem.hpp"
#include "watch.hpp"

// Every bit of every layer in one number for each type and storage order. Whoever builds this, with whatever compiler,
// flags, Eigen and processor, has the same numbers, or the promise is broken (docs/accuracy.md). They change where the
// arithmetic of docs/arithmetic.md does, or the table of cases, and only then.

using namespace test;

namespace {

/// FNV-1a, 64 bits.
class Digest {
 public:
  void add(const watch::Bytes& bytes) {
    for (const unsigned char byte : bytes) value_ = (value_ ^ byte) * 1099511628211ULL;
  }
  std::string text() const {
    std::ostringstream stream;
    stream << std::hex << std::setfill('0') << std::setw(16) << value_;
    return stream.str();
  }

 private:
  std::uint64_t value_ = 14695981039346656037ULL;
};

template <typename FieldType>
watch::Bytes bits(const FieldType& field) {
  watch::Bytes bytes;
  watch::add(bytes, field.data(), static_cast<std::int64_t>(field.size()));
  return bytes;
}

/// -4 to 4, in steps of 2^-20, exact in double. No function of the standard library has a part in it whose last bits could
/// differ.
Numbers uniform(std::size_t size, Random& random, double offset, double factor) {
  Numbers numbers(size);
  for (Real& number : numbers)
    number = (offset + std::floor(std::ldexp(random.uniform(), 23)) / 1048576 - 4) * factor;
  return numbers;
}

template <typename Scalar>
void set_parameters(eigennorm::Normalization<Scalar>& layer, Random& random) {
  const auto draw = [&](eigennorm::Vector<Scalar>& values, double lowest) {
    for (Scalar& value : values)
      value = static_cast<Scalar>(lowest + std::floor(random.uniform() * 4096) / 1024);
  };
  draw(layer.scale.value, -2);
  draw(layer.shift.value, -2);
  if (!layer.running) return;
  draw(layer.running->mean, -2);
  draw(layer.running->variance, 0.25);
}

template <typename FieldType>
std::string digest() {
  using Data = typename FieldType::Data;
  using Scalar = typename FieldType::Scalar;
  constexpr bool is_wide = std::is_floating_point_v<Data>;
  Digest digest;
  std::uint64_t seed = 0;
  for (const Case& which : cases()) {
    // About zero, far from it, and so large that squares leave the range of float.
    for (const auto& [offset, factor] : std::vector<std::pair<double, double>>{
             {0.25, 1}, {is_wide ? 10000 : 40, 1}, {0.5, is_wide ? 0x1p90 : 1024}}) {
      Random random(++seed);
      auto layer = which.layer<Scalar>();
      set_parameters(layer, random);
      const FieldType x(which.shape, uniform(which.size(), random, offset, factor));
      const FieldType dy(which.shape, uniform(which.size(), random, 0, 1));
      FieldType y(which.shape), dx(which.shape), evaluated(which.shape);
      // With fixed statistics, too, where there are any.
      FieldType frozen_y(which.shape), frozen_dx(which.shape);
      if (layer.running) layer.freeze();
      forward(layer, x, frozen_y);
      backward(layer, x, dy, frozen_dx);
      if (layer.running) layer.unfreeze();
      forward(layer, x, y);
      backward(layer, x, dy, dx);
      evaluate(layer, x, evaluated);
      for (const FieldType* field : {&y, &dx, &evaluated, &frozen_y, &frozen_dx}) {
        // Of NaN the sign would be the processor's.
        const Numbers numbers = field->numbers();
        CHECK(std::all_of(numbers.begin(), numbers.end(), [](Real number) { return std::isfinite(number); }));
        digest.add(bits(*field));
      }
      digest.add(watch::bits(layer));
    }
  }
  return digest.text();
}

}  // namespace

TEST_CASE("the same bits everywhere") {
  CHECK(digest<Field<float, Eigen::RowMajor>>() == "ea6e44e13ab0c4a9");
  CHECK(digest<Field<float, Eigen::ColMajor>>() == "838bd8dbe52ae567");
  CHECK(digest<Field<double, Eigen::RowMajor>>() == "e60d682dbeaf1308");
  CHECK(digest<Field<double, Eigen::ColMajor>>() == "2b5e1973fc01a983");
  CHECK(digest<Field<Eigen::half, Eigen::RowMajor>>() == "f6af89921c41848a");
  CHECK(digest<Field<Eigen::half, Eigen::ColMajor>>() == "6f1eafcb31b1a9e5");
  CHECK(digest<Field<Eigen::bfloat16, Eigen::RowMajor>>() == "3650140bc1d46def");
  CHECK(digest<Field<Eigen::bfloat16, Eigen::ColMajor>>() == "f2f343cfbf02d9dc");
}

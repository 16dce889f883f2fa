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

/// -4 to 4, in steps of 2^-20. No function of the standard library has a part in it: their last bits differ.
Numbers uniform(std::size_t size, Random& random, Real offset, Real factor) {
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
    for (const auto& [offset, factor] : std::vector<std::pair<Real, Real>>{
             {0.3L, 1}, {is_wide ? 10000 : 40, 1}, {0.5L, is_wide ? 0x1p90L : 1024}}) {
      Random random(++seed);
      auto layer = which.layer<Scalar>();
      set_parameters(layer, random);
      const FieldType x(which.shape, uniform(which.size(), random, offset, factor));
      const FieldType dy(which.shape, uniform(which.size(), random, 0, 1));
      FieldType y(which.shape), dx(which.shape), evaluated(which.shape);
      forward(layer, x, y);
      backward(layer, x, dy, dx);
      evaluate(layer, x, evaluated);
      for (const FieldType* field : {&y, &dx, &evaluated}) {
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
  CHECK(digest<Field<float, Eigen::RowMajor>>() == "c1d9cc2e1431f4ca");
  CHECK(digest<Field<float, Eigen::ColMajor>>() == "f3ff72c6159e6c57");
  CHECK(digest<Field<double, Eigen::RowMajor>>() == "7e2d77a71f3b4345");
  CHECK(digest<Field<double, Eigen::ColMajor>>() == "7440b057f7275975");
  CHECK(digest<Field<Eigen::half, Eigen::RowMajor>>() == "dbb85b699c0643d8");
  CHECK(digest<Field<Eigen::half, Eigen::ColMajor>>() == "8a38d125cab99f9f");
  CHECK(digest<Field<Eigen::bfloat16, Eigen::RowMajor>>() == "3f9fe9305831977e");
  CHECK(digest<Field<Eigen::bfloat16, Eigen::ColMajor>>() == "6903d65166b65cf9");
}

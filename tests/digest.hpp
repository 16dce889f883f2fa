#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iomanip>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <eigennorm/kernels/finite.hpp>

#include "cases.hpp"
#include "support.hpp"
#include "watch.hpp"

// Every bit of every layer in one number for each type and storage order. Whoever builds this, with whatever compiler,
// flags, Eigen and processor, has the same numbers, or the promise is broken (docs/accuracy.md). They change where the
// arithmetic of docs/arithmetic.md does, or the table of cases, and only then.

namespace test {

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

/// -4 to 4, in steps of 2^-20, exact in double. No function of the standard library has a part in it whose last bits
/// could differ.
Numbers uniform(std::size_t size, Random& random, double offset, double factor) {
  Numbers numbers(size);
  for (Real& number : numbers) number = (offset + std::floor(std::ldexp(random.uniform(), 23)) / 1048576 - 4) * factor;
  return numbers;
}

/// Values from -2 to 2, variances from 0.25 on.
template <typename Scalar>
void set_parameters(eigennorm::Normalization<Scalar>& layer, Random& random) {
  const auto draw = [&](eigennorm::Vector<Scalar>& values, double lowest) {
    for (Scalar& value : values) value = static_cast<Scalar>(lowest + std::floor(random.uniform() * 4096) / 1024);
  };
  draw(layer.scale.value, -2);
  draw(layer.shift.value, -2);
  if (!layer.running) return;
  draw(layer.running->mean, -2);
  draw(layer.running->variance, 0.25);
}

/// All layers on ordinary data.
template <typename FieldType>
std::string digest() {
  using Data = typename FieldType::Data;
  using Scalar = typename FieldType::Scalar;
  constexpr bool is_wide = std::is_floating_point_v<Data>;
  Digest digest;
  std::uint64_t seed = 0;
  for (const Case& which : cases()) {
    // About zero, far from it, and so large that squares leave the range of float.
    for (const auto& [offset, factor] :
         std::vector<std::pair<double, double>>{{0.25, 1}, {is_wide ? 10000 : 40, 1}, {0.5, is_wide ? 0x1p90 : 1024}}) {
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
        if (!std::all_of(numbers.begin(), numbers.end(), eigennorm::kernels::is_finite<Real>))
          throw std::logic_error("digest: expected finite results of " + which.name);
        digest.add(bits(*field));
      }
      digest.add(watch::bits(layer));
    }
  }
  return digest.text();
}

/// All NaN alike.
template <typename T>
void add_values(Digest& digest, const T* values, std::int64_t size) {
  using Bits = std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;
  const auto bits_of = [](T value) {
    Bits bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
  };
  const Bits infinity = bits_of(std::numeric_limits<T>::infinity());
  const auto without_sign = static_cast<Bits>(std::numeric_limits<Bits>::max() / 2);
  for (std::int64_t i = 0; i < size; ++i) {
    Bits bits = bits_of(values[i]);
    if ((bits & without_sign) > infinity) bits = without_sign;
    watch::Bytes bytes;
    watch::add(bytes, &bits, 1);
    digest.add(bytes);
  }
}

/// All layers on data that no statistic is made for: NaN, infinity and very large numbers among others, and constants.
template <typename FieldType>
std::string digest_of_bad_values() {
  using Data = typename FieldType::Data;
  using Scalar = typename FieldType::Scalar;
  using Limits = std::numeric_limits<Data>;
  Digest digest;
  std::uint64_t seed = 1000;
  for (const Case& which : cases()) {
    if (which.size() > 5000) continue;
    // One of these among others, or, in the end, nothing but one value. (By number: NaN may be equal to all things
    // here.)
    const std::array<Data, 3> bad{Limits::quiet_NaN(), Limits::infinity(), Limits::max()};
    for (std::size_t kind = 0; kind <= bad.size(); ++kind) {
      Random random(++seed);
      auto layer = which.layer<Scalar>();
      set_parameters(layer, random);
      FieldType x(which.shape, uniform(which.size(), random, 0.25, 1));
      FieldType dy(which.shape, uniform(which.size(), random, 0, 1));
      const std::size_t place = seed * 7 % which.size();
      if (kind == bad.size()) std::fill(x.data(), x.data() + x.size(), Data(static_cast<float>(seed % 5)));
      FieldType y(which.shape), dx(which.shape);
      const auto keep = [&digest](const auto& values) {
        add_values(digest, values.data(), static_cast<std::int64_t>(values.size()));
      };
      for (FieldType* spoiled : {&x, &dy}) {
        if (kind < bad.size()) spoiled->data()[place] = bad[kind];
        forward(layer, x, y);
        keep(y);
        backward(layer, x, dy, dx);
        keep(dx);
        evaluate(layer, x, y);
        keep(y);
        keep(layer.scale.grad);
        keep(layer.shift.grad);
        if (!layer.running) continue;
        keep(layer.running->mean);
        keep(layer.running->variance);
        watch::Bytes bytes;
        watch::add(bytes, &layer.running->rejected_batches, 1);
        digest.add(bytes);
      }
    }
  }
  return digest.text();
}

/// What everybody has.
struct KnownDigests {
  const char* ordinary;
  const char* bad_values;
};
template <typename FieldType>
constexpr KnownDigests known_digests() {
  using Data = typename FieldType::Data;
  constexpr bool by_rows = FieldType::order == Eigen::RowMajor;
  if constexpr (std::is_same_v<Data, float>) {
    return by_rows ? KnownDigests{"ea6e44e13ab0c4a9", "8dc2ba7ee80b2e09"}
                   : KnownDigests{"838bd8dbe52ae567", "9c9618e49e48abc4"};
  } else if constexpr (std::is_same_v<Data, double>) {
    return by_rows ? KnownDigests{"e60d682dbeaf1308", "ef3349e985fdb14e"}
                   : KnownDigests{"2b5e1973fc01a983", "d306ee25a61786e8"};
  } else if constexpr (std::is_same_v<Data, Eigen::half>) {
    return by_rows ? KnownDigests{"f6af89921c41848a", "23270da8d2a970d1"}
                   : KnownDigests{"6f1eafcb31b1a9e5", "24b51a4814f06587"};
  } else {
    return by_rows ? KnownDigests{"3650140bc1d46def", "3c5a9b5781911629"}
                   : KnownDigests{"f2f343cfbf02d9dc", "48b977471e94800b"};
  }
}

}  // namespace test

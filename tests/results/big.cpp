// Tensors of more than 2^31 elements: LayerNorm, BatchNorm and WeightNorm on 2^31 + 4096 values of bfloat16, forward
// and backward, in 8.6 GB of memory. Rows count from the last one, too: what a 32-bit index would leave out or write
// twice is seen at the end. Prints what it does; exit status 1 if anything is wrong.

#include <cstdio>
#include <cstring>
#include <eigennorm/eigennorm.hpp>
#include <string>
#include <vector>

#include "same_bits.hpp"

namespace {

using namespace eigennorm;
using Value = Eigen::bfloat16;
using Map = Eigen::TensorMap<Eigen::Tensor<Value, 2, Eigen::RowMajor>>;
using ConstMap = Eigen::TensorMap<const Eigen::Tensor<Value, 2, Eigen::RowMajor>>;

constexpr std::int64_t size = (std::int64_t{1} << 31) + 4096;
/// Rows of both ends that are compared.
constexpr std::int64_t few = 3;

/// A value whose neighbours differ, and whose columns have exact means and variances: 3 + 1 and 3 - 1 in turns.
Value value_at(std::int64_t row, std::int64_t column) {
  return static_cast<Value>(3.0F + ((row + column) % 2 == 0 ? 1.0F : -1.0F) + (column % 7 == 0 ? 4.0F : 0.0F));
}
Value gradient_at(std::int64_t row, std::int64_t column) {
  return static_cast<Value>(static_cast<float>((row + 3 * column) % 4 - 1));
}

/// Two rows in turns are all there are.
template <typename At>
void fill(std::vector<Value>& tensor, std::int64_t columns, const At& at) {
  std::vector<Value> two(static_cast<std::size_t>(4 * columns));
  for (std::int64_t i = 0; i < 4 * columns; ++i) two[static_cast<std::size_t>(i)] = at(i / columns, i % columns);
  const auto period = static_cast<std::int64_t>(two.size()), all = static_cast<std::int64_t>(tensor.size());
  for (std::int64_t start = 0; start < all; start += period) {
    std::memcpy(static_cast<void*>(tensor.data() + start), two.data(),
                static_cast<std::size_t>(std::min(period, all - start)) * sizeof(Value));
  }
}

/// Whether the first and the last rows are those of a small tensor with as many of both parities.
bool same_ends(const std::vector<Value>& large, const std::vector<Value>& small, std::int64_t columns,
               const char* what) {
  const std::int64_t count = few * columns;
  const bool same = test::same_bits(large.data(), small.data(), count) &&
                    test::same_bits(large.data() + large.size() - count, small.data() + small.size() - count, count);
  std::printf("  %s: first and last rows %s\n", what, same ? "equal" : "DIFFER");
  return same;
}

/// Forward, evaluation and backward of a layer made for `rows` rows, on a large tensor and on a small one.
template <typename Make>
bool check(const std::string& name, std::int64_t columns, std::vector<Value>& x, std::vector<Value>& other,
           const Make& make) {
  const std::int64_t rows = size / columns, small_rows = 8 + rows % 4;
  std::printf("%s, [%lld, %lld]\n", name.c_str(), static_cast<long long>(rows), static_cast<long long>(columns));
  std::vector<Value> small_x(static_cast<std::size_t>(small_rows * columns)), small_other = small_x;
  fill(x, columns, value_at);
  fill(small_x, columns, value_at);
  auto layer = make(rows), small_layer = make(small_rows);
  const ConstMap from(x.data(), rows, columns), small_from(small_x.data(), small_rows, columns);
  Map to(other.data(), rows, columns), small_to(small_other.data(), small_rows, columns);

  bool good = true;
  layer.forward(from, to);
  small_layer.forward(small_from, small_to);
  good = same_ends(other, small_other, columns, "forward") && good;
  layer.evaluate(from, to);
  small_layer.evaluate(small_from, small_to);
  if (!layer.running) good = same_ends(other, small_other, columns, "evaluate") && good;
  // In place, so that two tensors are enough.
  fill(other, columns, gradient_at);
  fill(small_other, columns, gradient_at);
  layer.backward(from, to, to);
  small_layer.backward(small_from, small_to, small_to);
  good = same_ends(other, small_other, columns, "backward") && good;
  // dshift of a feature is a sum of small integers, exact as long as a float holds it.
  if (layer.shift.grad.size() > 0) {
    int wrong = 0;
    for (std::int64_t f = 0; f < columns; ++f) {
      double expected = 0;
      for (std::int64_t r = 0; r < 4; ++r) {
        expected +=
            static_cast<double>(static_cast<float>(gradient_at(r, f))) * static_cast<double>((rows - r + 3) / 4);
      }
      wrong += static_cast<double>(layer.shift.grad[f]) != static_cast<double>(static_cast<float>(expected));
    }
    std::printf("  dshift: %s\n", wrong == 0 ? "exact" : "WRONG");
    good = good && wrong == 0;
  }
  return good;
}

}  // namespace

int main() {
  std::vector<Value> x(static_cast<std::size_t>(size)), other(static_cast<std::size_t>(size));
  bool good = check("LayerNorm", 4096, x, other, [](std::int64_t) { return LayerNorm<float>(4096); });
  good = check("BatchNorm", 64, x, other, [](std::int64_t) { return BatchNorm<float>(64); }) && good;
  good = check("WeightNorm", 4096, x, other, [](std::int64_t rows) { return WeightNorm<float>(rows); }) && good;
  std::printf("%s\n", good ? "All equal." : "Something is wrong.");
  return good ? 0 : 1;
}

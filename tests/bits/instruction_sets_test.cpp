// Whole layers have the same bits whichever instruction set runs.

#include <cstdint>
#include <cstdlib>
#include <eigennorm/eigennorm.hpp>
#include <vector>

#include "catch.hpp"
#include "same_bits.hpp"

namespace {

using namespace eigennorm;
using test::same_bits;

/// What a layer makes of x and dy, forward, backward and in evaluation.
template <typename Tensor>
std::vector<float> everything(Normalization<float> layer, const Tensor& x, const Tensor& dy) {
  if (layer.scale.value.size() > 0) layer.scale.value.setLinSpaced(0.5F, 1.5F);
  if (layer.shift.value.size() > 0) layer.shift.value.setLinSpaced(-1.0F, 2.0F);
  const Tensor y = layer.forward(x), dx = layer.backward(x, dy), z = layer.evaluate(x);
  std::vector<float> all;
  for (const Tensor* each : {&y, &dx, &z}) all.insert(all.end(), each->data(), each->data() + each->size());
  for (const auto* each : {&layer.scale.grad, &layer.shift.grad})
    all.insert(all.end(), each->data(), each->data() + each->size());
  if (layer.running) {
    all.insert(all.end(), layer.running->mean.data(), layer.running->mean.data() + layer.running->mean.size());
    all.insert(all.end(), layer.running->variance.data(),
               layer.running->variance.data() + layer.running->variance.size());
  }
  return all;
}

/// Whether each instruction set gives the bits of the reference.
template <typename Tensor>
bool same_on_all(const Normalization<float>& layer, const Tensor& x, const Tensor& dy) {
  const InstructionSet best = instruction_set();
  limit_instruction_set(InstructionSet::reference);
  const std::vector<float> expected = everything(layer, x, dy);
  bool same = true;
  for (const InstructionSet set : {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512}) {
    limit_instruction_set(set);
    if (instruction_set() != set) continue;  // this processor lacks it
    same = same && same_bits(expected, everything(layer, x, dy));
  }
  limit_instruction_set(best);
  return same;
}

/// Every size up to two steps and a vector, and each edge beyond: of blocks, of what is transposed or transformed
/// together, of rows that are taken in column blocks.
std::vector<std::int64_t> sizes() {
  std::vector<std::int64_t> all;
  for (std::int64_t n = 1; n <= 150; ++n) all.push_back(n);
  for (const std::int64_t edge : {192, 256, 336, 384, 512, 768, 1008, 1024, 1344, 1536, 2048, 3072, 4096, 4128}) {
    for (std::int64_t n = edge - 2; n <= edge + 2; ++n) all.push_back(n);
    all.push_back(edge + 16);
    all.push_back(edge + 37);
  }
  return all;
}

TEST_CASE("Whole layers have the bits of the reference, for all sizes that matter and each geometry") {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  std::srand(3);
  // Also past the caches, where results of this size are not by themselves.
  for (const std::int64_t n : sizes()) {
    stream_results_from(n % 2 == 0 ? 0 : std::int64_t{1} << 40);
    const Matrix rows = Matrix::Random(3, n).array() + 3, d_rows = Matrix::Random(3, n);
    INFO(n);
    REQUIRE(same_on_all(LayerNorm<float>(n), rows, d_rows));
    REQUIRE(same_on_all(RMSNorm<float>(n), rows, d_rows));
    REQUIRE(same_on_all(WeightNorm<float>(3), rows, d_rows));
    REQUIRE(same_on_all(BatchNorm<float>(n), rows, d_rows));
    const Matrix columns = Matrix::Random(n, 3).array() + 3, d_columns = Matrix::Random(n, 3);
    if (n > 1) REQUIRE(same_on_all(BatchNorm<float>(3), columns, d_columns));
    if (n % 4 == 0) {
      const Matrix wide = Matrix::Random(n / 4 + 1, 18).array() + 3, d_wide = Matrix::Random(n / 4 + 1, 18);
      REQUIRE(same_on_all(BatchNorm<float>(18), wide, d_wide));
    }
    // Planes of n / 6, as channels first and last, of all layers for images.
    if (n % 6 != 0) continue;
    Tensor x(2, 6, n / 6, 1), dy(2, 6, n / 6, 1), last(2, n / 6, 1, 36), d_last(2, n / 6, 1, 36);
    x.setRandom();
    dy.setRandom();
    last.setRandom();
    d_last.setRandom();
    REQUIRE(same_on_all(BatchNorm<float>(6), x, dy));
    REQUIRE(same_on_all(GroupNorm<float>(2, 6), x, dy));
    REQUIRE(same_on_all(InstanceNorm<float>(6), x, dy));
    REQUIRE(same_on_all(LayerNorm<float>(6, over(1)), x, dy));
    REQUIRE(same_on_all(LayerNorm<float>({6, n / 6, 1}, over_last(3)), x, dy));
    REQUIRE(same_on_all(BatchNorm<float>(36, channels_on(-1)), last, d_last));
    REQUIRE(same_on_all(GroupNorm<float>(4, 36, channels_on(-1)), last, d_last));
    REQUIRE(same_on_all(InstanceNorm<float>(36, channels_on(-1)), last, d_last));
  }
  stream_results_from(4000000);
}

}  // namespace

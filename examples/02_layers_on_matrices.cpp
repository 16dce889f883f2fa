// Layers on Eigen matrices: LayerNorm and RMSNorm over rows or columns, on blocks and on memory that is not
// Eigen's.
//
// A matrix has axis 0 (rows) and axis 1 (columns). How it is stored changes nothing of what a result means.

#include <algorithm>
#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <limits>
#include <vector>

using namespace eigennorm;

bool good = true;

void check(const char* what, float error) {
  const bool holds = error <= 8 * std::numeric_limits<float>::epsilon();
  std::printf("%-62s %s (largest difference %.1e)\n", what, holds ? "yes" : "NO", error);
  good = good && holds;
}

int main() {
  const Eigen::MatrixXf tokens = Eigen::MatrixXf::Random(10, 48);  // one token a row, column-major: Eigen's default

  // LayerNorm over the last axis, against the formula written out.
  LayerNorm<float> layer(48);
  layer.scale.value.setLinSpaced(0.5F, 1.5F);
  const Eigen::MatrixXf y = layer.forward(tokens);
  const Eigen::MatrixXf centred = tokens.colwise() - tokens.rowwise().mean();
  const Eigen::ArrayXf root = (centred.rowwise().squaredNorm().array() / 48 + 1e-5F).sqrt();
  const Eigen::MatrixXf expected =
      ((centred.array().colwise() / root).rowwise() * layer.scale.value.transpose()).matrix();
  check("LayerNorm is the formula", (y - expected).cwiseAbs().maxCoeff());

  // A token a column: the features are axis 0.
  LayerNorm<float> over_rows(48, over(0));
  over_rows.scale = layer.scale;
  const Eigen::MatrixXf columns = tokens.transpose();
  const Eigen::MatrixXf y_columns = over_rows.forward(columns);
  check("A token a column, over(0), gives the same", (y_columns.transpose() - y).cwiseAbs().maxCoeff());

  // One vector: a matrix of one column.
  const Eigen::VectorXf token = tokens.row(3).transpose();
  const Eigen::VectorXf y_token = over_rows.evaluate(token);
  check("So does a vector alone", (y_token.transpose() - y.row(3)).cwiseAbs().maxCoeff());

  // Some rows, or some columns, of a larger matrix: strides are taken as they come. Three heads of 16
  // features each are normalized in place, each by its own root mean square (evaluate may write over its
  // input).
  Eigen::MatrixXf heads = tokens;
  const RMSNorm<float> head_norm(16);
  for (int head = 0; head < 3; ++head) {
    auto block = heads.middleCols(16 * head, 16);
    head_norm.evaluate(block, block);
  }
  float farthest = 0;
  for (int head = 0; head < 3; ++head) {
    const Eigen::ArrayXf mean_square = heads.middleCols(16 * head, 16).rowwise().squaredNorm().array() / 16;
    farthest = std::max(farthest, (mean_square - 1).abs().maxCoeff() - 1e-3F);  // eps = 1e-5 keeps it below 1
  }
  check("Each head has mean square 1, up to eps", std::max(farthest, 0.0F));

  // The three heads at once: the same memory seen as a tensor of rank 3. Column-major, so the last axis is
  // the slowest.
  const Eigen::TensorMap<const Eigen::Tensor<float, 3>> by_head(tokens.data(), 10, 16,
                                                                3);  // tokens, features, heads
  const Eigen::Tensor<float, 3> y_by_head = RMSNorm<float>(16, over(1)).evaluate(by_head);
  const Eigen::Map<const Eigen::MatrixXf> as_matrix(y_by_head.data(), 10, 48);
  check("All heads at once, as a tensor of rank 3, give the same", (as_matrix - heads).cwiseAbs().maxCoeff());

  // Memory of your own, row-major, with a gap behind each row.
  using RowMajorMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  std::vector<float> memory(10 * 50);
  Eigen::Map<RowMajorMatrix, Eigen::Unaligned, Eigen::OuterStride<>> rows(memory.data(), 10, 48,
                                                                          Eigen::OuterStride<>(50));
  rows = tokens;
  layer.evaluate(rows, rows);
  check("Row-major memory with gaps gives the same", (rows - y).cwiseAbs().maxCoeff());

  return good ? 0 : 1;
}

/// Images as sequences of their rows, of different lengths, and batches of them, padded to one length.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <eigennorm/valid.hpp>

#include "data.hpp"

namespace digits::sequences {

constexpr Eigen::Index pixels = 8;  // of a row, and rows of an image
constexpr Eigen::Index shortest = 8, longest = 10;

using Flags = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Sequences that are padded with zeros to `positions`: row `n * positions + t` is position t of sequence n.
struct Sequences {
  Matrix values;  // a row of an image in each
  Eigen::VectorXi lengths;
  Labels labels;
  Eigen::Index positions = 0;
  Flags valid;  // sequences x positions

  Eigen::Index size() const { return lengths.size(); }
};

/// One number from `smallest` to `largest`, the same with every standard library.
inline Eigen::Index draw(Eigen::Index smallest, Eigen::Index largest, Generator& generator) {
  return smallest + static_cast<Eigen::Index>(generator() % static_cast<std::uint32_t>(largest - smallest + 1));
}

/// A length for each of so many images.
inline Eigen::VectorXi draw_lengths(Eigen::Index count, Generator& generator) {
  return Eigen::VectorXi::NullaryExpr(count, [&] { return static_cast<int>(draw(shortest, longest, generator)); });
}

/// The images as if each were written at a speed of its own: its eight rows, from top to bottom, last `lengths`
/// positions.
inline Sequences padded(const Dataset& images, const Eigen::VectorXi& lengths, Eigen::Index positions) {
  Sequences made{Matrix::Zero(images.size() * positions, pixels), lengths, images.labels, positions,
                 eigennorm::valid_lengths(lengths, positions)};
  for (Eigen::Index n = 0; n < images.size(); ++n) {
    for (Eigen::Index t = 0; t < lengths(n); ++t) {
      const Eigen::Index row = t * pixels / lengths(n);
      made.values.row(n * positions + t) = images.inputs.row(n).segment(row * pixels, pixels);
    }
  }
  return made;
}

/// Each position with its neighbours, for a convolution of width 3: zeros beside the first and the last.
inline Matrix windows(const Matrix& values, Eigen::Index positions) {
  const Eigen::Index channels = values.cols();
  Matrix wide = Matrix::Zero(values.rows(), 3 * channels);
  for (Eigen::Index first = 0; first < values.rows(); first += positions) {
    const auto from = values.middleRows(first, positions);
    auto to = wide.middleRows(first, positions);
    to.middleCols(channels, channels) = from;
    to.leftCols(channels).bottomRows(positions - 1) = from.topRows(positions - 1);
    to.rightCols(channels).topRows(positions - 1) = from.bottomRows(positions - 1);
  }
  return wide;
}

/// The derivative by the values, of that by their windows.
inline Matrix by_values(const Matrix& by_windows, Eigen::Index positions) {
  const Eigen::Index channels = by_windows.cols() / 3;
  Matrix sum = by_windows.middleCols(channels, channels);
  for (Eigen::Index first = 0; first < sum.rows(); first += positions) {
    const auto from = by_windows.middleRows(first, positions);
    auto to = sum.middleRows(first, positions);
    to.topRows(positions - 1) += from.leftCols(channels).bottomRows(positions - 1);
    to.bottomRows(positions - 1) += from.rightCols(channels).topRows(positions - 1);
  }
  return sum;
}

/// The share of a batch that is padding, on average.
inline double padding_of(Eigen::Index positions) {
  return 1 - static_cast<double>(shortest + longest) / 2 / static_cast<double>(positions);
}

/// The lengths that batches are padded to: from `smallest` to `largest`, each as often as any other.
struct Padding {
  Eigen::Index smallest, largest;

  double share() const {
    double sum = 0;
    for (Eigen::Index positions = smallest; positions <= largest; ++positions) sum += padding_of(positions);
    return sum / static_cast<double>(largest - smallest + 1);
  }
};

/// All batches to one length, such that about this share is padding.
inline Padding same_padding(double share) {
  const double mean = static_cast<double>(shortest + longest) / 2;
  const Eigen::Index positions = std::max(longest, static_cast<Eigen::Index>(std::lround(mean / (1 - share))));
  return {positions, positions};
}

/// Each batch to a length of its own, as where the longest of its sequences decides.
inline Padding different_padding(double share) {
  Padding padding{longest, longest};
  while (padding.share() < share - 0.005) ++padding.largest;
  return padding;
}

}  // namespace digits::sequences

#pragma once

/// \file
/// What a layer divides by.

namespace eigennorm {

/// What a layer divides by, and whether it subtracts the mean.
enum class Statistic {
  mean_variance,  ///< mu = mean, sigma = sqrt(variance + eps)
  mean,           ///< mu = mean, sigma = 1
  mean_square,    ///< mu = 0, sigma = sqrt(mean square + eps)
  sum_square,     ///< mu = 0, sigma = sqrt(sum of squares + eps)
};

namespace core {

constexpr bool is_centred(Statistic statistic) {
  return statistic == Statistic::mean_variance || statistic == Statistic::mean;
}
constexpr bool has_sigma(Statistic statistic) { return statistic != Statistic::mean; }

}  // namespace core
}  // namespace eigennorm

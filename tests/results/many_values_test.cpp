#include <vector>

#include "catch.hpp"
#include "problem.hpp"

// Four million values share one statistic: errors are no larger than those of a hundred, and there is no allowance for
// the distance of the mean from zero.

using namespace test;

namespace {

constexpr std::ptrdiff_t many = 4'194'304;

std::vector<Case> large_cases() {
  return {
      row("LayerNorm, one row", {1, many}, Formula{{1}, {1}, Kind::mean_variance, 1e-5},
          [](auto s) { return eigennorm::LayerNorm<decltype(s)>(many); }),
      row("BatchNorm N x C", {many, 1}, Formula{{0}, {1}, Kind::mean_variance, 1e-5},
          [](auto s) { return eigennorm::BatchNorm<decltype(s)>(1); }),
      row("WeightNorm, one output", {1, many}, Formula{{1}, {0}, Kind::sum_square},
          [](auto s) { return eigennorm::WeightNorm<decltype(s)>(1); }),
  };
}

template <typename Data>
void check_large_cases() {
  using FieldType = Field<Data, Eigen::RowMajor>;
  std::uint64_t seed = 50;
  for (const Case& which : large_cases()) {
    INFO(which.name);
    Problem<FieldType> problem(which, 1e4, Random(++seed));
    forward(problem.layer, problem.x, problem.y);
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    const reference::Statistics batch = problem.batch();
    problem.check_output(batch, false);
    problem.check_gradients(batch, false);
  }
}

}  // namespace

TEST_CASE("errors do not grow with the number of values, nor with the mean") { check_large_cases<float>(); }

// Takes ten times as long, for the sake of the truth: scripts/test.sh --long.
TEST_CASE("nor do those of double", "[.][long]") { check_large_cases<double>(); }

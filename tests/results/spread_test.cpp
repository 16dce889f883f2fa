#include <cstdint>
#include <string>
#include <vector>

#include "spread_problem.hpp"

// A batch that is spread over members has the results of one process that holds all of it: within the bounds of
// docs/accuracy.md, with the same bits on every member and in every run.

using namespace test;

namespace {

using eigennorm::BatchNorm;
using eigennorm::channels_on;
using eigennorm::MeanOnlyBatchNorm;
using eigennorm::Normalization;
using eigennorm::over;
using eigennorm::Statistic;

constexpr auto mean_variance = Kind::mean_variance;

/// Layers whose groups reach across samples, of every kind: 64 samples each.
std::vector<Case> spread_cases() {
  return {
      row("N x C", {64, 5}, Formula{{0}, {1}, mean_variance, 1e-5}, [](auto s) { return BatchNorm<decltype(s)>(5); }),
      row("N x 131 channels", {64, 131}, Formula{{0}, {1}, mean_variance, 1e-5},
          [](auto s) { return BatchNorm<decltype(s)>(131); }),
      row("C x N", {4, 64}, Formula{{1}, {0}, mean_variance, 1e-5},
          [](auto s) { return BatchNorm<decltype(s)>(4, channels_on(0)); }),
      row("NCHW", {64, 3, 5, 7}, Formula{{0, 2, 3}, {1}, mean_variance, 1e-5},
          [](auto s) { return BatchNorm<decltype(s)>(3); }),
      row("NHWC, eps 0", {64, 5, 4, 19}, Formula{{0, 1, 2}, {3}, mean_variance, 0},
          [](auto s) { return BatchNorm<decltype(s)>(19, channels_on(-1), 0.0); }),
      row("mean only", {64, 6, 3}, Formula{{0, 2}, {1}, Kind::mean},
          [](auto s) { return MeanOnlyBatchNorm<decltype(s)>(6); }),
      row("mean square", {64, 6}, Formula{{0}, {1}, Kind::mean_square, 1e-5},
          [](auto s) { return Normalization<decltype(s)>(over(0), over(1), 6, Statistic::mean_square, 1e-5); }),
      row("sum of squares", {64, 6}, Formula{{0}, {1}, Kind::sum_square, 1e-5},
          [](auto s) { return Normalization<decltype(s)>(over(0), over(1), 6, Statistic::sum_square, 1e-5); }),
      row("each pixel of each channel", {64, 3, 4}, Formula{{0}, {1}, mean_variance, 1e-5},
          [](auto s) { return Normalization<decltype(s)>(over(0), over(1), 3, Statistic::mean_variance, 1e-5); }),
      row("one mean for all, a scale for each channel", {64, 3, 20}, Formula{{0, 1, 2}, {1}, mean_variance, 1e-5},
          [](auto s) { return Normalization<decltype(s)>(over(0, 1, 2), over(1), 3, Statistic::mean_variance, 1e-5); }),
  };
}

const std::vector<Parts>& cuts() {
  static const std::vector<Parts> cuts = {{32, 32},
                                          {1, 63},
                                          {0, 64},
                                          {64, 0},
                                          {20, 21, 23},
                                          {0, 0, 64},
                                          {13, 1, 0, 30, 20},
                                          {8, 8, 8, 8, 8, 8, 8, 8},
                                          {0, 1, 2, 3, 5, 8, 13, 32}};
  return cuts;
}

/// Where every member holds what the first does.
template <typename FieldType>
void check_all_alike(const Spread<FieldType>& spread) {
  for (const auto& share : spread.shares) CHECK(same_statistics(share.layer, spread.shares[0].layer));
}

template <typename FieldType>
void check_running(const Problem<FieldType>& problem, const Normalization<typename FieldType::Scalar>& before) {
  if (!before.running) return;
  const Tolerance limits = tolerance<typename FieldType::Scalar>();
  const reference::Running old = running(before), got = running(problem.layer);
  const reference::Running truth = reference::moved(problem.formula, problem.roles, problem.batch(), old, 0.1L);
  const Numbers scale =
      reference::running_mean_scale(problem.roles, problem.x_numbers, reference::magnitudes(old.mean), 0.1L);
  CHECK(worst(got.mean, truth.mean, scale, limits) <= limits.limit);
  if (before.running->variance.size() > 0)
    CHECK(worst(got.variance, truth.variance, own_scale(truth.variance), limits) <= limits.limit);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a spread batch has the results of the whole one, within the bounds", "", AllFields) {
  using Data = typename TestType::Data;
  const double far = std::is_same_v<Data, typename TestType::Scalar> ? 1e4 : 100;
  std::uint64_t seed = 0;
  for (const Case& which : spread_cases()) {
    for (const Parts& cut : cuts()) {
      const double offset = ++seed % 2 == 0 ? far : 0.5;
      INFO(which.name << ", " << cut.size() << " members, the first has " << cut[0] << ", data about " << offset);
      Problem<TestType> problem(which, offset, Random(seed));
      const auto before = problem.layer;
      Spread<TestType> spread(problem, cut);
      Post post(static_cast<int>(cut.size()));
      spread.step(post);
      check_all_alike(spread);
      spread.gather(problem);
      problem.check_output(problem.batch(), false);
      problem.check_gradients(problem.batch(), false);
      check_running(problem, before);
    }
  }
}

TEST_CASE("one member has the bits of no peers") {
  using FieldType = Field<float, Eigen::RowMajor>;
  for (const Case& which : spread_cases()) {
    INFO(which.name);
    Problem<FieldType> problem(which, 0.5, Random(1));
    Spread<FieldType> spread(problem, {64});
    Post post(1);
    spread.step(post);
    CHECK(post.messages() == 0);
    forward(problem.layer, problem.x, problem.y);
    backward(problem.layer, problem.x, problem.dy, problem.dx);
    const auto& share = spread.shares[0];
    CHECK(same_statistics(share.layer, problem.layer));
    CHECK(same_bits(share.y, problem.y));
    CHECK(same_bits(share.dx, problem.dx));
    CHECK(same_bits(share.layer.scale.grad, problem.layer.scale.grad));
    CHECK(same_bits(share.layer.shift.grad, problem.layer.shift.grad));
  }
}

// As a user's unit might begin. g++ has read the whole of it when it comes to this line, so that the headers cannot
// see it.
#if defined(__clang__)
#pragma float_control(precise, off)
#else
#pragma GCC optimize("fast-math")
#endif

#include <cstdio>
#include <stdexcept>
#include <string>

#include "digest.hpp"

// Every layer has the bits that it has without that line (digest_test.cpp), and what is not finite is found. A
// program of its own: linked with others, it might get their functions.

using namespace test;

namespace {

int failures = 0;

void expect_same(const std::string& got, const char* expected, const char* what) {
  if (got == expected) return;
  std::printf("other bits: %s, %s instead of %s\n", what, got.c_str(), expected);
  ++failures;
}

template <typename FieldType>
void check_digests(const char* name) {
  expect_same(digest<FieldType>(), known_digests<FieldType>().ordinary, name);
  expect_same(digest_of_bad_values<FieldType>(), known_digests<FieldType>().bad_values, name);
}

template <typename Call>
void expect_refused(const char* what, const Call& call) {
  try {
    call();
  } catch (const std::invalid_argument&) {
    return;
  }
  std::printf("accepted: %s\n", what);
  ++failures;
}

void check_refusals() {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  Eigen::MatrixXd x = Eigen::MatrixXd::Random(4, 3);
  for (const double bad : {nan, infinity, -infinity, -1.0}) {
    expect_refused("eps", [&] { eigennorm::LayerNorm<double>(3, bad); });
    expect_refused("momentum", [&] {
      eigennorm::BatchNorm<double> layer(3);
      layer.running->averaging = eigennorm::momentum_of_new(bad);
      layer.forward(x);
    });
    expect_refused("running statistics", [&] {
      eigennorm::BatchNorm<double> layer(3);
      eigennorm::Estimate<double> estimate{layer.running->mean, layer.running->variance};
      estimate.variance[1] = bad;
      layer.running->assign(estimate);
    });
    if (bad == -1.0) continue;
    expect_refused("moments", [&] {
      eigennorm::BatchNorm<double> layer(3);
      x(1, 1) = bad;
      layer.forward(x);
      eigennorm::PopulationStatistics<double>().observe(layer.moments());
    });
  }
}

/// Results of expressions that Eigen would make of reciprocals.
void check_quotients() {
  const Eigen::MatrixXd x = Eigen::MatrixXd::Random(11, 7) * 3;
  eigennorm::WeightNorm<double> weights(7, eigennorm::outputs_on(1));
  weights.scale_from(x);
  eigennorm::BatchNorm<double> layer(7);
  eigennorm::PopulationStatistics<double> population;
  weights.use_scale(false);
  layer.forward(x);
  population.observe(layer.moments());
  const auto estimate = population.pooled();
  for (int i = 0; i < 7; ++i) {
    volatile double squares = layer.moments().variance()[i];
    squares = 11 * squares;
    volatile double divisor = 10;
    if (estimate.variance[i] == squares / divisor) continue;
    std::printf("other bits: a variance\n");
    ++failures;
  }
}

}  // namespace

int main() {
  check_digests<Field<float, Eigen::RowMajor>>("float by rows");
  check_digests<Field<float, Eigen::ColMajor>>("float by columns");
  check_digests<Field<double, Eigen::RowMajor>>("double by rows");
  check_digests<Field<Eigen::bfloat16, Eigen::ColMajor>>("bfloat16 by columns");
  check_refusals();
  check_quotients();
  if (failures == 0) std::printf("the same bits\n");
  return failures;
}

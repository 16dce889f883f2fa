// Compiled where Eigen has no folder unsupported/.
#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <utility>

#if __has_include(<unsupported/Eigen/CXX11/Tensor>)
#error "This was to be compiled without the Tensor header."
#endif

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("wrong: %s\n", what);
  ++failures;
}

/// A pool of one's own, with the three functions that are asked for.
struct Cost {
  double loaded, stored, cycles;
};
struct OneAfterTheOther {
  int numThreads() const { return 3; }
  int currentThreadId() const { return -1; }
  template <typename F>
  void parallelFor(Eigen::Index n, const Cost&, const F& f) const {
    for (Eigen::Index i = 0; i < n; ++i) f(i, i + 1);
  }
};

template <typename Layer, typename X>
void use(Layer layer, const X& x, const char* name) {
  X y = layer.forward(x), same(x.rows(), x.cols());
  const X dx = layer.backward(x, y);
  const X evaluated = std::as_const(layer).evaluate(x);
  layer.forward(x, same, {OneAfterTheOther{}});
  expect((y.array() == same.array()).all(), name);
  expect(dx.rows() == x.rows() && evaluated.cols() == x.cols() && layer.moments().groups() > 0, name);
}

template <typename Scalar, typename X>
void use_all(const X& x) {
  use(eigennorm::BatchNorm<Scalar>(6), x, "BatchNorm");
  use(eigennorm::MeanOnlyBatchNorm<Scalar>(6), x, "MeanOnlyBatchNorm");
  use(eigennorm::LayerNorm<Scalar>(6), x, "LayerNorm");
  use(eigennorm::RMSNorm<Scalar>(6), x, "RMSNorm");
  use(eigennorm::GroupNorm<Scalar>(2, 6), x, "GroupNorm");
  use(eigennorm::InstanceNorm<Scalar>(6), x, "InstanceNorm");
  eigennorm::WeightNorm<Scalar> weights(6, eigennorm::outputs_on(1));
  weights.scale_from(x);
  use(weights, x, "WeightNorm");
}

template <typename T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(40, 6);
  use_all<float>(x);
  use_all<double>(RowMajor<double>(x.cast<double>()));
  use_all<float>(RowMajor<Eigen::half>(x.cast<Eigen::half>()));
  use_all<float>(RowMajor<Eigen::bfloat16>(x.cast<Eigen::bfloat16>()));
  use_all<long double>(RowMajor<long double>(x.cast<long double>()));

  eigennorm::LayerNorm<float> layer(6);
  const Eigen::Array<float, 40, 6> y = layer.forward(Eigen::Array<float, 40, 6>(x.array()));
  expect(y.rowwise().mean().abs().maxCoeff() < 1e-5F, "the mean of each row");
  const Eigen::MatrixXf part = layer.evaluate(x.topRows(7));
  expect(part.array().isApprox(y.topRows(7)), "a block");

  eigennorm::BatchNorm<float> batch(6);
  eigennorm::PopulationStatistics<float> population;
  batch.forward(x);
  population.observe(batch.moments());
  batch.running->assign(population.algorithm2());
  expect(batch.running->mean.isApprox(x.colwise().mean().transpose().array()), "the statistics of the population");
  return failures;
}

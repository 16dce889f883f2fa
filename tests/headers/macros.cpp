// windows.h and others define words that are nobody's to define. A unit that has included such a header before this
// library compiles all the same. (Single letters, beyond those of the standard's own headers, are left out: they are
// names of template parameters everywhere, in Eigen too.)
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unsupported/Eigen/CXX11/Tensor>
#include <utility>
#include <vector>

// Where one of these is used, nothing compiles.
#define far ])
#define near ])
#define small ])
#define interface ])
#define index ])
#define minor ])
#define major ])
#define ERROR ])
#define IN ])
#define OUT ])
#define OPTIONAL ])
#define CONST ])
#define VOID ])
#define BOOL ])
#define DELETE ])
#define RGB ])
#define TRUE ])
#define FALSE ])
#define PI ])
#define B0 ])
#define I ])
#define E ])
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define abs(a) ((a) > 0 ? (a) : -(a))

#include <eigennorm/eigennorm.hpp>
#include <eigennorm/fold.hpp>

namespace {

template <typename Layer, typename X>
void use(Layer layer, const X& x) {
  const X y = layer.forward(x);
  const X dx = layer.backward(x, y);
  static_cast<const Layer&>(layer).evaluate(dx);
  layer.moments().mean();
}

template <typename Scalar, typename X>
void use_all(const X& x) {
  use(eigennorm::BatchNorm<Scalar>(6), x);
  use(eigennorm::MeanOnlyBatchNorm<Scalar>(6), x);
  use(eigennorm::LayerNorm<Scalar>(6), x);
  use(eigennorm::RMSNorm<Scalar>(6), x);
  use(eigennorm::GroupNorm<Scalar>(2, 6), x);
  use(eigennorm::InstanceNorm<Scalar>(6), x);
  use(eigennorm::Normalization<Scalar>(eigennorm::over(0), eigennorm::no_axes, 1, eigennorm::Statistic::mean_square, 0),
      x);
  eigennorm::WeightNorm<Scalar> weights(6, eigennorm::outputs_on(1));
  weights.scale_from(x);
  use(weights, x);
}

inline void fold_and_start(const Eigen::MatrixXf& x, Eigen::VectorXf& bias) {
  eigennorm::WeightNorm<float>(6).initialize(x, bias);
  eigennorm::fold(eigennorm::BatchNorm<float>(6), x, bias);
}

}  // namespace

void use_all_layers();
void use_all_layers() {
  use_all<float>(Eigen::MatrixXf(4, 6));
  use_all<double>(Eigen::Tensor<double, 3>(4, 6, 5));
  use_all<float>(Eigen::Tensor<Eigen::half, 3, Eigen::RowMajor>(4, 6, 5));
  use_all<float>(Eigen::Tensor<Eigen::bfloat16, 2>(4, 6));
  use_all<long double>(Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>(4, 6));

  eigennorm::BatchNorm<float> layer(6);
  layer.running->averaging = eigennorm::momentum_kept(0.9);
  eigennorm::PopulationStatistics<float> population, other;
  layer.forward(Eigen::MatrixXf(4, 6));
  population.observe(layer.moments());
  population.merge(other);
  layer.running->assign(population.algorithm2());
  layer.running->assign(population.pooled());
  layer.freeze();
  eigennorm::stream_results_from(eigennorm::max_rank);
  eigennorm::limit_instruction_set(eigennorm::InstructionSet::baseline);
}

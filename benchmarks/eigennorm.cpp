// The library, as its users compile it: plain -O2.

#define EIGEN_USE_THREADS
#include <eigennorm/eigennorm.hpp>
#include <memory>

#include "workload.hpp"

namespace benchmarks {
namespace {

using namespace eigennorm;

template <int Rank>
using In = Eigen::TensorMap<const Eigen::Tensor<float, Rank, Eigen::RowMajor>>;
template <int Rank>
using Out = Eigen::TensorMap<Eigen::Tensor<float, Rank, Eigen::RowMajor>>;

Normalization<float> layer_of(const Workload& workload) {
  const std::int64_t features = workload.features();
  switch (workload.layer) {
    case Layer::layer_norm:
      return LayerNorm<float>(features);
    case Layer::rms_norm:
      return RMSNorm<float>(features);
    case Layer::batch_norm:
      return BatchNorm<float>(features);
    case Layer::batch_norm_last:
      return BatchNorm<float>(features, channels_on(-1));
    case Layer::group_norm:
      return GroupNorm<float>(group_count, features);
    case Layer::instance_norm:
      return InstanceNorm<float>(features);
    default:
      return WeightNorm<float>(features);
  }
}

/// A layer with its threads.
struct Runner {
  Runner(const Workload& workload, int count)
      : layer(layer_of(workload)), pool(count), device(&pool, count), threads(count) {}

  Context<float> context() const { return threads == 1 ? Context<float>() : Context<float>(device); }

  Normalization<float> layer;
  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
  int threads;
  bool has_moments = false;
};

template <int Rank>
Work make(const Workload& workload, Pass pass, int threads, InstructionSet set) {
  const auto runner = std::make_shared<Runner>(workload, threads);
  std::array<Eigen::Index, Rank> shape;
  std::copy(workload.shape.begin(), workload.shape.end(), shape.begin());
  return [=](const Buffers& b) {
    limit_instruction_set(set);
    Out<Rank> y(b.y, shape);
    const In<Rank> x(b.x, shape);
    if (pass == Pass::forward) {
      runner->layer.forward(x, y, runner->context());
    } else if (pass == Pass::evaluate) {
      runner->layer.evaluate(x, y, runner->context());
    } else {
      // Backward needs a forward before, of values like these.
      if (!runner->has_moments) runner->layer.forward(x, y, runner->context());
      runner->has_moments = true;
      runner->layer.backward(x, In<Rank>(b.dy, shape), y, runner->context());
    }
  };
}

Work make(const Workload& workload, Pass pass, int threads, InstructionSet set) {
  return workload.shape.size() == 2 ? make<2>(workload, pass, threads, set) : make<4>(workload, pass, threads, set);
}

}  // namespace

Work eigennorm(const Workload& workload, Pass pass, int threads) {
  return make(workload, pass, threads, InstructionSet::avx512);
}
Work eigennorm_avx2(const Workload& workload, Pass pass, int threads) {
  return make(workload, pass, threads, InstructionSet::avx2);
}
Work eigennorm_baseline(const Workload& workload, Pass pass, int threads) {
  return make(workload, pass, threads, InstructionSet::baseline);
}

}  // namespace benchmarks

// The library, as its users compile it: plain -O2.

#define EIGEN_USE_THREADS
#include <eigennorm/eigennorm.hpp>
#include <memory>

#include "mask.hpp"
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

/// A layer with its threads, and its mask.
struct Runner {
  Runner(const Workload& workload, int count)
      : layer(layer_of(workload)),
        pool(count),
        device(&pool, count),
        threads(count),
        extra(workload.extra),
        mask(mask_of(workload)) {
    if (extra == Extra::relu || extra == Extra::residual_relu) layer.activation = Activation::relu;
  }

  Context<float> context() const { return threads == 1 ? Context<float>() : Context<float>(device); }

  Normalization<float> layer;
  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
  int threads;
  Extra extra;
  std::shared_ptr<const Mask> mask;
  bool has_moments = false;
};

template <int Rank>
using Sizes = std::array<Eigen::Index, Rank>;

/// The context of a forward or evaluation.
template <int Rank>
Context<float> forward_context(const Runner& runner, const Buffers& b, const Sizes<Rank>& shape,
                               const Sizes<Rank>& mask_shape) {
  Context<float> context = runner.context();
  if (runner.extra == Extra::none || runner.extra == Extra::relu) return context;
  if (runner.mask != nullptr) {
    const Eigen::TensorMap<const Eigen::Tensor<bool, Rank, Eigen::RowMajor>> valid(runner.mask->valid.get(),
                                                                                   mask_shape);
    context.valid = valid;
    return context;
  }
  context.residual = In<Rank>(b.residual, shape);
  if (runner.extra == Extra::added) context.added = Out<Rank>(b.second_result, shape);
  return context;
}

/// The same of a backward. Where the sum of x and the residual is kept, x is that sum here.
template <int Rank>
Context<float> backward_context(const Runner& runner, const Buffers& b, const Sizes<Rank>& shape,
                                const Sizes<Rank>& mask_shape) {
  if (runner.extra == Extra::added) {
    Context<float> context = runner.context();
    context.added_gradient = In<Rank>(b.residual, shape);
    return context;
  }
  Context<float> context = forward_context<Rank>(runner, b, shape, mask_shape);
  if (runner.extra == Extra::residual_relu) context.residual_gradient = Out<Rank>(b.second_result, shape);
  return context;
}

template <int Rank>
Work make(const Workload& workload, Pass pass, int threads, InstructionSet set) {
  const auto runner = std::make_shared<Runner>(workload, threads);
  Sizes<Rank> shape;
  std::copy(workload.shape.begin(), workload.shape.end(), shape.begin());
  Sizes<Rank> mask_shape = shape;
  mask_shape[workload.layer == Layer::batch_norm ? 1 : Rank - 1] = 1;
  return [=](const Buffers& b) {
    limit_instruction_set(set);
    Out<Rank> y(b.y, shape);
    const In<Rank> x(b.x, shape);
    if (pass == Pass::forward) {
      runner->layer.forward(x, y, forward_context<Rank>(*runner, b, shape, mask_shape));
    } else if (pass == Pass::evaluate) {
      runner->layer.evaluate(x, y, forward_context<Rank>(*runner, b, shape, mask_shape));
    } else {
      // Backward needs a forward before, of values like these.
      if (!runner->has_moments) runner->layer.forward(x, y, forward_context<Rank>(*runner, b, shape, mask_shape));
      runner->has_moments = true;
      runner->layer.backward(x, In<Rank>(b.dy, shape), y, backward_context<Rank>(*runner, b, shape, mask_shape));
    }
  };
}

Work make(const Workload& workload, Pass pass, int threads, InstructionSet set) {
  switch (workload.shape.size()) {
    case 2:
      return make<2>(workload, pass, threads, set);
    case 3:
      return make<3>(workload, pass, threads, set);
    default:
      return make<4>(workload, pass, threads, set);
  }
}

/// Evaluation of frames of one shape, as real-time code has them.
template <int Rank>
Work make_prepared(const Workload& workload) {
  Sizes<Rank> shape;
  std::copy(workload.shape.begin(), workload.shape.end(), shape.begin());
  const Normalization<float> layer = layer_of(workload);
  const Eigen::Tensor<float, Rank, Eigen::RowMajor> like(shape);
  auto y = like;
  const auto prepared = layer.prepare(like, y);
  return [=](const Buffers& b) {
    limit_instruction_set(InstructionSet::avx512);
    prepared(b.x, b.y);
  };
}

}  // namespace

Work eigennorm_prepared(const Workload& workload, Pass pass, int threads) {
  if (pass != Pass::evaluate || !workload.hot || workload.extra != Extra::none || threads > 1) return {};
  const std::size_t rank = workload.shape.size();
  return rank == 2 ? make_prepared<2>(workload) : rank == 3 ? make_prepared<3>(workload) : make_prepared<4>(workload);
}

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

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

/// \file
/// What is measured, and how a system takes part.

namespace benchmarks {

enum class Layer { layer_norm, rms_norm, batch_norm, batch_norm_last, group_norm, instance_norm, weight_norm };
enum class Pass { forward, backward, evaluate };

/// What goes with a call: ReLU behind it, a residual that is added before that or, kept as a sum, before the norm; or a
/// mask of three valid positions of four, the first ones of each sample or random ones.
enum class Extra { none, relu, residual_relu, added, lengths, random };

/// What x holds: values within `spread` / 2 of `centre`; where `half_zero` is set, every second row or channel is zero.
struct Values {
  std::string name;  ///< empty for the random ones that all is compared with
  float centre = 0;
  float spread = 1;
  bool half_zero = false;
};

/// One layer on one shape. Of batch_norm_last the channels are the last axis, of batch_norm axis 1.
struct Workload {
  Layer layer;
  std::string name;
  std::vector<std::int64_t> shape;
  bool hot;  ///< one set of buffers, again and again; otherwise a ring of them, larger than the caches
  std::vector<Pass> passes;
  Extra extra = Extra::none;

  std::int64_t size() const { return product_from(0); }
  std::int64_t features() const {
    switch (layer) {
      case Layer::layer_norm:
      case Layer::rms_norm:
      case Layer::batch_norm_last:
        return shape.back();
      case Layer::weight_norm:
        return shape.front();
      default:
        return shape[1];
    }
  }
  /// Positions behind the channel axis.
  std::int64_t plane() const { return product_from(2); }

  bool has_residual() const { return extra == Extra::residual_relu || extra == Extra::added; }
  bool has_mask() const { return extra == Extra::lengths || extra == Extra::random; }

 private:
  std::int64_t product_from(std::ptrdiff_t axis) const {
    return std::accumulate(shape.begin() + axis, shape.end(), std::int64_t{1}, std::multiplies<>());
  }
};

constexpr std::int64_t group_count = 8;
constexpr double epsilon = 1e-5;

/// One set of buffers: y is also dx. The last two are there where there is a residual.
struct Buffers {
  const float* x;
  const float* dy;
  float* y;
  const float* residual;  ///< backward of `added`: the gradient that reaches the sum
  float* second_result;   ///< forward of `added`: the sum; backward of a residual: its gradient
};

using Work = std::function<void(const Buffers&)>;

/// Makes the work of a workload, ready to be timed; an empty function where a system has none.
using Make = Work (*)(const Workload&, Pass, int threads);

/// How the name of a workload with a mask says so.
constexpr const char* valid_text = ", 75 % valid";

/// The rows of the table.
std::vector<Workload> workloads();

/// Shapes that are timed on random values and on others.
struct ValueWorkload {
  Workload workload;
  std::vector<Values> values;
};
std::vector<ValueWorkload> value_workloads();

/// What each system contributes.
Work copy(const Workload&, Pass, int threads);           ///< the sum of all that is read goes to all that is written
Work copy_streamed(const Workload&, Pass, int threads);  ///< the same by non-temporal stores
Work eigennorm(const Workload&, Pass, int threads);
Work eigennorm_prepared(const Workload&, Pass, int threads);  ///< hot evaluation, prepared beforehand
Work eigennorm_avx2(const Workload&, Pass, int threads);      ///< lowered to AVX2
Work eigennorm_baseline(const Workload&, Pass, int threads);  ///< lowered to SSE2
Work eigen_loop(const Workload&, Pass, int threads);          ///< what a careful user of Eigen writes by hand
#ifdef EIGENNORM_HAS_TORCH
Work libtorch(const Workload&, Pass, int threads);
#endif
#ifdef EIGENNORM_HAS_DNNL
Work onednn(const Workload&, Pass, int threads);
#endif

}  // namespace benchmarks

#pragma once

#include <cstdint>
#include <string>

#include "eigennorm/core/gradient.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/core/statistics.hpp"
#include "eigennorm/core/transform.hpp"
#include "eigennorm/core/wide.hpp"
#include "eigennorm/parameter.hpp"

/// \file
/// What one forward leaves for its backward.

namespace eigennorm {

template <typename Scalar>
class Normalization;
template <typename Scalar>
class PopulationStatistics;

/// The statistics that one `forward` used, numbered logically over the kept axes (last one fastest): for each group the
/// mean, to twice the precision of Scalar, and rstd = 1 / sigma. No copy of x. A layer holds its own; pass another through
/// Context::moments to use one layer several times before going back, as in a recurrent net:
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   eigennorm::LayerNorm<float> layer(16);
///   Eigen::MatrixXf x1 = Eigen::MatrixXf::Random(4, 16), x2 = Eigen::MatrixXf::Random(4, 16), dy = x1, y(4, 16), dx(4, 16);
///   eigennorm::Moments<float> step1, step2;
///   layer.forward(x1, y, {{}, &step1});
///   layer.forward(x2, y, {{}, &step2});
///   layer.backward(x2, dy, dx, {{}, &step2});   // parameter gradients add up over the steps
///   layer.backward(x1, dy, dx, {{}, &step1});
/// }
/// \endcode
template <typename Scalar>
class Moments {
 public:
  /// Whether there is nothing to go back to: before the first forward.
  bool empty() const { return source_ == Source::none; }
  /// How many groups: each has one mean and one rstd.
  std::int64_t groups() const { return rstd_.size(); }
  /// How many values each group has.
  std::int64_t count() const { return count_; }
  /// Whether running statistics were used (a frozen layer), not the batch's own.
  bool frozen() const { return source_ == Source::running; }

  /// Means; 0 where the statistic has none.
  Vector<Wide<Scalar>> mean() const {
    return high_.template cast<Wide<Scalar>>() + low_.template cast<Wide<Scalar>>();
  }
  /// 1 / sigma; 1 where sigma is not a statistic.
  const Vector<Scalar>& rstd() const { return rstd_; }
  /// Biased variances. Only where running statistics can exist (no averaged axis is a feature axis) and sigma is a
  /// statistic; otherwise empty.
  const Vector<Wide<Scalar>>& variance() const { return variance_; }

 private:
  friend class Normalization<Scalar>;
  friend class PopulationStatistics<Scalar>;

  enum class Source { none, batch, running };

  /// Makes room. Allocates only where the sizes change.
  void prepare(const core::Partition& partition, const Shape& shape, Order order, core::Roles roles, Statistic statistic,
               std::int64_t cut, bool with_variance) {
    const std::int64_t groups = partition.groups.kept.size;
    high_.resize(groups);
    low_.resize(groups);
    rstd_.resize(groups);
    variance_.resize(with_variance ? groups : 0);
    shape_ = shape;
    order_ = order;
    roles_ = roles;
    statistic_ = statistic;
    cut_ = cut;
    count_ = partition.count;
    features_kept_ = partition.features_kept;
    kept_features_ = partition.kept_features;
    kept_samples_ = partition.kept_samples;
  }

  core::MomentsSink<Scalar> sink() {
    return {high_.data(), low_.data(), rstd_.data(), variance_.size() == 0 ? nullptr : variance_.data()};
  }
  core::MomentsSource<Scalar> source() const { return {high_.data(), low_.data(), rstd_.data()}; }

  Source source_ = Source::none;
  Shape shape_;
  Order order_ = Order::any;
  core::Roles roles_;
  Statistic statistic_ = Statistic::mean_variance;
  std::int64_t cut_ = 0;  // the geometry's number of groups
  std::int64_t count_ = 0;
  bool features_kept_ = false;
  core::Loop kept_features_, kept_samples_;
  Vector<Scalar> high_, low_, rstd_;
  Vector<Wide<Scalar>> variance_;
};

}  // namespace eigennorm

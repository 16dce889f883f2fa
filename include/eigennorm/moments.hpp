#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eigennorm/activation.hpp"
#include "eigennorm/core/moments_view.hpp"
#include "eigennorm/core/partition.hpp"
#include "eigennorm/kernels/wide.hpp"
#include "eigennorm/parameter.hpp"
#include "eigennorm/running_statistics.hpp"
#include "eigennorm/statistic.hpp"

/// \file
/// What one forward leaves for its backward.

namespace eigennorm {

template <typename Scalar>
class Normalization;
template <typename Scalar>
class PopulationStatistics;

namespace core {

template <typename Storage, typename Scalar>
struct Calls;

/// Numbers that keep their memory where they become fewer: a layer that goes back and forth between shapes allocates
/// for the largest alone.
template <typename T>
class Numbers {
 public:
  std::int64_t size() const { return static_cast<std::int64_t>(values_.size()); }
  T* data() { return values_.data(); }
  const T* data() const { return values_.data(); }
  const T& operator[](std::int64_t i) const { return values_[static_cast<std::size_t>(i)]; }
  Eigen::Map<const Vector<T>> map() const { return {data(), size()}; }

  /// All that may fail of a `resize`.
  void reserve(std::int64_t size) { values_.reserve(static_cast<std::size_t>(size)); }
  void resize(std::int64_t size) { values_.resize(static_cast<std::size_t>(size)); }
  // (Named as Eigen's. NOLINTNEXTLINE(readability-identifier-naming))
  void setZero() { std::fill(values_.begin(), values_.end(), T(0)); }

 private:
  std::vector<T> values_;
};

}  // namespace core

#include "eigennorm/kernels/strict_begin.inl"

/// The statistics that one `forward` used, numbered logically over the kept axes (last one fastest): for each group
/// the mean, to twice the precision of Scalar, and rstd = 1 / sigma; both 0 where no value of a group is valid (but not
/// by running statistics). No copy of x. A layer holds its own; pass another through Context::moments to use one layer
/// several times before going back, as in a recurrent net:
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   eigennorm::LayerNorm<float> layer(16);
///   Eigen::MatrixXf x1 = Eigen::MatrixXf::Random(4, 16), x2 = Eigen::MatrixXf::Random(4, 16), dy = x1;
///   Eigen::MatrixXf y(4, 16), dx(4, 16);
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
  /// How many values each group has, with those of all members where the batch is spread; the most that one has where
  /// positions are left out.
  std::int64_t count() const { return count_; }
  /// Whether running statistics were used (a frozen layer), not the batch's own.
  bool frozen() const { return source_ == Source::running; }

  /// Means; 0 where the statistic has none.
  Vector<Wide<Scalar>> mean() const {
    Vector<Wide<Scalar>> means(groups());
    for (std::int64_t i = 0; i < groups(); ++i) means[i] = mean_of(i);
    return means;
  }
  /// 1 / sigma; 1 where sigma is not a statistic. Like `variance()` a view, which the next forward into these moments
  /// changes: copy it into a Vector<Scalar> to keep it.
  Eigen::Map<const Vector<Scalar>> rstd() const { return rstd_.map(); }
  /// Biased variances. Only where every value of a group has the same feature, so that running statistics could want
  /// them, and sigma is a statistic; otherwise empty. After a frozen forward: the running ones.
  Eigen::Map<const Vector<Wide<Scalar>>> variance() const { return variance_.map(); }
  /// By how much each feature was corrected, see Renormalization; empty where the forward knew none. Views, too.
  Eigen::Map<const Vector<Wide<Scalar>>> r() const { return r_.map(); }
  Eigen::Map<const Vector<Wide<Scalar>>> d() const { return d_.map(); }

 private:
  friend class Normalization<Scalar>;
  friend class PopulationStatistics<Scalar>;
  template <typename Storage, typename Any>
  friend struct core::Calls;

  enum class Source { none, batch, running };

  /// What is kept beside mean and rstd.
  struct Kept {
    bool variance = false, corrections = false;
  };

  /// Makes room. Allocates only for more groups than ever before, and everything before it changes anything.
  void prepare(const core::Partition& partition, const Shape& shape, Order order, Statistic statistic, std::int64_t cut,
               Kept kept) {
    const std::int64_t groups = partition.groups.kept.size;
    const std::int64_t variances = kept.variance ? groups : 0, corrections = kept.corrections ? groups : 0;
    // Mostly a forward is like the one before.
    const bool again = rstd_.size() == groups && variance_.size() == variances && r_.size() == corrections &&
                       shape_ == shape && order_ == order && averaged_axes_ == partition.averaged_axes &&
                       feature_axes_ == partition.feature_axes && channel_groups_ == cut;
    if (!again) {
      for (core::Numbers<Scalar>* each : {&high_, &low_, &rstd_}) each->reserve(groups);
      variance_.reserve(variances);
      for (core::Numbers<Wide<Scalar>>* each : {&r_, &d_}) each->reserve(corrections);
      for (core::Numbers<Scalar>* each : {&high_, &low_, &rstd_}) each->resize(groups);
      variance_.resize(variances);
      for (core::Numbers<Wide<Scalar>>* each : {&r_, &d_}) each->resize(corrections);
      shape_ = shape;
      order_ = order;
      averaged_axes_ = partition.averaged_axes;
      feature_axes_ = partition.feature_axes;
      channel_groups_ = cut;
      features_kept_ = partition.features_kept;
      kept_features_ = partition.kept_features;
      kept_samples_ = partition.kept_samples;
    }
    counts_.resize(0);
    statistic_ = statistic;
    count_ = partition.count;
    valid_ = partition.size;
    members_ = 1;
    activation_ = Activation::none;
    residual_ = added_ = false;
  }

  /// The same of a call on valid positions alone. Nothing is known of groups that have none.
  template <typename Parts>
  void prepare_parts(const core::Partition& partition, const Parts& parts, const Shape& shape, Order order,
                     Statistic statistic, std::int64_t cut, Kept kept) {
    counts_.reserve(parts.differ() ? partition.groups.kept.size : 0);
    prepare(partition, shape, order, statistic, cut, kept);
    clear();
    valid_ = parts.size();
    count_ = parts.most_count();
    if (!parts.differ()) return;
    counts_.resize(partition.groups.kept.size);
    counts_.setZero();
    parts.for_each_group([this](std::int64_t group, std::int64_t count) { counts_.data()[group] = count; });
  }

  /// Of an empty tensor.
  void clear() {
    for (core::Numbers<Scalar>* each : {&high_, &low_, &rstd_}) each->setZero();
    for (core::Numbers<Wide<Scalar>>* each : {&variance_, &r_, &d_}) each->setZero();
  }

  /// Calls `f(feature, MeanAndVariance)` with each feature's mean and biased variance: those of its group,
  /// averaged over the samples where it has several. `each_corrected`: the unbiased variances of these.
  template <typename F>
  void for_each_feature(bool each_corrected, const F& f) const {
    using W = Wide<Scalar>;
    const core::Axis axis = kept_features_.fastest();
    kept_features_.for_each_run(0, kept_features_.size, [&](core::Offsets at, std::int64_t, std::int64_t length) {
      for (std::int64_t i = 0; i < length; ++i, at.step(axis, 1)) {
        if (kept_samples_.size == 1) {
          f(at.feature, MeanAndVariance<W>{mean_of(at.group), variance_of(at.group)});
          continue;
        }
        kernels::WideSum<Scalar> mean, variance;
        std::int64_t present = 0;
        for (std::int64_t sample = 0; sample < kept_samples_.size; ++sample) {
          const std::int64_t group = at.group + kept_samples_.at(sample).group, count = count_of(group);
          if (count == 0 && counts_.size() > 0) continue;
          ++present;
          mean.add(mean_of(group));
          const W own = variance_of(group);
          variance.add(each_corrected ? own * (static_cast<W>(count) / static_cast<W>(count - 1)) : own);
        }
        const W samples = static_cast<W>(present);
        f(at.feature, MeanAndVariance<W>{mean.total() / samples, variance.total() / samples});
      }
    });
  }
  /// Whether groups that have values have different numbers of them.
  bool counts_differ() const {
    for (std::int64_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] != 0 && counts_[i] != count_) return true;
    }
    return false;
  }
  std::int64_t count_of(std::int64_t group) const { return counts_.size() == 0 ? count_ : counts_[group]; }

  /// The same, all at once, by feature number. (No variances where `variance` is null.)
  void averages(bool each_corrected, Wide<Scalar>* mean, Wide<Scalar>* variance) const {
    using W = Wide<Scalar>;
    const core::Axis axis = kept_features_.fastest();
    if (kept_samples_.size == 1 && kept_features_.rank <= 1 && axis.group <= 1 && axis.feature <= 1) {
      const Scalar *high = high_.data(), *low = low_.data();
      core::by_vectors(
          kept_features_.size, [=](std::int64_t i) __attribute__((always_inline)) {
            mean[i] = static_cast<W>(high[i]) + static_cast<W>(low[i]);
          });
      if (variance != nullptr) std::copy(variance_.data(), variance_.data() + kept_features_.size, variance);
      return;
    }
    for_each_feature(each_corrected, [&](std::int64_t feature, MeanAndVariance<W> batch) {
      mean[feature] = batch.mean;
      if (variance != nullptr) variance[feature] = batch.variance;
    });
  }
  Wide<Scalar> mean_of(std::int64_t group) const {
    return static_cast<Wide<Scalar>>(high_[group]) + static_cast<Wide<Scalar>>(low_[group]);
  }
  Wide<Scalar> variance_of(std::int64_t group) const { return variance_.size() == 0 ? 0 : variance_[group]; }

  // (Inlined: what is returned by memory and read by other words has to wait.)
  [[gnu::always_inline]] core::MomentsView<Scalar> view() {
    return {high_.data(), low_.data(), rstd_.data(), variance_.size() == 0 ? nullptr : variance_.data()};
  }
  core::Corrections<Scalar> corrections() {
    if (r_.size() == 0) return {};
    return {r_.data(), d_.data()};
  }

  Source source_ = Source::none;
  Shape shape_;
  Order order_ = Order::any;
  std::uint32_t averaged_axes_ = 0, feature_axes_ = 0;
  Statistic statistic_ = Statistic::mean_variance;
  std::int64_t channel_groups_ = 0;  // the geometry's number of groups
  std::int64_t count_ = 0;
  std::int64_t valid_ = 0;              // of all values
  core::Numbers<std::int64_t> counts_;  // of each group, where positions were left out of some groups and not of others
  int members_ = 1;                     // that share the batch
  Activation activation_ = Activation::none;
  bool residual_ = false, added_ = false;  // whether there was one behind the norm, or a sum before it
  bool features_kept_ = false;
  core::Loop kept_features_, kept_samples_;
  core::Numbers<Scalar> high_, low_, rstd_;
  core::Numbers<Wide<Scalar>> variance_;
  core::Numbers<Wide<Scalar>> r_, d_;  // by feature number
};

#include "eigennorm/kernels/strict_end.inl"

}  // namespace eigennorm

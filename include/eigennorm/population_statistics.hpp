#pragma once

#include <cstdint>

#include "eigennorm/core/error.hpp"
#include "eigennorm/kernels/wide.hpp"
#include "eigennorm/moments.hpp"
#include "eigennorm/running_statistics.hpp"

/// \file
/// Statistics of a whole training set, from its batches.

namespace eigennorm {

#include "eigennorm/kernels/strict_begin.inl"

/// Collects the batches' means and variances into those of the population.
///
/// With m values in batch B, mean mu_B and sum of squared deviations M2_B, for each feature:
///
/// - `algorithm2()`: mean = sum(m mu_B) / sum(m), variance = sum(M2_B) / sum(m - 1). For batches of one size
/// that is
///   Algorithm 2 of Ioffe & Szegedy 2015, E[x] = E_B[mu_B], Var[x] = m / (m - 1) E_B[sigma_B^2]; for unequal
/// ones it stays
///   unbiased, and a batch of one value does no harm. It assumes that batches are drawn alike: a difference
/// between
///   their means is taken for chance.
/// - `pooled()`: as if all batches were one: variance = (sum(M2_B) + sum(m (mu_B - mean)^2)) / (sum(m) - 1),
/// or divided by
///   sum(m). It counts differences between batches as variance.
///
/// To evaluate a trained net on population statistics, run the training batches through it once more with
/// `running->update = false` (so the layer normalizes by each batch and nothing moves), `observe` each, and
/// assign the
/// estimate. Layers below must be in the mode in which they will be used: go from the input to the output,
/// one layer
/// after another, or take all layers in one pass by batch statistics, as the paper does. Observing during
/// the last epoch
/// of training instead saves that pass, but mixes statistics of weights that still changed.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   eigennorm::BatchNorm<float> layer(3);
///   layer.running->update = false;
///   eigennorm::PopulationStatistics<float> population;
///   for (int batch = 0; batch < 10; ++batch) {
///     const Eigen::MatrixXf x = Eigen::MatrixXf::Random(32, 3);
///     layer.forward(x);
///     population.observe(layer.moments());
///   }
///   layer.running->assign(population.algorithm2());
///   layer.running->update = true;
/// }
/// \endcode
///
/// Objects that observed different batches can be merged. Two orders of the same batches agree to rounding
/// in double.
template <typename Scalar>
class PopulationStatistics {
 public:
  /// Adds what a forward by batch statistics found. Every group counts as a batch: for InstanceNorm, every
  /// sample.
  /// Fails, unchanged, on moments that are empty, frozen, not finite, of another number of features or
  /// another statistic.
  void observe(const Moments<Scalar>& moments) {
    static constexpr const char* name = "PopulationStatistics::observe";
    if (moments.empty()) core::fail_with({name, ": expected the moments of a forward, got none"});
    if (moments.groups() != moments.kept_features_.size * moments.kept_samples_.size) {
      core::fail_with({name, ": expected the moments of a forward, got some that were moved away"});
    }
    if (moments.frozen())
      core::fail_with({name, ": expected statistics of a batch, got the running ones of a frozen forward"});
    if (!moments.features_kept_ || !kernels::is_centred(moments.statistic_)) {
      core::fail_with({name,
                       ": expected one mean for each feature (BatchNorm, MeanOnlyBatchNorm, InstanceNorm), "
                       "got another statistic"});
    }
    const std::int64_t features = moments.kept_features_.size;
    const std::int64_t variances = moments.statistic_ == Statistic::mean_variance ? features : 0;
    check_sizes(name, features, variances);
    if (moments.count() == 0 || moments.groups() == 0) return;
    if (!moments.high_.map().allFinite() || !moments.variance_.map().allFinite()) {
      core::fail_with({name, ": expected finite statistics, got NaN or infinity"});
    }
    prepare(features, variances);
    for (std::int64_t sample = 0; sample < moments.kept_samples_.size; ++sample) {
      const W m = static_cast<W>(moments.count());
      for (std::int64_t i = 0; i < features; ++i) {
        const kernels::Offsets feature = moments.kept_features_.at(i);
        const std::int64_t group = feature.group + moments.kept_samples_.at(sample).group;
        const W mean = static_cast<W>(moments.high_[group]) + static_cast<W>(moments.low_[group]);
        add(feature.feature, m, mean, variances == 0 ? W(0) : m * moments.variance_[group], W(0));
      }
      finish_adding(m, m - 1, 1);
    }
  }

  /// Adds all that `other` observed. Fails, unchanged, where the two disagree in size.
  void merge(const PopulationStatistics& other) {
    if (other.batches_ == 0) return;
    check_sizes("PopulationStatistics::merge", other.mean_.size(), other.within_.size());
    prepare(other.mean_.size(), other.within_.size());
    for (std::int64_t i = 0; i < mean_.size(); ++i) {
      const bool with_variance = within_.size() > 0;
      add(i, other.count_, other.mean_[i], with_variance ? other.within_[i] : W(0),
          with_variance ? other.between_[i] : W(0));
    }
    finish_adding(other.count_, other.freedom_, other.batches_);
  }

  /// Batches observed so far (for InstanceNorm: samples).
  std::int64_t batches() const { return batches_; }

  /// The paper's Algorithm 2. Fails where nothing, or no batch of two values, was observed.
  Estimate<Scalar> algorithm2() const {
    check("PopulationStatistics::algorithm2", freedom_);
    return estimate(within_, freedom_);
  }

  /// Mean and variance as if all batches were one. Fails where nothing, or for the unbiased estimate only
  /// one value, was
  /// observed.
  Estimate<Scalar> pooled(Estimator estimator = Estimator::unbiased) const {
    const W divisor = estimator == Estimator::unbiased ? count_ - 1 : count_;
    check("PopulationStatistics::pooled", divisor);
    return estimate(within_ + between_, divisor);
  }

 private:
  using W = Wide<Scalar>;

  void check_sizes(const char* name, std::int64_t features, std::int64_t variances) const {
    if (batches_ == 0 || (features == mean_.size() && variances == within_.size())) return;
    core::fail_with({name, ": expected statistics of ", mean_.size(), " means and ", within_.size(),
                     " variances, got ", features, " and ", variances});
  }

  void check(const char* name, W divisor) const {
    if (batches_ == 0) core::fail_with({name, ": expected at least one observed batch, got none"});
    if (within_.size() > 0 && !(divisor > 0)) {
      core::fail_with(
          {name, ": expected at least one batch of two or more values, got ", batches_, " of one value"});
    }
  }

  void prepare(std::int64_t features, std::int64_t variances) {
    if (batches_ > 0) return;
    mean_ = Vector<W>::Zero(features);
    within_ = between_ = Vector<W>::Zero(variances);
  }

  /// Adds `m` values of a feature; finish_adding then counts them.
  void add(std::int64_t feature, W m, W mean, W within, W between) {
    const W d = mean - mean_[feature];
    const W weight = m / (count_ + m);
    mean_[feature] = count_ == 0 ? mean : mean_[feature] + d * weight;
    if (within_.size() == 0) return;
    within_[feature] = within_[feature] + within;
    between_[feature] = between_[feature] + (count_ == 0 ? between : between + d * d * (count_ * weight));
  }

  void finish_adding(W m, W freedom, std::int64_t batches) {
    count_ += m;
    freedom_ += freedom;
    batches_ += batches;
  }

  Estimate<Scalar> estimate(const Vector<W>& squares, W divisor) const {
    return {mean_.template cast<Scalar>(), (squares / divisor).template cast<Scalar>()};
  }

  std::int64_t batches_ = 0;
  W count_ = 0;    // sum(m)
  W freedom_ = 0;  // sum(m - 1)
  Vector<W> mean_;
  Vector<W> within_;   // sum(M2_B)
  Vector<W> between_;  // sum(m (mu_B - mean)^2)
};

#include "eigennorm/kernels/strict_end.inl"

}  // namespace eigennorm

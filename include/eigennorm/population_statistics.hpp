#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/wide.hpp"
#include "eigennorm/moments.hpp"
#include "eigennorm/running_statistics.hpp"

/// \file
/// Statistics of a whole training set, from its batches.

namespace eigennorm {

/// Collects the batches' means and variances into those of the population.
///
/// With m values in batch B, mean mu_B and sum of squared deviations M2_B, for each feature:
///
/// - `algorithm2()`: mean = sum(m mu_B) / sum(m), variance = sum(M2_B) / sum(m - 1). For batches of one size that is
///   Algorithm 2 of Ioffe & Szegedy 2015, E[x] = E_B[mu_B], Var[x] = m / (m - 1) E_B[sigma_B^2]; for unequal ones it stays
///   unbiased, and a batch of one value does no harm. It assumes that batches are drawn alike: a difference between
///   their means is taken for chance.
/// - `pooled()`: as if all batches were one: variance = (sum(M2_B) + sum(m (mu_B - mean)^2)) / (sum(m) - 1), or divided by
///   sum(m). It counts differences between batches as variance.
///
/// To evaluate a trained net on population statistics, run the training batches through it once more with
/// `running->update = false` (so the layer normalizes by each batch and nothing moves), `observe` each, and assign the
/// estimate. Layers below must be in the mode in which they will be used: go from the input to the output, one layer
/// after another, or take all layers in one pass by batch statistics, as the paper does. Observing during the last epoch
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
/// Objects that observed different batches can be merged. Two orders of the same batches agree to rounding in double.
template <typename Scalar>
class PopulationStatistics {
 public:
  /// Adds what a forward by batch statistics found. Every group counts as a batch: for InstanceNorm, every sample.
  /// Fails, unchanged, on moments that are empty, frozen, not finite, of another number of features or another statistic.
  void observe(const Moments<Scalar>& moments) {
    const char* name = "PopulationStatistics::observe";
    if (moments.empty()) fail(std::string(name) + ": expected the moments of a forward, got none");
    if (moments.frozen()) fail(std::string(name) + ": expected statistics of a batch, got the running ones of a frozen forward");
    const bool with_variance = moments.variance_.size() > 0 || moments.statistic_ == Statistic::mean_variance;
    if (!moments.features_kept_ || !core::is_centred(moments.statistic_)) {
      fail(std::string(name) + ": expected one mean for each feature (BatchNorm, MeanOnlyBatchNorm, InstanceNorm), got another statistic");
    }
    const std::int64_t features = moments.kept_features_.size;
    if (batches_ > 0 && features != mean_.size()) {
      fail(std::string(name) + ": expected " + std::to_string(mean_.size()) + " features, got " + std::to_string(features));
    }
    if (batches_ > 0 && with_variance != (within_.size() > 0)) {
      fail(std::string(name) + ": expected moments of one kind of layer, got some with and some without variance");
    }
    if (moments.count() == 0 || moments.groups() == 0) return;
    const Vector<W> means = moments.mean();
    if (!means.allFinite() || !(with_variance ? moments.variance_.allFinite() : true)) {
      fail(std::string(name) + ": expected finite statistics, got NaN or infinity");
    }
    PopulationStatistics batch;
    batch.mean_ = Vector<W>::Zero(features);
    batch.between_ = batch.within_ = Vector<W>::Zero(with_variance ? features : 0);
    const auto m = static_cast<W>(moments.count());
    for (std::int64_t sample = 0; sample < moments.kept_samples_.size; ++sample) {
      PopulationStatistics one;
      one.batches_ = 1;
      one.count_ = m;
      one.freedom_ = m - 1;
      one.mean_ = Vector<W>::Zero(features);
      one.between_ = one.within_ = Vector<W>::Zero(with_variance ? features : 0);
      for (std::int64_t i = 0; i < features; ++i) {
        const core::Offsets feature = moments.kept_features_.at(i);
        const std::int64_t group = feature.group + moments.kept_samples_.at(sample).group;
        one.mean_[feature.feature] = means[group];
        if (with_variance) one.within_[feature.feature] = m * moments.variance_[group];
      }
      batch.add(one);
    }
    add(batch);
  }

  /// Adds all that `other` observed. Fails, unchanged, where the two disagree in size.
  void merge(const PopulationStatistics& other) {
    if (batches_ > 0 && other.batches_ > 0 &&
        (other.mean_.size() != mean_.size() || other.within_.size() != within_.size())) {
      fail("PopulationStatistics::merge: expected statistics of " + std::to_string(mean_.size()) + " features with " +
           std::to_string(within_.size()) + " variances, got " + std::to_string(other.mean_.size()) + " with " +
           std::to_string(other.within_.size()));
    }
    if (&other == this) {
      add(PopulationStatistics(other));
    } else {
      add(other);
    }
  }

  /// Batches observed so far (for InstanceNorm: samples).
  std::int64_t batches() const { return batches_; }

  /// The paper's Algorithm 2. Fails where nothing, or no batch of two values, was observed.
  Estimate<Scalar> algorithm2() const {
    check("PopulationStatistics::algorithm2", freedom_);
    return {mean_.template cast<Scalar>(), (within_ / freedom_).template cast<Scalar>()};
  }

  /// Mean and variance as if all batches were one. Fails where nothing, or for the unbiased estimate only one value, was
  /// observed.
  Estimate<Scalar> pooled(Estimator estimator = Estimator::unbiased) const {
    const W divisor = estimator == Estimator::unbiased ? count_ - 1 : count_;
    check("PopulationStatistics::pooled", divisor);
    return {mean_.template cast<Scalar>(), ((within_ + between_) / divisor).template cast<Scalar>()};
  }

 private:
  using W = Wide<Scalar>;

  void check(const std::string& name, W divisor) const {
    if (batches_ == 0) fail(name + ": expected at least one observed batch, got none");
    if (within_.size() > 0 && !(divisor > 0)) {
      fail(name + ": expected at least one batch of two or more values, got " + std::to_string(batches_) + " of one value");
    }
  }

  void add(const PopulationStatistics& other) {
    if (other.batches_ == 0) return;
    if (batches_ == 0) {
      *this = other;
      return;
    }
    const Vector<W> d = other.mean_ - mean_;
    const W total = count_ + other.count_;
    if (within_.size() > 0) {
      within_ += other.within_;
      between_ += other.between_ + d.square() * (count_ * (other.count_ / total));
    }
    mean_ += d * (other.count_ / total);
    count_ = total;
    freedom_ += other.freedom_;
    batches_ += other.batches_;
  }

  std::int64_t batches_ = 0;
  W count_ = 0;    // sum(m)
  W freedom_ = 0;  // sum(m - 1)
  Vector<W> mean_;
  Vector<W> within_;   // sum(M2_B)
  Vector<W> between_;  // sum(m (mu_B - mean)^2)
};

}  // namespace eigennorm

#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>
#include <utility>

#include "eigennorm/core/axes.hpp"
#include "eigennorm/core/device.hpp"
#include "eigennorm/core/error.hpp"
#include "eigennorm/core/overlap.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/kernels/wide.hpp"
#include "eigennorm/moments.hpp"
#include "eigennorm/normalization.hpp"
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
/// `running->update = false` (so the layer normalizes by each batch and nothing moves), `observe` each, and assign
/// the estimate. Layers below must be in the mode in which they will be used: go from the input to the output, one
/// layer after another, or take all layers in one pass by batch statistics, as the paper does. Observing during the
/// last epoch of training instead saves that pass, but mixes statistics of weights that still changed.
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
///
/// **Without a layer**, x itself is observed. So a stream whose observations come one at a time has statistics, which
/// no batch has: `pooled()` of batches of one value is the variance of the stream.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   eigennorm::PopulationStatistics<float> population(17);
///   for (int step = 0; step < 1000; ++step) {
///     const Eigen::RowVectorXf x = Eigen::RowVectorXf::Random(17);
///     population.observe(x, eigennorm::channels_on(1));
///   }
///   eigennorm::BatchNorm<float> layer(17);
///   layer.running->assign(population.pooled());
///   return population.count() == 1000 ? 0 : 1;
/// }
/// \endcode
///
/// **Saved and restored**: `for_each_state`, as of a layer. What a file brings is checked when it is used.
template <typename Scalar>
class PopulationStatistics {
 public:
  /// Of as many features as the first observation has, and with a variance where that has one.
  PopulationStatistics() = default;

  /// For `features` features, of which nothing is known yet; without a variance for Statistic::mean. Fails where
  /// there is no feature, and for a statistic that has no mean.
  explicit PopulationStatistics(std::int64_t features, Statistic statistic = Statistic::mean_variance) {
    static constexpr const char* name = "PopulationStatistics";
    if (features < 1) core::fail_with({name, ": expected a number of features of at least 1, got ", features});
    if (!core::is_centred(statistic))
      core::fail_with({name, ": expected a statistic that has a mean, got another one"});
    sums_ = Sums(features, statistic == Statistic::mean_variance ? features : 0);
  }

  /// Adds what a forward by batch statistics found. Every group counts as a batch: for InstanceNorm, every sample.
  /// Fails, unchanged, on moments that are empty, frozen, not finite, of another number of features or
  /// another statistic, and where the sums would leave the range of double.
  void observe(const Moments<Scalar>& moments) {
    if (moments.empty()) core::fail_with({observing, ": expected the moments of a forward, got none"});
    if (moments.groups() != moments.kept_features_.size * moments.kept_samples_.size) {
      core::fail_with({observing, ": expected the moments of a forward, got some that were moved away"});
    }
    if (moments.frozen()) {
      core::fail_with({observing, ": expected statistics of a batch, got the running ones of a frozen forward"});
    }
    if (!moments.features_kept_ || !core::is_centred(moments.statistic_)) {
      core::fail_with({observing,
                       ": expected one mean for each feature (BatchNorm, MeanOnlyBatchNorm, InstanceNorm), "
                       "got another statistic"});
    }
    check_state(observing);
    add_batches(moments);
  }

  /// Adds x, as if a BatchNorm with these channels had taken it as its batch (a MeanOnlyBatchNorm, where this object
  /// has no variance), to the same bits. x is what a layer takes: any Eigen object in memory, of Scalar, or of 16
  /// bits where that is float. One value for each feature, a row of a matrix, takes no more than a few additions. An
  /// empty x adds nothing. Fails, unchanged, where x has another number of features, or is not finite.
  template <typename X>
  void observe(const X& x, const Channels& channels, const Context<Scalar>& context = {}) {
    if constexpr (core::check_input<X, Scalar>()) observe_view(core::view(x), channels.axes, context);
  }

  /// Adds all that `other` observed. Fails, unchanged, where the two disagree in size.
  void merge(const PopulationStatistics& other) {
    static constexpr const char* name = "PopulationStatistics::merge";
    check_state(name);
    other.check_restored(name);
    if (other.is_sized()) check_sizes(name, other.sums_.mean.size(), other.sums_.within.size());
    if (other.sums_.batches == 0) return;
    const Weights weights = weights_of(name, sums_, other.sums_.count);
    prepare(other.sums_.mean.size(), other.sums_.within.size());
    for (std::int64_t i = 0; i < other.sums_.mean.size(); ++i) {
      const bool with_variance = other.sums_.within.size() > 0;
      add(weights, i, other.sums_.mean[i], with_variance ? other.sums_.within[i] : W(0),
          with_variance ? other.sums_.between[i] : W(0));
    }
    count_next(other.sums_.count, other.sums_.batches);
    accept(name);
  }

  /// Batches observed so far (for InstanceNorm: samples).
  std::int64_t batches() const { return sums_.batches; }
  /// Values observed so far of each feature.
  std::int64_t count() const { return sums_.count; }

  /// The paper's Algorithm 2. Fails where nothing, or no batch of two values, was observed.
  Estimate<Scalar> algorithm2() const {
    static constexpr const char* name = "PopulationStatistics::algorithm2";
    check_observed(name);
    const std::int64_t freedom = sums_.count - sums_.batches;  // sum(m - 1)
    if (has_variance() && freedom == 0) {
      core::fail_with(
          {name, ": expected at least one batch of two or more values, got ", sums_.batches, " of one value"});
    }
    return estimate(false, freedom);
  }

  /// Mean and variance as if all batches were one. Fails where nothing, or for the unbiased estimate only one value,
  /// was observed.
  Estimate<Scalar> pooled(Estimator estimator = Estimator::unbiased) const {
    static constexpr const char* name = "PopulationStatistics::pooled";
    check_observed(name);
    const std::int64_t divisor = estimator == Estimator::unbiased ? sums_.count - 1 : sums_.count;
    if (has_variance() && divisor == 0)
      core::fail_with({name, ": expected at least two values of each feature, got one"});
    return estimate(true, divisor);
  }

  /// Calls `f(std::string_view name, map)` for everything that a file should keep: "mean", "within" = sum(M2_B) and
  /// "between" = sum(m (mu_B - mean)^2) as flat maps of Wide<Scalar> (double for float), "count" = sum(m) and
  /// "batches" as flat maps of one std::int64_t. Absent ones are skipped. To restore, make an object for the same
  /// number of features and statistic, and fill its maps, which are good for the visit only: what comes next has the
  /// bits of the object that was saved. The next use fails, and says what is wrong, where a value is not finite, a
  /// sum of squares below 0 or a count impossible.
  template <typename F>
  void for_each_state(F&& f) {
    restored_ = true;
    visit_state(*this, f);
  }
  template <typename F>
  void for_each_state(F&& f) const {
    visit_state(*this, f);
  }

 private:
  using W = Wide<Scalar>;
  static constexpr const char* observing = "PopulationStatistics::observe";

  struct Sums {
    std::int64_t count = 0;  // sum(m)
    std::int64_t batches = 0;
    Vector<W> mean;
    Vector<W> within;   // sum(M2_B)
    Vector<W> between;  // sum(m (mu_B - mean)^2)

    Sums() = default;
    Sums(std::int64_t features, std::int64_t variances)
        : mean(Vector<W>::Zero(features)), within(Vector<W>::Zero(variances)), between(Vector<W>::Zero(variances)) {}
  };

  /// What some more values enter the sums with.
  struct Weights {
    bool first;  // nothing was there
    W mean;      // m / (count + m)
    W between;   // count * m / (count + m)
  };

  bool is_sized() const { return sums_.mean.size() > 0; }
  bool has_variance() const { return sums_.within.size() > 0; }

  // ---- checks

  void check_sizes(const char* name, std::int64_t features, std::int64_t variances) const {
    if (!is_sized() || (features == sums_.mean.size() && variances == sums_.within.size())) return;
    core::fail_with({name, ": expected statistics of ", sums_.mean.size(), " means and ", sums_.within.size(),
                     " variances, got ", features, " and ", variances});
  }

  void check_observed(const char* name) const {
    check_restored(name);
    if (sums_.batches == 0) core::fail_with({name, ": expected at least one observed batch, got none"});
  }

  /// What others may have written into the state.
  void check_restored(const char* name) const {
    if (sums_.batches != 0 && !is_sized()) {
      core::fail_with({name, ": expected the sums of ", sums_.batches,
                       " batches, got none: they were moved away, or restored where no number of features was given"});
    }
    if (!restored_) return;
    constexpr std::int64_t last = (std::numeric_limits<std::int64_t>::max)();
    if (sums_.batches < 0 || sums_.count < sums_.batches || sums_.count == last ||
        (sums_.count > 0 && sums_.batches == 0)) {
      core::fail_with({name, ": expected a count of batches, and of values at least one for each, got ", sums_.batches,
                       " batches and ", sums_.count, " values"});
    }
    core::check_numbers(sums_.mean, false, name, "mean", "features");
    core::check_numbers(sums_.within, true, name, "sum of squares within batches", "features");
    core::check_numbers(sums_.between, true, name, "sum of squares between batches", "features");
  }
  void check_state(const char* name) {
    check_restored(name);
    restored_ = false;
  }

  [[noreturn]] static void fail_beyond_range(const char* name) {
    core::fail_with({name, ": expected values whose squares have a sum that is in range, got larger ones"});
  }

  static Weights weights_of(const char* name, const Sums& sums, std::int64_t m) {
    constexpr std::int64_t last = (std::numeric_limits<std::int64_t>::max)();
    if (m >= last - sums.count)
      core::fail_with({name, ": expected fewer than ", last, " values of each feature, got more"});
    const W count = static_cast<W>(sums.count), weight = static_cast<W>(m) / (count + static_cast<W>(m));
    return {sums.count == 0, weight, count * weight};
  }

  // ---- adding: to next_, which becomes the sums once it has proved finite

  /// The present sums in next_; zeros where nothing was observed.
  void prepare(std::int64_t features, std::int64_t variances) {
    if (sums_.batches > 0) {
      next_ = sums_;
      return;
    }
    next_.count = next_.batches = 0;
    next_.mean.setZero(features);
    next_.within.setZero(variances);
    next_.between.setZero(variances);
  }

  void add(const Weights& weights, std::int64_t feature, W mean, W within, W between) {
    const W d = mean - next_.mean[feature];
    next_.mean[feature] = weights.first ? mean : next_.mean[feature] + d * weights.mean;
    if (next_.within.size() == 0) return;
    next_.within[feature] = next_.within[feature] + within;
    next_.between[feature] = next_.between[feature] + (weights.first ? between : between + d * d * weights.between);
  }

  void count_next(std::int64_t count, std::int64_t batches) {
    next_.count += count;
    next_.batches += batches;
  }

  void accept(const char* name) {
    for (const Vector<W>* each : {&next_.mean, &next_.within, &next_.between}) {
      if (core::first_bad(each->data(), each->size(), false) >= 0) fail_beyond_range(name);
    }
    std::swap(sums_, next_);
  }

  /// Every group of a forward's moments.
  void add_batches(const Moments<Scalar>& moments) {
    const std::int64_t features = moments.kept_features_.size;
    const std::int64_t variances = moments.statistic_ == Statistic::mean_variance ? features : 0;
    check_sizes(observing, features, variances);
    if (moments.count() == 0 || moments.groups() == 0) return;
    if (core::first_bad(moments.high_.data(), moments.high_.size(), false) >= 0 ||
        core::first_bad(moments.variance_.data(), moments.variance_.size(), false) >= 0) {
      fail_not_finite();
    }
    prepare(features, variances);
    const core::Axis axis = moments.kept_features_.fastest();
    for (std::int64_t sample = 0; sample < moments.kept_samples_.size; ++sample) {
      const std::int64_t first = moments.kept_samples_.at(sample).group;
      const std::int64_t count = moments.count_of(first + moments.kept_features_.at(0).group);
      if (count == 0) continue;
      const Weights weights = weights_of(observing, next_, count);
      const W m = static_cast<W>(count);
      moments.kept_features_.for_each_run(0, features, [&](core::Offsets at, std::int64_t, std::int64_t length) {
        for (std::int64_t i = 0; i < length; ++i, at.step(axis, 1)) {
          const std::int64_t group = first + at.group;
          add(weights, at.feature, moments.mean_of(group), m * moments.variance_of(group), W(0));
        }
      });
      count_next(count, 1);
    }
    accept(observing);
  }

  [[noreturn]] static void fail_not_finite() {
    core::fail_with({observing, ": expected finite statistics, got NaN or infinity"});
  }

  // ---- x itself

  template <typename Storage>
  void observe_view(const View<const Storage>& x, const AxisSet& axes, const Context<Scalar>& context) {
    if (context.moments != nullptr || context.peers != nullptr)
      core::fail_with({observing, ": expected a device and valid positions, got moments or peers"});
    check_state(observing);
    const std::uint32_t mask = axes.mask(x.shape.rank, x.shape.text(), observing);
    std::int64_t features = 1, others = 1, step = 0;
    int feature_axes = 0;
    for (int axis = 0; axis < x.shape.rank; ++axis) {
      const bool is_feature = (mask >> axis & 1U) != 0;
      (is_feature ? features : others) *= x.shape[axis];
      if (!is_feature) continue;
      ++feature_axes;
      step = x.strides[static_cast<std::size_t>(axis)];
    }
    const bool fits = !is_sized() || features == sums_.mean.size();
    if (fits && others == 1 && feature_axes == 1 && features > 0 && !context.valid) {
      core::check_strides(x.shape, x.strides, observing, "x");
      add_one(x.data, step, features);
      return;
    }
    if (!is_sized() && features < 1)
      core::fail_with({observing, ": expected an input of at least one feature, got shape ", x.shape.text()});
    const bool with_variance = !is_sized() || has_variance();
    core::Calls<Storage, Scalar>::observe(
        x, Geometry{all_but(axes), axes, is_sized() ? sums_.mean.size() : features, 0, observing, "channels"},
        with_variance ? Statistic::mean_variance : Statistic::mean, context, scratch_);
    add_batches(scratch_);
  }

  /// The mean of a batch of this value alone. (The sum of a tree, which begins with 0, makes -0 a 0.)
  template <typename Storage>
  static W value_of(Storage x) {
    return static_cast<W>(static_cast<Scalar>(x) + Scalar(0));
  }

  /// One value of each feature, `step` apart: its mean, and M2 = 0, need no kernel.
  template <typename Storage>
  void add_one(const Storage* x, std::int64_t step, std::int64_t features) {
    const Weights weights = weights_of(observing, sums_, 1);
    if (weights.first) {
      prepare(features, is_sized() ? sums_.within.size() : features);
      for (std::int64_t i = 0; i < features; ++i) add(weights, i, value_of(x[i * step]), W(0), W(0));
      if (core::first_bad(next_.mean.data(), features, false) >= 0) fail_not_finite();
      count_next(1, 1);
      accept(observing);
    }
    if (next_.mean.size() != features) next_ = sums_;  // room, which is all that is allocated
    if (weights.first) return;
    const W* const old_mean = sums_.mean.data();
    const W* const old_between = has_variance() ? sums_.between.data() : nullptr;
    W* const mean = next_.mean.data();
    W* const between = next_.between.data();
    core::Sieve<W> sieve;
    for (std::int64_t i = 0; i < features; ++i) {
      const W d = value_of(x[i * step]) - old_mean[i];
      mean[i] = old_mean[i] + d * weights.mean;
      sieve.add(mean[i]);
      if (old_between == nullptr) continue;
      between[i] = old_between[i] + d * d * weights.between;
      sieve.add(between[i]);
    }
    if (sieve.found()) fail_after_one(x, step, features);
    sums_.mean.swap(next_.mean);
    sums_.between.swap(next_.between);
    ++sums_.count;
    ++sums_.batches;
  }

  template <typename Storage>
  [[noreturn]] static void fail_after_one(const Storage* x, std::int64_t step, std::int64_t features) {
    core::Sieve<Scalar> sieve;
    for (std::int64_t i = 0; i < features; ++i) sieve.add(static_cast<Scalar>(x[i * step]));
    if (sieve.found()) fail_not_finite();
    fail_beyond_range(observing);
  }

  // ---- results

  /// (By loops, because Eigen's expressions are compiled as the user's unit says.)
  Estimate<Scalar> estimate(bool with_between, std::int64_t divisor) const {
    Estimate<Scalar> result{Vector<Scalar>(sums_.mean.size()), Vector<Scalar>(sums_.within.size())};
    for (std::int64_t i = 0; i < result.mean.size(); ++i) result.mean[i] = static_cast<Scalar>(sums_.mean[i]);
    const W count = static_cast<W>(divisor);
    for (std::int64_t i = 0; i < result.variance.size(); ++i) {
      const W squares = with_between ? sums_.within[i] + sums_.between[i] : sums_.within[i];
      result.variance[i] = static_cast<Scalar>(squares / count);
    }
    return result;
  }

  template <typename Population, typename F>
  static void visit_state(Population& population, F& f) {
    const auto visit = [&f](const char* name, auto* data, Eigen::Index size) {
      using T = std::remove_pointer_t<decltype(data)>;
      using Values = Eigen::Array<std::remove_const_t<T>, Eigen::Dynamic, 1>;
      Eigen::Map<std::conditional_t<std::is_const_v<T>, const Values, Values>> map(data, size);
      if (size > 0) f(std::string_view(name), map);
    };
    auto& sums = population.sums_;
    visit("mean", sums.mean.data(), sums.mean.size());
    visit("within", sums.within.data(), sums.within.size());
    visit("between", sums.between.data(), sums.between.size());
    visit("count", &sums.count, 1);
    visit("batches", &sums.batches, 1);
  }

  Sums sums_, next_;
  bool restored_ = false;  // somebody may have written into the state
  Moments<Scalar> scratch_;
};

#include "eigennorm/kernels/strict_end.inl"

}  // namespace eigennorm

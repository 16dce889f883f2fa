#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/known_roots.hpp"
#include "eigennorm/kernels/finite.hpp"
#include "eigennorm/kernels/wide.hpp"
#include "eigennorm/parameter.hpp"
#include "eigennorm/renormalization.hpp"
#include "eigennorm/statistic.hpp"

/// \file
/// Statistics that training leaves for evaluation.

namespace eigennorm {

template <typename Scalar>
class Normalization;

namespace core {
template <typename Storage, typename Scalar>
struct Calls;
}  // namespace core

#include "eigennorm/kernels/strict_begin.inl"

/// How a new batch enters a running value. Made by `momentum_of_new`, `momentum_kept` or `cumulative`: never a bare
/// number, because one half of the field gives the weight of the new value and the other half that of the old one.
class Averaging {
 public:
  /// (Converts from nothing: here to say so.)
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  Averaging(Number) {  // NOLINT(google-explicit-constructor)
    static_assert(!sizeof(Number),
                  "A bare number is no momentum: write momentum_of_new(0.1) as in PyTorch, or momentum_kept(0.9) as in "
                  "Keras, Flax and ONNX.");
  }

  /// The weight of the next batch's value, after `batches` batches.
  double weight_of_new(std::int64_t batches) const {
    return kind_ == Kind::cumulative ? 1 / (static_cast<double>(batches) + 1)
           : kind_ == Kind::of_new   ? momentum_
                                     : 1 - momentum_;
  }
  /// The weight of the old value.
  double weight_of_old(std::int64_t batches) const {
    return kind_ == Kind::kept ? momentum_ : 1 - weight_of_new(batches);
  }

  /// Fails, in the name of `owner`, unless the momentum is in [0, 1].
  void check(const char* owner) const {
    if (!kernels::is_finite(momentum_) || momentum_ < 0 || momentum_ > 1)
      core::fail_with({owner, ": expected a momentum from 0 to 1, got ", momentum_});
  }

 private:
  enum class Kind { of_new, kept, cumulative };
  Averaging(Kind kind, double momentum, const char* owner) : kind_(kind), momentum_(momentum) { check(owner); }
  friend Averaging momentum_of_new(double momentum);
  friend Averaging momentum_kept(double momentum);
  friend Averaging cumulative();

  Kind kind_;
  double momentum_;
};

#include "eigennorm/kernels/strict_end.inl"

/// running = (1 - m) * running + m * batch (PyTorch, mlpack, flashlight). Fails unless m is in [0, 1].
inline Averaging momentum_of_new(double momentum) { return {Averaging::Kind::of_new, momentum, "momentum_of_new"}; }
/// running = m * running + (1 - m) * batch (Keras, Flax, ONNX). Fails unless m is in [0, 1].
inline Averaging momentum_kept(double momentum) { return {Averaging::Kind::kept, momentum, "momentum_kept"}; }
/// The plain average of all batches so far. It is kept in Scalar, so that a file of it goes on with the same bits,
/// and rounded once a batch: after n batches it is off by at most (n + 1) / 2 u of the largest value it had, in
/// practice by less than sqrt(n) u (u = 2^-24 for float, 2^-53 for double; docs/accuracy.md). For long runs in float
/// use PopulationStatistics, whose sums are in double.
inline Averaging cumulative() { return {Averaging::Kind::cumulative, 0, "cumulative"}; }

/// Which variance of a batch enters the running one.
enum class Estimator {
  unbiased,  ///< divided by m - 1: PyTorch, and the paper's m / (m - 1)
  biased,    ///< divided by m: Keras, Flax, ONNX
};

/// Of one feature.
template <typename T>
struct MeanAndVariance {
  T mean, variance;
};

/// A mean and a variance for each feature. The variance is empty where sigma is not a statistic.
template <typename Scalar>
struct Estimate {
  Vector<Scalar> mean, variance;
};

namespace core {

#include "eigennorm/kernels/strict_begin.inl"

/// Finds out whether any of many numbers is NaN or infinite: without a branch, so that it takes next to no time, and
/// by their bits, so that no compiler's flag can take it for granted. (A long double's do not fill an integer: it is
/// compared.)
template <typename T>
class Sieve {
 public:
  void add(T number) {
    if constexpr (by_bits) {
      found_ |= (bits_of(number) & ~sign) + carry;
    } else {
      found_ |= kernels::is_finite(number) ? 0U : 1U;
    }
  }
  /// Finds whatever has a sign, too.
  void add_size(T number) {
    if constexpr (by_bits) {
      found_ |= bits_of(number) | (bits_of(number) + carry);
    } else {
      found_ |= kernels::is_finite(number) && number >= 0 ? 0U : 1U;
    }
  }
  bool found() const { return by_bits ? (found_ & sign) != 0 : found_ != 0; }

 private:
  static constexpr bool by_bits = sizeof(T) <= 8;
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  static constexpr Bits sign = Bits(1) << (8 * sizeof(Bits) - 1);
  /// Added to an exponent of ones it reaches the sign's place.
  static constexpr Bits carry = Bits(1) << (sizeof(T) == 4 ? 23 : 52);

  static Bits bits_of(T number) {
    Bits bits;
    std::memcpy(&bits, &number, sizeof bits);
    return bits;
  }
  Bits found_ = 0;
};

/// The index of the first number that is not finite, or, of `sizes`, is below 0; -1: there is none.
template <typename T>
std::int64_t first_bad(const T* numbers, std::int64_t n, bool sizes) {
  // Four sieves side by side are a vector's lanes.
  constexpr int lanes = 4;
  Sieve<T> sieves[lanes];
  const std::int64_t whole = n / lanes * lanes;
  if (sizes) {
    for (std::int64_t i = 0; i < whole; i += lanes) {
      for (int lane = 0; lane < lanes; ++lane) sieves[lane].add_size(numbers[i + lane]);
    }
  } else {
    for (std::int64_t i = 0; i < whole; i += lanes) {
      for (int lane = 0; lane < lanes; ++lane) sieves[lane].add(numbers[i + lane]);
    }
  }
  bool found = false;
  for (const Sieve<T>& sieve : sieves) found = found || sieve.found();
  if (!found && whole == n) return -1;
  // One is bad, or -0, which is good; or some are left.
  for (std::int64_t i = found ? 0 : whole; i < n; ++i) {
    Sieve<T> sieve;
    sieve.add(numbers[i]);
    if (sieve.found() || (sizes && numbers[i] < 0)) return i;
  }
  return -1;
}

/// Calls `f(i)` for all i < n, sixteen at a time, and what is left by fours: numbers that compilers unroll, and make
/// vectors of. (Inlined, so that they see which pointers have nothing in common.)
template <typename F>
[[gnu::always_inline]] inline void by_vectors(std::int64_t n, const F& f) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 16; ++j) f(i + j);
  }
  for (; i + 4 <= n; i += 4) {
    for (int j = 0; j < 4; ++j) f(i + j);
  }
  for (; i < n; ++i) f(i);
}

template <typename T>
bool are_finite(const T* numbers, std::int64_t n) {
  Sieve<T> sieve;
  by_vectors(
      n, [&](std::int64_t i) __attribute__((always_inline)) { sieve.add(numbers[i]); });
  return !sieve.found();
}

#include "eigennorm/kernels/strict_end.inl"

/// Fails, in the name of `owner`, unless all numbers are finite, and of `sizes` none is below 0.
template <typename T>
void check_numbers(const Vector<T>& numbers, bool sizes, const char* owner, const char* what, const char* noun) {
  const std::int64_t bad = first_bad(numbers.data(), numbers.size(), sizes);
  if (bad < 0) return;
  fail_with({owner, ": expected a finite ", what, sizes ? " of at least 0" : "", " for each of the ", numbers.size(),
             " ", noun, ", got ", numbers[bad], " at index ", bad});
}

}  // namespace core

#include "eigennorm/kernels/strict_begin.inl"

/// The statistics by which a layer evaluates, and how training moves them. Two switches make the four states
/// of a layer:
///
/// | update | use_in_forward | |
/// |---|---|---|
/// | true | false | training (the default) |
/// | false | false | training whose statistics are only observed, see PopulationStatistics |
/// | false | true | frozen: fine-tuning with fixed statistics, `freeze()` |
/// | true | true | fixed statistics in use while they go on moving |
///
/// A batch that would make any running value NaN or infinite moves none and is counted in `rejected_batches`.
/// Values start at mean 0 and variance 1. Ioffe & Szegedy 2015, section 3.1.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
///
/// int main() {
///   eigennorm::BatchNorm<float> layer(3);
///   layer.running->averaging = eigennorm::momentum_kept(0.99);        // Keras
///   layer.running->estimator = eigennorm::Estimator::biased;
///   const Eigen::MatrixXf x = Eigen::MatrixXf::Random(32, 3);
///   layer.forward(x);
///   layer.freeze();
///   return layer.running->batches == 1 ? 0 : 1;
/// }
/// \endcode
template <typename Scalar>
struct RunningStatistics {
  /// For `features` features: mean 0, variance 1; no variance for Statistic::mean.
  explicit RunningStatistics(std::int64_t features, Statistic statistic = Statistic::mean_variance)
      : mean(Vector<Scalar>::Zero(checked(features))),
        variance(Vector<Scalar>::Ones(statistic == Statistic::mean ? 0 : features)),
        roots_(variance.size()) {}

  Vector<Scalar> mean, variance;
  std::int64_t batches = 0;           ///< that moved the values; empty and rejected ones are not counted
  std::int64_t rejected_batches = 0;  ///< that would have made a value NaN or infinite

  Averaging averaging = momentum_of_new(0.1);
  Estimator estimator = Estimator::unbiased;
  bool update = true;                          ///< forward moves the values
  bool use_in_forward = false;                 ///< forward and backward take these values instead of the batch's
  std::optional<Renormalization> renormalize;  ///< none: forward by the batch's statistics takes them as they are

  /// Takes over mean and variance; counters and settings stay. Fails where the sizes differ, and where a value is not
  /// finite or a variance negative.
  void assign(const Estimate<Scalar>& estimate) {
    if (estimate.mean.size() != mean.size() || estimate.variance.size() != variance.size()) {
      core::fail_with({"RunningStatistics::assign: expected ", mean.size(), " means and ", variance.size(),
                       " variances, got ", estimate.mean.size(), " and ", estimate.variance.size()});
    }
    core::check_numbers(estimate.mean, false, "RunningStatistics::assign", "mean", "features");
    core::check_numbers(estimate.variance, true, "RunningStatistics::assign", "variance", "features");
    mean = estimate.mean;
    variance = estimate.variance;
    roots_.forget();
  }

  /// Fails, in the name of `owner`, which calls its features `noun`, where these are no statistics: a value is not
  /// finite, a variance negative, or a count below 0 or at its end. Nobody else looks at what a file or a program
  /// writes here.
  void check(const char* owner, const char* noun) const {
    check_counts(owner);
    check_values(owner, noun);
  }

 private:
  friend class Normalization<Scalar>;
  template <typename Storage, typename Any>
  friend struct core::Calls;

  void check_counts(const char* owner) const {
    for (const std::int64_t count : {batches, rejected_batches}) {
      if (count >= 0 && count < (std::numeric_limits<std::int64_t>::max)()) continue;
      core::fail_with({owner, ": expected numbers of batches and of rejected batches from 0 to ",
                       (std::numeric_limits<std::int64_t>::max)() - 1, ", got ", count});
    }
  }
  void check_values(const char* owner, const char* noun) const {
    core::check_numbers(mean, false, owner, "running mean", noun);
    core::check_numbers(variance, true, owner, "running variance", noun);
  }
  /// 1 / sigma where it is known: then the values are those that were checked before.
  const Scalar* known_roots(double eps) const {
    return roots_.find(mean.data(), variance.data(), variance.size(), eps);
  }

  static std::int64_t checked(std::int64_t features) {
    if (features < 0)
      core::fail_with({"RunningStatistics: expected a number of features of at least 0, got ", features});
    return features;
  }

  core::KnownRoots<Scalar> roots_;
};

/// Where a batch of `count` values per statistic moves running statistics; 0: its variances are unbiased already,
/// 1: it has none.
template <typename Scalar>
class RunningUpdate {
 public:
  using W = Wide<Scalar>;

  RunningUpdate(const RunningStatistics<Scalar>& running, std::int64_t count)
      : running_(running),
        old_weight_(static_cast<W>(running.averaging.weight_of_old(running.batches))),
        new_weight_(static_cast<W>(running.averaging.weight_of_new(running.batches))),
        correction_(running.estimator == Estimator::unbiased && count > 1
                        ? static_cast<W>(count) / static_cast<W>(count - 1)
                        : W(1)) {}

  /// From the means of a batch to what the running ones become. Returns whether all of these are finite.
  bool move_means(const W* batch, Scalar* to) const { return move(running_.mean, batch, W(1), to); }
  /// The same of its biased variances.
  bool move_variances(const W* batch, Scalar* to) const { return move(running_.variance, batch, correction_, to); }

 private:
  bool move(const Vector<Scalar>& from, const W* batch, W correction, Scalar* to) const {
    move(from.data(), batch, from.size(), old_weight_, new_weight_, correction, to);
    return core::are_finite(to, from.size());
  }
  /// (By pointers of nothing else in common: otherwise compilers make no vectors.)
  static void move(const Scalar* __restrict running, const W* __restrict batch, std::int64_t n, W old, W weight,
                   W correction, Scalar* __restrict to) {
    core::by_vectors(
        n, [=](std::int64_t i) __attribute__((always_inline)) {
          to[i] = static_cast<Scalar>(old * static_cast<W>(running[i]) + weight * (batch[i] * correction));
        });
  }

  const RunningStatistics<Scalar>& running_;
  W old_weight_, new_weight_, correction_;
};

#include "eigennorm/kernels/strict_end.inl"

}  // namespace eigennorm

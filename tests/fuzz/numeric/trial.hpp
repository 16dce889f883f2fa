#pragma once

#include <array>
#include <cstdio>
#include <optional>
#include <string>

#include "allowances.hpp"
#include "array.hpp"
#include "corrected.hpp"
#include "judge.hpp"
#include "left_out.hpp"
#include "plan.hpp"
#include "pool.hpp"
#include "values.hpp"

// One random case: a layer goes forward and back, and every result is held against the formula. Then once more, as it
// was, on valid positions alone, and by Batch Renormalization, where it takes these.

namespace fuzz {

enum class Result { y, dx, dscale, dshift, running_mean, running_variance };
inline const std::vector<std::string> result_names = {"y",      "dx",           "dscale",
                                                      "dshift", "running_mean", "running_variance"};
inline const char* name_of(Result result) { return result_names[static_cast<std::size_t>(result)].c_str(); }

/// A number for each of them.
using Units = std::array<Real, 6>;

struct Outcome {
  Units ordinary{}, unbalanced{};
  Excuses excuses;
  std::string description;  // of the case
  std::string failure;      // nothing where it passed
};

template <typename Data, int Order>
class Trial {
 public:
  using Scalar = test::ScalarOf<Data>;
  using Memory = Array<Data, Order>;

  Trial(Op op, std::ptrdiff_t most, std::uint64_t seed)
      : random_(seed),
        plan_(draw_plan(op, most, random_)),
        roles_(plan_.formula, plan_.shape),
        layer_(make_layer<Scalar>(plan_)),
        kinds_(plan_.shape.size() == 2 && chance(random_, 0.5) ? Kinds::matrices : Kinds::tensors),
        in_place_(chance(random_, 0.25)),
        values_(draw_data<Data>(roles_, random_)) {
    draw_parameters();
    if (layer_.running) draw_running();
    describe();
  }

  Outcome run() {
    const auto layer = layer_;
    go();
    layer_ = layer;
    // What is drawn from here on leaves the case above as it is.
    if (takes_valid(plan_)) leave_out();
    if (may_be_renormalized(plan_) && values_.kind != Values::limits && chance(random_, 0.5)) renormalize();
    if (!stage_.empty()) go();
    return outcome_;
  }

 private:
  void go() {
    try {
      if (plan_.op == Op::batch_norm_evaluate) {
        evaluate();
      } else {
        train();
      }
    } catch (const std::exception& error) {
      fail(std::string("threw: ") + error.what());
    }
  }

  // ---- the case

  void draw_parameters() {
    const double size = chance(random_, 0.8) ? 1 : magnitude(random_, -3, 3);
    for (Scalar& value : layer_.scale.value) value = static_cast<Scalar>(size * (1 + 0.5 * random_.normal()));
    for (Scalar& value : layer_.shift.value) value = static_cast<Scalar>(random_.normal());
    // Gradients add up: there may be some already.
    if (chance(random_, 0.5)) return;
    for (Scalar& value : layer_.scale.grad) value = static_cast<Scalar>(random_.normal());
    for (Scalar& value : layer_.shift.grad) value = static_cast<Scalar>(random_.normal());
  }

  /// As if data of this kind had been seen before.
  void draw_running() {
    const reference::Statistics batch = reference::statistics(plan_.formula, roles_, values_.x);
    auto& running = *layer_.running;
    for (std::size_t i = 0; i < roles_.size(); ++i) {
      const auto feature = static_cast<Eigen::Index>(roles_.feature[i]);
      const Real variance = batch.variance[roles_.group[i]] * (0.5 + random_.uniform());
      running.mean[feature] = static_cast<Scalar>(values_.x[i]);
      if (running.variance.size() == 0) continue;
      running.variance[feature] = static_cast<Scalar>(std::min(variance, range_of<Scalar>().largest));
    }
  }

  void describe() {
    std::string& text = outcome_.description;
    const auto list = [&text](const char* before, const auto& numbers) {
      text += before;
      for (const auto number : numbers) text += " " + std::to_string(number);
    };
    list("shape", plan_.shape);
    list(" over", plan_.formula.averaged);
    list(" features on", plan_.formula.features);
    char rest[128];
    std::snprintf(rest, sizeof rest, ", groups %td, eps %.0Le, x %s, dy %s, %s%s", plan_.formula.groups,
                  plan_.formula.epsilon, name_of(values_.kind), name_of(values_.gradient_kind),
                  kinds_ == Kinds::matrices ? "matrices" : "tensors", in_place_ ? ", in place" : "");
    text += rest;
  }

  /// From here on roles and values are those of the valid elements alone.
  void leave_out() {
    if (may_be_renormalized(plan_) && chance(random_, 0.2)) return;
    left_out_ = draw_left_out(plan_, random_);
    stage_ = left_out_->description + ": ";
    const auto keep = [this](Numbers& numbers) {
      Numbers kept;
      for (const std::size_t element : left_out_->elements) kept.push_back(numbers[element]);
      numbers = kept;
    };
    keep(values_.x);
    keep(values_.dy);
    roles_ = roles_.only(left_out_->elements);
    row_mask_.emplace(left_out_->mask);
    column_mask_.emplace(left_out_->mask);
    context_.valid = chance(random_, 0.5) ? row_mask_->valid() : column_mask_->valid();
    if (chance(random_, 0.1)) context_.device = three_threads();
    for (const std::size_t count : roles_.counts) {
      if (count > 1 || plan_.formula.kind == Kind::mean || !layer_.running) continue;
      plan_.moves = layer_.running->update = false;
    }
    plan_.moves = plan_.moves && roles_.size() > 0;
  }

  void renormalize() {
    limits_ = draw_limits(random_);
    layer_.running->renormalize = limits_;
    char text[64];
    std::snprintf(text, sizeof text, "r_max %g, d_max %g: ", limits_->r_max, limits_->d_max);
    stage_ += text;
  }

  static eigennorm::Device three_threads() {
    static const test::Pool pool(3);
    return pool.device();
  }

  // ---- the run

  /// What is left out is nothing to calculate with.
  void fill(Memory& memory, const Numbers& numbers) const {
    if (!left_out_) return memory.fill(numbers);
    const Real infinity = std::numeric_limits<Real>::infinity();
    const Real others[] = {std::numeric_limits<Real>::quiet_NaN(), infinity, range_of<Data>().largest};
    Numbers all(reference::size_of(plan_.shape));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = others[i % 3];
    for (std::size_t k = 0; k < numbers.size(); ++k) all[left_out_->elements[k]] = numbers[k];
    memory.fill(all);
  }

  /// Of the valid elements of a result. The others are to be 0.
  Numbers numbers_of(Result result, const Memory& memory) {
    Numbers all = memory.numbers(), valid;
    if (!left_out_) return all;
    for (const std::size_t element : left_out_->elements) {
      valid.push_back(all[element]);
      all[element] = 0;
    }
    for (const Real number : all) {
      if (number == 0 && !std::signbit(number)) continue;
      fail(std::string(name_of(result)) + " is not 0 where nothing is valid");
      break;
    }
    return valid;
  }

  void evaluate() {
    Memory x(plan_.shape, kinds_, random_), y(plan_.shape, kinds_, random_);
    fill(x, values_.x);
    with_views(
        kinds_, plan_.shape.size(), [&](const auto& from, auto to) { layer_.evaluate(from, to, context_); }, x,
        in_place_ ? x : y);
    const reference::Statistics given = by_running();
    check_output(in_place_ ? x : y, scales_by(given, parameters()), given, parameters());
  }

  void train() {
    Memory x(plan_.shape, kinds_, random_), y(plan_.shape, kinds_, random_);
    Memory dy(plan_.shape, kinds_, random_), dx(plan_.shape, kinds_, random_);
    fill(x, values_.x);
    fill(dy, values_.dy);
    const Memory x_before = x;
    const auto before = layer_.running;
    const auto scale_before = layer_.scale.grad, shift_before = layer_.shift.grad;
    with_views(
        kinds_, plan_.shape.size(), [&](const auto& from, auto to) { layer_.forward(from, to, context_); }, x, y);
    with_views(
        kinds_, plan_.shape.size(), [&](const auto& a, const auto& b, auto to) { layer_.backward(a, b, to, context_); },
        x, dy, in_place_ ? dy : dx);
    if (!x.has_bits_of(x_before)) fail("x was changed");

    const reference::Statistics given =
        plan_.fixed() ? by_running() : reference::statistics(plan_.formula, roles_, values_.x);
    if (before) check_running(*before, given, scales_by(given, parameters()));
    std::optional<Corrected> corrected;
    if (limits_ && roles_.size() > 0)
      corrected.emplace(plan_.formula, given, running_of(*before), parameters(), *limits_);
    const reference::Parameters by = corrected ? corrected->parameters() : parameters();
    Allowances scales = scales_by(given, by);
    if (corrected) corrected->widen(scales, roles_);
    check_output(y, scales, given, by);
    reference::Gradients truth =
        reference::backward(plan_.formula, roles_, given, by, values_.x, values_.dy, plan_.fixed());
    if (corrected) corrected->correct(truth);
    check(Result::dx, in_place_ ? dy : dx, truth.x, scales.dx);
    check_gradient(Result::dscale, layer_.scale.grad, scale_before, truth.scale, scales.scale);
    check_gradient(Result::dshift, layer_.shift.grad, shift_before, truth.shift, scales.shift);
  }

  reference::Parameters parameters() const { return test::parameters(layer_); }
  static reference::Running running_of(const eigennorm::RunningStatistics<Scalar>& of) {
    return {test::numbers(of.mean), test::numbers(of.variance)};
  }
  reference::Statistics by_running() const {
    return reference::from_running(plan_.formula, roles_, test::running(layer_));
  }

  // ---- the judgement

  Allowances scales_by(const reference::Statistics& given, const reference::Parameters& by) {
    Allowances scales(plan_.formula, roles_, given, by, values_.x, values_.dy, plan_.fixed(), range_of<Scalar>());
    if (values_.kind != Values::limits && scales.excuses.any()) fail("ordinary data are not judged");
    return scales;
  }

  void check_output(const Memory& y, const Allowances& scales, const reference::Statistics& given,
                    const reference::Parameters& by) {
    outcome_.excuses.add(scales.excuses);
    check(Result::y, y, reference::forward(roles_, given, by, values_.x), scales.y);
  }

  void check(Result result, const Memory& got, const Numbers& truth, const Scales& scales) {
    if (!got.gaps_are_untouched()) fail(std::string(name_of(result)) + " was written outside of its memory");
    note<Data>(result, judge<Data>(numbers_of(result, got), truth, scales));
  }

  void check_gradient(Result result, const eigennorm::Vector<Scalar>& got, const eigennorm::Vector<Scalar>& before,
                      Numbers truth, Scales scales) {
    if (got.size() == 0) return;
    for (std::size_t i = 0; i < truth.size(); ++i) {
      const Real already = before[static_cast<Eigen::Index>(i)];
      truth[i] += already;
      scales[i].size += std::abs(already);
    }
    note<Scalar>(result, judge<Scalar>(test::numbers(got), truth, scales));
  }

  void check_running(const eigennorm::RunningStatistics<Scalar>& before, const reference::Statistics& batch,
                     const Allowances& scales);

  template <typename T>
  void note(Result result, Verdict verdict) {
    // Plateaus repeat their summands.
    if (values_.kind == Values::steps || values_.gradient_kind == Values::steps) {
      if (verdict.ordinary.units > verdict.unbalanced.units) verdict.unbalanced = verdict.ordinary;
      verdict.ordinary = {};
    }
    const auto place = static_cast<std::size_t>(result);
    outcome_.ordinary[place] = std::max(outcome_.ordinary[place], verdict.ordinary.units);
    outcome_.unbalanced[place] = std::max(outcome_.unbalanced[place], verdict.unbalanced.units);
    const Real limit = test::tolerance<T>().limit;
    if (verdict.ordinary.units > limit) fail(text_of(result, verdict.ordinary));
    if (verdict.unbalanced.units > tree_limit) fail(text_of(result, verdict.unbalanced) + " (an unbalanced sum)");
  }

  static std::string text_of(Result result, const Worst& worst) {
    char text[160];
    std::snprintf(text, sizeof text, "%s[%zu] is %.9Lg instead of %.9Lg, off by %.3Lg units", name_of(result),
                  worst.place, worst.got, worst.truth, worst.units);
    return text;
  }

  void fail(const std::string& text) { outcome_.failure += (outcome_.failure.empty() ? "" : "; ") + stage_ + text; }

  Random random_;
  Plan plan_;
  Roles roles_;
  eigennorm::Normalization<Scalar> layer_;
  Kinds kinds_;
  bool in_place_;  // evaluate over x, dx over dy
  DrawnData values_;
  std::string stage_;  // empty in the first
  std::optional<LeftOut> left_out_;
  std::optional<test::MaskField<Eigen::RowMajor>> row_mask_;
  std::optional<test::MaskField<Eigen::ColMajor>> column_mask_;
  std::optional<eigennorm::Renormalization> limits_;
  eigennorm::Context<Scalar> context_;
  Outcome outcome_;
};

/// All features' values move, or, where one would leave the range, none.
template <typename Data, int Order>
void Trial<Data, Order>::check_running(const eigennorm::RunningStatistics<Scalar>& before,
                                       const reference::Statistics& batch, const Allowances& scales) {
  const auto& running = *layer_.running;
  const Numbers old_mean = test::numbers(before.mean), old_variance = test::numbers(before.variance);
  const Numbers mean = test::numbers(running.mean), variance = test::numbers(running.variance);
  const bool stayed = mean == old_mean && variance == old_variance;
  if (!plan_.moves) {
    if (!stayed || running.batches + running.rejected_batches != 0) fail("running statistics moved");
    return;
  }
  const Real old_weight = before.averaging.weight_of_old(0), new_weight = before.averaging.weight_of_new(0);
  const bool unbiased = plan_.estimator == eigennorm::Estimator::unbiased;
  std::vector<std::size_t> groups(roles_.features, 0);
  std::vector<reference::Sum> means(roles_.features), variances(roles_.features);
  Scales mean_scales(roles_.features), variance_scales(roles_.features);
  std::vector<bool> seen(roles_.groups, false);
  for (std::size_t i = 0; i < roles_.size(); ++i) {
    const std::size_t group = roles_.group[i], feature = roles_.feature[i];
    if (seen[group]) continue;
    seen[group] = true;
    ++groups[feature];
    const auto count = static_cast<Real>(roles_.count_of(group));
    const Real correction = unbiased && count > 1 ? count / (count - 1) : 1;
    means[feature].add(batch.mean(group));
    variances[feature].add(correction * batch.variance[group]);
    mean_scales[feature].size += std::abs(batch.mean(group)) + std::sqrt(batch.variance[group]);
    if (scales.group_is_unbalanced[group]) variance_scales[feature].unbalanced = true;
  }
  Numbers true_mean, true_variance;
  Real largest = 0, largest_sum = 0;
  for (std::size_t f = 0; f < roles_.features; ++f) {
    const auto samples = static_cast<Real>(groups[f]);
    true_mean.push_back(old_weight * old_mean[f] + new_weight * means[f].total() / samples);
    mean_scales[f].size = old_weight * std::abs(old_mean[f]) + new_weight * mean_scales[f].size / samples;
    mean_scales[f].slack = variance_scales[f].slack = 4 * range_of<Scalar>().tiny;
    largest = std::max(largest, std::abs(true_mean[f]));
    largest_sum = std::max(largest_sum, samples * mean_scales[f].size);
    if (old_variance.empty()) continue;
    true_variance.push_back(old_weight * old_variance[f] + new_weight * variances[f].total() / samples);
    variance_scales[f].size = true_variance[f];
    largest = std::max(largest, true_variance[f]);
    largest_sum = std::max(largest_sum, variances[f].total());
  }
  // At the edge of the range either is right; sums of double over the samples leave it before their mean.
  const Real edge = range_of<Scalar>().largest;
  const bool must_move = largest < 0.999L * edge && largest_sum < 0.999L * range_of<double>().largest;
  const bool must_stay = largest > 1.001L * edge;
  const bool moved = running.batches == 1 && running.rejected_batches == 0;
  const bool rejected = running.batches == 0 && running.rejected_batches == 1;
  if (moved == rejected || (must_move && !moved) || (must_stay && !rejected)) fail("a wrong number of batches");
  if (rejected && !stayed) fail("a rejected batch moved something");
  if (!moved) return;
  note<Scalar>(Result::running_mean, judge<Scalar>(mean, true_mean, mean_scales));
  note<Scalar>(Result::running_variance, judge<Scalar>(variance, true_variance, variance_scales));
}

}  // namespace fuzz

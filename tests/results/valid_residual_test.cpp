#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"
#include "fused.hpp"
#include "masked_problem.hpp"
#include "pool.hpp"
#include "problem.hpp"
#include "same_bits.hpp"
#include "watch.hpp"

// Valid positions together with residuals and sums that are kept: what is valid has the bits of calls on packed
// tensors, everything else is 0 in all that is written, and is looked at in none.

using namespace test;
using eigennorm::Activation;
using eigennorm::Context;

namespace {

enum class By { batch, corrected, running, running_that_move };

/// How a call is made: by which statistics; whether the sum is kept and normalized; results over what was read; and
/// whether the residual's gradient is wanted, or something else uses the sum.
struct How {
  By by = By::batch;
  bool before = false, relu = false, in_place = false, more = false;

  How(const Formula& formula, std::size_t rank, bool has_running, Random& random) {
    before = random.uniform() < 0.5;
    relu = random.uniform() < 0.6;
    in_place = random.uniform() < 0.4;
    more = random.uniform() < 0.7;
    if (!has_running) return;
    by = static_cast<By>(static_cast<int>(random.uniform() * 4));
    if (by != By::corrected) return;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      if (reference::contains(formula.averaged, axis) == reference::contains(formula.features, axis)) by = By::batch;
    }
  }

  template <typename Scalar>
  void set(eigennorm::Normalization<Scalar>& layer, bool variance_of_one) const {
    if (relu) layer.activation = Activation::relu;
    if (!layer.running) return;
    if (by == By::corrected) layer.running->renormalize = eigennorm::Renormalization{1.05, 0.3};
    if (by == By::running || by == By::running_that_move) layer.freeze();
    layer.running->update = by != By::running && !variance_of_one;
  }
};

/// All tensors of a step with a residual.
template <typename FieldType>
struct Step {
  using Scalar = typename FieldType::Scalar;

  FieldType x, residual, dy, more;  // read; `more`: the gradient that reaches the sum itself
  FieldType y = FieldType(x.shape()), sum = y, dx = y, dresidual = y, evaluated = y, evaluated_sum = y;

  /// (`layer` is as before the step where it evaluates.)
  void run(eigennorm::Normalization<Scalar>& layer, const How& how, Context<Scalar> context) {
    evaluate_with(layer, how, context);
    view(context.residual, residual);
    if (how.in_place) {
      sum = x;
      dresidual = dy;
    }
    if (how.before) view(context.added, sum);
    forward(layer, how.before && how.in_place ? sum : x, y, context);
    if (how.before && how.more) view(context.added_gradient, more);
    if (!how.before && how.more) view(context.residual_gradient, dresidual);
    backward(layer, how.before ? sum : x, how.in_place && !how.before && how.more ? dresidual : dy, dx, context);
  }

 private:
  void evaluate_with(const eigennorm::Normalization<Scalar>& layer, const How& how, Context<Scalar> context) {
    if (how.in_place) {
      evaluated = residual;
      evaluated_sum = x;
    }
    view(context.residual, how.in_place ? evaluated : residual);
    if (how.before) view(context.added, evaluated_sum);
    evaluate(layer, how.in_place && how.before ? evaluated_sum : x, evaluated, context);
  }
};

template <typename FieldType>
struct Masked {
  using Data = typename FieldType::Data;
  using Scalar = typename FieldType::Scalar;
  using Layer = eigennorm::Normalization<Scalar>;

  Masked(const Problem<FieldType>& of, const Mask& with, const How& by)
      : problem(of),
        mask(with),
        how(by),
        field(with),
        packing(of.formula, of.x.shape(), with, FieldType::order),
        step{of.x, normals(5), of.dy, normals(6)},
        layer(of.layer) {
    for (FieldType* each : {&step.x, &step.residual, &step.dy, &step.more}) spoil(*each, mask);
    context.valid = field.valid();
    bool variance_of_one = of.formula.kind == Kind::mean_variance && of.roles.count == 1;
    for (const Packed& part : packing.parts) {
      const Formula own = packing.by_group ? Formula{{0}, {0}} : of.formula;
      variance_of_one = variance_of_one || reference::Roles(own, part.shape).count == 1;
    }
    how.set(layer, variance_of_one);
  }

  void check() {
    const Layer before = layer;
    step.run(layer, how, context);
    FieldType passed(step.x.shape());
    std::vector<char> seen(step.x.size(), 0);
    bool same = true;
    for (const Packed& part : packing.parts) same = has_bits_of_packed(before, part, passed, seen) && same;
    CHECK(same);
    CHECK(is_zero_elsewhere(seen));
    // Gradients of parameters, moments and running statistics are those of a call on what is normalized, or passed on.
    Layer plain = before;
    FieldType y(step.x.shape()), dx = y;
    if (how.before) {
      forward(plain, step.sum, y, context);
      backward(plain, step.sum, step.dy, dx, context);
      CHECK(same_bits(y, step.y));
    } else {
      plain.activation = Activation::none;
      forward(plain, step.x, y, context);
      backward(plain, step.x, passed, dx, context);
      CHECK(same_bits(dx, step.dx));
    }
    CHECK(watch::bits(plain) == watch::bits(layer));
  }

 private:
  FieldType normals(std::uint64_t seed) const {
    return FieldType(problem.x.shape(), Random(seed).normals(problem.x.size()));
  }

  std::vector<std::pair<const FieldType*, const FieldType*>> written(const Step<FieldType>& of) const {
    std::vector<std::pair<const FieldType*, const FieldType*>> all{
        {&step.y, &of.y}, {&step.dx, &of.dx}, {&step.evaluated, &of.evaluated}};
    if (how.before) all.insert(all.end(), {{&step.sum, &of.sum}, {&step.evaluated_sum, &of.evaluated_sum}});
    if (!how.before && how.more) all.emplace_back(&step.dresidual, &of.dresidual);
    return all;
  }

  /// `passed`: gets what has passed the activation, if the residual is behind the norm.
  bool has_bits_of_packed(const Layer& before, const Packed& part, FieldType& passed, std::vector<char>& seen) const {
    Layer own = layer_of(before, problem.formula, problem.roles, part, packing);
    if ((packing.by_group || packing.by_sample) && own.running) own.running->update = false;
    Step<FieldType> packed{pack(step.x, part), pack(step.residual, part), pack(step.dy, part), pack(step.more, part)};
    // (Where the sum has taken the place of x, x is gone.)
    packed.run(own, how, {});
    const std::vector<std::size_t> place = places(step.x.shape(), FieldType::order);
    const FieldType through = how.relu ? gated(packed.y, packed.dy) : packed.dy;
    bool same = true;
    for (std::size_t k = 0; k < part.elements.size(); ++k) {
      const std::size_t at = place[part.elements[k]];
      seen[part.elements[k]] = 1;
      passed.data()[at] = through.data()[k];
      for (const auto& [whole, of_part] : written(packed))
        same = same && same_bits(whole->data()[at], of_part->data()[k]);
      if (!how.before && how.more) same = same && same_bits(step.dresidual.data()[at], through.data()[k]);
    }
    return same;
  }

  bool is_zero_elsewhere(const std::vector<char>& seen) const {
    const std::vector<std::size_t> place = places(step.x.shape(), FieldType::order);
    bool zero = true;
    for (std::size_t i = 0; i < seen.size(); ++i) {
      for (const auto& each : written(step))
        zero = zero && (seen[i] != 0 || same_bits(each.first->data()[place[i]], rounded<Data>(0)));
    }
    return zero;
  }

  const Problem<FieldType>& problem;
  Mask mask;
  How how;
  MaskField<Eigen::RowMajor> field;
  Packing packing;
  Step<FieldType> step;
  Layer layer;
  Context<Scalar> context;
};

using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
template <typename Matrix>
using Strided = Eigen::Map<Matrix, 0, Stride>;

/// A view of every second row and column of a larger matrix, and a copy of that matrix as it should be.
template <typename Matrix>
struct Room {
  static constexpr Eigen::Index rows = 60, columns = 33;
  Matrix memory = Matrix::Random(2 * rows, 3 * columns);
  Matrix expected = memory;

  Strided<Matrix> view() { return of(memory); }
  void expect(const Matrix& values) { of(expected) = values; }
  bool is_as_expected() const { return same_bits(memory, expected); }

 private:
  static Strided<Matrix> of(Matrix& all) {
    return {all.data(), rows, columns, Stride(2 * all.outerStride(), Matrix::IsRowMajor ? 3 : 2)};
  }
};

/// Every tensor but the residual in such a room, and the residual with strides of its own; against packed copies.
template <typename Matrix, typename Layer, typename Flags>
void check_strided(Layer layer, const Strided<Matrix>& residual, const Flags& mask) {
  constexpr Eigen::Index rows = Room<Matrix>::rows, columns = Room<Matrix>::columns;
  Room<Matrix> x, dy, y, dx, other;
  const Matrix x_copy = x.view(), dy_copy = dy.view(), r = residual;
  for (const bool before : {false, true}) {
    CAPTURE(before);
    Matrix expected_y(rows, columns), expected_dx = expected_y, expected_other = expected_y;
    Context<float> context, own;
    context.valid = own.valid = mask;
    context.residual = residual;
    own.residual = r;
    auto other_view = other.view();
    (before ? context.added : context.residual_gradient) = other_view;
    (before ? own.added : own.residual_gradient) = expected_other;
    Layer packed = layer;
    packed.forward(x_copy, expected_y, own);
    packed.backward(before ? expected_other : x_copy, dy_copy, expected_dx, own);
    layer.forward(x.view(), y.view(), context);
    layer.backward(before ? other_view : x.view(), dy.view(), dx.view(), context);
    y.expect(expected_y);
    dx.expect(expected_dx);
    other.expect(expected_other);
    for (const Room<Matrix>* each : {&x, &dy, &y, &dx, &other}) CHECK(each->is_as_expected());
    CHECK(watch::bits(layer) == watch::bits(packed));
  }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("with a residual, what is valid has the bits of the packed call, and all else is 0", "",
                        AllFields) {
  Random random(23);
  int checked = 0;
  for_every_mask<TestType>([&](const Problem<TestType>& problem, const Mask& mask) {
    // (One in two: there are more than enough.)
    if (random.uniform() < 0.5) return;
    ++checked;
    const How how(problem.formula, problem.x.shape().size(), problem.layer.running.has_value(), random);
    INFO("by " << static_cast<int>(how.by) << ", sum " << how.before << ", relu " << how.relu << ", in place "
               << how.in_place << ", more " << how.more);
    Masked<TestType>(problem, mask, how).check();
  });
  CHECK(checked > 500);
}

TEST_CASE("strides do not matter, nor those of a residual that repeats itself, and what lies between stays") {
  const auto check = [](auto matrix, auto layer, const auto& mask) {
    using Matrix = decltype(matrix);
    Room<Matrix> room;
    const float constant = 0.25F;
    const Stride repeated(Matrix::IsRowMajor ? 0 : 1, Matrix::IsRowMajor ? 1 : 0), none(0, 0);
    Matrix one = Matrix::Constant(1, 1, constant);
    for (const bool relu : {false, true}) {
      layer.activation = relu ? Activation::relu : Activation::none;
      check_strided<Matrix>(layer, room.view(), mask);
      check_strided<Matrix>(layer, {room.memory.data(), room.rows, room.columns, repeated}, mask);
      check_strided<Matrix>(layer, {one.data(), room.rows, room.columns, none}, mask);
    }
    CHECK(room.is_as_expected());
  };
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Random random(9);
  Eigen::Array<bool, Eigen::Dynamic, 1> of_rows(60);
  Eigen::Array<bool, 1, Eigen::Dynamic> of_columns(33);
  for (bool& each : of_rows) each = random.uniform() < 0.6;
  for (bool& each : of_columns) each = random.uniform() < 0.6;
  check(Eigen::MatrixXf(), eigennorm::BatchNorm<float>(33), of_rows);
  check(RowMajor(), eigennorm::BatchNorm<float>(33), of_rows);
  check(Eigen::MatrixXf(), eigennorm::LayerNorm<float>(33), of_rows);
  check(RowMajor(), eigennorm::LayerNorm<float>(33), of_columns);
  check(Eigen::MatrixXf(), eigennorm::LayerNorm<float>(33), of_columns);
}

TEST_CASE("on a pool, and past the caches, there are the same bits") {
  using FieldType = Field<float, Eigen::RowMajor>;
  const Pool pool(3);
  Random random(31);
  const auto check = [&](const Sizes& shape, auto layer, const std::vector<bool>& varies) {
    for (const Kinds kind : {Kinds::lengths, Kinds::random}) {
      const MaskField<Eigen::RowMajor> mask(make_mask(shape, varies, kind, random));
      const auto normals = [&] { return FieldType(shape, random.normals(reference::size_of(shape))); };
      How how({{0}, {0}}, 1, false, random);
      how.relu = how.more = true;
      for (const bool before : {false, true}) {
        CAPTURE(before);
        how.before = before;
        how.set(layer, false);
        Context<float> one, many(pool.device());
        one.valid = many.valid = mask.valid();
        Step<FieldType> alone{normals(), normals(), normals(), normals()}, shared = alone, streamed = alone;
        auto pooled = layer, streaming = layer;
        alone.run(layer, how, one);
        shared.run(pooled, how, many);
        eigennorm::stream_results_from(1);
        streamed.run(streaming, how, one);
        eigennorm::stream_results_from(4000000);
        for (const auto* each : {&shared, &streamed}) {
          CHECK(same_bits(each->y, alone.y));
          CHECK(same_bits(each->evaluated, alone.evaluated));
          CHECK(same_bits(each->dx, alone.dx));
          CHECK(same_bits(before ? each->sum : each->dresidual, before ? alone.sum : alone.dresidual));
        }
        CHECK(watch::bits(pooled) == watch::bits(layer));
        CHECK(watch::bits(streaming) == watch::bits(layer));
      }
    }
  };
  using namespace eigennorm;
  // Segments that are shared out, lanes of one tile, samples with places of their own, rows.
  check({20, 16, 700}, BatchNorm<float>(16), {true, false, true});
  check({20, 700, 16}, BatchNorm<float>(16, channels_on(-1)), {true, true, false});
  check({20, 16, 700}, InstanceNorm<float>(16), {true, false, true});
  check({20, 16, 700}, GroupNorm<float>(4, 16), {true, false, true});
  check({20, 16, 700}, LayerNorm<float>(16, over(1)), {true, false, true});
  check({400, 500}, LayerNorm<float>(500), {true, false});
}

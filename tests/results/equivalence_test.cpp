#include "catch.hpp"
#include "support.hpp"

// Pairs of layers that must agree. Where two of them read the same group in the same order they agree to the
// bit.

using namespace test;
using eigennorm::BatchNorm;
using eigennorm::channels_on;
using eigennorm::GroupNorm;
using eigennorm::InstanceNorm;
using eigennorm::LayerNorm;
using eigennorm::Normalization;
using eigennorm::over;
using eigennorm::RMSNorm;

namespace {

/// Results of a layer on some data.
template <typename FieldType>
struct Results {
  FieldType evaluated, y, dx;
  eigennorm::Vector<typename FieldType::Scalar> dscale, dshift;
};

template <typename FieldType>
Results<FieldType> results(Normalization<typename FieldType::Scalar> layer, const FieldType& x, const FieldType& dy) {
  Results<FieldType> result{FieldType(x.shape()), FieldType(x.shape()), FieldType(x.shape()), {}, {}};
  if (!layer.running) evaluate(layer, x, result.evaluated);
  forward(layer, x, result.y);
  backward(layer, x, dy, result.dx);
  result.dscale = layer.scale.grad;
  result.dshift = layer.shift.grad;
  return result;
}

template <typename FieldType>
void check_same_tensors(const Results<FieldType>& a, const Results<FieldType>& b) {
  CHECK(same_bits(a.evaluated, b.evaluated));
  CHECK(same_bits(a.y, b.y));
  CHECK(same_bits(a.dx, b.dx));
}

template <typename FieldType>
Normalization<typename FieldType::Scalar> without_parameters(Normalization<typename FieldType::Scalar> layer) {
  layer.use_scale(false);
  layer.use_shift(false);
  return layer;
}

/// One layer with the parameters of another.
template <typename Scalar>
Normalization<Scalar> with_parameters_of(const Normalization<Scalar>& source, Normalization<Scalar> layer) {
  layer.scale = source.scale;
  layer.shift = source.shift;
  return layer;
}

template <typename FieldType>
FieldType random_field(const Sizes& shape, std::uint64_t seed, double mean = 0) {
  return FieldType(shape, Random(seed).normals(reference::size_of(shape), mean));
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("GroupNorm with one group is LayerNorm over all but the samples", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  for (const Sizes& shape : {Sizes{3, 4, 5, 2}, Sizes{2, 6, 20, 13}, Sizes{1, 8, 3, 3}}) {
    const auto channels = shape[1];
    const auto x = random_field<TestType>(shape, 1, 0.7);
    const auto dy = random_field<TestType>(shape, 2);
    const auto group = results(without_parameters<TestType>(GroupNorm<Scalar>(1, channels)), x, dy);
    const auto layer =
        results(without_parameters<TestType>(LayerNorm<Scalar>({shape[1], shape[2], shape[3]}, over(1, 2, 3))), x, dy);
    check_same_tensors(group, layer);
  }
}

TEMPLATE_LIST_TEST_CASE("GroupNorm with a group for every channel is InstanceNorm", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  for (const int channel_axis : {1, -1}) {
    const Sizes shape = channel_axis == 1 ? Sizes{3, 5, 7, 4} : Sizes{3, 7, 4, 5};
    const auto x = random_field<TestType>(shape, 3, 0.7);
    const auto dy = random_field<TestType>(shape, 4);
    Normalization<Scalar> instance = InstanceNorm<Scalar>(5, channels_on(channel_axis));
    Random random(5);
    randomize(instance, random);
    const Normalization<Scalar> group =
        with_parameters_of<Scalar>(instance, GroupNorm<Scalar>(5, 5, channels_on(channel_axis)));
    const auto of_group = results(group, x, dy);
    const auto of_instance = results(instance, x, dy);
    check_same_tensors(of_group, of_instance);
    CHECK(same_bits(of_group.dscale, of_instance.dscale));
    CHECK(same_bits(of_group.dshift, of_instance.dshift));
  }
}

TEMPLATE_LIST_TEST_CASE("BatchNorm of one sample is InstanceNorm", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  for (const int channel_axis : {1, -1}) {
    const Sizes shape = channel_axis == 1 ? Sizes{1, 5, 7, 4} : Sizes{1, 7, 4, 5};
    const auto x = random_field<TestType>(shape, 6, 0.7);
    const auto dy = random_field<TestType>(shape, 7);
    Normalization<Scalar> batch = BatchNorm<Scalar>(5, channels_on(channel_axis));
    Random random(8);
    randomize(batch, random);
    batch.running.reset();
    const Normalization<Scalar> instance =
        with_parameters_of<Scalar>(batch, InstanceNorm<Scalar>(5, channels_on(channel_axis)));
    const auto of_batch = results(batch, x, dy);
    const auto of_instance = results(instance, x, dy);
    check_same_tensors(of_batch, of_instance);
    CHECK(same_bits(of_batch.dscale, of_instance.dscale));
    CHECK(same_bits(of_batch.dshift, of_instance.dshift));
  }
}

TEMPLATE_LIST_TEST_CASE("LayerNorm of a view of any rank is LayerNorm of the matrix", "", AllFields) {
  using Scalar = typename TestType::Scalar;
  const auto matrix_x = random_field<TestType>({12, 70}, 9, 0.7);
  const auto matrix_dy = random_field<TestType>({12, 70}, 10);
  LayerNorm<Scalar> matrix_layer(70);
  Random random(11);
  randomize<Scalar>(matrix_layer, random);
  const auto matrix = results<TestType>(matrix_layer, matrix_x, matrix_dy);

  // The same memory under other shapes, the rows cut up or the normalized axis cut up.
  struct Shape {
    Sizes shape, features;
    int axes;
  };
  for (const Shape& other : {Shape{{3, 4, 70}, {70}, 1}, Shape{{2, 3, 2, 70}, {70}, 1}, Shape{{12, 7, 10}, {7, 10}, 2},
                             Shape{{4, 3, 2, 7, 5}, {2, 7, 5}, 3}, Shape{{2, 2, 3, 1, 1, 2, 5, 7}, {2, 5, 7}, 3}}) {
    TestType x(other.shape), dy(other.shape);
    std::copy(matrix_x.data(), matrix_x.data() + x.size(), x.data());
    std::copy(matrix_dy.data(), matrix_dy.data() + x.size(), dy.data());
    Normalization<Scalar> layer = LayerNorm<Scalar>(other.features, eigennorm::over_last(other.axes));
    // Column-major features in logical order are not in the memory's: neutral parameters there.
    const bool comparable = TestType::order == Eigen::RowMajor || other.axes == 1;
    if (comparable) layer = with_parameters_of<Scalar>(matrix_layer, layer);
    const auto got = results(layer, x, dy);
    const auto expected = comparable ? matrix : results<TestType>(LayerNorm<Scalar>(70), matrix_x, matrix_dy);
    const auto same = [](const TestType& a, const TestType& b) {
      return same_bits(a.data(), b.data(), a.size());  // of different shapes
    };
    CHECK(same(got.evaluated, expected.evaluated));
    CHECK(same(got.y, expected.y));
    CHECK(same(got.dx, expected.dx));
    if (comparable) {
      CHECK(same_bits(got.dscale, expected.dscale));
      CHECK(same_bits(got.dshift, expected.dshift));
    }
  }
}

TEMPLATE_LIST_TEST_CASE("RMSNorm of centred data is LayerNorm", "", FloatingFields) {
  using Scalar = typename TestType::Scalar;
  const Sizes shape{6, 48};
  const auto x = random_field<TestType>(shape, 12, 1.5);
  Numbers centred = x.numbers();
  for (std::size_t row = 0; row < 6; ++row) {
    Real mean = 0;
    for (std::size_t i = 0; i < 48; ++i) mean += centred[row * 48 + i] / 48;
    for (std::size_t i = 0; i < 48; ++i) centred[row * 48 + i] -= mean;
  }
  Normalization<Scalar> layer_norm = LayerNorm<Scalar>(48);
  Random random(13);
  randomize(layer_norm, random);
  Normalization<Scalar> rms_norm = RMSNorm<Scalar>(48);
  rms_norm.use_shift(true);
  rms_norm = with_parameters_of(layer_norm, rms_norm);
  const auto dy = random_field<TestType>(shape, 14);
  const auto of_layer = results<TestType>(layer_norm, x, dy);
  const auto of_rms = results<TestType>(rms_norm, TestType(shape, centred), dy);

  // Centring the data here rounds it, and either layer adds its own error.
  const reference::Formula formula{{1}, {1}, reference::Kind::mean_variance, 1e-5};
  const reference::Roles roles(formula, shape);
  const auto scales = reference::natural_scales(formula, roles, reference::statistics(formula, roles, x.numbers()),
                                                parameters(layer_norm), x.numbers(), dy.numbers(), false);
  const Tolerance limits = tolerance<Scalar>();
  CHECK(worst(of_rms.y.numbers(), of_layer.y.numbers(), scales.y, limits) <= 2 * limits.limit + 1);

  // dx of LayerNorm is that of RMSNorm without its mean: the derivative of the centring.
  Numbers centred_dx = of_rms.dx.numbers();
  for (std::size_t row = 0; row < 6; ++row) {
    Real mean = 0;
    for (std::size_t i = 0; i < 48; ++i) mean += centred_dx[row * 48 + i] / 48;
    for (std::size_t i = 0; i < 48; ++i) centred_dx[row * 48 + i] -= mean;
  }
  CHECK(worst(of_layer.dx.numbers(), centred_dx, scales.dx, limits) <= 2 * limits.limit + 1);
}

TEMPLATE_TEST_CASE("both storage orders agree", "", float, double) {
  // The two orders read a group in different orders, so they agree within the error of both.
  using Rows = Field<TestType, Eigen::RowMajor>;
  using Columns = Field<TestType, Eigen::ColMajor>;
  const Sizes shape{4, 6, 9, 11};
  const auto x = random_field<Rows>(shape, 15, 0.7);
  const auto dy = random_field<Rows>(shape, 16);
  Normalization<TestType> layer = GroupNorm<TestType>(2, 6);
  Random random(17);
  randomize(layer, random);
  const auto rows = results(layer, x, dy);
  const auto columns = results(layer, Columns(shape, x.numbers()), Columns(shape, dy.numbers()));
  const reference::Formula formula{{1, 2, 3}, {1}, reference::Kind::mean_variance, 1e-5, 2};
  const reference::Roles roles(formula, shape);
  const auto scales = reference::natural_scales(formula, roles, reference::statistics(formula, roles, x.numbers()),
                                                parameters(layer), x.numbers(), dy.numbers(), false);
  const Tolerance limits = tolerance<TestType>();
  CHECK(worst(columns.y.numbers(), rows.y.numbers(), scales.y, limits) <= 2 * limits.limit);
  CHECK(worst(columns.dx.numbers(), rows.dx.numbers(), scales.dx, limits) <= 2 * limits.limit);
  CHECK(worst(numbers(columns.dscale), numbers(rows.dscale), scales.scale, limits) <= 2 * limits.limit);
}

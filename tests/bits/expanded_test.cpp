#include <cstdint>
#include <vector>

#include "catch.hpp"
#include "problem.hpp"
#include "watch.hpp"

// A stride of 0 says that all positions along an axis hold one value, as where a gradient is that of a mean, or a row
// stands for a batch. Whatever is only read may have such strides, and gives the bits of the copy that has them all.

using namespace test;

namespace test {

/// A tensor of any strides, which Eigen has of rank 2 only.
template <typename DataType, int Rank, int StorageOrder>
struct Strided {
  using Scalar = DataType;
  const DataType* values;
  eigennorm::Shape shape;
  eigennorm::Strides strides;

  const DataType* data() const { return values; }
};

}  // namespace test

namespace eigennorm::core {

template <typename Data, int Rank, int StorageOrder>
struct Door<test::Strided<Data, Rank, StorageOrder>> {
  using Tensor = test::Strided<Data, Rank, StorageOrder>;
  static constexpr bool direct = true;
  static constexpr unsigned rank = Rank;
  static constexpr Order order = Rank == 1                         ? Order::any
                                 : StorageOrder == Eigen::RowMajor ? Order::row_major
                                                                   : Order::column_major;
  static Shape shape(const Tensor& x) { return x.shape; }
  static Strides strides(const Tensor& x) { return x.strides; }
};

}  // namespace eigennorm::core

namespace {

using Fields = std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>, Field<double, Eigen::RowMajor>,
                          Field<Eigen::half, Eigen::ColMajor>, Field<Eigen::bfloat16, Eigen::RowMajor>>;

/// Values that are equal along some axes: once in full, and once with each in one place.
template <typename FieldType>
class Expanded {
 public:
  using Data = typename FieldType::Data;

  /// Of `numbers`, the first along each of the axes whose bit is set.
  Expanded(const Sizes& shape, unsigned axes, const Numbers& numbers)
      : shape_(shape), axes_(axes), full(shape, repeated(shape, axes, numbers)), once_(first_of(shape, axes)) {
    const std::vector<std::size_t> from = places(shape, FieldType::order), to = places(once_.shape(), FieldType::order);
    for (std::size_t i = 0, kept = 0; i < from.size(); ++i) {
      if (is_first(shape, axes, i)) once_.data()[to[kept++]] = full.data()[from[i]];
    }
  }

  template <int Rank>
  Strided<Data, Rank, FieldType::order> view() const {
    eigennorm::Shape shape;
    shape.rank = Rank;
    eigennorm::Strides strides{};
    std::int64_t stride = 1;
    for (int i = 0; i < Rank; ++i) {
      const int axis = FieldType::order == Eigen::RowMajor ? Rank - 1 - i : i;
      const auto at = static_cast<std::size_t>(axis);
      shape[axis] = shape_[at];
      strides[at] = (axes_ >> axis & 1U) != 0 ? 0 : stride;
      stride *= once_.shape()[at];
    }
    return {once_.data(), shape, strides};
  }

 private:
  static Sizes first_of(Sizes shape, unsigned axes) {
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if ((axes >> axis & 1U) != 0) shape[axis] = 1;
    }
    return shape;
  }
  /// The number of the element that stands for element `i`.
  static std::size_t first_number(const Sizes& shape, unsigned axes, std::size_t i) {
    std::size_t result = 0, step = 1;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      const auto extent = static_cast<std::size_t>(shape[axis]);
      if ((axes >> axis & 1U) == 0) result += i % extent * step;
      i /= extent;
      step *= extent;
    }
    return result;
  }
  static bool is_first(const Sizes& shape, unsigned axes, std::size_t i) { return first_number(shape, axes, i) == i; }
  static Numbers repeated(const Sizes& shape, unsigned axes, const Numbers& numbers) {
    Numbers result(numbers.size());
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = numbers[first_number(shape, axes, i)];
    return result;
  }

  Sizes shape_;
  unsigned axes_;

 public:
  FieldType full;

 private:
  FieldType once_;
};

/// Every verb, on views of x and dy.
template <typename FieldType, typename View>
watch::Bytes results(eigennorm::Normalization<typename FieldType::Scalar> layer, const Sizes& shape,
                     const View& view_of) {
  FieldType y(shape), dx(shape);
  watch::Bytes bytes;
  const auto keep = [&bytes](const FieldType& field) {
    watch::add(bytes, field.data(), static_cast<std::int64_t>(field.size()));
  };
  with_rank(shape.size(), [&](auto rank) {
    const auto x = view_of(rank, 0), dy = view_of(rank, 1);
    auto y_map = y.template map<rank>(), dx_map = dx.template map<rank>();
    const auto train = [&] {
      layer.forward(x, y_map);
      layer.backward(x, dy, dx_map);
      keep(y);
      keep(dx);
    };
    layer.evaluate(x, y_map);
    keep(y);
    train();
    if (!layer.running) return;
    layer.freeze();
    train();
  });
  for (const unsigned char byte : watch::bits(layer)) bytes.push_back(byte);
  return bytes;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("axes of stride 0 give the bits of their copy", "", Fields) {
  std::uint64_t seed = 300;
  for (const Case& which : cases()) {
    INFO(which.name);
    Random random(++seed);
    auto layer = which.layer<typename TestType::Scalar>();
    randomize(layer, random);
    const Numbers x_numbers = random.normals(which.size(), 0.5), dy_numbers = random.normals(which.size());
    std::vector<unsigned> sets{(1U << which.shape.size()) - 1U};
    for (std::size_t axis = 0; axis < which.shape.size(); ++axis) {
      if (which.shape[axis] > 1 && which.shape.size() > 1) sets.push_back(1U << axis);
    }
    // By both kinds of stores.
    if (seed % 2 != 0) eigennorm::stream_results_from(0);
    for (const unsigned set : sets) {
      for (const unsigned expanded : {1U, 2U, 3U}) {
        CAPTURE(set, expanded);
        const Expanded<TestType> x(which.shape, (expanded & 1U) != 0 ? set : 0U, x_numbers);
        const Expanded<TestType> dy(which.shape, (expanded & 2U) != 0 ? set : 0U, dy_numbers);
        const watch::Bytes by_view = results<TestType>(layer, which.shape, [&](auto rank, int which_one) {
          return (which_one == 0 ? x : dy).template view<rank>();
        });
        const watch::Bytes by_copy = results<TestType>(layer, which.shape, [&](auto rank, int which_one) {
          return (which_one == 0 ? x : dy).full.template map<rank>();
        });
        CHECK(by_view == by_copy);
      }
    }
    eigennorm::stream_results_from(4000000);
  }
}

TEST_CASE("Eigen's maps of stride 0") {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  using Map = Eigen::Map<const Matrix, 0, Stride>;
  const Matrix x = Matrix::Random(8, 3), row = Matrix::Random(1, 3), one = Matrix::Constant(1, 1, 0.125F);
  const Map same_rows(row.data(), 8, 3, Stride(0, 1)), all_one(one.data(), 8, 3, Stride(0, 0));
  eigennorm::BatchNorm<float> layer(3), twin(3);
  // The gradient of a mean.
  CHECK(Matrix(layer.forward(x)) == Matrix(twin.forward(x)));
  CHECK(Matrix(layer.backward(x, all_one)) == Matrix(twin.backward(x, Matrix(all_one))));
  // One row for all: its own mean, and no variance.
  CHECK(Matrix(layer.forward(same_rows)) == Matrix::Zero(8, 3));
  twin.forward(Matrix(same_rows));
  CHECK(Matrix(layer.evaluate(same_rows)) == Matrix(twin.evaluate(Matrix(same_rows))));
}

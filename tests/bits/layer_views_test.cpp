#include <type_traits>
#include <utility>

#include "catch.hpp"
#include "problem.hpp"

// The same values give the same bits, whatever Eigen object holds them: strides, alignment and fixed sizes do
// not count.

using namespace test;

namespace {

/// The door is the same for every type of data: some of each width and order.
using Fields = std::tuple<Field<float, Eigen::RowMajor>, Field<float, Eigen::ColMajor>, Field<double, Eigen::ColMajor>,
                          Field<Eigen::half, Eigen::RowMajor>>;

template <typename FieldType>
using MatrixLike = Eigen::Matrix<typename FieldType::Data, Eigen::Dynamic, Eigen::Dynamic, FieldType::order>;

/// What the verbs give on a problem of rank 2, through dense and aligned-to-nothing tensors.
template <typename FieldType>
struct Expected {
  using Scalar = typename FieldType::Scalar;

  explicit Expected(const Problem<FieldType>& problem)
      : start(problem.layer), trained(problem.layer), evaluated(problem.x.shape()), y(problem.y), dx(problem.dx) {
    evaluate(start, problem.x, evaluated);
    forward(trained, problem.x, y);
    backward(trained, problem.x, problem.dy, dx);
  }

  static auto matrix(const FieldType& field) {
    return Eigen::Map<const MatrixLike<FieldType>>(field.data(), field.shape()[0], field.shape()[1]);
  }

  /// Runs the verbs on other objects that hold the same values; `y` and `dx` are written.
  template <typename X, typename Y, typename DY, typename DX>
  void check(const X& x_object, Y&& y_object, const DY& dy_object, DX&& dx_object) const {
    auto layer = start;
    layer.evaluate(x_object, y_object);
    CHECK(same_bits(y_object, matrix(evaluated)));
    layer.forward(x_object, y_object);
    CHECK(same_bits(y_object, matrix(y)));
    layer.backward(x_object, dy_object, dx_object);
    CHECK(same_bits(dx_object, matrix(dx)));
    check_state(layer);
  }

  void check_state(const eigennorm::Normalization<Scalar>& layer) const {
    CHECK(same_bits(layer.scale.grad, trained.scale.grad));
    CHECK(same_bits(layer.shift.grad, trained.shift.grad));
    REQUIRE(layer.running.has_value() == trained.running.has_value());
    if (!layer.running) return;
    CHECK(same_bits(layer.running->mean, trained.running->mean));
    CHECK(same_bits(layer.running->variance, trained.running->variance));
  }

  eigennorm::Normalization<Scalar> start, trained;
  FieldType evaluated, y, dx;
};

template <typename FieldType, typename Check>
void for_every_matrix(const Check& check) {
  std::uint64_t seed = 100;
  for (const Case& which : cases()) {
    if (which.shape.size() != 2 || which.size() > 5000) continue;
    INFO(which.name);
    const Problem<FieldType> problem(which, 0.5, Random(++seed));
    check(problem, Expected<FieldType>(problem));
  }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("Matrix, Array, Map and Ref", "", Fields) {
  using Matrix = MatrixLike<TestType>;
  using Array = Eigen::Array<typename TestType::Data, Eigen::Dynamic, Eigen::Dynamic, TestType::order>;
  for_every_matrix<TestType>([](const auto& problem, const auto& expected) {
    const Matrix x = expected.matrix(problem.x);
    const Matrix dy = expected.matrix(problem.dy);
    Matrix y(x.rows(), x.cols());
    Matrix dx(x.rows(), x.cols());
    expected.check(x, y, dy, dx);

    const Array x_array = x.array();
    Array y_array(x.rows(), x.cols());
    expected.check(x_array, y_array, dy, dx);

    Eigen::Map<Matrix> y_map(y.data(), y.rows(), y.cols());
    expected.check(expected.matrix(problem.x), y_map, Eigen::Ref<const Matrix>(dy), Eigen::Ref<Matrix>(dx));
  });
}

TEMPLATE_LIST_TEST_CASE("a block of a larger matrix", "", Fields) {
  using Matrix = MatrixLike<TestType>;
  for_every_matrix<TestType>([](const auto& problem, const auto& expected) {
    const Matrix dense = expected.matrix(problem.x);
    const Eigen::Index rows = dense.rows();
    const Eigen::Index columns = dense.cols();
    const auto filler = static_cast<typename TestType::Data>(-77.0F);
    Matrix x = Matrix::Constant(rows + 5, columns + 4, filler);
    Matrix y = x;
    Matrix dy = x;
    Matrix dx = x;
    x.block(2, 3, rows, columns) = dense;
    dy.block(1, 1, rows, columns) = expected.matrix(problem.dy);
    expected.check(x.block(2, 3, rows, columns), y.block(3, 1, rows, columns), dy.block(1, 1, rows, columns),
                   dx.block(5, 4, rows, columns));
    // Nothing beside the block was written.
    y.block(3, 1, rows, columns).fill(filler);
    dx.block(5, 4, rows, columns).fill(filler);
    CHECK((y.array() == filler).all());
    CHECK((dx.array() == filler).all());

    // A dense input and a strided output.
    expected.check(dense, y.topLeftCorner(rows, columns), dy.block(1, 1, rows, columns),
                   dx.bottomRows(rows).leftCols(columns));
  });
}

TEMPLATE_LIST_TEST_CASE("every tensor has strides of its own", "", Fields) {
  using Data = typename TestType::Data;
  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  using Map = Eigen::Map<MatrixLike<TestType>, Eigen::Unaligned, Stride>;
  for_every_matrix<TestType>([](const auto& problem, const auto& expected) {
    const Eigen::Index rows = problem.x.shape()[0];
    const Eigen::Index columns = problem.x.shape()[1];
    const Eigen::Index inner = TestType::order == Eigen::RowMajor ? columns : rows;
    const auto room = static_cast<std::size_t>(rows * columns * 3 + 3 * (rows + columns) + 8);
    // Each of the four has an outer stride of its own, or an inner one as well, and begins elsewhere in its memory.
    for (int strided = 0; strided <= 15; ++strided) {
      CAPTURE(strided);
      std::vector<std::vector<Data>> memory(4, std::vector<Data>(room));
      std::vector<Map> maps;
      for (std::size_t i = 0; i < 4; ++i) {
        const Eigen::Index step = (strided >> i & 1) == 0 ? 1 : 3;
        maps.emplace_back(memory[i].data() + (i + 1) % 4, rows, columns,
                          Stride(step * inner + static_cast<Eigen::Index>(i), step));
      }
      maps[0] = expected.matrix(problem.x);
      maps[2] = expected.matrix(problem.dy);
      expected.check(maps[0], maps[1], maps[2], maps[3]);
    }
  });
}

TEMPLATE_LIST_TEST_CASE("a map that walks the other way round", "", Fields) {
  // A matrix whose strides are those of the other storage order: groups are read in another order, so the
  // formula judges.
  using Data = typename TestType::Data;
  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  using Map = Eigen::Map<MatrixLike<TestType>, Eigen::Unaligned, Stride>;
  for_every_matrix<TestType>([](auto problem, const auto& expected) {
    const Eigen::Index rows = problem.x.shape()[0];
    const Eigen::Index columns = problem.x.shape()[1];
    const Stride stride(1, TestType::order == Eigen::RowMajor ? rows : columns);
    std::vector<Data> x_memory(problem.x.size()), y_memory(x_memory), dy_memory(x_memory), dx_memory(x_memory);
    Map x(x_memory.data(), rows, columns, stride);
    Map y(y_memory.data(), rows, columns, stride);
    Map dy(dy_memory.data(), rows, columns, stride);
    Map dx(dx_memory.data(), rows, columns, stride);
    x = expected.matrix(problem.x);
    dy = expected.matrix(problem.dy);
    problem.layer.forward(x, y);
    problem.layer.backward(x, dy, dx);
    Eigen::Map<MatrixLike<TestType>>(problem.y.data(), rows, columns) = y;
    Eigen::Map<MatrixLike<TestType>>(problem.dx.data(), rows, columns) = dx;
    problem.check_output(problem.batch(), false);
    problem.check_gradients(problem.batch(), false);
  });
}

TEMPLATE_LIST_TEST_CASE("the forms that return their result", "", Fields) {
  using Matrix = MatrixLike<TestType>;
  for_every_matrix<TestType>([](const auto& problem, const auto& expected) {
    const Matrix x = expected.matrix(problem.x);
    const Matrix dy = expected.matrix(problem.dy);
    auto layer = expected.start;
    const auto evaluated = layer.evaluate(x);
    const auto y = layer.forward(x.topRows(x.rows()));
    const auto dx = layer.backward(x, dy);
    static_assert(std::is_same_v<decltype(evaluated), const Matrix>);
    static_assert(std::is_same_v<decltype(y), const Matrix>);
    static_assert(std::is_same_v<decltype(dx), const Matrix>);
    CHECK(same_bits(evaluated, expected.matrix(expected.evaluated)));
    CHECK(same_bits(y, expected.matrix(expected.y)));
    CHECK(same_bits(dx, expected.matrix(expected.dx)));
    expected.check_state(layer);
  });
}

TEMPLATE_LIST_TEST_CASE("no alignment of a tensor's memory counts", "", Fields) {
  std::uint64_t seed = 200;
  for (const Case& which : cases()) {
    if (which.size() > 5000) continue;
    INFO(which.name);
    const Problem<TestType> problem(which, 0.5, Random(++seed));
    const Expected<TestType> expected(problem);
    for (const std::size_t offset : {0U, 2U, 3U, 5U, 15U}) {
      INFO("memory starts at element " << offset);
      const TestType x(which.shape, problem.x_numbers, offset);
      const TestType dy(which.shape, problem.dy_numbers, (offset * 7 + 3) % 16);
      TestType y(which.shape, (offset + 6) % 16);
      TestType dx(which.shape, (offset + 9) % 16);
      auto layer = expected.start;
      evaluate(layer, x, y);
      CHECK(same_bits(y, expected.evaluated));
      forward(layer, x, y);
      CHECK(same_bits(y, expected.y));
      backward(layer, x, dy, dx);
      CHECK(same_bits(dx, expected.dx));
      expected.check_state(layer);
    }
  }
}

TEMPLATE_LIST_TEST_CASE("Tensor and TensorFixedSize", "", Fields) {
  using Data = typename TestType::Data;
  using Scalar = typename TestType::Scalar;
  using Tensor = Eigen::Tensor<Data, 4, TestType::order>;
  using Fixed = Eigen::TensorFixedSize<Data, Eigen::Sizes<4, 3, 5, 2>, TestType::order>;
  const auto run = [](const eigennorm::Normalization<Scalar>& start) {
    const Sizes shape{4, 3, 5, 2};
    Random random(31);
    const TestType x(shape, random.normals(120, 0.5));
    const TestType dy(shape, random.normals(120));
    auto layer = start;
    TestType y(shape), dx(shape);
    forward(layer, x, y);
    backward(layer, x, dy, dx);

    const Tensor x_tensor = x.template map<4>();
    const Tensor dy_tensor = dy.template map<4>();
    Tensor y_tensor(x_tensor.dimensions());
    Tensor dx_tensor(x_tensor.dimensions());
    auto other = start;
    other.forward(x_tensor, y_tensor);
    other.backward(x_tensor, dy_tensor, dx_tensor);
    CHECK(same_bits(y_tensor, y));
    CHECK(same_bits(dx_tensor, dx));
    const auto y_returned = other.forward(x_tensor);
    static_assert(std::is_same_v<decltype(y_returned), const Tensor>);
    CHECK(same_bits(y_returned, y));

    Fixed x_fixed, dy_fixed, y_fixed, dx_fixed;
    std::memcpy(x_fixed.data(), x.data(), 120 * sizeof(Data));
    std::memcpy(dy_fixed.data(), dy.data(), 120 * sizeof(Data));
    other = start;
    other.forward(x_fixed, y_fixed);
    other.backward(x_fixed, dy_fixed, dx_fixed);
    CHECK(same_bits(y_fixed, y));
    CHECK(same_bits(dx_fixed, dx));
    const auto fixed_returned = other.forward(x_fixed);
    static_assert(std::is_same_v<decltype(fixed_returned), const Fixed>);
    CHECK(same_bits(fixed_returned, y));
    const auto map_returned = other.forward(x.template map<4>());
    static_assert(std::is_same_v<decltype(map_returned), const Tensor>);
    CHECK(same_bits(map_returned, y));

    // Kinds may meet in one call.
    other = start;
    TestType x_field = x;
    other.forward(x_field.template map<4>(), y_tensor);
    other.backward(x_tensor, dy_fixed, dx.template map<4>());
    CHECK(same_bits(y_tensor, y));
    CHECK(same_bits(dx_tensor, dx));
  };
  run(eigennorm::BatchNorm<Scalar>(3));
  run(eigennorm::LayerNorm<Scalar>({5, 2}));
  run(eigennorm::LayerNorm<Scalar>(3, eigennorm::over(1)));
  run(eigennorm::GroupNorm<Scalar>(2, 4, eigennorm::channels_on(0), eigennorm::samples_on(1)));
  run(eigennorm::WeightNorm<Scalar>(4));
}

TEST_CASE("matrices of fixed sizes stay what they are") {
  Random random(5);
  Eigen::Matrix<float, 3, 4> x;
  for (float& value : x.reshaped()) value = static_cast<float>(random.normal());
  eigennorm::LayerNorm<float> layer(4);
  const auto y = layer.forward(x);
  static_assert(std::is_same_v<decltype(y), const Eigen::Matrix<float, 3, 4>>);
  const Eigen::MatrixXf dynamic = x;
  CHECK(same_bits(y, layer.forward(dynamic)));
}

// Accumulators lie to cache lines as dx does, and whole vectors begin on a line of both.
TEST_CASE("LayerNorm's gradients do not depend on where dx begins") {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Random random(7);
  // (Eight rows are one part. 1,040 features have accumulators of their own, 8,192 the longest.)
  for (const auto& [rows, n] :
       {std::pair<std::int64_t, std::int64_t>{40, 16}, {40, 80}, {40, 512}, {40, 8192}, {8, 1040}, {40, 1040}}) {
    Rows x(rows, n), dy(rows, n);
    for (Rows* each : {&x, &dy}) {
      for (std::int64_t i = 0; i < each->size(); ++i) each->data()[i] = static_cast<float>(random.normal());
    }
    eigennorm::LayerNorm<float> layer(n);
    layer.scale.value.setLinSpaced(0.5F, 2);
    layer.forward(x);
    std::vector<float> memory(static_cast<std::size_t>(rows * n + 32));
    const auto past = reinterpret_cast<std::uintptr_t>(memory.data()) % 64 / sizeof(float);
    const Rows expected = layer.backward(x, dy);
    const eigennorm::Vector<float> dscale = layer.scale.grad, dshift = layer.shift.grad;
    for (std::size_t offset = 0; offset < 16; ++offset) {
      Eigen::Map<Rows> dx(memory.data() + (16 - past) % 16 + offset, rows, n);
      layer.zero_grad();
      layer.backward(x, dy, dx);
      INFO(rows << " rows of " << n << " features, dx " << offset << " behind a line");
      CHECK(same_bits(dx.data(), expected.data(), static_cast<std::size_t>(dx.size())));
      CHECK(same_bits(layer.scale.grad, dscale));
      CHECK(same_bits(layer.shift.grad, dshift));
    }
  }
}

TEST_CASE("vectors have rank 2 and no storage order") {
  Random random(6);
  Eigen::VectorXf x(9);
  for (float& value : x) value = static_cast<float>(random.normal());
  eigennorm::LayerNorm<float> column(9, eigennorm::over(0));
  eigennorm::LayerNorm<float> row(9);
  const Eigen::MatrixXf matrix = x.transpose();
  const Eigen::MatrixXf expected = row.forward(matrix);

  const auto y = column.forward(x);
  static_assert(std::is_same_v<decltype(y), const Eigen::VectorXf>);
  CHECK(same_bits(y, expected.transpose().eval()));

  const Eigen::RowVectorXf x_row = x.transpose();
  const auto y_row = row.forward(x_row);
  static_assert(std::is_same_v<decltype(y_row), const Eigen::RowVectorXf>);
  CHECK(same_bits(y_row, expected));

  Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> row_major(9, 1);
  Eigen::MatrixXf column_major(9, 1);
  column.forward(x, row_major);
  CHECK(same_bits(row_major, expected.transpose().eval()));
  column.forward(x, column_major);
  CHECK(same_bits(column_major, expected.transpose().eval()));

  // A row of a column-major matrix is a vector with a stride.
  Eigen::MatrixXf many = Eigen::MatrixXf::Constant(5, 9, 2.0F);
  many.row(3) = x.transpose();
  Eigen::MatrixXf out = Eigen::MatrixXf::Zero(5, 9);
  row.evaluate(many.row(3), out.row(1));
  CHECK(same_bits(out.row(1), expected));
  CHECK(out.row(0).isZero(0));
  CHECK(out.row(2).isZero(0));

  Eigen::Tensor<float, 1> tensor(9);
  std::copy(x.begin(), x.end(), tensor.data());
  Eigen::Tensor<float, 1, Eigen::RowMajor> y_tensor(9);
  row.forward(tensor, y_tensor);
  CHECK(same_bits(y_tensor.data(), expected.data(), 9));
}

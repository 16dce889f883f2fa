#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "catch.hpp"

// Every Eigen object whose values are in memory becomes a pointer, a shape and strides that find the same
// values.

using namespace eigennorm;
using core::view;

namespace {

template <typename X>
using Viewed = decltype(view(std::declval<X&>()));

std::vector<std::int64_t> extents(const Shape& shape) {
  return {shape.extents.begin(), shape.extents.begin() + shape.rank};
}

template <typename T>
std::vector<std::int64_t> strides(const View<T>& v) {
  return {v.strides.begin(), v.strides.begin() + v.shape.rank};
}

// Element (i, j) of the view is element (i, j) of x.
template <typename X>
bool finds_all(const X& x) {
  const auto v = view(x);
  if (v.shape.rank != 2 || v.shape[0] != x.rows() || v.shape[1] != x.cols()) return false;
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    for (Eigen::Index j = 0; j < x.cols(); ++j) {
      if (v.data + i * v.strides[0] + j * v.strides[1] != &x.coeffRef(i, j)) return false;
    }
  }
  return true;
}

template <typename T, int Rank, int Order>
bool finds_all_of_tensor(const Eigen::Tensor<T, Rank, Order>& x) {
  const auto v = view(x);
  if (v.shape.rank != Rank || v.shape.size() != x.size()) return false;
  Eigen::array<Eigen::Index, Rank> at{};
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    std::int64_t offset = 0;
    for (std::size_t axis = 0; axis < Rank; ++axis) offset += at[axis] * v.strides[axis];
    if (v.data + offset != &x(at)) return false;
    for (std::size_t axis = Rank; axis-- > 0;) {
      if (++at[axis] < x.dimension(axis)) break;
      at[axis] = 0;
    }
  }
  return true;
}

using RowMajorXf = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace

TEST_CASE("matrices and arrays") {
  const Eigen::MatrixXf columns(3, 5);
  const auto v = view(columns);
  CHECK(v.data == columns.data());
  CHECK(extents(v.shape) == std::vector<std::int64_t>{3, 5});
  CHECK(strides(v) == std::vector<std::int64_t>{1, 3});
  CHECK(v.order == Order::column_major);

  const RowMajorXf rows(3, 5);
  CHECK(strides(view(rows)) == std::vector<std::int64_t>{5, 1});
  CHECK(view(rows).order == Order::row_major);

  CHECK(finds_all(columns));
  CHECK(finds_all(rows));
  CHECK(finds_all(Eigen::ArrayXXd(4, 3)));
  CHECK(finds_all(Eigen::Matrix<float, 3, 4>()));
  CHECK(finds_all(Eigen::Matrix<float, 3, 4, Eigen::RowMajor>()));
  CHECK(finds_all(Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic>(2, 2)));
  CHECK(finds_all(Eigen::Matrix<long double, Eigen::Dynamic, 3>(2, 3)));
}

TEST_CASE("vectors have rank 2 and go with either storage order") {
  const Eigen::VectorXf column(7);
  CHECK(extents(view(column).shape) == std::vector<std::int64_t>{7, 1});
  CHECK(view(column).order == Order::any);
  CHECK(finds_all(column));
  const Eigen::RowVectorXf row(7);
  CHECK(extents(view(row).shape) == std::vector<std::int64_t>{1, 7});
  CHECK(view(row).order == Order::any);
  CHECK(finds_all(row));
  CHECK(finds_all(Eigen::Vector3d()));
  CHECK(finds_all(Eigen::ArrayXf(4)));
}

TEST_CASE("parts of matrices keep the strides of the whole") {
  Eigen::MatrixXf columns(6, 8);
  RowMajorXf rows(6, 8);
  CHECK(strides(view(columns.block(1, 2, 3, 4))) == std::vector<std::int64_t>{1, 6});
  CHECK(strides(view(rows.block(1, 2, 3, 4))) == std::vector<std::int64_t>{8, 1});
  CHECK(finds_all(columns.block(1, 2, 3, 4)));
  CHECK(finds_all(rows.block<3, 4>(1, 2)));
  CHECK(finds_all(columns.topRows(2)));
  CHECK(finds_all(rows.rightCols(3)));
  CHECK(finds_all(columns.row(2)));
  CHECK(finds_all(columns.col(2)));
  CHECK(finds_all(rows.row(2)));
  CHECK(finds_all(rows.col(2)));
  CHECK(finds_all(columns.block(1, 1, 4, 6).row(2)));
  CHECK(finds_all(columns.transpose()));
  CHECK(finds_all(columns.diagonal()));
  CHECK(view(columns.transpose()).order == Order::row_major);
  CHECK(view(columns.block(1, 2, 3, 4)).order == Order::column_major);
  CHECK(view(columns.topRows(0)).shape.size() == 0);
}

TEST_CASE("maps and references keep theirs") {
  std::vector<float> memory(200);
  using Inner = Eigen::InnerStride<>;
  using Outer = Eigen::OuterStride<>;
  using Both = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  CHECK(finds_all(Eigen::Map<Eigen::MatrixXf>(memory.data() + 1, 3, 5)));
  CHECK(finds_all(Eigen::Map<Eigen::MatrixXf, 0, Outer>(memory.data(), 3, 5, Outer(9))));
  CHECK(finds_all(Eigen::Map<RowMajorXf, 0, Both>(memory.data(), 3, 5, Both(20, 3))));
  CHECK(finds_all(Eigen::Map<Eigen::MatrixXf, 0, Both>(memory.data(), 3, 5, Both(20, 3))));
  CHECK(finds_all(Eigen::Map<Eigen::VectorXf, 0, Inner>(memory.data(), 7, Inner(4))));
  CHECK(finds_all(Eigen::Map<const Eigen::ArrayXXf>(memory.data(), 3, 5)));
  Eigen::MatrixXf matrix(6, 8);
  CHECK(finds_all(Eigen::Ref<Eigen::MatrixXf>(matrix)));
  CHECK(finds_all(Eigen::Ref<Eigen::MatrixXf>(matrix.bottomRows(2))));
  CHECK(finds_all(Eigen::Ref<const Eigen::MatrixXf>(matrix.leftCols(2))));
  CHECK(finds_all(Eigen::Ref<Eigen::VectorXf>(matrix.col(3))));
  CHECK(strides(view(Eigen::Map<RowMajorXf, 0, Both>(memory.data(), 3, 5, Both(20, 3)))) ==
        std::vector<std::int64_t>{20, 3});
}

TEST_CASE("tensors of every rank and order") {
  CHECK(finds_all_of_tensor(Eigen::Tensor<float, 1>(5)));
  CHECK(finds_all_of_tensor(Eigen::Tensor<float, 2>(3, 5)));
  CHECK(finds_all_of_tensor(Eigen::Tensor<float, 2, Eigen::RowMajor>(3, 5)));
  CHECK(finds_all_of_tensor(Eigen::Tensor<double, 4>(2, 3, 4, 5)));
  CHECK(finds_all_of_tensor(Eigen::Tensor<double, 4, Eigen::RowMajor>(2, 3, 4, 5)));
  CHECK(finds_all_of_tensor(Eigen::Tensor<Eigen::bfloat16, 8>(2, 1, 3, 2, 1, 2, 3, 2)));
  CHECK(finds_all_of_tensor(Eigen::Tensor<Eigen::half, 8, Eigen::RowMajor>(2, 1, 3, 2, 1, 2, 3, 2)));
  const Eigen::Tensor<float, 4, Eigen::RowMajor> x(2, 3, 4, 5);
  CHECK(extents(view(x).shape) == std::vector<std::int64_t>{2, 3, 4, 5});
  CHECK(strides(view(x)) == std::vector<std::int64_t>{60, 20, 5, 1});
  CHECK(view(x).order == Order::row_major);
  const Eigen::Tensor<float, 4> z(2, 3, 4, 5);
  CHECK(strides(view(z)) == std::vector<std::int64_t>{1, 2, 6, 24});
  CHECK(view(z).order == Order::column_major);
  CHECK(view(Eigen::Tensor<float, 1, Eigen::RowMajor>(3)).order == Order::any);
}

TEST_CASE("tensor maps and tensors of fixed size") {
  std::vector<float> memory(60);
  const Eigen::TensorMap<Eigen::Tensor<float, 3, Eigen::RowMajor>> map(memory.data() + 1, 2, 3, 4);
  CHECK(view(map).data == memory.data() + 1);
  CHECK(extents(view(map).shape) == std::vector<std::int64_t>{2, 3, 4});
  CHECK(strides(view(map)) == std::vector<std::int64_t>{12, 4, 1});
  const Eigen::TensorMap<const Eigen::Tensor<float, 3>> reading(memory.data(), 2, 3, 4);
  CHECK(strides(view(reading)) == std::vector<std::int64_t>{1, 2, 6});
  STATIC_REQUIRE(std::is_same_v<Viewed<Eigen::TensorMap<const Eigen::Tensor<float, 3>>>, View<const float>>);

  Eigen::TensorFixedSize<double, Eigen::Sizes<2, 5>, Eigen::RowMajor> fixed;
  CHECK(view(fixed).data == fixed.data());
  CHECK(extents(view(fixed).shape) == std::vector<std::int64_t>{2, 5});
  CHECK(strides(view(fixed)) == std::vector<std::int64_t>{5, 1});
  Eigen::TensorFixedSize<double, Eigen::Sizes<2, 5>> columns;
  CHECK(strides(view(columns)) == std::vector<std::int64_t>{1, 2});
}

TEST_CASE("the returning form gives an object that owns its values, fixed sizes kept") {
  using Fixed = Eigen::Matrix<float, 3, 4, Eigen::RowMajor>;
  using FixedTensor = Eigen::TensorFixedSize<float, Eigen::Sizes<3, 4>, Eigen::RowMajor>;
  using Tensor = Eigen::Tensor<float, 3, Eigen::RowMajor>;
  using Part = decltype(std::declval<RowMajorXf&>().block(0, 0, 1, 1));
  STATIC_REQUIRE(std::is_same_v<core::Plain<const Fixed&>, Fixed>);
  STATIC_REQUIRE(std::is_same_v<core::Plain<FixedTensor>, FixedTensor>);
  STATIC_REQUIRE(std::is_same_v<core::Plain<Tensor&>, Tensor>);
  STATIC_REQUIRE(std::is_same_v<core::Plain<Eigen::TensorMap<Tensor>>, Tensor>);
  STATIC_REQUIRE(std::is_same_v<core::Plain<Eigen::TensorMap<const Tensor>>, Tensor>);
  STATIC_REQUIRE(std::is_same_v<core::Plain<Eigen::Map<const Eigen::ArrayXXf>>, Eigen::ArrayXXf>);
  STATIC_REQUIRE(std::is_same_v<core::Plain<Part>, RowMajorXf>);
  STATIC_REQUIRE(std::is_same_v<core::Plain<Eigen::Ref<Eigen::VectorXf>>, Eigen::VectorXf>);

  const LayerNorm<float> layer(4);
  STATIC_REQUIRE(std::is_same_v<decltype(layer.evaluate(std::declval<const Fixed&>())), Fixed>);
  STATIC_REQUIRE(std::is_same_v<decltype(layer.evaluate(std::declval<const FixedTensor&>())), FixedTensor>);
  STATIC_REQUIRE(std::is_same_v<decltype(layer.evaluate(std::declval<const Part&>())), RowMajorXf>);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(5, 4);
  const auto y = layer.evaluate(x.topRows(3));
  CHECK(y.rows() == 3);
  CHECK(y.cols() == 4);
}

TEST_CASE("all the objects with the same values give the same result") {
  std::vector<float> memory(600);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>((i * 37 + 11) % 101) / 7.0F;
  using Both = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  const Eigen::Map<const RowMajorXf, 0, Both> spread(memory.data() + 3, 4, 9, Both(61, 5));
  const RowMajorXf x = spread;
  const Eigen::Tensor<float, 2, Eigen::RowMajor> tensor =
      Eigen::TensorMap<const Eigen::Tensor<float, 2, Eigen::RowMajor>>(x.data(), 4, 9);
  const Eigen::TensorFixedSize<float, Eigen::Sizes<4, 9>, Eigen::RowMajor> fixed(tensor);
  RowMajorXf larger = RowMajorXf::Zero(8, 12);
  larger.block(2, 1, 4, 9) = x;

  LayerNorm<float> layer(9);
  const RowMajorXf y = layer.forward(x);
  CHECK(RowMajorXf(layer.forward(spread)) == y);
  CHECK(RowMajorXf(layer.forward(larger.block(2, 1, 4, 9))) == y);
  CHECK(RowMajorXf(layer.forward(Eigen::Ref<const RowMajorXf>(x))) == y);
  CHECK(Eigen::ArrayXXf(layer.forward(Eigen::Array<float, 4, 9, Eigen::RowMajor>(x.array()))).matrix() == y);
  const auto from_tensor = layer.forward(tensor);
  CHECK(Eigen::Map<const RowMajorXf>(from_tensor.data(), 4, 9) == y);
  // A map of values that could be written is read all the same.
  RowMajorXf writable = x, gradient = x;
  Eigen::TensorMap<Eigen::Tensor<float, 2, Eigen::RowMajor>> map(writable.data(), 4, 9), dy(gradient.data(), 4, 9);
  const auto from_map = layer.forward(map);
  CHECK(Eigen::Map<const RowMajorXf>(from_map.data(), 4, 9) == y);
  const auto dx = layer.backward(map, dy);
  CHECK(Eigen::Map<const RowMajorXf>(dx.data(), 4, 9) == RowMajorXf(layer.backward(x, x)));
  CHECK(RowMajorXf(layer.evaluate(Eigen::Map<RowMajorXf>(writable.data(), 4, 9))) == y);
  const auto from_fixed = layer.forward(fixed);
  CHECK(Eigen::Map<const RowMajorXf>(from_fixed.data(), 4, 9) == y);

  // Outputs of any kind, into which nothing is written beside the values.
  std::vector<float> wide(600, -7.0F);
  Eigen::Map<RowMajorXf, 0, Both> out(wide.data() + 3, 4, 9, Both(61, 5));
  layer.forward(x, out);
  CHECK(RowMajorXf(out) == y);
  out.setConstant(-7.0F);
  CHECK(std::count(wide.begin(), wide.end(), -7.0F) == 600);
  RowMajorXf target = RowMajorXf::Constant(8, 12, -7.0F);
  layer.forward(x, target.block(3, 2, 4, 9));
  CHECK_FALSE((target.block(3, 2, 4, 9).array() == -7.0F).any());
  CHECK(RowMajorXf(target.block(3, 2, 4, 9)) == y);
  target.block(3, 2, 4, 9).setConstant(-7.0F);
  CHECK(target == RowMajorXf::Constant(8, 12, -7.0F));
}

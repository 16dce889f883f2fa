// WeightNorm: a linear layer whose weight is trained as length times direction, w = g * v / |v| for each
// output.
//
// Here the layer works on a parameter instead of on data: forward turns v into w, backward turns dw into dv.

#include <cmath>
#include <cstdio>
#include <eigennorm/eigennorm.hpp>

using Matrix = Eigen::MatrixXd;

/// y = x * w^T + bias, with one row of v for each output.
class Linear {
 public:
  Linear(Eigen::Index outputs, Eigen::Index inputs)
      : norm(outputs), v(Matrix::Random(outputs, inputs)), bias(Eigen::RowVectorXd::Zero(outputs)) {
    norm.scale_from(v);  // g = |v|, so training starts with w == v
    w.resizeLike(v);
    dv.resizeLike(v);
  }

  Matrix forward(const Matrix& x) {
    norm.forward(v, w);
    return (x * w.transpose()).rowwise() + bias;
  }

  void backward(const Matrix& x, const Matrix& dy) {
    const Matrix dw = dy.transpose() * x;
    norm.backward(v, dw, dv);  // and the gradient of g
    dbias = dy.colwise().sum();
  }

  void descend(double rate) {
    v -= rate * dv;
    bias -= rate * dbias;
    norm.scale.value -= rate * norm.scale.grad;
    norm.zero_grad();
  }

  eigennorm::WeightNorm<double> norm;  // its scale is g
  Matrix v, w, dv;
  Eigen::RowVectorXd bias, dbias;
};

int main() {
  const Matrix x = Matrix::Random(200, 6);
  const Matrix teacher = 3 * Matrix::Random(4, 6);
  const Matrix target = (x * teacher.transpose()).array() + 0.5;

  Linear layer(4, 6);
  layer.forward(x);
  const double start = (layer.w - layer.v).cwiseAbs().maxCoeff();
  std::printf("after scale_from: |w - v| is at most %.1e\n\n", start);
  bool good = start < 1e-14;

  std::printf("step       loss    |v| of output 0   <v, dv> / (|v| |dv|)\n");
  double norm_before = layer.v.row(0).norm();
  for (int step = 0; step <= 600; ++step) {
    const Matrix dy = (layer.forward(x) - target) / 200;
    layer.backward(x, dy);
    // Only the direction of v counts, so the gradient is orthogonal to v: a step can make v longer, never
    // shorter.
    const auto v = layer.v.row(0);
    const auto dv = layer.dv.row(0);
    const double cosine = v.dot(dv) / (v.norm() * dv.norm());
    if (step % 100 == 0) std::printf("%4d   %8.1e   %15.6f   %20.1e\n", step, 100 * dy.squaredNorm(), v.norm(), cosine);
    good = good && std::abs(cosine) < 1e-6 && v.norm() >= norm_before * (1 - 1e-14);
    norm_before = v.norm();
    layer.descend(0.5);
  }

  layer.forward(x);
  const double error = (layer.w - teacher).cwiseAbs().maxCoeff();
  // A g that went through 0 is negative, and its v points the other way.
  const Eigen::ArrayXd g = layer.norm.scale.value.abs();
  const double lengths = (g.matrix() - teacher.rowwise().norm()).cwiseAbs().maxCoeff();
  std::printf("\nw differs from the weight that made the data by %.1e, |g| from its rows' norms by %.1e\n", error,
              lengths);
  return good && error < 1e-3 && lengths < 1e-3 ? 0 : 1;
}

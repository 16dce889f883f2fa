// A layer that the library does not have: Filter Response Normalization (Singh & Krishnan 2020).
//
//     y = scale[c] * x / sqrt(mean(x^2 over height and width) + eps) + shift[c]
//     z = max(y, threshold[c])
//
// The first half is a Normalization with other axes: over everything but samples and channels, by the mean
// square, with scale and shift per channel. The second half, the paper's thresholded linear unit, is this
// file's own.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <random>
#include <type_traits>

using namespace eigennorm;

template <typename Scalar>
class FilterResponseNorm {
 public:
  using Images = Eigen::Tensor<Scalar, 4, Eigen::RowMajor>;  // samples, channels, height, width

  explicit FilterResponseNorm(std::int64_t channels, double eps = 1e-6)
      : norm(Geometry{all_but(0, 1), over(1), channels, 0, "FilterResponseNorm", "channels"}, Statistic::mean_square,
             eps),
        threshold{Vector<Scalar>::Zero(channels), Vector<Scalar>::Zero(channels)} {}

  Images forward(const Images& x) { return clamped(norm.forward(x)); }
  Images evaluate(const Images& x) const { return clamped(norm.evaluate(x)); }

  /// dx, from the x of the last forward. Where y was not above the threshold, dz goes to the threshold
  /// instead of y.
  Images backward(const Images& x, const Images& dz) {
    if (dz.dimensions() != x.dimensions()) fail("FilterResponseNorm: expected dz of x's shape, got another one");
    Images dy = norm.evaluate(x);  // y again, to the bit, so that forward need not keep it
    const auto below = (planes(dy) <= limits(dy)).eval();
    const Vector<Scalar> by_plane = below.select(planes(dz), Scalar(0)).rowwise().sum();
    planes(dy) = below.select(Scalar(0), planes(dz));
    Images dx = norm.backward(x, dy);
    threshold.grad += by_plane.reshaped(x.dimension(1), x.dimension(0)).rowwise().sum();
    return dx;
  }

  Normalization<Scalar> norm;
  Parameter<Scalar> threshold;

 private:
  Images clamped(Images y) const {
    planes(y) = planes(y).max(limits(y));
    return y;
  }
  /// One row for each channel of each sample.
  template <typename Tensor>
  static auto planes(Tensor& images) {
    using Rows = Eigen::Array<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    return Eigen::Map<std::conditional_t<std::is_const_v<Tensor>, const Rows, Rows>>(
        images.data(), images.dimension(0) * images.dimension(1), images.dimension(2) * images.dimension(3));
  }
  /// The threshold of every value in `planes`.
  auto limits(const Images& images) const {
    return threshold.value.replicate(images.dimension(0), images.dimension(2) * images.dimension(3));
  }
};

// Every gradient against central differences, in double, with random parameters and a random dz.

using Images = FilterResponseNorm<double>::Images;

int main() {
  std::mt19937 generator(5);
  const auto fill = [&](double* data,
                        Eigen::Index size) {  // from -1 to 1, the same with every standard library
    for (Eigen::Index i = 0; i < size; ++i) data[i] = static_cast<double>(generator()) / 2147483648.0 - 1;
  };
  const int channels = 3;
  Images x(2, channels, 4, 5), dz(2, channels, 4, 5);
  fill(x.data(), x.size());
  fill(dz.data(), dz.size());
  FilterResponseNorm<double> layer(channels);
  fill(layer.norm.scale.value.data(), channels);
  fill(layer.norm.shift.value.data(), channels);
  layer.threshold.value = layer.norm.shift.value + 0.1;  // so that some values are above and some below

  layer.forward(x);
  const Images dx = layer.backward(x, dz);

  const auto difference = [&](double& number) {
    const double h = 1e-4;
    const double before = number;
    const auto loss = [&](double value) {
      number = value;
      const Eigen::Tensor<double, 0, Eigen::RowMajor> sum = (layer.evaluate(x) * dz).sum();
      number = before;
      return sum();
    };
    const double near = loss(before + h) - loss(before - h);
    const double far = loss(before + 2 * h) - loss(before - 2 * h);
    return (8 * near - far) / (12 * h);
  };
  bool good = true;
  const auto check = [&](const char* name, double* numbers, const double* gradients, Eigen::Index size) {
    double worst = 0;
    for (Eigen::Index i = 0; i < size; ++i) worst = std::max(worst, std::abs(difference(numbers[i]) - gradients[i]));
    std::printf("d%-10s %3ld values, off by at most %.1e\n", name, long(size), worst);
    good = good && worst < 1e-8;
  };

  // A value next to its threshold has no gradient to compare with.
  const Images y = layer.norm.evaluate(x);
  double nearest = 1;
  int above = 0;
  for (Eigen::Index i = 0; i < y.size(); ++i) {
    const double distance = y.data()[i] - layer.threshold.value[i / 20 % channels];
    nearest = std::min(nearest, std::abs(distance));
    if (distance > 0) ++above;
  }
  std::printf("%d of %ld values are above their threshold, none nearer to it than %.4f\n", above, long(y.size()),
              nearest);
  good = good && nearest > 1e-3 && above > 20 && above < 100;

  check("x", x.data(), dx.data(), x.size());
  check("scale", layer.norm.scale.value.data(), layer.norm.scale.grad.data(), channels);
  check("shift", layer.norm.shift.value.data(), layer.norm.shift.grad.data(), channels);
  check("threshold", layer.threshold.value.data(), layer.threshold.grad.data(), channels);
  return good ? 0 : 1;
}

// BatchNorm on images: forward, backward, a gradient step, and evaluate.
//
// The layer learns to give each channel the mean and the standard deviation that a target has. Its scale and
// shift end at those numbers, whatever the channels of the input were like.

#include <cmath>
#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <random>

using Images = Eigen::Tensor<float, 4, Eigen::RowMajor>;  // samples, channels, height, width

/// What a channel is like.
struct Likeness {
  float mean, deviation;
};
const Likeness of_input[] = {{100, 40}, {-5, 1}, {0.02F, 0.5F}};
const Likeness wanted[] = {{1, 0.5F}, {2, 1}, {3, 2}};

/// Noise of mean 0 and deviation 1, made into images.
Images images(const Images& noise, const Likeness* like) {
  Images result(noise.dimensions());
  for (int c = 0; c < 3; ++c) result.chip(c, 1) = noise.chip(c, 1) * like[c].deviation + like[c].mean;
  return result;
}

int main() {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  const auto noise = [&] {
    Images result(16, 3, 8, 8);
    for (Eigen::Index i = 0; i < result.size(); ++i) result.data()[i] = normal(generator);
    return result;
  };

  eigennorm::BatchNorm<float> layer(3);  // three channels, on axis 1
  for (int step = 0; step < 100; ++step) {
    const Images batch = noise();
    const Images x = images(batch, of_input);
    const Images target = images(batch, wanted);

    const Images y = layer.forward(x);  // by this batch's statistics; the running ones move
    const float each = 1.0F / (16 * 8 * 8);
    const Images dy = (y - target) * each;    // the gradient of half the squared error, mean over a channel
    const Images dx = layer.backward(x, dy);  // for the layer below, had the net one
    layer.scale.value -= 0.2F * layer.scale.grad;
    layer.shift.value -= 0.2F * layer.shift.grad;
    layer.zero_grad();  // gradients add up until they are cleared
  }

  // In use: const, by the running statistics, so a batch may be a single image.
  const eigennorm::BatchNorm<float>& trained = layer;
  const Images batch = noise();
  const Images y = trained.evaluate(images(batch, of_input));
  const Images target = images(batch, wanted);

  std::printf("channel   running mean   running deviation   shift   scale   largest error\n");
  bool good = true;
  for (int c = 0; c < 3; ++c) {
    const Eigen::Tensor<float, 0, Eigen::RowMajor> worst = (y.chip(c, 1) - target.chip(c, 1)).abs().maximum();
    std::printf("%7d   %12.3f   %17.3f   %5.2f   %5.2f   %13.4f\n", c, layer.running->mean[c],
                std::sqrt(layer.running->variance[c]), layer.shift.value[c], layer.scale.value[c], worst());
    good = good && worst() < 0.1F * wanted[c].deviation;
  }
  return good ? 0 : 1;
}

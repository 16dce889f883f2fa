// A layer on every kind of tensor, on the calling thread, Eigen's default device and a pool.

namespace {

template <typename X, typename Y>
double use(const X& x, Y& y) {
  eigennorm::GroupNorm<float> layer(2, 4);
  double sum = 0;
  const auto add = [&sum](const auto& tensor) {
    for (int i = 0; i < 96; ++i) sum = sum * 0.75 + static_cast<double>(tensor.data()[i]);
  };
  Eigen::ThreadPool pool(2);
  add(layer.forward(x));
  add(layer.backward(x, x));
  layer.forward(x, y, {Eigen::DefaultDevice()});
  add(y);
  layer.evaluate(x, y, {Eigen::ThreadPoolDevice(&pool, 2)});
  add(y);
  return sum;
}

double use_tensors() {
  Eigen::Tensor<float, 3> x(3, 4, 8), y(3, 4, 8);
  for (int i = 0; i < 96; ++i) x.data()[i] = static_cast<float>((i * 37 + 11) % 101) / 7.0F;
  Eigen::TensorFixedSize<float, Eigen::Sizes<3, 4, 8>> fixed, fixed_y;
  fixed = x;
  const Eigen::TensorMap<const Eigen::Tensor<float, 3>> map(x.data(), 3, 4, 8);
  return use(x, y) + 2 * use(fixed, fixed_y) + 4 * use(map, y);
}

}  // namespace

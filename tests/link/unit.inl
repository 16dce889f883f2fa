#include "unit.hpp"

namespace {

// Raw memory: an Eigen matrix of its own would be aligned differently in the two units.
template <typename Scalar>
std::vector<Scalar> some_values(int count, unsigned seed) {
  std::vector<Scalar> values(static_cast<std::size_t>(count));
  for (Scalar& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<Scalar>(seed >> 8) / Scalar(1 << 23) - Scalar(1);
  }
  return values;
}

template <typename Layer, typename Scalar>
void use_one(Layer& layer, int rows, int columns, Scalar, std::vector<double>& results) {
  using Map = Eigen::Map<Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
  std::vector<Scalar> x = some_values<Scalar>(rows * columns, 1), dy = some_values<Scalar>(rows * columns, 2);
  std::vector<Scalar> y(x.size()), z(x.size()), dx(x.size());
  const Map x_map(x.data(), rows, columns), dy_map(dy.data(), rows, columns);

  layer.zero_grad();
  layer.forward(x_map, Map(y.data(), rows, columns));
  layer.backward(x_map, dy_map, Map(dx.data(), rows, columns));
  layer.evaluate(x_map, Map(z.data(), rows, columns));
  for (const std::vector<Scalar>* values : {&y, &z, &dx}) results.insert(results.end(), values->begin(), values->end());
  layer.for_each_parameter([&](std::string_view, eigennorm::Parameter<Scalar>& parameter) {
    results.insert(results.end(), parameter.grad.data(), parameter.grad.data() + parameter.grad.size());
  });
}

std::unique_ptr<Layers> make(int channels) { return std::make_unique<Layers>(channels); }

std::unique_ptr<Layers> copy(const Layers& layers) { return std::make_unique<Layers>(layers); }

void resize(Layers& layers, int channels) {
  layers.batch = eigennorm::BatchNorm<float>(channels);
  layers.layer = eigennorm::LayerNorm<float>(channels);
  layers.layer.use_shift(false);
  layers.layer.use_shift(true);
  layers.weight = eigennorm::WeightNorm<float>(channels);
  layers.doubles = eigennorm::RMSNorm<double>(channels);
  layers.list.assign(3, layers.batch);
  layers.population = eigennorm::PopulationStatistics<float>();
}

std::vector<double> use(Layers& layers) {
  const int channels = static_cast<int>(layers.batch.scale.value.size());
  std::vector<double> results;
  use_one(layers.batch, 37, channels, float(), results);
  layers.moments = layers.batch.moments();
  layers.population.observe(layers.moments);
  layers.batch.running->assign(layers.population.algorithm2());
  use_one(layers.batch, 37, channels, float(), results);
  use_one(layers.layer, 19, channels, float(), results);
  use_one(layers.weight, channels, 23, float(), results);
  for (eigennorm::Normalization<float>& layer : layers.list) use_one(layer, 41, channels, float(), results);
  use_one(layers.doubles, 29, channels, double(), results);
  layers.list.push_back(layers.list.front());
  return results;
}

void destroy(std::unique_ptr<Layers> layers) { layers.reset(); }

}  // namespace

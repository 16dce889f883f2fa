// Saving and loading: everything that training changes goes to a file and back, and training goes on as if
// nothing had happened, to the bit.
//
// eigennorm/safetensors.hpp writes the file that PyTorch and others read, and reads theirs; it needs nlohmann_json.
// Where that is not, for_each_state, which names each piece of state and gives it as a flat map, makes a file of one's
// own. Settings (axes, eps, averaging) are code: the program that loads makes its layer as the one that saved did.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <eigennorm/eigennorm.hpp>
#if __has_include(<nlohmann/json.hpp>)
#include <eigennorm/safetensors.hpp>
#endif
#include <fstream>
#include <random>
#include <string>
#include <string_view>

using namespace eigennorm;

#if __has_include(<nlohmann/json.hpp>)

/// batch_norm.weight, batch_norm.bias and so on: the names of a state_dict.
void save(const Normalization<float>& layer, const std::string& path) {
  SafeTensors file;
  eigennorm::save(layer, file, "batch_norm.");
  file.write(path);
}

/// Reads what `save` wrote into a layer made alike.
void load(Normalization<float>& layer, const std::string& path) {
  eigennorm::load(layer, SafeTensors::read(path), "batch_norm.");
}

#else

/// Writes, for each piece of state, its name, how many values it has, and their bytes.
void save(const Normalization<float>& layer, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  layer.for_each_state([&](std::string_view name, const auto& values) {
    file << name << ' ' << values.size() << '\n';
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(sizeof(values[0])) * values.size());
  });
  if (!file.flush()) {
    std::fprintf(stderr, "cannot write %s\n", path.c_str());
    std::exit(1);
  }
}

/// Reads what `save` wrote into a layer made alike.
void load(Normalization<float>& layer, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  layer.for_each_state([&](std::string_view name, auto values) {
    std::string found;
    Eigen::Index size = 0;
    file >> found >> size;
    file.get();  // the end of the line
    if (!file || found != name || size != values.size()) {
      std::fprintf(stderr, "%s: expected %ld values of %s, got %ld of %s\n", path.c_str(), long(values.size()),
                   std::string(name).c_str(), long(size), found.c_str());
      std::exit(1);
    }
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(sizeof(values[0])) * size);
  });
  if (!file) {
    std::fprintf(stderr, "%s ends too early\n", path.c_str());
    std::exit(1);
  }
}

#endif

/// The layer of this program: made here for training and for loading alike.
BatchNorm<float> make_layer() {
  BatchNorm<float> layer(12);
  layer.running->averaging = cumulative();  // so the number of batches counts, too
  return layer;
}

/// One step towards targets that a fixed scale and shift would give; returns y.
Eigen::MatrixXf train(Normalization<float>& layer, std::mt19937& generator) {
  std::normal_distribution<float> normal(5, 3);
  const Eigen::MatrixXf x = Eigen::MatrixXf::NullaryExpr(32, 12, [&] { return normal(generator); });
  const Eigen::MatrixXf y = layer.forward(x);
  const Eigen::MatrixXf dy = (y - 0.1F * x) / 32;
  layer.backward(x, dy);
  layer.for_each_parameter(
      [](std::string_view, Parameter<float>& parameter) { parameter.value -= 0.1F * parameter.grad; });
  layer.zero_grad();
  return y;
}

bool same_bits(const Vector<float>& a, const Vector<float>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), sizeof(float) * static_cast<std::size_t>(a.size())) == 0;
}

int main() {
  const std::string path = "06_save_and_load.state";
  std::mt19937 generator(3);
  BatchNorm<float> layer = make_layer();
  for (int step = 0; step < 50; ++step) train(layer, generator);

  save(layer, path);
  BatchNorm<float> loaded = make_layer();
  load(loaded, path);
  std::remove(path.c_str());
  std::printf("saved and loaded:");
  loaded.for_each_state([](std::string_view name, const auto& values) {
    std::printf("  %s (%ld)", std::string(name).c_str(), long(values.size()));
  });

  std::mt19937 same_generator = generator;
  bool same = true;
  for (int step = 0; step < 10; ++step) {
    const Eigen::MatrixXf y = train(layer, generator);
    const Eigen::MatrixXf y_loaded = train(loaded, same_generator);
    same = same && y == y_loaded && same_bits(layer.scale.value, loaded.scale.value) &&
           same_bits(layer.shift.value, loaded.shift.value) && same_bits(layer.running->mean, loaded.running->mean) &&
           same_bits(layer.running->variance, loaded.running->variance) &&
           layer.running->batches == loaded.running->batches;
  }
  std::printf("\nthe next ten training steps agree bit for bit: %s (%ld batches seen)\n", same ? "yes" : "NO",
              long(loaded.running->batches));
  return same ? 0 : 1;
}

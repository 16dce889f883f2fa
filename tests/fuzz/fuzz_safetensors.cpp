// Files from strangers: any bytes are read or refused, and what is read can be taken, written and read again.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <vector>

#include <eigennorm/batch_norm.hpp>
#include <eigennorm/safetensors.hpp>
#include <eigennorm/weight_norm.hpp>

#include "replay.hpp"

namespace {

using namespace eigennorm;

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "fuzz_safetensors: %s\n", what);
  std::abort();
}

template <typename F>
bool accepted(const F& f) {
  try {
    f();
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  }
}

void take_all(const SafeTensors& file) {
  for (const StoredTensor& tensor : file.tensors()) {
    unsigned sum = 0;  // every byte is there
    for (std::int64_t i = 0; i < tensor.size; ++i) sum += tensor.bytes[i];
    expect(sum <= 255U * static_cast<std::size_t>(tensor.size), "a sum of bytes");
    accepted([&] { file.get<Eigen::MatrixXf>(tensor.name); });
    accepted([&] { file.get<Eigen::Matrix<Eigen::half, Eigen::Dynamic, 1>>(tensor.name); });
    accepted([&] { file.get<Eigen::Matrix<std::int16_t, 1, Eigen::Dynamic>>(tensor.name); });
    accepted([&] { file.get<double>(tensor.name); });
  }
}

void load_layers(const SafeTensors& file) {
  BatchNorm<float> layer(2);
  if (accepted([&] { load(layer, file, "a."); })) layer.check();
  WeightNorm<double> weight(2);
  Eigen::MatrixXd v(2, 3);
  accepted([&] { load(weight, v, file, "", {{"g", "scale"}, {"v", "kernel"}}, Leftovers::allowed); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  accepted([&] {
    const SafeTensors file = SafeTensors::from_memory(data, size);
    take_all(file);
    load_layers(file);
    const std::vector<unsigned char> bytes = file.bytes();
    bool same = false;
    expect(accepted([&] { same = SafeTensors::from_memory(bytes.data(), bytes.size()).bytes() == bytes; }) && same,
           "what was written reads as something else");
  });
  return 0;
}

bool has_tested(std::size_t inputs) { return inputs > 0; }

#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <eigennorm/safetensors.hpp>

int main() {
  eigennorm::SafeTensors file;
  eigennorm::save(eigennorm::LayerNorm<float>(8), file, "norm.");
  eigennorm::LayerNorm<float> layer(8);
  eigennorm::load(layer, file, "norm.");
  std::printf("%zu tensors\n", file.tensors().size());
  return file.tensors().size() == 2 ? 0 : 1;
}

#include "../without_kernels.inl"

namespace eigennorm {

inline void use(WeightNorm<float>& layer, Eigen::MatrixXf& v, SafeTensors& file) {
  save(layer, v, file, "");
  load(layer, v, file, "");
  Normalization<float>& base = layer;
  save(base, file, "");
  load(base, file, "");
}

}  // namespace eigennorm

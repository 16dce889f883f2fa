#include "../without_kernels.inl"

namespace eigennorm {

inline void use(Normalization<float>& layer, Eigen::MatrixXf& v, SafeTensors& file) {
  save(layer, v, file, "");
  load(layer, v, file, "");
  save(layer, file, "");
  load(layer, file, "");
}

}  // namespace eigennorm

// expect: A safetensors file holds numbers: integers, bool, float, double, Eigen::half and Eigen::bfloat16.
#include <eigennorm/safetensors.hpp>

int main() {
  eigennorm::SafeTensors file;
#if defined(CONTROL)
  file.get<Eigen::VectorXf>("x");
  file.get<Eigen::half>("x");
#else
  file.get<Eigen::VectorXcf>("x");
  file.get<std::complex<float>>("x");
#endif
}

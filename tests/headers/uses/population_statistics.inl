#include "without_kernels.inl"

namespace eigennorm {

template class PopulationStatistics<float>;
template class PopulationStatistics<double>;
inline void use(PopulationStatistics<float>& population, const Eigen::MatrixXf& x) {
  population.observe(x, channels_on(1));
}

}  // namespace eigennorm

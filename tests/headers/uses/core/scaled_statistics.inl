namespace eigennorm {

template class core::ScaledStatistics<float, float>;
template class core::ScaledStatistics<Eigen::half, float>;

}  // namespace eigennorm

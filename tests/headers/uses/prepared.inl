namespace eigennorm {

template class Prepared<float, float>;
template class Prepared<Eigen::half, float>;

}  // namespace eigennorm

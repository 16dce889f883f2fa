namespace eigennorm {

template struct core::FeatureSums<float, float>;
template struct core::FeatureSums<double, double>;

}  // namespace eigennorm

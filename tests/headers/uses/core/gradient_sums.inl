namespace eigennorm {

template struct core::GradientSums<float>;
template struct core::GradientSums<double>;
template struct core::GradientTotals<float>;
template struct core::GradientTotals<double>;

}  // namespace eigennorm

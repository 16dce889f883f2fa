namespace eigennorm {

template class core::FeatureRows<float, float>;
template class core::FeatureRows<double, double>;

}  // namespace eigennorm

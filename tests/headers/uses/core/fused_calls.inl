namespace eigennorm {

template struct core::Calls<float, float>;
template struct core::Calls<double, double>;

}  // namespace eigennorm

namespace eigennorm {

template struct core::Fusion<float>;
template struct core::Fusion<double>;

}  // namespace eigennorm

namespace eigennorm {

template struct core::SummariesView<float>;
template struct core::SummariesView<double>;

}  // namespace eigennorm

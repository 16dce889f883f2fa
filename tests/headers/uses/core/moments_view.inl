namespace eigennorm {

template struct core::MomentsView<float>;

}  // namespace eigennorm

namespace eigennorm {

template struct core::SpreadRoom<float>;

}  // namespace eigennorm

namespace eigennorm {

template struct Context<float>;

}  // namespace eigennorm

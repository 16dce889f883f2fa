namespace eigennorm {

template struct Parameter<float>;
template struct Parameter<double>;

}  // namespace eigennorm

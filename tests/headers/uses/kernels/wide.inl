namespace eigennorm {

template struct kernels::WideSum<float>;
template struct kernels::WideSum<double>;

}  // namespace eigennorm

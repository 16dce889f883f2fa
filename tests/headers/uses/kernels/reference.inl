namespace eigennorm {

template struct kernels::reference::Functions<float, float>;
template struct kernels::reference::Functions<double, double>;

}  // namespace eigennorm

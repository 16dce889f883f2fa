namespace eigennorm {

template bool kernels::is_finite(float);
template bool kernels::is_finite(double);
template bool kernels::is_finite(long double);

}  // namespace eigennorm

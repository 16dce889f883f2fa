namespace eigennorm {

template class Moments<float>;
template class Moments<double>;

}  // namespace eigennorm

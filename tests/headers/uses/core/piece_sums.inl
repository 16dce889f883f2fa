namespace eigennorm {

template class core::PieceSums<float>;
template class core::PieceSums<double>;

}  // namespace eigennorm

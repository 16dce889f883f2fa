namespace eigennorm {

template class core::KnownRoots<float>;
template class core::KnownRoots<long double>;

}  // namespace eigennorm

namespace eigennorm {

template class core::ForwardTask<float, float>;
template void core::forward(core::ForwardCall<float, float>&, const Device&);
template void core::forward(core::ForwardCall<double, double>&, const Device&);

}  // namespace eigennorm

namespace eigennorm {

template void core::forward_given(const core::ForwardCall<float, float>&, const core::Given<float>&, const Device&);
template void core::forward_given(const core::ForwardCall<double, double>&, const core::Given<double>&, const Device&);

}  // namespace eigennorm

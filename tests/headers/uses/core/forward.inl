namespace eigennorm {

template class core::ForwardTask<float, float>;
template void core::forward(core::ForwardCall<float, float>&, const Device&);
template void core::forward(core::ForwardCall<double, double>&, const Device&);
template void core::forward_given(const core::ForwardCall<float, float>&, const core::Given<float>&, const Device&);

}  // namespace eigennorm

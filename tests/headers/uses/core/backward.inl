namespace eigennorm {

template class core::BackwardTask<float, float>;
template void core::input_gradient(core::BackwardCall<float, float>, const Device&);
template void core::input_gradient(core::BackwardCall<double, double>, const Device&);

}  // namespace eigennorm

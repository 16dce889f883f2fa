namespace eigennorm {

template std::int64_t core::gradient_scratch<float>(const core::Partition&, bool, bool);
template void core::backward(core::BackwardCall<float, float>, const core::AffineGradients<float>&, double*,
                             const Device&);

}  // namespace eigennorm

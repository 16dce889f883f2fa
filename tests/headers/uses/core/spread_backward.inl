namespace eigennorm {

template void core::append_gradients<float>(core::SpreadHeader&, Peers::Record&, const core::SpreadHeader&,
                                            Peers::Record&);
template std::int64_t core::sum_part(core::BackwardCall<float, float>&, Peers::Record&, const Device&);
template void core::finish_part(core::BackwardCall<float, float>&, const core::AffineGradients<float>&, Peers::Record&,
                                const Device&);

}  // namespace eigennorm

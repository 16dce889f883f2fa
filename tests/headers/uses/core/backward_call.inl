namespace eigennorm {

template struct core::BackwardCall<float, float>;
template void core::gradient_columns(const core::BackwardCall<float, float>&, const core::Tile&, core::Segment,
                                     const kernels::Gradient<float>&, std::int64_t);

inline void use_gate(const core::BackwardCall<double, double>& call, core::Rows<const double> x,
                     core::Rows<const double> dy, const kernels::Fused<double, double>& by) {
  core::with_gate(call, x, dy, {1, 1}, by, 0,
                  [](core::Rows<const double>, std::int64_t, std::int64_t, core::Extent) {});
}

}  // namespace eigennorm

namespace eigennorm {

template struct kernels::Rows<float>;
template struct kernels::LaneRows<float>;
template struct kernels::Normalizers<float>;
template struct kernels::Affine<float>;
template struct kernels::Gradient<float>;
template struct kernels::Summaries<float>;
template struct kernels::Statistics<float>;
template struct kernels::Rule<float>;
template struct kernels::BlockKernels<float, float>;

}  // namespace eigennorm

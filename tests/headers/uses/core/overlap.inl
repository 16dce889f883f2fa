namespace eigennorm {

template core::Overlap core::overlap(const View<float>&, const View<const float>&);

}  // namespace eigennorm

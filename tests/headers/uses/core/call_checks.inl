namespace eigennorm {

template void Normalization<float>::check() const;
template Order core::order_of(const View<float>&, const View<const float>&);

}  // namespace eigennorm

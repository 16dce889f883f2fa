namespace eigennorm {

template class core::AlignedParameter<float>;
template std::int64_t core::columns_ahead(const core::Part<float, float>&, const core::Partition&, std::int64_t);
template void core::transform_rows(const core::ForwardCall<float, float>&, core::ScaleAndShift<float>,
                                   const core::Tile&, core::Segment, const core::Normalizers<float>&, std::int64_t);
template void core::transform_columns(const core::ForwardCall<double, double>&, core::ScaleAndShift<double>,
                                      const core::Tile&, core::Segment, const core::Normalizers<double>&, std::int64_t);

}  // namespace eigennorm

namespace eigennorm {

template struct core::Buffer<float, 16 * 1024>;
template kernels::LaneRows<const float> core::lane_rows(const float*, std::size_t, const core::Loop&, std::int64_t,
                                                        std::int64_t, std::int64_t*);
template kernels::Rows<const float> core::value_rows(const core::Input<float, float>&, const core::Loop&,
                                                     const core::Tile&, core::Segment, float*);

}  // namespace eigennorm

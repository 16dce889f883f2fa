namespace eigennorm {

template void core::append_block(const core::RowSource<float, float>&, bool, std::int64_t, std::int64_t,
                                 kernels::Summaries<float>&);
template void core::append_block(const core::LaneSource<double, double>&, bool, std::int64_t, std::int64_t,
                                 kernels::Summaries<double>&);
template kernels::Rule<float> core::rule_of<float>(Statistic, std::int64_t, double);

}  // namespace eigennorm

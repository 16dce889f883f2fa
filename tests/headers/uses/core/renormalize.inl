namespace eigennorm {

template float core::clipped_ratio(float, float, const Renormalization&);
template double core::clipped_distance(double, double, const Renormalization&);
template void core::find_corrections(const core::Partition&, const core::MomentsView<float>&, const core::Given<float>&,
                                     double, const Renormalization&, const core::Corrections<float>&);
template const float* core::corrected_scale(const float*, const core::Corrections<float>&, std::int64_t, float*);
template const double* core::corrected_shift(const double*, const double*, const core::Corrections<double>&,
                                             std::int64_t, double*);
template double core::corrected_product(const core::Corrections<double>&, std::int64_t, double, double);

}  // namespace eigennorm

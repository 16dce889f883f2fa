namespace eigennorm {

template struct View<float>;
template View<const float> core::view(const Eigen::MatrixXf&);
template View<float> core::output_view(Eigen::MatrixXf&);
static_assert(core::check_input<Eigen::MatrixXf, float>());
static_assert(core::check_output<Eigen::MatrixXf, Eigen::MatrixXf, float>());

}  // namespace eigennorm

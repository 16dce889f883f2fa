namespace eigennorm {

inline std::int64_t use(const Eigen::VectorXf& x) {
  core::narrowed<float>(1.0);
  return core::vector_step(core::view(x), 3, "use", "x");
}

}  // namespace eigennorm

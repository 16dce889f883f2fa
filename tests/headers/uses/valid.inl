namespace eigennorm {

inline void use(const Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>& mask, const Eigen::VectorXi& lengths) {
  const Valid valid(mask), other = mask;
  valid_lengths(lengths, 3);
}

}  // namespace eigennorm

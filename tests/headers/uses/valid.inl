namespace eigennorm {

inline bool use(const Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>& mask, const Eigen::VectorXi& lengths) {
  const Valid valid(mask);
  return valid.data != nullptr && valid_lengths(lengths, 3).size() > 0;
}

}  // namespace eigennorm

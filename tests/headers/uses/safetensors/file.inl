namespace eigennorm {

inline void use(SafeTensors& file, const Eigen::MatrixXf& x) {
  file.add("x", x);
  file.get<Eigen::MatrixXf>("x");
}

}  // namespace eigennorm

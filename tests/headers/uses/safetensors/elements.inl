namespace eigennorm {

inline std::string use(const StoredTensor& tensor, Eigen::MatrixXf& x) {
  core::Elements<float> elements(core::output_view(x));
  core::encode(core::view(x));
  core::Maker<Eigen::MatrixXf> maker(core::essential(core::list_of(core::view(x).shape)));
  return core::decode<float>(tensor, [&](float value) { elements.next() = value; });
}

}  // namespace eigennorm

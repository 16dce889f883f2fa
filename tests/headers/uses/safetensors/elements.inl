namespace eigennorm {

inline std::string use(const StoredTensor& tensor, Eigen::MatrixXf& x) {
  core::Elements<float> elements(core::output_view(x));
  std::vector<unsigned char> bytes;
  core::encode(core::view(x), bytes);
  core::Maker<Eigen::MatrixXf> maker(core::essential(core::list_of(core::view(x).shape)));
  return core::decode<float>(tensor, [&](float value) { elements.next() = value; });
}

}  // namespace eigennorm

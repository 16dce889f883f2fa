namespace eigennorm {

template std::vector<float> Normalization<float>::parameters() const;
template void Normalization<float>::assign(std::string_view, const float*, std::int64_t);

}  // namespace eigennorm

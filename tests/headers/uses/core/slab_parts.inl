namespace eigennorm {

template bool core::is_far<float>(std::int64_t);
template class core::Columns<float>;
template class core::Columns<double>;
inline void use(const core::Pass<float>& pass, const core::Layout& layout, const core::Tile& tile, core::Segment part,
                core::ScaleAndShift<float> of, core::Columns<float>& columns) {
  const auto visit = [](const core::Part<float, float>&) {};
  core::for_rows(pass, layout, tile, part, of, core::Visitor<float, float>(visit));
  core::for_columns(pass, layout, tile, part, of, columns, core::Visitor<float, float>(visit));
}

}  // namespace eigennorm

namespace eigennorm {

inline void use(const core::Layout& layout, const core::Tile& tile) {
  core::for_each_slab(layout, tile, 0, 1, [](const core::Slab&) {});
}

}  // namespace eigennorm

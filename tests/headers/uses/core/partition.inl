namespace eigennorm {

inline void use(const Geometry& geometry, const core::Roles& roles, const Shape& shape) {
  core::for_each_axis(geometry, roles, shape, Order::row_major, {}, [](const core::Axis&, bool, bool, int) {});
}

}  // namespace eigennorm

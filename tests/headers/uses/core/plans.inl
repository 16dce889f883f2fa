namespace eigennorm {

inline bool use_plans(const core::Plans& plans, const Shape& shape, const Strides& strides) {
  return core::are_alike(shape, strides, strides) && plans.find(shape, Order::any, strides) != nullptr;
}

}  // namespace eigennorm

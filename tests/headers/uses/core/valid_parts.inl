namespace eigennorm {

inline void use(core::ValidParts& parts, float* data) {
  parts.for_each({}, [](const core::Partition&, const core::Offsets&, const Device&) {});
  parts.for_each_group([](std::int64_t, std::int64_t) {});
  parts.clear_gaps(data, 0, {});
}

}  // namespace eigennorm

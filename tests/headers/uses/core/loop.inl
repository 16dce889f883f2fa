namespace eigennorm {

inline void use(const core::Loop& loop) {
  loop.for_each_run(0, loop.size, [](const core::Offsets&, std::int64_t, std::int64_t) {});
  loop.for_each_run_of(0, 0, loop.size, [](std::int64_t, std::int64_t, std::int64_t) {});
}

}  // namespace eigennorm

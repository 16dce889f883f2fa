namespace eigennorm {

struct Cost {
  double loaded, stored, cycles;
};
struct Pool {
  int numThreads() const { return 1; }
  int currentThreadId() const { return -1; }
  template <typename F>
  void parallelFor(std::ptrdiff_t tasks, const Cost&, const F& f) const {
    f(0, tasks);
  }
};
inline void use(const Pool& pool) {
  Device(pool).parallel_for(2, 1, [](std::int64_t, std::int64_t) {});
}

}  // namespace eigennorm

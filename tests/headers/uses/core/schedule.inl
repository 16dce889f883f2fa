namespace eigennorm {

struct Kernels {
  void fence() const {}
};
struct Call {
  const core::Partition* partition;
  bool stream;
  const Kernels* kernels;
};
struct Task {
  using W = double;
  struct Sums {
    static constexpr std::int64_t numbers = 1;
    void clear(std::int64_t) {}
    void add(const Sums&, std::int64_t) {}
    void put(W*, std::int64_t) const {}
    void get(const W*, core::Segment) {}
    void count_is(std::int64_t) {}
  };
  Task(const Call&, std::int64_t) {}
  const core::Tile& tile() const { return tile_; }
  using Summing = Task;
  static std::int64_t segments(const Call&) { return 1; }
  static std::int64_t values_in(const Call&, std::int64_t) { return 1; }
  bool writes() const { return true; }
  void begin(std::int64_t, const core::Tile& tile) { tile_ = tile; }
  void sum(std::int64_t, Sums&) const {}
  void finish(const Sums&) {}
  void write(std::int64_t, std::int64_t) const {}
  core::Tile tile_;
};
template std::int64_t core::next_after<float>(std::int64_t, std::int64_t, std::int64_t, std::int64_t);
template std::int64_t core::tile_width<float>(const core::Partition&, const core::Layout&, std::int64_t, int);
template void core::run_tiles<Task>(const Call&, const core::Tiles&, const Device&);

}  // namespace eigennorm

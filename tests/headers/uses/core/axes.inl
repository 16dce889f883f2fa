namespace eigennorm {

template AxisSet over<int, int>(const int&, int);
struct Two {
  const int* begin() const;
  const int* end() const;
};
template AxisSet over<Two>(const Two&);
template AxisSet all_but<int>(int);
template Samples samples_on<int>(int);
inline Extents use() { return Extents({2, 3}); }

}  // namespace eigennorm

// The functions of BlockKernels (block.hpp) by vectors of sixteen, with the bits of the reference
// (reference.hpp). Included once per instruction set, after lanes.inl; no include guard.

/// How a vector meets memory: whole, or only its first `count` values (the others are read as 0).
struct Whole {
  template <typename L, typename Storage>
  EIGENNORM_INLINE typename L::V load(Whole, const Storage* p) {
    return L::load(p);
  }
  template <typename L, typename Storage>
  EIGENNORM_INLINE void store(Whole, Storage* p, typename L::V a) {
    L::store(p, a);
  }
};
struct Few {
  std::int64_t count;

  template <typename L, typename Storage>
  EIGENNORM_INLINE typename L::V load(Few few, const Storage* p) {
    return L::load_few(p, few.count);
  }
  template <typename L, typename Storage>
  EIGENNORM_INLINE void store(Few few, Storage* p, typename L::V a) {
    L::store_few(p, a, few.count);
  }
};

template <typename Storage, typename Scalar>
struct Functions {
  using L = Vector<Scalar, 16 * static_cast<int>(sizeof(Scalar))>;
  using V = typename L::V;
  using In = Rows<const Storage>;
  using Out = Rows<Storage>;

  /// Two kilobytes: far enough ahead for memory, near enough to be still in L1 when it is needed.
  static constexpr auto ahead = static_cast<std::int64_t>(2048 / sizeof(Storage));
  static constexpr auto line = static_cast<std::int64_t>(64 / sizeof(Storage));

  /// Asks for the cache lines of the `count` values from p on.
  template <int Count, int Locality = 3>
  EIGENNORM_INLINE void prefetch(const Storage* p) {
    __builtin_prefetch(p, 0, Locality);
    if constexpr (Count > line) prefetch<Count - static_cast<int>(line), Locality>(p + line);
  }

  EIGENNORM_INLINE void put(Storage* y, V a, bool stream) {
    if (stream) {
      L::stream(y, a);
    } else {
      L::store(y, a);
    }
  }

  // ---- parameters

  /// Adding -0 changes no bit, adding 0 would change that of -0.
  EIGENNORM_INLINE Scalar shift_of(const Scalar* shift, std::int64_t i) {
    return shift == nullptr ? Scalar(-0.0) : shift[i];
  }
  EIGENNORM_INLINE Scalar scale_of(const Scalar* scale, std::int64_t i) {
    return scale == nullptr ? Scalar(1) : scale[i];
  }
  /// The scales of row r's values, or null.
  EIGENNORM_INLINE const Scalar* scale_of_each(Affine<Scalar> affine, std::int64_t r) {
    return affine.each && affine.scale != nullptr ? affine.scale + r * affine.step : nullptr;
  }

  /// x - high - low.
  struct Deviation {
    V high, low;
    template <typename Access>
    inline __attribute__((always_inline)) V operator()(Access access, const Storage* x, std::int64_t i) const {
      return L::subtract(L::subtract(access.template load<L>(access, x + i), high), low);
    }
  };
  EIGENNORM_INLINE Deviation deviation(const Normalizer<Scalar>& by) { return {L::all(by.high), L::all(by.low)}; }

#include "eigennorm/kernels/row_sums.inl"

#include "eigennorm/kernels/row_results.inl"

#include "eigennorm/kernels/lane_functions.inl"

  static void fence() {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
  }
};

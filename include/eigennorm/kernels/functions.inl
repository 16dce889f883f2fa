// The functions of BlockKernels (block.hpp) by vectors of sixteen, with the bits of the reference
// (reference.hpp). Included once per instruction set, after lanes.inl; no include guard.

/// How a vector meets memory: whole, whole and past the caches, or only its first `count` values (the others
/// are read as 0).
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
struct Streamed : Whole {
  template <typename L, typename Storage>
  EIGENNORM_INLINE void store(Whole, Storage* p, typename L::V a) {
    L::stream(p, a);
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

  // ---- parameters

  /// One for all values.
  struct All {
    V value;
    template <typename Access>
    inline __attribute__((always_inline)) V operator()(Access, std::int64_t) const {
      return value;
    }
  };
  /// One for each value.
  struct Each {
    const Scalar* from;
    template <typename Access>
    inline __attribute__((always_inline)) V operator()(Access access, std::int64_t i) const {
      return access.template load<L>(access, from + i);
    }
  };
  /// One for each value where there are any. (A branch that never changes costs less than another loop.)
  struct EachOr {
    const Scalar* from;
    V otherwise;
    template <typename Access>
    inline __attribute__((always_inline)) V operator()(Access access, std::int64_t i) const {
      return from == nullptr ? otherwise : access.template load<L>(access, from + i);
    }
  };
  EIGENNORM_INLINE All all(Scalar value) { return {L::all(value)}; }
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

  /// x - high - low. Without a mean high and low are 0, and nothing is to be done.
  template <bool Centred, typename Parameter>
  struct Deviation {
    Parameter high, low;
    template <typename Access>
    inline __attribute__((always_inline)) V operator()(Access access, const Storage* x, std::int64_t i) const {
      const V value = access.template load<L>(access, x + i);
      if constexpr (Centred) {
        return L::subtract(L::subtract(value, high(access, i)), low(access, i));
      } else {
        return value;
      }
    }
  };
  template <bool Centred>
  EIGENNORM_INLINE Deviation<Centred, All> deviation(const Normalizer<Scalar>& by) {
    return {all(by.high), all(by.low)};
  }
  EIGENNORM_INLINE Deviation<true, Each> deviation(const Lanes<Scalar>& by) { return {{by.high}, {by.low}}; }
  EIGENNORM_INLINE bool is_centred(const Normalizer<Scalar>& by) { return by.high != 0 || by.low != 0; }

#include "eigennorm/kernels/row_functions.inl"

#include "eigennorm/kernels/lane_functions.inl"

  static void fence() {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
  }
};

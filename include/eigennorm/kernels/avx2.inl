// Registers of 32 bytes: AVX2, FMA and F16C. Included in targets.hpp.
#define EIGENNORM_BYTES 32
#define EIGENNORM_TAIL always_inline

/// For each choice of eight lanes: the lanes that are set, and of each lane how many are set before it, or -1 where it
/// is not.
struct SelectionTable {
  signed char lanes[256][8] = {}, ranks[256][8] = {};

  constexpr SelectionTable() {
    for (unsigned choice = 0; choice < 256; ++choice) {
      signed char count = 0;
      for (unsigned lane = 0; lane < 8; ++lane) {
        const bool is_set = (choice >> lane & 1U) != 0;
        ranks[choice][lane] = is_set ? count : static_cast<signed char>(-1);
        if (is_set) lanes[choice][count++] = static_cast<signed char>(lane);
      }
    }
  }
  template <typename Ints>
  EIGENNORM_INLINE Ints wide(const signed char (&numbers)[8]) {
    typedef signed char Chars __attribute__((vector_size(8)));
    Chars chars;
    __builtin_memcpy(&chars, numbers, sizeof chars);
    return __builtin_convertvector(chars, Ints);
  }
  template <typename Ints>
  inline __attribute__((always_inline)) Ints lanes_of(unsigned choice) const {
    return wide<Ints>(lanes[choice]);
  }
  template <typename Ints>
  inline __attribute__((always_inline)) Ints ranks_of(unsigned choice) const {
    return wide<Ints>(ranks[choice]);
  }
};
inline constexpr SelectionTable selection_table;

template <typename T>
struct Machine {
  typedef float Floats __attribute__((vector_size(32)));
  typedef double Doubles __attribute__((vector_size(32)));
  typedef int Ints __attribute__((vector_size(32)));
  typedef long long Longs __attribute__((vector_size(32)));
  typedef short HalfBits __attribute__((vector_size(16)));

  /// (Stores by mask are slow on some processors.)
  static constexpr bool has_masks = true, loads_by_mask = true, stores_by_mask = false;

  template <typename Storage>
  static constexpr bool selects = std::is_same_v<Storage, float>;

  EIGENNORM_INLINE Doubles square_root(Doubles a) { return __builtin_ia32_sqrtpd256(a); }

  EIGENNORM_INLINE void stream(float* p, Floats a) {
#if defined(__clang__)
    __builtin_nontemporal_store(a, reinterpret_cast<Floats*>(p));
#else
    __builtin_ia32_movntps256(p, a);
#endif
  }
  template <typename Value, typename Shorts>
  EIGENNORM_INLINE void stream_shorts(Value* p, Shorts shorts) {
#if defined(__clang__)
    __builtin_nontemporal_store(shorts, reinterpret_cast<Shorts*>(p));
#else
    typedef float Lower __attribute__((vector_size(16)));
    __builtin_ia32_movntps(reinterpret_cast<float*>(p), reinterpret_cast<Lower>(shorts));
#endif
  }

  EIGENNORM_INLINE Floats load_few(const float* p, std::int64_t count) {
    const Ints lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return __builtin_ia32_maskloadps256(reinterpret_cast<const Floats*>(p), lane < (static_cast<int>(count) - Ints{}));
  }
  EIGENNORM_INLINE Doubles load_few(const double* p, std::int64_t count) {
    const Longs lane = {0, 1, 2, 3};
    return __builtin_ia32_maskloadpd256(reinterpret_cast<const Doubles*>(p),
                                        lane < (static_cast<long long>(count) - Longs{}));
  }

  /// Which lane of eight each value goes to: the number of those that are set before it; negative where it is not set.
  EIGENNORM_INLINE Ints ranks(unsigned lanes) { return selection_table.ranks_of<Ints>(lanes); }
  EIGENNORM_INLINE void pack(const float* x, unsigned lanes, float* to) {
    for (int i = 0; i < 2; ++i, x += 8, to += __builtin_popcount(lanes & 0xffU), lanes >>= 8) {
      const Floats values = __builtin_ia32_maskloadps256(reinterpret_cast<const Floats*>(x), ~ranks(lanes & 0xffU));
      const Floats packed = __builtin_ia32_permvarsf256(values, selection_table.lanes_of<Ints>(lanes & 0xffU));
      __builtin_memcpy(to, &packed, sizeof packed);
    }
  }
  EIGENNORM_INLINE void unpack(const float* from, unsigned lanes, unsigned written, float* y, bool stream) {
    for (int i = 0; i < 2; ++i, y += 8, from += __builtin_popcount(lanes & 0xffU), lanes >>= 8, written >>= 8) {
      Floats packed;
      __builtin_memcpy(&packed, from, sizeof packed);
      const Ints rank = ranks(lanes & 0xffU);
      const Floats values = Floats(Ints(__builtin_ia32_permvarsf256(packed, rank)) & (rank >= 0));
      if (stream) {
        Machine::stream(y, values);
      } else if ((written & 0xffU) == 0xffU) {
        __builtin_memcpy(y, &values, sizeof values);
      } else {
        for (unsigned left = written & 0xffU; left != 0; left &= left - 1)
          y[__builtin_ctz(left)] = values[__builtin_ctz(left)];
      }
    }
  }

  template <typename Words, typename Shorts>
  EIGENNORM_INLINE Words widen(Shorts shorts) {
    return __builtin_convertvector(shorts, Words);
  }

  /// The bits of values, each NaN by its sign and 0x7fc00000.
  template <typename Words>
  EIGENNORM_INLINE Words quiet_nans(Floats a) {
    const Words bits = Words(a), is_nan = Words(a != a);
    return (bits & (0xff800000U | ~is_nan)) | (0x400000U & is_nan);
  }
  template <typename Shorts, typename Words>
  EIGENNORM_INLINE Shorts upper_halves(Words words) {
    return __builtin_convertvector(words >> 16, Shorts);
  }

  EIGENNORM_INLINE Floats load(const Eigen::half* p) {
    HalfBits halves;
    __builtin_memcpy(&halves, p, sizeof halves);
    return __builtin_ia32_vcvtph2ps256(halves);
  }
  EIGENNORM_INLINE void store(Eigen::half* p, Floats a) {
    const auto halves = __builtin_ia32_vcvtps2ph256(a, 0);
    __builtin_memcpy(static_cast<void*>(p), &halves, sizeof halves);
  }
  EIGENNORM_INLINE void stream(Eigen::half* p, Floats a) { stream_shorts(p, __builtin_ia32_vcvtps2ph256(a, 0)); }
};

// Registers of 32 bytes: AVX2, FMA and F16C. Included in targets.hpp.
#define EIGENNORM_BYTES 32
#define EIGENNORM_TAIL always_inline

/// For each choice of eight lanes, those that are set.
struct ChosenLanes {
  signed char lanes[256][8] = {};

  constexpr ChosenLanes() {
    for (unsigned choice = 0; choice < 256; ++choice) {
      int count = 0;
      for (int lane = 0; lane < 8; ++lane) {
        if ((choice >> lane & 1U) != 0) lanes[choice][count++] = static_cast<signed char>(lane);
      }
    }
  }
};
inline constexpr ChosenLanes chosen_lanes;

template <typename T>
struct Machine {
  typedef float Floats __attribute__((vector_size(32)));
  typedef double Doubles __attribute__((vector_size(32)));
  typedef int Ints __attribute__((vector_size(32)));
  typedef long long Longs __attribute__((vector_size(32)));
  typedef short HalfBits __attribute__((vector_size(16)));

  static constexpr bool has_root_estimate = true;
  /// (Stores by mask are slow on some processors.)
  static constexpr bool has_masks = true, loads_by_mask = true, stores_by_mask = false;

  template <typename Storage>
  static constexpr bool selects = std::is_same_v<Storage, float>;

  EIGENNORM_INLINE Doubles square_root(Doubles a) { return __builtin_ia32_sqrtpd256(a); }

  EIGENNORM_INLINE Floats reciprocal_root_estimate(Floats a) { return __builtin_ia32_rsqrtps256(a); }

  typedef float FloatHalf __attribute__((vector_size(16)));
  EIGENNORM_INLINE Doubles to_doubles(FloatHalf a) {
#if defined(__clang__)
    return __builtin_convertvector(a, Doubles);
#else
    return __builtin_ia32_cvtps2pd256(a);
#endif
  }

  EIGENNORM_INLINE unsigned bits(Ints masks) {
    return static_cast<unsigned>(__builtin_ia32_movmskps256(reinterpret_cast<Floats>(masks)));
  }
  EIGENNORM_INLINE unsigned bits(Longs masks) {
    return static_cast<unsigned>(__builtin_ia32_movmskpd256(reinterpret_cast<Doubles>(masks)));
  }

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

  /// Those of eight values that are set; others are not read, and are 0.
  EIGENNORM_INLINE Floats load_lanes(const float* p, unsigned lanes) {
    const Ints to_sign = {31, 30, 29, 28, 27, 26, 25, 24};
    return __builtin_ia32_maskloadps256(reinterpret_cast<const Floats*>(p), (static_cast<int>(lanes) - Ints{})
                                                                                << to_sign);
  }
  EIGENNORM_INLINE void pack(const float* x, unsigned lanes, float* to) {
    typedef signed char Chars __attribute__((vector_size(8)));
    for (int i = 0; i < 2; ++i, x += 8, to += __builtin_popcount(lanes & 0xffU), lanes >>= 8) {
      Chars chosen;
      __builtin_memcpy(&chosen, chosen_lanes.lanes[lanes & 0xffU], sizeof chosen);
      const Floats values = load_lanes(x, lanes & 0xffU);
      const Floats packed = __builtin_ia32_permvarsf256(values, __builtin_convertvector(chosen, Ints));
      __builtin_memcpy(to, &packed, sizeof packed);
    }
  }
  EIGENNORM_INLINE void keep(const float* from, unsigned lanes, float* to) {
    for (int i = 0; i < 2; ++i, from += 8, to += 8, lanes >>= 8) {
      const Floats values = load_lanes(from, lanes & 0xffU);
      __builtin_memcpy(to, &values, sizeof values);
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

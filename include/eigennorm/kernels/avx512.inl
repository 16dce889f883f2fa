// Registers of 64 bytes: AVX-512 F, VL, BW and DQ. Included in targets.hpp.
#define EIGENNORM_BYTES 64
#define EIGENNORM_TAIL always_inline

template <typename T>
struct Machine {
  typedef float Floats __attribute__((vector_size(64)));
  typedef double Doubles __attribute__((vector_size(64)));
  typedef short HalfBits __attribute__((vector_size(32)));
  typedef int Ints __attribute__((vector_size(64)));
  typedef long long Longs __attribute__((vector_size(64)));
#if defined(__clang__)
  using HalfPlace = HalfBits;  // (What instructions by mask are given the address of.)
#else
  using HalfPlace = short;
#endif

  static constexpr bool has_root_estimate = true;
  static constexpr bool has_masks = true, loads_by_mask = true, stores_by_mask = true;

  EIGENNORM_INLINE unsigned short sixteen(std::int64_t count) { return static_cast<unsigned short>((1U << count) - 1); }
  EIGENNORM_INLINE unsigned char eight(std::int64_t count) { return static_cast<unsigned char>((1U << count) - 1); }

  template <typename Storage>
  static constexpr bool selects =
      sizeof(Storage) == 2 || std::is_same_v<Storage, float> || std::is_same_v<Storage, double>;

  EIGENNORM_INLINE Doubles square_root(Doubles a) {
#if defined(__clang__)
    return __builtin_ia32_sqrtpd512(a, 4);
#else
    return __builtin_ia32_sqrtpd512_mask(a, a, eight(8), 4);
#endif
  }

  EIGENNORM_INLINE Floats reciprocal_root_estimate(Floats a) {
    return __builtin_ia32_rsqrt14ps512_mask(a, a, sixteen(16));
  }

  // (Left to itself, g++ widens halves of it and puts them together.)
  typedef float FloatHalf __attribute__((vector_size(32)));
  EIGENNORM_INLINE Doubles to_doubles(FloatHalf a) {
#if defined(__clang__)
    return __builtin_convertvector(a, Doubles);
#else
    return __builtin_ia32_cvtps2pd512_mask(a, Doubles{}, eight(8), 4);
#endif
  }

  EIGENNORM_INLINE unsigned bits(Ints masks) { return __builtin_ia32_cvtd2mask512(masks); }
  EIGENNORM_INLINE unsigned bits(Longs masks) { return __builtin_ia32_cvtq2mask512(masks); }

  EIGENNORM_INLINE void stream(float* p, Floats a) {
#if defined(__clang__)
    __builtin_nontemporal_store(a, reinterpret_cast<Floats*>(p));
#else
    __builtin_ia32_movntps512(p, a);
#endif
  }
  template <typename Value, typename Shorts>
  EIGENNORM_INLINE void stream_shorts(Value* p, Shorts shorts) {
#if defined(__clang__)
    __builtin_nontemporal_store(shorts, reinterpret_cast<Shorts*>(p));
#else
    typedef float Lower __attribute__((vector_size(32)));
    __builtin_ia32_movntps256(reinterpret_cast<float*>(p), reinterpret_cast<Lower>(shorts));
#endif
  }

  EIGENNORM_INLINE Floats load_few(const float* p, std::int64_t count) {
    return __builtin_ia32_loadups512_mask(p, Floats{}, sixteen(count));
  }
  EIGENNORM_INLINE Doubles load_few(const double* p, std::int64_t count) {
    return __builtin_ia32_loadupd512_mask(p, Doubles{}, eight(count));
  }
  EIGENNORM_INLINE void store_few(float* p, Floats a, std::int64_t count) {
    __builtin_ia32_storeups512_mask(p, a, sixteen(count));
  }
  EIGENNORM_INLINE void store_few(double* p, Doubles a, std::int64_t count) {
    __builtin_ia32_storeupd512_mask(p, a, eight(count));
  }

  EIGENNORM_INLINE void pack(const float* x, unsigned lanes, float* to) {
    const auto mask = static_cast<unsigned short>(lanes);
    const Floats values = __builtin_ia32_loadups512_mask(x, Floats{}, mask);
    const Floats packed = __builtin_ia32_compresssf512_mask(values, Floats{}, mask);
    __builtin_memcpy(to, &packed, sizeof packed);
  }
  EIGENNORM_INLINE void keep(const float* from, unsigned lanes, float* to) {
    const Floats values = __builtin_ia32_loadups512_mask(from, Floats{}, static_cast<unsigned short>(lanes));
    __builtin_memcpy(to, &values, sizeof values);
  }
  EIGENNORM_INLINE void pack(const double* x, unsigned lanes, double* to) {
    for (int i = 0; i < 2; ++i, x += 8, to += __builtin_popcount(lanes & 0xffU), lanes >>= 8) {
      const auto mask = static_cast<unsigned char>(lanes);
      const Doubles values = __builtin_ia32_loadupd512_mask(x, Doubles{}, mask);
      const Doubles packed = __builtin_ia32_compressdf512_mask(values, Doubles{}, mask);
      __builtin_memcpy(to, &packed, sizeof packed);
    }
  }
  EIGENNORM_INLINE void keep(const double* from, unsigned lanes, double* to) {
    for (int i = 0; i < 2; ++i, from += 8, to += 8, lanes >>= 8) {
      const Doubles values = __builtin_ia32_loadupd512_mask(from, Doubles{}, static_cast<unsigned char>(lanes & 0xffU));
      __builtin_memcpy(to, &values, sizeof values);
    }
  }
  /// (Sixteen bits by way of thirty-two: instructions for less are not on all processors that have these.)
  template <typename Storage, typename = std::enable_if_t<sizeof(Storage) == 2>>
  EIGENNORM_INLINE void pack(const Storage* x, unsigned lanes, Storage* to) {
    const auto mask = static_cast<unsigned short>(lanes);
    const HalfBits values = __builtin_ia32_loaddquhi256_mask(reinterpret_cast<const HalfPlace*>(x), HalfBits{}, mask);
    const auto packed =
        __builtin_convertvector(__builtin_ia32_compresssi512_mask(widen<Ints>(values), Ints{}, mask), HalfBits);
    __builtin_memcpy(static_cast<void*>(to), &packed, sizeof packed);
  }
  template <typename Storage, typename = std::enable_if_t<sizeof(Storage) == 2>>
  EIGENNORM_INLINE void keep(const Storage* from, unsigned lanes, Storage* to) {
    const HalfBits values = __builtin_ia32_loaddquhi256_mask(reinterpret_cast<const HalfPlace*>(from), HalfBits{},
                                                             static_cast<unsigned short>(lanes));
    __builtin_memcpy(static_cast<void*>(to), &values, sizeof values);
  }

  /// (Left to itself, g++ widens halves and puts them together: four instructions instead of one.)
  template <typename Words, typename Shorts>
  EIGENNORM_INLINE Words widen(Shorts shorts) {
#if defined(__clang__)
    return __builtin_convertvector(shorts, Words);
#else
    return Words(__builtin_ia32_pmovzxwd512_mask(HalfBits(shorts), Ints{}, sixteen(16)));
#endif
  }

  /// The bits of values, each NaN by its sign and 0x7fc00000.
  template <typename Words>
  EIGENNORM_INLINE Words quiet_nans(Floats a) {
    const auto is_nan = __builtin_ia32_cmpps512_mask(a, a, 3, sixteen(16), 4);
    // (a & b) | c where there is a NaN
    return Words(__builtin_ia32_pternlogd512_mask(Ints(a), ~0x7fffff - Ints{}, 0x400000 - Ints{}, 0xea, is_nan));
  }
  template <typename Shorts, typename Words>
  EIGENNORM_INLINE Shorts upper_halves(Words words) {
    return __builtin_convertvector(words >> 16, Shorts);
  }

  EIGENNORM_INLINE Floats load(const Eigen::half* p) {
    HalfBits halves;
    __builtin_memcpy(&halves, p, sizeof halves);
    return __builtin_ia32_vcvtph2ps512_mask(halves, Floats{}, sixteen(16), 4);
  }
  EIGENNORM_INLINE auto to_halves(Floats a) {
    return HalfBits(__builtin_ia32_vcvtps2ph512_mask(a, 0, HalfBits{}, sixteen(16)));
  }
  EIGENNORM_INLINE void store(Eigen::half* p, Floats a) {
    const auto halves = to_halves(a);
    __builtin_memcpy(static_cast<void*>(p), &halves, sizeof halves);
  }
  EIGENNORM_INLINE void stream(Eigen::half* p, Floats a) { stream_shorts(p, to_halves(a)); }
};

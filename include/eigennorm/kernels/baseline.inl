// Registers of 16 bytes, which every machine has: SSE2 on x86-64, NEON on AArch64. Included in targets.hpp.
#define EIGENNORM_BYTES 16
// Without masks, the ends of rows are more code than all the rest.
#define EIGENNORM_TAIL noinline

template <typename T>
struct Machine {
  typedef float Floats __attribute__((vector_size(16)));
  typedef double Doubles __attribute__((vector_size(16)));

  /// Whether there are instructions that put values side by side.
  template <typename Storage>
  static constexpr bool selects = false;

  static constexpr bool has_root_estimate = false;
  static constexpr bool has_masks = false, loads_by_mask = false, stores_by_mask = false;

  EIGENNORM_INLINE Doubles square_root(Doubles a) {
#if defined(__x86_64__)
    return __builtin_ia32_sqrtpd(a);
#else
    for (int i = 0; i < 2; ++i) a[i] = std::sqrt(a[i]);
    return a;
#endif
  }

  typedef float FloatHalf __attribute__((vector_size(8)));
  EIGENNORM_INLINE Doubles to_doubles(FloatHalf a) { return __builtin_convertvector(a, Doubles); }

  template <typename Masks>
  EIGENNORM_INLINE unsigned bits(Masks masks) {
    constexpr int lanes = sizeof(Masks) / sizeof(masks[0]);
    unsigned bits = 0;
    for (int i = 0; i < lanes; ++i) bits |= static_cast<unsigned>(masks[i] != 0) << i;
    return bits;
  }

  EIGENNORM_INLINE void stream(float* p, Floats a) {
#if defined(__clang__)
    __builtin_nontemporal_store(a, reinterpret_cast<Floats*>(p));
#elif defined(__x86_64__)
    __builtin_ia32_movntps(p, a);
#else
    __builtin_memcpy(p, &a, sizeof a);
#endif
  }
  /// (There is no such store of eight bytes.)
  template <typename Value, typename Shorts>
  EIGENNORM_INLINE void stream_shorts(Value* p, Shorts shorts) {
    __builtin_memcpy(static_cast<void*>(p), &shorts, sizeof shorts);
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
    Floats a;
    for (int i = 0; i < 4; ++i) a[i] = static_cast<float>(p[i]);
    return a;
  }
  EIGENNORM_INLINE void store(Eigen::half* p, Floats a) {
    for (int i = 0; i < 4; ++i) p[i] = static_cast<Eigen::half>(static_cast<float>(a[i]));
  }
  EIGENNORM_INLINE void stream(Eigen::half* p, Floats a) { store(p, a); }
};

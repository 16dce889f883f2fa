// Sixteen values side by side: the tree lanes of the arithmetic contract, in registers of EIGENNORM_BYTES
// bytes.
// Included once per instruction set, inside its namespace and target region; no include guard.
//
// Wider than a register, a vector is two halves, down to the register: no loop is left that a compiler would
// have to
// unroll, and an array of registers would be kept in memory by g++ -O2.

template <typename T, int Bytes>
struct Half {
  Half<T, Bytes / 2> low, high;
};

template <typename T>
struct Half<T, EIGENNORM_BYTES> {
  typedef T Register __attribute__((vector_size(EIGENNORM_BYTES)));
  Register value;
};

/// A plain vector of N values, in one register.
template <typename T, int N>
struct Sized {
  typedef T V __attribute__((vector_size(static_cast<std::size_t>(N) * sizeof(T))));
};

#define EIGENNORM_INLINE static inline __attribute__((always_inline))

/// Copies fewer than `Most` values (a power of two), without a call.
template <int Most, typename T>
EIGENNORM_INLINE void copy_few(T* to, const T* from, std::int64_t count) {
  if constexpr (Most > 1) {
    constexpr int half = Most / 2;
    if (count & half) {
      __builtin_memcpy(static_cast<void*>(to), from, half * sizeof(T));
      to += half, from += half;
    }
    copy_few<half>(to, from, count);
  }
}

/// Operations on a vector of `Bytes` bytes: on its halves, or on the one register.
template <typename T, int Bytes>
struct Vector {
  using V = Half<T, Bytes>;
  using Lower = Vector<T, Bytes / 2>;
  static constexpr int half = Bytes / 2 / static_cast<int>(sizeof(T));

  EIGENNORM_INLINE V all(T a) { return {Lower::all(a), Lower::all(a)}; }
  EIGENNORM_INLINE V add(V a, V b) { return {Lower::add(a.low, b.low), Lower::add(a.high, b.high)}; }
  EIGENNORM_INLINE V subtract(V a, V b) {
    return {Lower::subtract(a.low, b.low), Lower::subtract(a.high, b.high)};
  }
  EIGENNORM_INLINE V multiply(V a, V b) {
    return {Lower::multiply(a.low, b.low), Lower::multiply(a.high, b.high)};
  }
  template <typename Storage>
  EIGENNORM_INLINE V load(const Storage* p) {
    return {Lower::load(p), Lower::load(p + half)};
  }
  template <typename Storage>
  EIGENNORM_INLINE void store(Storage* p, V a) {
    Lower::store(p, a.low);
    Lower::store(p + half, a.high);
  }
  template <typename Storage>
  EIGENNORM_INLINE void stream(Storage* p, V a) {
    Lower::stream(p, a.low);
    Lower::stream(p + half, a.high);
  }
  EIGENNORM_INLINE T fold(V a) { return Lower::fold(Lower::add(a.low, a.high)); }

  // The first `count` values, as below. Without masks, all registers together: less code than register by register.
  template <typename Storage>
  EIGENNORM_INLINE V load_few(const Storage* p, std::int64_t count) {
#if EIGENNORM_BYTES == 16
    if (count >= 2 * half) return load(p);
    Storage values[2 * half] = {};
    if (count > 0) copy_few<2 * half>(values, p, count);
    return load(values);
#else
    if (count <= half) return {Lower::load_few(p, count), Lower::all(T(0))};
    return {Lower::load(p), Lower::load_few(p + half, count - half)};
#endif
  }
  template <typename Storage>
  EIGENNORM_INLINE void store_few(Storage* p, V a, std::int64_t count) {
#if EIGENNORM_BYTES == 16
    Storage values[2 * half];
    store(values, a);
    if (count >= 2 * half) {
      store(p, a);
    } else {
      copy_few<2 * half>(p, values, count);
    }
#else
    if (count <= half) {
      Lower::store_few(p, a.low, count);
    } else {
      Lower::store(p, a.low);
      Lower::store_few(p + half, a.high, count - half);
    }
#endif
  }
  EIGENNORM_INLINE V keep_few(V a, std::int64_t count) {
    return {Lower::keep_few(a.low, count), Lower::keep_few(a.high, count - half)};
  }
};

template <typename T>
struct Vector<T, EIGENNORM_BYTES> {
  using V = Half<T, EIGENNORM_BYTES>;
  using Register = typename V::Register;
  static constexpr int size = EIGENNORM_BYTES / static_cast<int>(sizeof(T));

  EIGENNORM_INLINE V all(T a) { return {a - Register{}}; }
  EIGENNORM_INLINE V add(V a, V b) { return {a.value + b.value}; }
  EIGENNORM_INLINE V subtract(V a, V b) { return {a.value - b.value}; }
  EIGENNORM_INLINE V multiply(V a, V b) { return {a.value * b.value}; }

  EIGENNORM_INLINE V load(const T* p) {
    V a;
    __builtin_memcpy(&a.value, p, sizeof a.value);
    return a;
  }
  EIGENNORM_INLINE void store(T* p, V a) { __builtin_memcpy(p, &a.value, sizeof a.value); }

  /// Past the caches; p is aligned to the register.
  EIGENNORM_INLINE void stream(T* p, V a) {
#if defined(__clang__)
    __builtin_nontemporal_store(a.value, reinterpret_cast<Register*>(p));
#elif defined(__x86_64__)
    typedef float Floats __attribute__((vector_size(EIGENNORM_BYTES)));
    EIGENNORM_STREAM(reinterpret_cast<float*>(p), reinterpret_cast<Floats>(a.value));
#else
    store(p, a);
#endif
  }

  // ---- the first `count` values, from 0 to all

  using Mask = std::conditional_t<sizeof(T) == 4, int, long long>;
  typedef Mask Masks __attribute__((vector_size(EIGENNORM_BYTES)));

  /// All bits of the first `count` lanes.
  EIGENNORM_INLINE Masks first_lanes(std::int64_t count) {
    Masks lane;
    for (int i = 0; i < size; ++i) lane[i] = i;
    return lane < (static_cast<Mask>(count) - Masks{});
  }
  /// The others become 0.
  EIGENNORM_INLINE V keep_few(V a, std::int64_t count) {
    return {reinterpret_cast<Register>(reinterpret_cast<Masks>(a.value) & first_lanes(count))};
  }

  /// The others are read as 0; their memory is not touched.
  template <typename Storage>
  EIGENNORM_INLINE V load_few(const Storage* p, std::int64_t count) {
#if EIGENNORM_BYTES == 64
    if constexpr (std::is_same_v<Storage, float>) {
      return {__builtin_ia32_loadups512_mask(p, Register{}, static_cast<unsigned short>((1U << count) - 1))};
    }
    if constexpr (std::is_same_v<Storage, double>) {
      return {__builtin_ia32_loadupd512_mask(p, Register{},
                                             static_cast<unsigned char>((1U << count) - 1))};
    }
#elif EIGENNORM_BYTES == 32
    if constexpr (std::is_same_v<Storage, float>) {
      return {__builtin_ia32_maskloadps256(reinterpret_cast<const Register*>(p), first_lanes(count))};
    }
    if constexpr (std::is_same_v<Storage, double>) {
      return {__builtin_ia32_maskloadpd256(reinterpret_cast<const Register*>(p), first_lanes(count))};
    }
#endif
    if (count >= size) return load(p);
    Storage values[size] = {};
    if (count > 0) copy_few<size>(values, p, count);
    return load(values);
  }
  template <typename Storage>
  EIGENNORM_INLINE void store_few(Storage* p, V a, std::int64_t count) {
#if EIGENNORM_BYTES == 64
    if constexpr (std::is_same_v<Storage, float>) {
      __builtin_ia32_storeups512_mask(p, a.value,
                                      static_cast<unsigned short>((1U << count) - 1));
      return;
    }
    if constexpr (std::is_same_v<Storage, double>) {
      __builtin_ia32_storeupd512_mask(p, a.value,
                                      static_cast<unsigned char>((1U << count) - 1));
      return;
    }
#endif
    if (count == size) {
      store(p, a);
      return;
    }
    Storage values[size];
    store(values, a);
    copy_few<size>(p, values, count);
  }

  /// s_j + s_{j + n/2}, and so on down to one: the order in which the contract folds lanes.
  EIGENNORM_INLINE T fold(V a) { return fold_register<size>(a.value); }

  // ---- 16-bit storage, widened when read and rounded once, to nearest even, when written

  typedef unsigned Words __attribute__((vector_size(EIGENNORM_BYTES)));
  typedef unsigned short Shorts __attribute__((vector_size(EIGENNORM_BYTES / 2)));

  EIGENNORM_INLINE V load(const Eigen::bfloat16* p) {
    Shorts shorts;
    __builtin_memcpy(&shorts, p, sizeof shorts);
    return {reinterpret_cast<Register>(__builtin_convertvector(shorts, Words) << 16)};
  }
  template <typename Value, typename Sixteen>
  EIGENNORM_INLINE void stream_shorts(Value* p, Sixteen shorts) {
#if defined(__clang__)
    __builtin_nontemporal_store(shorts, reinterpret_cast<Sixteen*>(p));
#elif EIGENNORM_BYTES == 64
    typedef float Floats __attribute__((vector_size(32)));
    __builtin_ia32_movntps256(reinterpret_cast<float*>(p), reinterpret_cast<Floats>(shorts));
#elif EIGENNORM_BYTES == 32
    typedef float Floats __attribute__((vector_size(16)));
    __builtin_ia32_movntps(reinterpret_cast<float*>(p), reinterpret_cast<Floats>(shorts));
#else
    __builtin_memcpy(static_cast<void*>(p), &shorts, sizeof shorts);
#endif
  }
  EIGENNORM_INLINE Shorts round_to_bfloat16(V a) {
    const Words bits = reinterpret_cast<Words>(a.value);
    const Words rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    const Words quiet = ((bits >> 16) & 0x8000U) | 0x7fc0U;
    const Words is_nan = reinterpret_cast<Words>(a.value != a.value);
    return __builtin_convertvector((rounded & ~is_nan) | (quiet & is_nan), Shorts);
  }
  EIGENNORM_INLINE void store(Eigen::bfloat16* p, V a) {
    const Shorts shorts = round_to_bfloat16(a);
    __builtin_memcpy(static_cast<void*>(p), &shorts, sizeof shorts);
  }
  EIGENNORM_INLINE void stream(Eigen::bfloat16* p, V a) { stream_shorts(p, round_to_bfloat16(a)); }

  EIGENNORM_INLINE V load(const Eigen::half* p) {
#if EIGENNORM_BYTES == 64
    typedef short Halves __attribute__((vector_size(32)));
    Halves halves;
    __builtin_memcpy(&halves, p, sizeof halves);
    return {__builtin_ia32_vcvtph2ps512_mask(halves, Register{}, static_cast<unsigned short>(-1), 4)};
#elif EIGENNORM_BYTES == 32
    typedef short Halves __attribute__((vector_size(16)));
    Halves halves;
    __builtin_memcpy(&halves, p, sizeof halves);
    return {__builtin_ia32_vcvtph2ps256(halves)};
#else
    V a;
    for (int i = 0; i < size; ++i) a.value[i] = static_cast<float>(p[i]);
    return a;
#endif
  }
#if EIGENNORM_BYTES >= 32
  EIGENNORM_INLINE auto round_to_half(V a) {
#if EIGENNORM_BYTES == 64
    typedef short Halves __attribute__((vector_size(32)));
    return Halves(__builtin_ia32_vcvtps2ph512_mask(a.value, 0, Halves{}, static_cast<unsigned short>(-1)));
#else
    return __builtin_ia32_vcvtps2ph256(a.value, 0);
#endif
  }
  EIGENNORM_INLINE void store(Eigen::half* p, V a) {
    const auto halves = round_to_half(a);
    __builtin_memcpy(static_cast<void*>(p), &halves, sizeof halves);
  }
  EIGENNORM_INLINE void stream(Eigen::half* p, V a) { stream_shorts(p, round_to_half(a)); }
#else
  EIGENNORM_INLINE void store(Eigen::half* p, V a) {
    for (int i = 0; i < size; ++i) p[i] = static_cast<Eigen::half>(static_cast<float>(a.value[i]));
  }
  EIGENNORM_INLINE void stream(Eigen::half* p, V a) { store(p, a); }
#endif

 private:
  template <int N>
  EIGENNORM_INLINE T fold_register(typename Sized<T, N>::V a) {
    if constexpr (N == 1) {
      return a[0];
    } else if constexpr (N == 2) {
      return a[0] + a[1];
    } else {
      return fold_register<N / 2>(lower<N>(a) + upper<N>(a));
    }
  }

  /// The halves of a register, in registers: through memory they would cost as much as all the additions.
  template <int N>
  EIGENNORM_INLINE typename Sized<T, N / 2>::V lower(typename Sized<T, N>::V a) {
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
    if constexpr (N == 16) return __builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7);
    if constexpr (N == 8) return __builtin_shufflevector(a, a, 0, 1, 2, 3);
    if constexpr (N == 4) return __builtin_shufflevector(a, a, 0, 1);
#endif
    typename Sized<T, N / 2>::V half;
    __builtin_memcpy(&half, &a, sizeof half);
    return half;
  }
  template <int N>
  EIGENNORM_INLINE typename Sized<T, N / 2>::V upper(typename Sized<T, N>::V a) {
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
    if constexpr (N == 16) return __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15);
    if constexpr (N == 8) return __builtin_shufflevector(a, a, 4, 5, 6, 7);
    if constexpr (N == 4) return __builtin_shufflevector(a, a, 2, 3);
#endif
    typename Sized<T, N / 2>::V half;
    __builtin_memcpy(&half, reinterpret_cast<const char*>(&a) + sizeof half, sizeof half);
    return half;
  }
};

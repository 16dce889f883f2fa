// Sixteen values side by side: the tree lanes of the arithmetic contract, in registers of EIGENNORM_BYTES bytes.
// Included once per instruction set, after the file of its registers, which has EIGENNORM_BYTES and Machine
// (targets.hpp; a template, so that what a set lacks need not be declared); no include guard.
//
// Wider than a register, a vector is two halves, down to the register: no loop is left that a compiler would have to
// unroll, and an array of registers would be kept in memory by g++ -O2.

template <typename T, int Bytes>
struct Halves {
  Halves<T, Bytes / 2> low, high;
};

template <typename T>
struct Halves<T, EIGENNORM_BYTES> {
  typedef T Register __attribute__((vector_size(EIGENNORM_BYTES)));
  Register value;
};

/// Where a comparison leaves all bits, or none.
template <typename T>
using MaskOf = std::conditional_t<sizeof(T) == 4, int, long long>;

/// A plain vector of N values, in one register.
template <typename T, int N>
struct Sized {
  typedef T V __attribute__((vector_size(static_cast<std::size_t>(N) * sizeof(T))));
};

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
struct Simd {
  using V = Halves<T, Bytes>;
  using Own = Machine<T>;
  using Lower = Simd<T, Bytes / 2>;
  static constexpr int half = Bytes / 2 / static_cast<int>(sizeof(T));

  EIGENNORM_INLINE V all(T a) { return {Lower::all(a), Lower::all(a)}; }
  EIGENNORM_INLINE V add(V a, V b) { return {Lower::add(a.low, b.low), Lower::add(a.high, b.high)}; }
  EIGENNORM_INLINE V subtract(V a, V b) { return {Lower::subtract(a.low, b.low), Lower::subtract(a.high, b.high)}; }
  EIGENNORM_INLINE V multiply(V a, V b) { return {Lower::multiply(a.low, b.low), Lower::multiply(a.high, b.high)}; }
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
  EIGENNORM_INLINE V divide(V a, V b) { return {Lower::divide(a.low, b.low), Lower::divide(a.high, b.high)}; }
  EIGENNORM_INLINE V square_root(V a) { return {Lower::square_root(a.low), Lower::square_root(a.high)}; }
  EIGENNORM_INLINE T fold(V a) { return Lower::fold(Lower::add(a.low, a.high)); }
  /// The folds of as many vectors as one has values.
  static EIGENNORM_OUTLINE V fold_rows(const V* rows) {
    typename Lower::V sums[2 * half];
    for (int r = 0; r < 2 * half; ++r) sums[r] = Lower::add(rows[r].low, rows[r].high);
    return {Lower::fold_rows(sums), Lower::fold_rows(sums + half)};
  }

  using M = Halves<MaskOf<T>, Bytes>;
  EIGENNORM_INLINE M at_most(V a, V b) { return {Lower::at_most(a.low, b.low), Lower::at_most(a.high, b.high)}; }
  EIGENNORM_INLINE M above(V a, V b) { return {Lower::above(a.low, b.low), Lower::above(a.high, b.high)}; }
  EIGENNORM_INLINE M both(M a, M b) { return {Lower::both(a.low, b.low), Lower::both(a.high, b.high)}; }
  EIGENNORM_INLINE unsigned bits(M a) { return Lower::bits(a.low) | Lower::bits(a.high) << half; }
  EIGENNORM_INLINE V drop(V a, M mask) { return {Lower::drop(a.low, mask.low), Lower::drop(a.high, mask.high)}; }
  EIGENNORM_INLINE V keep(V a, M mask) { return {Lower::keep(a.low, mask.low), Lower::keep(a.high, mask.high)}; }

  // Bits of values, as below.
  EIGENNORM_INLINE M either(M a, M b) { return {Lower::either(a.low, b.low), Lower::either(a.high, b.high)}; }
  EIGENNORM_INLINE M magnitude(V a) { return {Lower::magnitude(a.low), Lower::magnitude(a.high)}; }
  EIGENNORM_INLINE M larger(M a, M b) { return {Lower::larger(a.low, b.low), Lower::larger(a.high, b.high)}; }
  EIGENNORM_INLINE M differing(M so_far, V a, V b) {
    return {Lower::differing(so_far.low, a.low, b.low), Lower::differing(so_far.high, a.high, b.high)};
  }
  EIGENNORM_INLINE bool any(M a) { return Lower::any(Lower::either(a.low, a.high)); }

  // The first `count` values, as below. Without masks, all registers together: less code than register by register.
  template <typename Storage>
  static inline __attribute__((EIGENNORM_TAIL)) V load_few(const Storage* p, std::int64_t count) {
    if constexpr (!Own::has_masks) {
      if (count >= 2 * half) return load(p);
      Storage values[2 * half] = {};
      if (count > 0) copy_few<2 * half>(values, p, count);
      return load(values);
    } else {
      if (count <= half) return {Lower::load_few(p, count), Lower::all(T(0))};
      return {Lower::load(p), Lower::load_few(p + half, count - half)};
    }
  }
  template <typename Storage>
  static inline __attribute__((EIGENNORM_TAIL)) void store_few(Storage* p, V a, std::int64_t count) {
    if constexpr (!Own::has_masks) {
      Storage values[2 * half];
      store(values, a);
      if (count >= 2 * half) {
        store(p, a);
      } else {
        copy_few<2 * half>(p, values, count);
      }
    } else if (count <= half) {
      Lower::store_few(p, a.low, count);
    } else {
      Lower::store(p, a.low);
      Lower::store_few(p + half, a.high, count - half);
    }
  }
  static inline __attribute__((EIGENNORM_TAIL)) V keep_few(V a, std::int64_t count) {
    return {Lower::keep_few(a.low, count), Lower::keep_few(a.high, count - half)};
  }
};

template <typename T>
struct Simd<T, EIGENNORM_BYTES> {
  using V = Halves<T, EIGENNORM_BYTES>;
  using Own = Machine<T>;
  using Register = typename V::Register;
  using Mask = MaskOf<T>;
  using M = Halves<Mask, EIGENNORM_BYTES>;
  using Masks = typename M::Register;
  static constexpr int size = EIGENNORM_BYTES / static_cast<int>(sizeof(T));

  EIGENNORM_INLINE V all(T a) { return {a - Register{}}; }
  EIGENNORM_INLINE V add(V a, V b) { return {a.value + b.value}; }
  EIGENNORM_INLINE V subtract(V a, V b) { return {a.value - b.value}; }
  EIGENNORM_INLINE V multiply(V a, V b) { return {a.value * b.value}; }
  EIGENNORM_INLINE V divide(V a, V b) { return {a.value / b.value}; }
  EIGENNORM_INLINE V square_root(V a) { return {Own::square_root(a.value)}; }
  /// Within 1.5 * 2^-12 of it.
  EIGENNORM_INLINE V reciprocal_root_estimate(V a) { return {Own::reciprocal_root_estimate(a.value)}; }
  EIGENNORM_INLINE M at_most(V a, V b) { return {a.value <= b.value}; }
  EIGENNORM_INLINE M above(V a, V b) { return {a.value > b.value}; }
  EIGENNORM_INLINE M both(M a, M b) { return {a.value & b.value}; }
  /// Bit i where a comparison of value i was true.
  EIGENNORM_INLINE unsigned bits(M a) { return Own::bits(a.value); }
  /// A magnitude as its bits: as integers they have the order of values, and NaN is the largest of all.
  EIGENNORM_INLINE M magnitude(V a) {
    return {reinterpret_cast<Masks>(a.value) & ((std::numeric_limits<Mask>::max)() - Masks{})};
  }
  /// (Without ?:, which clang 9 does not have for vectors.)
  EIGENNORM_INLINE M larger(M a, M b) {
    const Masks first = a.value > b.value;
    return {(a.value & first) | (b.value & ~first)};
  }
  /// Adds the bits in which a and b differ.
  EIGENNORM_INLINE M differing(M so_far, V a, V b) {
    return {so_far.value | (reinterpret_cast<Masks>(a.value) ^ reinterpret_cast<Masks>(b.value))};
  }
  EIGENNORM_INLINE M either(M a, M b) { return {a.value | b.value}; }
  EIGENNORM_INLINE bool any(M a) {
    std::int64_t words[EIGENNORM_BYTES / 8], all = 0;
    __builtin_memcpy(words, &a.value, sizeof words);
    for (const std::int64_t word : words) all |= word;
    return all != 0;
  }
  /// 0 where the mask is not set.
  EIGENNORM_INLINE V keep(V a, M mask) {
    return {reinterpret_cast<Register>(reinterpret_cast<Masks>(a.value) & mask.value)};
  }
  /// 0 where it is.
  EIGENNORM_INLINE V drop(V a, M mask) {
    return {reinterpret_cast<Register>(reinterpret_cast<Masks>(a.value) & ~mask.value)};
  }

  EIGENNORM_INLINE V load(const T* p) {
    V a;
    __builtin_memcpy(&a.value, p, sizeof a.value);
    return a;
  }
  EIGENNORM_INLINE void store(T* p, V a) { __builtin_memcpy(p, &a.value, sizeof a.value); }

  /// Past the caches; p is aligned to the register.
  EIGENNORM_INLINE void stream(T* p, V a) {
    Own::stream(reinterpret_cast<float*>(p), reinterpret_cast<typename Own::Floats>(a.value));
  }

  // ---- the first `count` values, from 0 to all

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
    if constexpr (Own::loads_by_mask && std::is_same_v<Storage, T>) {
      return {Own::load_few(p, count)};
    } else {
      if (count >= size) return load(p);
      Storage values[size] = {};
      if (count > 0) copy_few<size>(values, p, count);
      return load(values);
    }
  }
  template <typename Storage>
  EIGENNORM_INLINE void store_few(Storage* p, V a, std::int64_t count) {
    if constexpr (Own::stores_by_mask && std::is_same_v<Storage, T>) {
      Own::store_few(p, a.value, count);
    } else if (count == size) {
      store(p, a);
    } else {
      Storage values[size];
      store(values, a);
      copy_few<size>(p, values, count);
    }
  }

  /// s_j + s_{j + n/2}, and so on down to one: the order in which the contract folds lanes.
  EIGENNORM_INLINE T fold(V a) { return fold_register<size>(a.value); }
  EIGENNORM_INLINE V fold_rows(const V* rows) { return {fold_together<size>(rows)}; }

  // ---- 16-bit storage, widened when read and rounded once, to nearest even, when written

  typedef unsigned Words __attribute__((vector_size(EIGENNORM_BYTES)));
  typedef unsigned short Shorts __attribute__((vector_size(EIGENNORM_BYTES / 2)));

  EIGENNORM_INLINE V load(const Eigen::bfloat16* p) {
    Shorts shorts;
    __builtin_memcpy(&shorts, p, sizeof shorts);
    return {reinterpret_cast<Register>(Own::template widen<Words>(shorts) << 16)};
  }
  EIGENNORM_INLINE Shorts round_to_bfloat16(V a) {
    // A NaN becomes quiet and loses what rounding could carry over.
    const Words bits = Own::template quiet_nans<Words>(a.value);
    return Own::template upper_halves<Shorts>(bits + 0x7fffU + ((bits >> 16) & 1U));
  }
  EIGENNORM_INLINE void store(Eigen::bfloat16* p, V a) {
    const Shorts shorts = round_to_bfloat16(a);
    __builtin_memcpy(static_cast<void*>(p), &shorts, sizeof shorts);
  }
  EIGENNORM_INLINE void stream(Eigen::bfloat16* p, V a) { Own::stream_shorts(p, round_to_bfloat16(a)); }

  EIGENNORM_INLINE V load(const Eigen::half* p) { return {Own::load(p)}; }
  EIGENNORM_INLINE void store(Eigen::half* p, V a) { Own::store(p, a.value); }
  EIGENNORM_INLINE void stream(Eigen::half* p, V a) { Own::stream(p, a.value); }

 private:
  // Several rows at once are folded by transposition: after each addition a register holds twice as many rows of half
  // as many lanes. Fifteen additions and thirty shuffles fold sixteen rows of sixteen lanes, where sixteen folds one
  // by one are sixty-four of each.

  /// Which lane goes to place p: first all first (or second) halves of a's blocks of `block` lanes, then b's, which
  /// count from `size` on; blocks that lie within 128 bits stay in them, where shuffles are cheapest.
  static constexpr int half_block(int block, bool second, int p) {
    constexpr int part = 16 / static_cast<int>(sizeof(T));
    const int within = block > part ? size : part;
    const int base = p / within * within, q = p % within, half = within / 2;
    const int from = q % half;
    return base + from / (block / 2) * block + from % (block / 2) + (second ? block / 2 : 0) + (q < half ? 0 : size);
  }
  template <int Block, bool Second, int... P>
  EIGENNORM_INLINE Register half_blocks(Register a, Register b, std::integer_sequence<int, P...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, half_block(Block, Second, P)...);
#else
    return __builtin_shuffle(a, b, Masks{half_block(Block, Second, P)...});
#endif
  }
  /// The row whose sum comes to place p when `rows` rows from `first` on are folded together.
  static constexpr int row_at(int rows, int first, int p) {
    if (rows == 1) return first;
    const int from = half_block(size / (rows / 2), false, p);
    return row_at(rows / 2, from < size ? first : first + rows / 2, from % size);
  }
  /// The row to begin with in place i, so that row p's sum comes to place p.
  static constexpr int row_to_take(int i) {
    int p = 0;
    while (row_at(size, 0, p) != i) ++p;
    return p;
  }
  template <int Rows, int First = 0>
  EIGENNORM_INLINE Register fold_together(const V* rows) {
    if constexpr (Rows == 1) {
      constexpr int row = row_to_take(First);
      return rows[row].value;
    } else {
      const Register a = fold_together<Rows / 2, First>(rows), b = fold_together<Rows / 2, First + Rows / 2>(rows);
      constexpr int block = size / (Rows / 2);
      constexpr auto places = std::make_integer_sequence<int, size>();
      return half_blocks<block, false>(a, b, places) + half_blocks<block, true>(a, b, places);
    }
  }

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
#if defined(__clang__) || __GNUC__ >= 12
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
#if defined(__clang__) || __GNUC__ >= 12
    if constexpr (N == 16) return __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15);
    if constexpr (N == 8) return __builtin_shufflevector(a, a, 4, 5, 6, 7);
    if constexpr (N == 4) return __builtin_shufflevector(a, a, 2, 3);
#endif
    typename Sized<T, N / 2>::V half;
    __builtin_memcpy(&half, reinterpret_cast<const char*>(&a) + sizeof half, sizeof half);
    return half;
  }
};

/// Sixteen values in the type in which sums of blocks are merged, and back.
template <typename T, typename W, int Bytes>
EIGENNORM_INLINE auto widen(Halves<T, Bytes> a) {
  constexpr int wide = Bytes / static_cast<int>(sizeof(T)) * static_cast<int>(sizeof(W));
  if constexpr (std::is_same_v<T, W>) {
    return a;
  } else if constexpr (Bytes == EIGENNORM_BYTES) {
    constexpr int n = Bytes / static_cast<int>(sizeof(T)) / 2;
    typename Sized<T, n>::V parts[2];
    __builtin_memcpy(parts, &a.value, sizeof parts);
    return Halves<W, wide>{{Machine<T>::to_doubles(parts[0])}, {Machine<T>::to_doubles(parts[1])}};
  } else {
    return Halves<W, wide>{widen<T, W, Bytes / 2>(a.low), widen<T, W, Bytes / 2>(a.high)};
  }
}
/// Two halves as one. (Through memory it would take longer than all that is done to them.)
template <typename Whole, typename Part, int... Lane>
EIGENNORM_INLINE Whole join(Part low, Part high, std::integer_sequence<int, Lane...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(low, high, Lane...);
#else
  const Part parts[2] = {low, high};
  Whole whole;
  __builtin_memcpy(&whole, parts, sizeof whole);
  return whole;
#endif
}
template <typename T, typename W, int Bytes>
EIGENNORM_INLINE auto narrow(Halves<W, Bytes> a) {
  constexpr int narrow_bytes = Bytes / static_cast<int>(sizeof(W)) * static_cast<int>(sizeof(T));
  if constexpr (std::is_same_v<T, W>) {
    return a;
  } else if constexpr (narrow_bytes == EIGENNORM_BYTES) {
    using Part = typename Sized<T, EIGENNORM_BYTES / static_cast<int>(sizeof(W))>::V;
    return Halves<T, narrow_bytes>{join<typename Halves<T, narrow_bytes>::Register>(
        __builtin_convertvector(a.low.value, Part), __builtin_convertvector(a.high.value, Part),
        std::make_integer_sequence<int, narrow_bytes / static_cast<int>(sizeof(T))>())};
  } else {
    return Halves<T, narrow_bytes>{narrow<T, W, Bytes / 2>(a.low), narrow<T, W, Bytes / 2>(a.high)};
  }
}

// The functions of BlockKernels (block.hpp) by vectors of sixteen, with the bits of the reference
// (reference.hpp). Included once per instruction set, after simd.inl; no include guard.

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
  using L = Simd<Scalar, 16 * static_cast<int>(sizeof(Scalar))>;
  using V = typename L::V;
  using In = Rows<const Storage>;
  using Out = Rows<Storage>;
  using ListedIn = ListedRows<const Storage>;
  using ListedOut = ListedRows<Storage>;
  using Lanes = LaneRows<const Storage>;

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
  EIGENNORM_INLINE const Scalar* scale_of_each(const Affine<Scalar>& affine, std::int64_t r) {
    return affine.column != 0 && affine.scale != nullptr ? affine.scale + r * affine.row : nullptr;
  }

  /// x - high - low.
  struct Deviation {
    V high, low;
    template <typename Access>
    inline __attribute__((always_inline)) V operator()(Access access, const Storage* x, std::int64_t i) const {
      return L::subtract(L::subtract(access.template load<L>(access, x + i), high), low);
    }
  };
  EIGENNORM_INLINE Deviation deviation(const Normalizers<Scalar>& by, std::int64_t r) {
    return {L::all(by.high[r * by.step]), L::all(by.low[r * by.step])};
  }

#include "eigennorm/kernels/sums.inl"

#include "eigennorm/kernels/lane_sums.inl"

#include "eigennorm/kernels/statistics.inl"

#include "eigennorm/kernels/stores.inl"

#include "eigennorm/kernels/results.inl"

#include "eigennorm/kernels/frames.inl"

#include "eigennorm/kernels/packed.inl"

#include "eigennorm/kernels/fused.inl"

#include "eigennorm/kernels/select.inl"

  // ---- wide totals

  /// Calls `f(i)` for all i < n by vectors: sixteen at a time, a number that compilers unroll, and what is left by
  /// fours. (A twin of core::by_vectors, since the functions of a region are inlined in no others.)
  template <typename F>
  EIGENNORM_INLINE void by_vectors(std::int64_t n, const F& f) {
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      for (int j = 0; j < 16; ++j) f(i + j);
    }
    for (; i + 4 <= n; i += 4) {
      for (int j = 0; j < 4; ++j) f(i + j);
    }
    for (; i < n; ++i) f(i);
  }

  /// totals += next(i) for all i < n.
  template <typename Next>
  EIGENNORM_INLINE void add_wide(std::int64_t n, Wide<Scalar>* totals, Wide<Scalar>* lost, const Next& next) {
    by_vectors(
        n, [=](std::int64_t i) __attribute__((always_inline)) {
          if constexpr (WideSum<Scalar>::compensated) {
            Wide<Scalar> error;
            totals[i] = two_sum(totals[i], next(i), error);
            lost[i] = lost[i] + error;
          } else {
            totals[i] = totals[i] + next(i);
          }
        });
  }

  static void flush(Scalar* __restrict sums, std::int64_t n, Wide<Scalar>* __restrict totals,
                    Wide<Scalar>* __restrict lost) {
    add_wide(
        n, totals,
        lost, [=](std::int64_t i) __attribute__((always_inline)) { return static_cast<Wide<Scalar>>(sums[i]); });
    std::fill(sums, sums + n, Scalar(0));
  }

  static void merge(const Wide<Scalar>* __restrict from, const Wide<Scalar>* __restrict from_lost, std::int64_t n,
                    Wide<Scalar>* __restrict totals, Wide<Scalar>* __restrict lost) {
    add_wide(
        n, totals, lost, [=](std::int64_t i) __attribute__((always_inline)) { return from[i]; });
    if constexpr (WideSum<Scalar>::compensated) {
      for (std::int64_t i = 0; i < n; ++i) lost[i] = lost[i] + from_lost[i];
    }
  }

  /// to[i] = value(i) for all i < n.
  template <typename Value>
  EIGENNORM_INLINE void round_each(std::int64_t n, Scalar* __restrict to, const Value& value) {
    by_vectors(
        n, [=](std::int64_t i) __attribute__((always_inline)) { to[i] = static_cast<Scalar>(value(i)); });
  }
  EIGENNORM_INLINE Wide<Scalar> total_of(const Wide<Scalar>* totals, const Wide<Scalar>* lost, std::int64_t i) {
    return WideSum<Scalar>::compensated ? totals[i] + lost[i] : totals[i];
  }

  static void add_totals(const Wide<Scalar>* __restrict totals, const Wide<Scalar>* __restrict lost, std::int64_t n,
                         Scalar* __restrict to) {
    round_each(
        n, to, [=](std::int64_t i) __attribute__((always_inline)) {
          return static_cast<Wide<Scalar>>(to[i]) + (Wide<Scalar>(0) + total_of(totals, lost, i));
        });
  }

  static void add_sums(const Scalar* __restrict sums, std::int64_t n, Scalar* __restrict to) {
    round_each(
        n, to, [=](std::int64_t i) __attribute__((always_inline)) {
          if constexpr (WideSum<Scalar>::compensated) {
            WideSum<Scalar> sum;
            sum.add(sums[i]);
            return to[i] + sum.total();
          } else {
            // What Wide would add and Scalar then round is what Scalar adds: Wide has more than twice its digits.
            return to[i] + (Scalar(0) + sums[i]);
          }
        });
  }

  static void quotients(const Wide<Scalar>* __restrict totals, const Wide<Scalar>* __restrict lost, std::int64_t n,
                        Wide<Scalar> divisor, Scalar* __restrict to) {
    const Wide<Scalar> inverse = exact_inverse(divisor);
    if (inverse != 0) {
      return round_each(
          n, to, [=](std::int64_t i) __attribute__((always_inline)) { return total_of(totals, lost, i) * inverse; });
    }
    round_each(
        n, to, [=](std::int64_t i) __attribute__((always_inline)) { return total_of(totals, lost, i) / divisor; });
  }

  static void copy(In x, Out y, Extent size, Traffic traffic) {
    const std::int64_t n = size.columns;
    for (std::int64_t r = 0; r < size.rows; ++r) {
      const Storage* from = x(r);
      Storage* to = y(r);
      std::int64_t i = 0;
      for (; i + 16 <= n; i += 16) {
        prefetch<16>(from + i + traffic.next());
        __builtin_memcpy(static_cast<void*>(to + i), from + i, 16 * sizeof(Storage));
      }
      prefetch<16>(from + i + traffic.next());
      if (i < n) copy_few<16>(to + i, from + i, n - i);
    }
  }

  static void fence() {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
  }
};

#undef EIGENNORM_TAIL
#undef EIGENNORM_BYTES

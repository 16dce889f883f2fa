// The functions of BlockKernels (block.hpp) by vectors of sixteen, with the bits of the reference
// (reference.hpp). Included
// once per instruction set, after lanes.inl; no include guard.

/// Copies at most sixteen values, without a call.
template <typename T>
EIGENNORM_INLINE void copy_few(T* to, const T* from, std::int64_t count) {
  if (count & 16) {
    __builtin_memcpy(static_cast<void*>(to), from, 16 * sizeof(T));
    return;
  }
  if (count & 8) {
    __builtin_memcpy(static_cast<void*>(to), from, 8 * sizeof(T));
    to += 8, from += 8;
  }
  if (count & 4) {
    __builtin_memcpy(static_cast<void*>(to), from, 4 * sizeof(T));
    to += 4, from += 4;
  }
  if (count & 2) {
    __builtin_memcpy(static_cast<void*>(to), from, 2 * sizeof(T));
    to += 2, from += 2;
  }
  if (count & 1) *to = *from;
}

/// How a vector meets memory: whole, whole and past the caches, or only its first `count` values (the others
/// read as
/// `missing`). All load before they store, so a transform may work in place.
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
    Storage values[16] = {};
    copy_few(values, p, few.count);
    return L::load(values);
  }
  template <typename L, typename Storage>
  EIGENNORM_INLINE void store(Few few, Storage* p, typename L::V a) {
    Storage values[16];
    L::store(values, a);
    copy_few(p, values, few.count);
  }
};

template <typename Storage, typename Scalar>
struct Functions {
  using L = Vector<Scalar, 16 * static_cast<int>(sizeof(Scalar))>;
  using V = typename L::V;

  /// ((x - high) - low) * rstd, sixteen at a time.
  struct Xhat {
    const Storage* x;
    V high, low, rstd;

    inline __attribute__((always_inline)) Xhat(const Storage* values, const Normalizer<Scalar>& by)
        : x(values), high(L::all(by.high)), low(L::all(by.low)), rstd(L::all(by.rstd)) {}

    template <typename Access>
    inline __attribute__((always_inline)) V operator()(Access access, std::int64_t i) const {
      return L::multiply(L::subtract(L::subtract(access.template load<L>(access, x + i), high), low), rstd);
    }
  };

  /// dy * scale, or dy. (One loop for both: a branch that never changes costs less than a second copy of
  /// every loop.)
  template <typename Access>
  EIGENNORM_INLINE V scaled(Access access, const Storage* dy, const Scalar* scale, std::int64_t i) {
    const V d = access.template load<L>(access, dy + i);
    return scale == nullptr ? d : L::multiply(d, access.template load<L>(access, scale + i));
  }

  // ---- sums

  /// t_j = (v_j + v_{j+16}) + (v_{j+32} + v_{j+48}).
  EIGENNORM_INLINE V step(V v0, V v1, V v2, V v3) { return L::add(L::add(v0, v1), L::add(v2, v3)); }

  /// tree(f) and tree(g), where `terms(access, i, f, g)` gives the terms of the sixteen values from i on.
  template <typename Terms>
  EIGENNORM_INLINE Sums<Scalar> tree_pair(std::int64_t n, const Terms& terms) {
    // The two parities change places after every step; their sum in the end does not mind which is which.
    V this_f = L::all(Scalar(0)), that_f = this_f, this_g = this_f, that_g = this_f;
    std::int64_t i = 0;
    for (; i + step_size <= n; i += step_size) {
      V f0, f1, f2, f3, g0, g1, g2, g3;
      terms(Whole{}, i, f0, g0);
      terms(Whole{}, i + 16, f1, g1);
      terms(Whole{}, i + 32, f2, g2);
      terms(Whole{}, i + 48, f3, g3);
      const V next_f = L::add(this_f, step(f0, f1, f2, f3));
      const V next_g = L::add(this_g, step(g0, g1, g2, g3));
      this_f = that_f, that_f = next_f;
      this_g = that_g, that_g = next_g;
    }
    if (i < n) {
      // Missing values of the last step are 0, wherever their tensors end.
      Scalar f[step_size] = {}, g[step_size] = {};
      for (std::int64_t j = 0; i + j < n; j += 16) {
        const Few few{std::min(std::int64_t{16}, n - i - j)};
        V a, b;
        terms(few, i + j, a, b);
        Few::store<L>(few, f + j, a);
        Few::store<L>(few, g + j, b);
      }
      this_f = L::add(this_f, step(L::load(f), L::load(f + 16), L::load(f + 32), L::load(f + 48)));
      this_g = L::add(this_g, step(L::load(g), L::load(g + 16), L::load(g + 32), L::load(g + 48)));
    }
    return {L::fold(L::add(this_f, that_f)), L::fold(L::add(this_g, that_g))};
  }

  static Scalar sum(const Storage* x, std::int64_t n) {
    Scalar v[step_size] = {};
    for (std::int64_t j = 0; j < n; j += 16) {
      const Few few{std::min(std::int64_t{16}, n - j)};
      Few::store<L>(few, v + j, Few::load<L>(few, x + j));
    }
    return L::fold(step(L::load(v), L::load(v + 16), L::load(v + 32), L::load(v + 48)));
  }

  static Sums<Scalar> sweep(const Storage* x, std::int64_t n, Scalar h) {
    const V shift = L::all(h);
    return tree_pair(
        n, [=](auto access, std::int64_t i, V& f, V& g) __attribute__((always_inline)) {
          f = L::subtract(access.template load<L>(access, x + i), shift);
          g = L::multiply(f, f);
        });
  }

  static Scalar sum_of_squares(const Storage* x, std::int64_t n) {
    return tree_pair(
               n,
               [x](auto access, std::int64_t i, V& f, V& g) __attribute__((always_inline)) {
                 const V a = access.template load<L>(access, x + i);
                 f = L::multiply(a, a);
                 g = L::all(Scalar(0));
               })
        .first;
  }

  static Sums<Scalar> gradient_sums(const Storage* x, const Storage* dy, std::int64_t n,
                                    const Normalizer<Scalar>& by, const Scalar* scale) {
    const Xhat xhat(x, by);
    return tree_pair(
        n, [=](auto access, std::int64_t i, V& f, V& g) __attribute__((always_inline)) {
          f = scaled(access, dy, scale, i);
          g = L::multiply(f, xhat(access, i));
        });
  }

  // ---- elementwise

  /// Calls `f(access, i)` so that every value from 0 to n is covered once; past the caches where `stream`.
  template <typename F>
  EIGENNORM_INLINE void for_each(Storage* y, std::int64_t n, bool stream, const F& f) {
    constexpr auto line = static_cast<std::int64_t>(64 / sizeof(Storage));
    const bool streams = stream && std::is_same_v<Storage, Scalar>;
    // Streaming stores need whole cache lines: an ordinary store goes up to the first.
    const auto past =
        static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(y) / sizeof(Storage) % 64) % line;
    const std::int64_t head = streams && past != 0 ? std::min(n, line - past) : 0;
    const std::int64_t whole = head + (n - head) / 16 * 16;
    for (std::int64_t start = head > 0 ? 0 : whole; start < n; start = start == 0 && whole > 0 ? whole : n) {
      const std::int64_t end = start < head ? head : n;
      for (std::int64_t i = start; i < end; i += 16) f(Few{std::min(std::int64_t{16}, end - i)}, i);
    }
    if (streams) {
      for (std::int64_t i = head; i < whole; i += 16) f(Streamed{}, i);
    } else {
      for (std::int64_t i = head; i < whole; i += 16) f(Whole{}, i);
    }
  }

  static void transform_one(const Storage* x, Storage* y, std::int64_t n, const Normalizer<Scalar>& by,
                            Scalar scale, Scalar shift, bool stream) {
    const V scales = L::all(scale), shifts = L::all(shift);
    const Xhat xhat(x, by);
    for_each(
        y, n, stream, [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          access.template store<L>(access, y + i, L::add(L::multiply(xhat(access, i), scales), shifts));
        });
  }

  static void transform_each(const Storage* x, Storage* y, std::int64_t n, const Normalizer<Scalar>& by,
                             const Scalar* scale, const Scalar* shift, bool stream) {
    const Xhat xhat(x, by);
    for_each(
        y, n, stream, [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          const V scaled = L::multiply(xhat(access, i), access.template load<L>(access, scale + i));
          access.template store<L>(access, y + i, L::add(scaled, access.template load<L>(access, shift + i)));
        });
  }

  static void gradient(const Storage* x, const Storage* dy, Storage* dx, std::int64_t n,
                       const Normalizer<Scalar>& by, Scalar mean, Scalar slope, const Scalar* scale,
                       Scalar factor, bool stream) {
    const V means = L::all(mean), slopes = L::all(slope), factors = L::all(factor);
    const Xhat xhat(x, by);
    for_each(
        dx, n, stream, [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          const V rest =
              L::subtract(scaled(access, dy, scale, i), L::add(means, L::multiply(xhat(access, i), slopes)));
          access.template store<L>(access, dx + i, L::multiply(L::multiply(rest, xhat.rstd), factors));
        });
  }

  static void fixed_gradient(const Storage* dy, Storage* dx, std::int64_t n, Scalar rstd, const Scalar* scale,
                             Scalar factor, bool stream) {
    const V rstds = L::all(rstd), factors = L::all(factor);
    for_each(
        dx, n, stream, [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          access.template store<L>(access, dx + i,
                                   L::multiply(L::multiply(scaled(access, dy, scale, i), rstds), factors));
        });
  }

  static void fence() {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
  }

  static void add_position(const Storage* x, const Storage* dy, std::int64_t n, const Normalizer<Scalar>& by,
                           Scalar* sums, Scalar* products) {
    const Xhat xhat(x, by);
    const auto add = [=](auto access, std::int64_t i) __attribute__((always_inline)) {
      const V d = access.template load<L>(access, dy + i);
      access.template store<L>(access, sums + i, L::add(access.template load<L>(access, sums + i), d));
      access.template store<L>(
          access, products + i,
          L::add(access.template load<L>(access, products + i), L::multiply(d, xhat(access, i))));
    };
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) add(Whole{}, i);
    if (i < n) add(Few{n - i}, i);
  }
};

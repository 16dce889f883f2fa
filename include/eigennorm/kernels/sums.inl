// Inside Functions (functions.inl): the trees of rows, whose values follow each other in memory, and sums down the
// rows by twos.

// ---- trees

/// One or two terms, sixteen at a time.
struct One {
  V first;
  EIGENNORM_INLINE One zero() { return {L::all(Scalar(0))}; }
  EIGENNORM_INLINE One add(One a, One b) { return {L::add(a.first, b.first)}; }
  EIGENNORM_INLINE One keep_few(One a, std::int64_t count) { return {L::keep_few(a.first, count)}; }
  static constexpr int sums = 1;
  inline __attribute__((always_inline)) void split(V partial[][16], std::int64_t r) const { partial[0][r] = first; }
  inline __attribute__((always_inline)) void fold(Sums<Scalar> to, std::int64_t r) const {
    to.plain[r] = L::fold(first);
  }
};
struct Two {
  V first, second;
  EIGENNORM_INLINE Two zero() { return {L::all(Scalar(0)), L::all(Scalar(0))}; }
  EIGENNORM_INLINE Two add(Two a, Two b) { return {L::add(a.first, b.first), L::add(a.second, b.second)}; }
  EIGENNORM_INLINE Two keep_few(Two a, std::int64_t count) {
    return {L::keep_few(a.first, count), L::keep_few(a.second, count)};
  }
  static constexpr int sums = 2;
  inline __attribute__((always_inline)) void split(V partial[][16], std::int64_t r) const {
    partial[0][r] = first;
    partial[1][r] = second;
  }
  inline __attribute__((always_inline)) void fold(Sums<Scalar> to, std::int64_t r) const {
    to.plain[r] = L::fold(first);
    to.product[r] = L::fold(second);
  }
};

/// t_j = (v_j + v_{j+16}) + (v_{j+32} + v_{j+48}).
template <typename T>
EIGENNORM_INLINE T step(T v0, T v1, T v2, T v3) {
  return T::add(T::add(v0, v1), T::add(v2, v3));
}

/// The sixteen sums of a tree of n values before they are folded; `terms(access, i)` gives the terms of the sixteen
/// values from i on. Sums of either parity change places after every whole step.
template <typename T, typename Terms>
EIGENNORM_INLINE T tree(std::int64_t n, const Terms& terms) {
  T this_sum = T::zero(), that_sum = this_sum;
  // (What is left is known for all rows at once, not only behind this loop.)
  const std::int64_t whole = n & -step_size, rest = n - whole;
  for (std::int64_t i = 0; i < whole; i += step_size) {
    const T next = T::add(
        this_sum, step(terms(Whole{}, i), terms(Whole{}, i + 16), terms(Whole{}, i + 32), terms(Whole{}, i + 48)));
    this_sum = that_sum;
    that_sum = next;
  }
  if (rest > 0) {
    // Missing values are 0 as terms, whatever their tensors hold; sums of nothing but those change no sum.
    const auto end = [&](std::int64_t k) __attribute__((EIGENNORM_TAIL)) {
      const std::int64_t count = (std::min)(rest - k, std::int64_t{16});
      return T::keep_few(terms(Few{count}, whole + k), count);
    };
    const auto some = [&](std::int64_t k) __attribute__((always_inline)) {
      // Masks cost nothing; where there are none, whole vectors are better off without.
      if constexpr (EIGENNORM_BYTES == 16) {
        if (rest - k >= 16) return terms(Whole{}, whole + k);
      }
      return end(k);
    };
    T last = some(0);
    if (rest > 16) last = T::add(last, some(16));
    if (rest > 32) last = T::add(last, rest > 48 ? T::add(some(32), some(48)) : some(32));
    this_sum = T::add(this_sum, last);
  }
  // Which parity is which does not matter to their sum.
  return T::add(this_sum, that_sum);
}

/// The trees of rows of `Vectors` whole vectors, before they are folded. (0 is not added: that only makes -0 another.)
template <int Vectors, typename T, typename Row>
EIGENNORM_INLINE void short_trees(std::int64_t rows, const Row& row, V (&partial)[T::sums][16]) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto terms = row(r);
    T sum = terms(Whole{}, 0);
    if constexpr (Vectors == 2) sum = T::add(sum, terms(Whole{}, 16));
    if constexpr (Vectors == 4) sum = step(sum, terms(Whole{}, 16), terms(Whole{}, 32), terms(Whole{}, 48));
    sum.split(partial, r);
  }
}

/// The trees of rows: `row(r)` gives the terms of row r. Sixteen rows are folded together; fewer than eight one by one
/// sooner.
template <typename T, typename Row>
EIGENNORM_INLINE void row_trees(Extent size, const Row& row, Sums<Scalar> to) {
  constexpr std::int64_t worth_transposing = 8;
  V partial[T::sums][16];
  for (std::int64_t first = 0; first < size.rows; first += 16) {
    const std::int64_t rows = (std::min)(size.rows - first, std::int64_t{16});
    const bool one_by_one = rows < worth_transposing;
    const auto next = [&](std::int64_t r) __attribute__((always_inline)) { return row(first + r); };
    const std::int64_t vectors = one_by_one || size.columns % 16 != 0 ? 0 : size.columns / 16;
    if (vectors == 1) short_trees<1, T>(rows, next, partial);
    if (vectors == 2) short_trees<2, T>(rows, next, partial);
    if (vectors == 4) short_trees<4, T>(rows, next, partial);
    const bool done = vectors == 1 || vectors == 2 || vectors == 4;
    for (std::int64_t r = 0; !done && r < rows; ++r) {
      const T result = tree<T>(size.columns, row(first + r));
      if (one_by_one) {
        result.fold(to, first + r);
      } else {
        result.split(partial, r);
      }
    }
    for (int k = 0; !one_by_one && k < T::sums; ++k) {
      for (std::int64_t r = rows; r < 16; ++r) partial[k][r] = L::all(Scalar(0));
      const V sums = L::add(L::fold_rows(partial[k]), L::all(Scalar(0)));
      L::store_few((k == 0 ? to.plain : to.product) + first, sums, rows);
    }
  }
}

static void sums(In x, Extent size, bool squares, Scalar* sums) {
  row_trees<One>(size,
                 [=](std::int64_t r) __attribute__((always_inline)) {
                   const Storage* from = x(r);
                   return [=](auto access, std::int64_t i) __attribute__((always_inline)) {
                     prefetch<16>(from + i + ahead);
                     const V a = access.template load<L>(access, from + i);
                     return One{squares ? L::multiply(a, a) : a};
                   };
                 },
                 {sums, nullptr});
}

static void sweeps(In x, Extent size, const Scalar* h, Sums<Scalar> sums) {
  row_trees<Two>(
      size,
      [=](std::int64_t r) __attribute__((always_inline)) {
        const Storage* from = x(r);
        const V shift = L::all(h[r]);
        return [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          prefetch<16>(from + i + ahead);
          const V e = L::subtract(access.template load<L>(access, from + i), shift);
          return Two{e, L::multiply(e, e)};
        };
      },
      sums);
}

static void gradient_sums(In x, In dy, Extent size, const Normalizers<Scalar>& by, const Affine<Scalar>& affine,
                          Sums<Scalar> sums) {
  row_trees<Two>(
      size,
      [=](std::int64_t r) __attribute__((always_inline)) {
        const Scalar* scale = scale_of_each(affine, r);
        const Storage* from = x(r);
        const Storage* from_dy = dy(r);
        const auto deviation = Functions::deviation(by, r);
        const V rstd = L::all(by.rstd[r * by.step]);
        return [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          prefetch<16>(from + i + ahead);
          prefetch<16>(from_dy + i + ahead);
          V d = access.template load<L>(access, from_dy + i);
          if (scale != nullptr) d = L::multiply(d, access.template load<L>(access, scale + i));
          return Two{d, L::multiply(d, L::multiply(deviation(access, from, i), rstd))};
        };
      },
      sums);
}

// ---- sums down the rows, by twos

static void pair_sums(In x, In dy, Extent size, const Normalizers<Scalar>& by, Sums<Scalar> sums) {
  const Normalizers<Scalar> own = by;
  const auto column = [=](auto access, std::int64_t i) __attribute__((always_inline)) {
    const auto row = [=](std::int64_t r) __attribute__((always_inline)) {
      const V d = access.template load<L>(access, dy(r) + i);
      const V xhat = L::multiply(Functions::deviation(own, r)(access, x(r), i), L::all(own.rstd[r * own.step]));
      return Two{d, L::multiply(d, xhat)};
    };
    Two total{access.template load<L>(access, sums.plain + i), access.template load<L>(access, sums.product + i)};
    std::int64_t r = 0;
    for (; r + 1 < size.rows; r += 2) total = Two::add(total, Two::add(row(r), row(r + 1)));
    if (r < size.rows) total = Two::add(total, row(r));
    access.template store<L>(access, sums.plain + i, total.first);
    access.template store<L>(access, sums.product + i, total.second);
  };
  std::int64_t i = 0;
  for (; i + 16 <= size.columns; i += 16) column(Whole{}, i);
  if (i < size.columns) column(Few{size.columns - i}, i);
}

// Inside Functions (functions.inl): the sums of rows, whose values follow each other in memory, and what follows from
// them.

// ---- trees

/// One or two terms, sixteen at a time.
struct One {
  V first;
  EIGENNORM_INLINE One zero() { return {L::all(Scalar(0))}; }
  EIGENNORM_INLINE One add(One a, One b) { return {L::add(a.first, b.first)}; }
  EIGENNORM_INLINE One keep_few(One a, std::int64_t count) { return {L::keep_few(a.first, count)}; }
  static constexpr int sums = 1;
  inline __attribute__((always_inline)) void split(V partial[][16], std::int64_t r) const { partial[0][r] = first; }
  inline __attribute__((always_inline)) void fold(Scalar* to, Scalar*, std::int64_t r) const { to[r] = L::fold(first); }
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
  inline __attribute__((always_inline)) void fold(Scalar* to, Scalar* other, std::int64_t r) const {
    to[r] = L::fold(first);
    other[r] = L::fold(second);
  }
};

/// t_j = (v_j + v_{j+16}) + (v_{j+32} + v_{j+48}).
template <typename T>
EIGENNORM_INLINE T step(T v0, T v1, T v2, T v3) {
  return T::add(T::add(v0, v1), T::add(v2, v3));
}

/// Adds n values to the sixteen sums of the parity of the next step, and of the other one; `terms(access, i)` gives the
/// terms of the sixteen values from i on. The two change places after every whole step.
template <typename T, typename Terms>
EIGENNORM_INLINE void add_to_tree(std::int64_t n, const Terms& terms, T& this_sum, T& that_sum) {
  std::int64_t i = 0;
  for (; i + step_size <= n; i += step_size) {
    const T next = T::add(this_sum, step(terms(Whole{}, i), terms(Whole{}, i + 16), terms(Whole{}, i + 32),
                                         terms(Whole{}, i + 48)));
    this_sum = that_sum;
    that_sum = next;
  }
  if (i < n) {
    // Missing values are 0 as terms, whatever their tensors hold; sums of nothing but those change no sum.
    const std::int64_t rest = n - i;
    const auto end = [&](std::int64_t k) __attribute__((EIGENNORM_END)) {
      const std::int64_t count = (std::min)(rest - k, std::int64_t{16});
      return T::keep_few(terms(Few{count}, i + k), count);
    };
    const auto some = [&](std::int64_t k) __attribute__((always_inline)) {
      // Masks cost nothing; where there are none, whole vectors are better off without.
      if constexpr (EIGENNORM_BYTES == 16) {
        if (rest - k >= 16) return terms(Whole{}, i + k);
      }
      return end(k);
    };
    T last = some(0);
    if (rest > 16) last = T::add(last, some(16));
    if (rest > 32) last = T::add(last, rest > 48 ? T::add(some(32), some(48)) : some(32));
    this_sum = T::add(this_sum, last);
  }
}

/// The sixteen sums of a tree before they are folded.
template <typename T, typename Terms>
EIGENNORM_INLINE T tree(std::int64_t n, const Terms& terms) {
  T this_sum = T::zero(), that_sum = this_sum;
  add_to_tree(n, terms, this_sum, that_sum);
  // Which parity is which does not matter to their sum.
  return T::add(this_sum, that_sum);
}

/// The trees of at most sixteen rows: `row(r)` gives the terms of row r.
template <typename T, typename Row>
EIGENNORM_INLINE void row_trees(std::int64_t rows, std::int64_t n, const Row& row, Scalar* first, Scalar* second) {
  // Fewer are folded one by one sooner.
  constexpr std::int64_t worth_transposing = 8;
  V partial[T::sums][16];
  for (std::int64_t r = 0; r < rows; ++r) {
    const T result = tree<T>(n, row(r));
    if (rows < worth_transposing) {
      result.fold(first, second, r);
    } else {
      result.split(partial, r);
    }
  }
  if (rows < worth_transposing) return;
  for (int k = 0; k < T::sums; ++k) {
    for (std::int64_t r = rows; r < 16; ++r) partial[k][r] = L::all(Scalar(0));
    L::store_few(k == 0 ? first : second, L::fold_rows(partial[k]), rows);
  }
}

static void sums(In x, std::int64_t rows, std::int64_t n, bool squares, Scalar* sums) {
  row_trees<One>(
      rows, n,
      [=](std::int64_t r) __attribute__((always_inline)) {
        const Storage* from = x(r);
        return [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          prefetch<16>(from + i + ahead);
          const V a = access.template load<L>(access, from + i);
          return One{squares ? L::multiply(a, a) : a};
        };
      },
      sums, nullptr);
}

static void sweeps(In x, std::int64_t rows, std::int64_t n, const Scalar* h, Scalar* first, Scalar* second) {
  row_trees<Two>(
      rows, n,
      [=](std::int64_t r) __attribute__((always_inline)) {
        const Storage* from = x(r);
        const V shift = L::all(h[r]);
        return [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          prefetch<16>(from + i + ahead);
          const V e = L::subtract(access.template load<L>(access, from + i), shift);
          return Two{e, L::multiply(e, e)};
        };
      },
      first, second);
}

static void gradient_sums(In x, In dy, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                          Affine<Scalar> affine, Scalar* first, Scalar* second) {
  row_trees<Two>(
      rows, n,
      [=](std::int64_t r) __attribute__((always_inline)) {
        const Scalar* scale = scale_of_each(affine, r);
        const Storage* from = x(r);
        const Storage* from_dy = dy(r);
        const auto deviation = Functions::deviation(by[r]);
        const V rstd = L::all(by[r].rstd);
        return [=](auto access, std::int64_t i) __attribute__((always_inline)) {
          prefetch<16>(from + i + ahead);
          prefetch<16>(from_dy + i + ahead);
          V d = access.template load<L>(access, from_dy + i);
          if (scale != nullptr) d = L::multiply(d, access.template load<L>(access, scale + i));
          return Two{d, L::multiply(d, L::multiply(deviation(access, from, i), rstd))};
        };
      },
      first, second);
}

// ---- statistics

/// As BlockSums, finish and is_out_of_range (summary.hpp) have it, for sixteen groups of one block.
static unsigned finish(const Rule<Scalar>& rule, const Scalar* h, const Scalar* first, const Scalar* second,
                       Scalar* high, Scalar* low, Scalar* rstd, Wide<Scalar>* variance) {
  // A register of Scalar at a time.
  constexpr int size = EIGENNORM_BYTES / static_cast<int>(sizeof(Scalar));
  unsigned left = 0;
  for (int i = 0; i < 16; i += size) {
    left |= finish_some<size>(rule, h + i, first + i, second + i, high + i, low + i, rstd + i, variance + i) << i;
  }
  return left;
}

template <int Size>
EIGENNORM_INLINE unsigned finish_some(const Rule<Scalar>& rule, const Scalar* h, const Scalar* first,
                                      const Scalar* second, Scalar* high, Scalar* low, Scalar* rstd,
                                      Wide<Scalar>* variance) {
  using W = Wide<Scalar>;
  constexpr int bytes = Size * static_cast<int>(sizeof(Scalar)), wide_bytes = Size * static_cast<int>(sizeof(W));
  using LS = Vector<Scalar, bytes>;
  using LW = Vector<W, wide_bytes>;
  using WV = typename LW::V;
  constexpr W largest = (std::numeric_limits<W>::max)();
  const auto wide = [](const Scalar* from)
                        __attribute__((always_inline)) { return widen<Scalar, W, bytes>(LS::load(from)); };
  const auto store = [](Scalar* to, WV a)
                         __attribute__((always_inline)) { LS::store(to, narrow<Scalar, W, wide_bytes>(a)); };
  const WV shift = wide(h), sum = wide(first), squares = wide(second);
  const WV correction = LW::multiply(sum, LW::all(W(1) / rule.count));
  const WV loss = LW::multiply(sum, correction);
  WV mean = LW::add(shift, correction), rest = LW::all(W(0));
  if constexpr (WideSum<Scalar>::compensated) {
    const WV part = LW::subtract(mean, shift);
    rest = LW::add(LW::subtract(shift, LW::subtract(mean, part)), LW::subtract(correction, part));
  }
  const WV m2 = LW::subtract(squares, loss);
  store(high, mean);
  store(low, LW::add(LW::subtract(mean, wide(high)), rest));

  auto good = LW::both(LW::at_most(LW::all(-largest), mean), LW::at_most(mean, LW::all(largest)));
  good = LW::both(good, LW::at_most(loss, LW::multiply(LW::all(W(0.25)), squares)));
  if (rule.has_sigma) {
    constexpr W smallest = (std::numeric_limits<Scalar>::min)() / std::numeric_limits<Scalar>::epsilon();
    good = LW::both(good,
                    LW::both(LW::at_most(LW::all(smallest * rule.count), m2), LW::at_most(m2, LW::all(largest))));
    const WV spread = LW::divide(m2, LW::all(rule.divisor));
    LW::store(variance, spread);
    store(rstd, LW::divide(LW::all(W(1)), LW::square_root(LW::add(spread, LW::all(rule.eps)))));
  } else {
    LW::store(variance, LW::all(W(0)));
    LS::store(rstd, LS::all(Scalar(1)));
  }
  MaskOf<W> masks[Size];
  __builtin_memcpy(masks, &good, sizeof masks);
  unsigned left = 0;
  for (int i = 0; i < Size; ++i) left |= static_cast<unsigned>(masks[i] == 0) << i;
  return left;
}

// Inside Functions (functions.inl): the trees of rows, whose values follow each other in memory, and of lanes, whose
// values go down the rows.

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

/// The trees of rows: `row(r)` gives the terms of row r. Sixteen rows are folded together; fewer than eight one by one
/// sooner.
template <typename T, typename Row>
EIGENNORM_INLINE void row_trees(Extent size, const Row& row, Sums<Scalar> to) {
  constexpr std::int64_t worth_transposing = 8;
  V partial[T::sums][16];
  for (std::int64_t first = 0; first < size.rows; first += 16) {
    const std::int64_t rows = (std::min)(size.rows - first, std::int64_t{16});
    const bool one_by_one = rows < worth_transposing;
    for (std::int64_t r = 0; r < rows; ++r) {
      const T result = tree<T>(size.columns, row(first + r));
      if (one_by_one) {
        result.fold(to, first + r);
      } else {
        result.split(partial, r);
      }
    }
    for (int k = 0; !one_by_one && k < T::sums; ++k) {
      for (std::int64_t r = rows; r < 16; ++r) partial[k][r] = L::all(Scalar(0));
      L::store_few((k == 0 ? to.plain : to.product) + first, L::fold_rows(partial[k]), rows);
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

// ---- lanes

/// Whether lanes are near: what lies in L1, or not far from it. (With registers of 16 bytes a walk of its own would
/// save a tenth of the time of small batches, and take a tenth of that of compiling all.)
EIGENNORM_INLINE bool is_near(Extent size) {
  constexpr std::int64_t near_lane_bytes = 32 * 1024;
  return EIGENNORM_BYTES > 16 &&
         size.rows * size.columns * static_cast<std::int64_t>(sizeof(Storage)) <= near_lane_bytes;
}

/// The sums of the rows of residue j modulo sixteen of a tree of n: those of even and of odd steps, in registers, and
/// then both. `terms(i)` gives the terms of row i.
template <typename T, typename Terms>
EIGENNORM_INLINE T residue(std::int64_t n, std::int64_t j, const Terms& terms) {
  T even = T::zero(), odd = even;
  const auto whole = [&](std::int64_t i) __attribute__((always_inline)) {
    return step(terms(i), terms(i + 16), terms(i + 32), terms(i + 48));
  };
  std::int64_t i = j;
  for (; i + 112 < n; i += 2 * step_size) {
    even = T::add(even, whole(i));
    odd = T::add(odd, whole(i + step_size));
  }
  if (i + 48 < n) {
    // (Which parity is which does not matter to their sum.)
    const T next = T::add(even, whole(i));
    even = odd;
    odd = next;
    i += step_size;
  }
  if (i < n) {
    T last = terms(i);
    if (i + 16 < n) last = T::add(last, terms(i + 16));
    if (i + 32 < n) last = T::add(last, terms(i + 32));
    even = T::add(even, last);
  }
  return T::add(even, odd);
}

/// Those of two vectors of lanes.
template <typename T>
struct Both {
  T first, second;
  EIGENNORM_INLINE Both zero() { return {T::zero(), T::zero()}; }
  EIGENNORM_INLINE Both add(Both a, Both b) { return {T::add(a.first, b.first), T::add(a.second, b.second)}; }
};

/// Those of residues [first, last), of `Rows` rows each, where there is one step. (A number that is fixed leaves a loop
/// without branches: all in all 32 x 64 take 0.87 of the time.)
template <int Rows, typename T, typename Terms>
EIGENNORM_INLINE void few_residues(std::int64_t first, std::int64_t last, const Terms& terms, T* sums) {
  for (std::int64_t j = first; j < last; ++j) {
    T sum = T::zero();
    if constexpr (Rows == 1) sum = T::add(sum, terms(j));
    if constexpr (Rows == 2) sum = T::add(sum, T::add(terms(j), terms(j + 16)));
    if constexpr (Rows == 3) sum = T::add(sum, T::add(T::add(terms(j), terms(j + 16)), terms(j + 32)));
    if constexpr (Rows == 4) sum = T::add(sum, step(terms(j), terms(j + 16), terms(j + 32), terms(j + 48)));
    sums[j] = sum;
  }
}
/// Those of all residues of n rows, more than 16 * Whole.
template <int Whole, typename T, typename Terms>
EIGENNORM_INLINE void few_residues(std::int64_t n, const Terms& terms, T* sums) {
  const std::int64_t more = n - 16 * Whole;
  few_residues<Whole + 1>(0, more, terms, sums);
  few_residues<Whole>(more, tree_lanes, terms, sums);
}

/// The tree of n rows, whose terms `terms(i)` gives.
template <typename T, typename Terms>
EIGENNORM_INLINE T near_tree(std::int64_t n, const Terms& terms) {
  T sums[tree_lanes];
  if (n > step_size) {
    for (std::int64_t j = 0; j < tree_lanes; ++j) sums[j] = residue<T>(n, j, terms);
  } else if (n > 48) {
    few_residues<3>(n, terms, sums);
  } else if (n > 32) {
    few_residues<2>(n, terms, sums);
  } else if (n > 16) {
    few_residues<1>(n, terms, sums);
  } else {
    few_residues<0>(n, terms, sums);
  }
  const auto two = [&](int j) __attribute__((always_inline)) { return T::add(sums[j], sums[j + 8]); };
  const auto four = [&](int j) __attribute__((always_inline)) { return T::add(two(j), two(j + 4)); };
  const auto eight = [&](int j) __attribute__((always_inline)) { return T::add(four(j), four(j + 2)); };
  return T::add(eight(0), eight(1));
}

/// The trees of lanes of few rows that follow each other: `terms(lane)` gives the function of rows that makes the terms
/// of sixteen, `put(lane, T)` takes their sums. (Two vectors at a time: to find the rows takes as long as to add one.)
template <typename T, typename Terms, typename Put>
EIGENNORM_INLINE void near_lane_trees(Extent size, const Terms& terms, const Put& put) {
  for (std::int64_t first = 0, last = size.columns - 16; first < size.columns; first += 32) {
    // The last vectors may overlap those before them, or be one: each lane is for itself.
    const std::int64_t lane = (std::min)(first, last), next = (std::min)(first + 16, last);
    const auto low = terms(lane), high = terms(next);
    const auto sums = near_tree<Both<T>>(
        size.rows, [=](std::int64_t i) __attribute__((always_inline)) {
          return Both<T>{low(i), high(i)};
        });
    put(lane, sums.first);
    put(next, sums.second);
  }
}

/// Vectors of lanes that are summed together: 256 bytes of each row, and 16 KB of partial sums.
static constexpr std::int64_t most_vectors = most_lanes<Scalar> / 16;

/// The sums of a tree whose rows count modulo sixteen, of each vector of lanes.
template <typename T>
using Residues = T[tree_lanes][most_vectors];

/// Folds those of both parities, or of one, to the first of the first.
template <typename T>
EIGENNORM_INLINE void fold_residues(Residues<T> (&partial)[2], std::int64_t vectors, bool both) {
  for (std::int64_t j = 0; both && j < tree_lanes; ++j) {
    for (std::int64_t w = 0; w < vectors; ++w) partial[0][j][w] = T::add(partial[0][j][w], partial[1][j][w]);
  }
  for (std::int64_t half = tree_lanes / 2; half > 0; half /= 2) {
    for (std::int64_t j = 0; j < half; ++j) {
      for (std::int64_t w = 0; w < vectors; ++w) partial[0][j][w] = T::add(partial[0][j][w], partial[0][j + half][w]);
    }
  }
}

/// Takes the sums of lanes.
EIGENNORM_INLINE auto to_lanes(Sums<Scalar> sums) {
  return [=](std::int64_t lane, Two sum) __attribute__((always_inline)) {
    L::store(sums.plain + lane, sum.first);
    L::store(sums.product + lane, sum.second);
  };
}
/// Asks for lanes of rows of both tensors.
EIGENNORM_INLINE auto ask_for(const Lanes& x, const Lanes& dy) {
  return [=](std::int64_t i, std::int64_t lane) __attribute__((always_inline)) {
    prefetch<16, 2>(x(i) + lane);
    prefetch<16, 2>(dy(i) + lane);
  };
}

/// The trees of all lanes, sixteen lanes at a time: `row(i)` gives the function of lanes that makes the terms
/// of row i, `ask(i, lane)` prefetches it, and `put(lane, T)` takes the sums.
template <typename T, typename Row, typename Ask, typename Put>
EIGENNORM_INLINE void lane_trees(Extent size, bool ask_behind, const Row& row, const Ask& ask, const Put& put) {
  const std::int64_t n = size.rows, lanes = size.columns, asked = ask_behind ? n + 2 * step_size : n;
  Residues<T> partial[2];
  for (std::int64_t first = 0; first < lanes; first += most_vectors * 16) {
    const std::int64_t vectors = (std::min)(most_vectors, (lanes - first + 15) / 16);
    // The last vector may overlap the one before it: each lane is for itself.
    const auto lane = [=](std::int64_t w) { return (std::min)(first + w * 16, lanes - 16); };
    std::int64_t i = 0;
    for (; i + step_size <= n; i += step_size) {
      Residues<T>& sums = partial[i / step_size % 2];
      for (std::int64_t j = 0; j < tree_lanes; ++j) {
        for (std::int64_t next = i + j + step_size; next < (std::min)(i + 2 * step_size, asked); next += 16) {
          for (std::int64_t w = 0; w < vectors; ++w) ask(next, first + w * 16);
        }
        const auto row0 = row(i + j), row1 = row(i + j + 16), row2 = row(i + j + 32), row3 = row(i + j + 48);
        for (std::int64_t w = 0; w < vectors; ++w) {
          const std::int64_t at = lane(w);
          const T next = step(row0(at), row1(at), row2(at), row3(at));
          sums[j][w] = i < 2 * step_size ? next : T::add(sums[j][w], next);
        }
      }
    }
    if (i < n) {
      const std::int64_t rows = n - i;
      Residues<T>& sums = partial[i / step_size % 2];
      for (std::int64_t j = 0; j < tree_lanes; ++j) {
        for (std::int64_t w = 0; w < vectors; ++w) {
          const std::int64_t at = lane(w);
          // (In a loop: four of them would take as long to compile as all whole steps.)
          T terms[4];
          for (int q = 0; q < 4; ++q) terms[q] = j + 16 * q < rows ? row(i + j + 16 * q)(at) : T::zero();
          const T next = step(terms[0], terms[1], terms[2], terms[3]);
          sums[j][w] = i < 2 * step_size ? next : T::add(sums[j][w], next);
        }
      }
    }
    fold_residues<T>(partial, vectors, n > step_size);
    for (std::int64_t w = 0; w < vectors; ++w) put(lane(w), partial[0][0][w]);
  }
}

static void lane_sums(const Lanes& rows, Extent size, Scalar* sums) {
  if (!rows.is_regular()) {
    const Scalar about[most_lanes<Scalar>] = {};
    Scalar squares[most_lanes<Scalar>];
    return lane_sweeps(rows, size, about, {sums, squares});
  }
  const Lanes x = rows;
  near_lane_trees<One>(
      size,
      [=](std::int64_t lane) __attribute__((always_inline)) {
        const Storage* from = x.data + lane;
        return [=](std::int64_t i) __attribute__((always_inline)) { return One{L::load(from + i * x.step)}; };
      },
      [=](std::int64_t lane, One sum) __attribute__((always_inline)) { L::store(sums + lane, sum.first); });
}

static void lane_sweeps(const Lanes& rows, Extent size, const Scalar* h, Sums<Scalar> sums) {
  const Lanes x = rows;
  if (x.is_regular() && is_near(size)) {
    const Storage* data = x.data;
    const std::int64_t apart = x.step;
    return near_lane_trees<Two>(
        size,
        [=](std::int64_t lane) __attribute__((always_inline)) {
          const Storage* from = data + lane;
          const V shift = L::load(h + lane);
          return [=](std::int64_t i) __attribute__((always_inline)) {
            const V e = L::subtract(L::load(from + i * apart), shift);
            return Two{e, L::multiply(e, e)};
          };
        },
        to_lanes(sums));
  }
  lane_trees<Two>(
      size, x.is_regular(),
      [=](std::int64_t i) __attribute__((always_inline)) {
        const Storage* from = x(i);
        return [=](std::int64_t lane) __attribute__((always_inline)) {
          const V e = L::subtract(L::load(from + lane), L::load(h + lane));
          return Two{e, L::multiply(e, e)};
        };
      },
      [=](std::int64_t i, std::int64_t lane) __attribute__((always_inline)) { prefetch<16, 2>(x(i) + lane); },
      to_lanes(sums));
}

static void lane_gradient_sums(const Lanes& x_rows, const Lanes& dy_rows, Extent size, const Normalizers<Scalar>& by,
                               const Affine<Scalar>& affine, Sums<Scalar> sums) {
  const Scalar* high = by.high;
  const Scalar* low = by.low;
  const Scalar* rstd = by.rstd;
  const Lanes x = x_rows, dy = dy_rows;
  // Without a scale, 1 is read again and again.
  const Scalar one = 1;
  const Scalar* row_scale = affine.scale == nullptr ? &one : affine.scale;
  const std::int64_t scale_step = affine.scale == nullptr ? 0 : affine.row;
  if (x.is_regular() && dy.is_regular() && is_near(size)) {
    const Lanes from = x, from_dy = dy;
    return near_lane_trees<Two>(
        size,
        [=](std::int64_t lane) __attribute__((always_inline)) {
          const Storage* of_x = from.data + lane;
          const Storage* of_dy = from_dy.data + lane;
          const Deviation deviation{L::load(high + lane), L::load(low + lane)};
          const V own = L::load(rstd + lane);
          return [=](std::int64_t i) __attribute__((always_inline)) {
            const V d = L::multiply(L::load(of_dy + i * from_dy.step), L::all(row_scale[i * scale_step]));
            return Two{d, L::multiply(d, L::multiply(deviation(Whole{}, of_x, i * from.step), own))};
          };
        },
        to_lanes(sums));
  }
  lane_trees<Two>(
      size, x.is_regular(),
      [=](std::int64_t i) __attribute__((always_inline)) {
        const Storage* from = x(i);
        const Storage* from_dy = dy(i);
        const V scale = L::all(row_scale[i * scale_step]);
        return [=](std::int64_t lane) __attribute__((always_inline)) {
          const V d = L::multiply(L::load(from_dy + lane), scale);
          const V deviation = L::subtract(L::subtract(L::load(from + lane), L::load(high + lane)), L::load(low + lane));
          return Two{d, L::multiply(d, L::multiply(deviation, L::load(rstd + lane)))};
        };
      },
      ask_for(x, dy), to_lanes(sums));
}

/// (One walk for near and far: a second would take longer to compile than it could save.)
static void lane_gated_sums(const Lanes& x_rows, const Lanes& dy_rows, Extent size, const Normalizers<Scalar>& by,
                            const Affine<Scalar>& affine, Sums<Scalar> sums) {
  const Scalar* high = by.high;
  const Scalar* low = by.low;
  const Scalar* rstd = by.rstd;
  const Lanes x = x_rows, dy = dy_rows;
  alignas(64) Scalar no_scale[16], no_shift[16];
  const Each scales = first_row(affine.scale, affine, Scalar(1), no_scale);
  const Each shifts = first_row(affine.shift, affine, Scalar(-0.0), no_shift);
  lane_trees<Two>(
      size, x.is_regular(),
      [=](std::int64_t i) __attribute__((always_inline)) {
        const Storage* from = x(i);
        const Storage* from_dy = dy(i);
        return [=](std::int64_t lane) __attribute__((always_inline)) {
          const V deviation = L::subtract(L::subtract(L::load(from + lane), L::load(high + lane)), L::load(low + lane));
          const V xhat = L::multiply(deviation, L::load(rstd + lane));
          const V scaled = L::multiply(xhat, L::load(scales.values + (lane & scales.mask)));
          const V y = L::add(scaled, L::load(shifts.values + (lane & shifts.mask)));
          const V d = passed(L::load(from_dy + lane), y);
          return Two{d, L::multiply(d, xhat)};
        };
      },
      ask_for(x, dy), to_lanes(sums));
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

// Inside Functions (functions.inl), behind sums.inl: the trees of lanes, whose values go down the rows.

/// Whether lanes are near: in L1, or likely to be in L2. A whole block is one of many, which come from memory: there it
/// is worth more to ask for rows ahead. (With registers of 16 bytes a walk of its own would save a tenth of the time of
/// small batches, and take a tenth of that of compiling all.)
EIGENNORM_INLINE bool is_near(Extent size) {
  const std::int64_t near_lane_bytes = (size.rows < block_size ? 128 : 32) * 1024;
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

/// Stores the sum of a residue, that of the first vector of lanes before those of all residues of the second.
template <typename T>
EIGENNORM_INLINE void put_sum(T sum, T* sums) {
  sums[0] = sum;
}
template <typename T>
EIGENNORM_INLINE void put_sum(Both<T> sum, T* sums) {
  sums[0] = sum.first;
  sums[tree_lanes] = sum.second;
}

/// The sums of all residues of n rows, more than a step of them. Before a residue is summed, `ask(i)` is called for all
/// of its rows i below `asked`.
template <typename Sum, typename T, typename Terms, typename Ask>
EIGENNORM_INLINE void many_residues(std::int64_t n, std::int64_t asked, const Terms& terms, const Ask& ask, T* sums) {
  for (std::int64_t j = 0; j < tree_lanes; ++j) {
    for (std::int64_t i = j; i < asked; i += tree_lanes) ask(i);
    put_sum(residue<Sum>(n, j, terms), sums + j);
  }
}

/// Those of residues [first, last), of `Rows` rows each, where there is one step. (A number that is fixed leaves a loop
/// without branches: all in all 32 x 64 take 0.87 of the time.)
template <int Rows, typename Sum, typename T, typename Terms>
EIGENNORM_INLINE void few_residues(std::int64_t first, std::int64_t last, const Terms& terms, T* sums) {
  for (std::int64_t j = first; j < last; ++j) {
    Sum sum = Sum::zero();
    if constexpr (Rows == 1) sum = Sum::add(sum, terms(j));
    if constexpr (Rows == 2) sum = Sum::add(sum, Sum::add(terms(j), terms(j + 16)));
    if constexpr (Rows == 3) sum = Sum::add(sum, Sum::add(Sum::add(terms(j), terms(j + 16)), terms(j + 32)));
    if constexpr (Rows == 4) sum = Sum::add(sum, step(terms(j), terms(j + 16), terms(j + 32), terms(j + 48)));
    put_sum(sum, sums + j);
  }
}
/// Those of all residues of n rows, more than 16 * Whole.
template <int Whole, typename Sum, typename T, typename Terms>
EIGENNORM_INLINE void few_residues(std::int64_t n, const Terms& terms, T* sums) {
  const std::int64_t more = n - 16 * Whole;
  few_residues<Whole + 1, Sum>(0, more, terms, sums);
  few_residues<Whole, Sum>(more, tree_lanes, terms, sums);
}
/// Those of n rows, a step at most.
template <typename Sum, typename T, typename Terms>
EIGENNORM_INLINE void few_residues(std::int64_t n, const Terms& terms, T* sums) {
  if (n > 48) return few_residues<3, Sum>(n, terms, sums);
  if (n > 32) return few_residues<2, Sum>(n, terms, sums);
  if (n > 16) return few_residues<1, Sum>(n, terms, sums);
  few_residues<0, Sum>(n, terms, sums);
}

/// Folds the sums of all residues.
template <typename T>
EIGENNORM_INLINE T folded(const T* sums) {
  const auto two = [=](int j) __attribute__((always_inline)) { return T::add(sums[j], sums[j + 8]); };
  const auto four = [=](int j) __attribute__((always_inline)) { return T::add(two(j), two(j + 4)); };
  const auto eight = [=](int j) __attribute__((always_inline)) { return T::add(four(j), four(j + 2)); };
  return T::add(eight(0), eight(1));
}

/// Whether lanes of rows that are `apart` are asked for: not where x is in L1 (to ask took up to a seventh of the
/// time), nor where rows are whole, one behind the other, which the processor asks for itself.
EIGENNORM_INLINE bool is_asked_for(Extent size, std::int64_t apart) {
  constexpr std::int64_t l1_bytes = 32 * 1024;
  return apart > size.columns && size.rows * size.columns * static_cast<std::int64_t>(sizeof(Storage)) > l1_bytes;
}

/// The trees of near lanes whose rows are `apart`: `terms(lane)` gives the function of rows that makes the terms
/// of sixteen, `ask(i, lane)` prefetches those of row i, and `put(lane, T)` takes the sums. (Two vectors at a time: to
/// find the rows takes as long as to add one, and two are a whole line or more.)
template <typename T, typename Terms, typename Ask, typename Put>
EIGENNORM_INLINE void near_lane_trees(Extent size, std::int64_t apart, const Terms& terms, const Ask& ask,
                                      const Put& put) {
  const std::int64_t n = size.rows, last = size.columns - 16, asked = is_asked_for(size, apart) ? n : 0;
  T sums[2 * tree_lanes];
  for (std::int64_t first = 0; first < size.columns; first += 32) {
    // The last vectors may overlap those before them, or be one: each lane is for itself.
    const std::int64_t lane = (std::min)(first, last), next = (std::min)(first + 16, last);
    // (Behind the last lanes are those of the next tile, which is summed next.)
    const auto ask_behind = [=](std::int64_t i) __attribute__((always_inline)) {
      ask(i, lane + 32);
      ask(i, lane + 48);
    };
    if (lane == next && n > step_size) {
      // (Of few rows, one that is summed twice costs no more than one by itself.)
      many_residues<T>(n, asked, terms(lane), ask_behind, sums);
      put(lane, folded(sums));
      continue;
    }
    const auto low = terms(lane), high = terms(next);
    const auto both = [=](std::int64_t i) __attribute__((always_inline)) { return Both<T>{low(i), high(i)}; };
    if (n > step_size) {
      many_residues<Both<T>>(n, asked, both, ask_behind, sums);
    } else {
      few_residues<Both<T>>(n, both, sums);
    }
    put(lane, folded(sums));
    put(next, folded(sums + tree_lanes));
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
/// Asks for lanes of rows.
EIGENNORM_INLINE auto ask_for(const Lanes& x) {
  return [=](std::int64_t i, std::int64_t lane) __attribute__((always_inline)) { prefetch<16, 2>(x(i) + lane); };
}
/// The same where rows are a step apart.
EIGENNORM_INLINE auto ask_near(const Lanes& x) {
  return [=](std::int64_t i, std::int64_t lane) __attribute__((always_inline)) {
    prefetch<16, 2>(x.data + i * x.step + lane);
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
EIGENNORM_INLINE void lane_trees(Extent size, bool past_end, const Row& row, const Ask& ask, const Put& put) {
  const std::int64_t n = size.rows, lanes = size.columns, asked = past_end ? n + 2 * step_size : n;
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
          const auto some = [&](std::int64_t k) __attribute__((always_inline)) { return row(i + k)(at); };
          T next = j < rows ? some(j) : T::zero();
          if (j + 16 < rows) next = T::add(next, some(j + 16));
          if (j + 32 < rows) {
            T back = some(j + 32);
            if (j + 48 < rows) back = T::add(back, some(j + 48));
            next = T::add(next, back);
          }
          sums[j][w] = i < 2 * step_size ? next : T::add(sums[j][w], next);
        }
      }
    }
    fold_residues<T>(partial, vectors, n > step_size);
    // (All sums begin with 0, which makes -0 another, and nothing else. It is enough to add it to the last.)
    for (std::int64_t w = 0; w < vectors; ++w) put(lane(w), T::add(partial[0][0][w], T::zero()));
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
      size, x.step,
      [=](std::int64_t lane) __attribute__((always_inline)) {
        const Storage* from = x.data + lane;
        return [=](std::int64_t i) __attribute__((always_inline)) { return One{L::load(from + i * x.step)}; };
      },
      ask_near(x),
      [=](std::int64_t lane, One sum) __attribute__((always_inline)) { L::store(sums + lane, sum.first); });
}

static void lane_sweeps(const Lanes& rows, Extent size, const Scalar* h, Sums<Scalar> sums) {
  const Lanes x = rows;
  if (x.is_regular() && is_near(size)) {
    const Storage* data = x.data;
    const std::int64_t apart = x.step;
    return near_lane_trees<Two>(
        size, apart,
        [=](std::int64_t lane) __attribute__((always_inline)) {
          const Storage* from = data + lane;
          const V shift = L::load(h + lane);
          return [=](std::int64_t i) __attribute__((always_inline)) {
            const V e = L::subtract(L::load(from + i * apart), shift);
            return Two{e, L::multiply(e, e)};
          };
        },
        ask_near(x), to_lanes(sums));
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
      ask_for(x), to_lanes(sums));
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
        size, from.step,
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
        [=](std::int64_t i, std::int64_t lane) __attribute__((always_inline)) {
          prefetch<16, 2>(from.data + i * from.step + lane);
          prefetch<16, 2>(from_dy.data + i * from_dy.step + lane);
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

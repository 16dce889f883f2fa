// Inside Functions (functions.inl): what is done to lanes, neighbours in memory that belong to different groups, with
// the values of each down the rows.

// ---- lanes

/// Vectors of lanes that are summed together: 256 bytes of each row, and 16 KB of partial sums.
static constexpr std::int64_t most_vectors = most_lanes<Scalar> / 16;

/// The trees of all lanes, sixteen lanes at a time: `row(i)` gives the function of lanes that makes the terms
/// of row i, `ask(i, lane)` prefetches it, and `put(lane, T)` takes the sums.
template <typename T, typename Row, typename Ask, typename Put>
EIGENNORM_INLINE void lane_trees(std::int64_t n, std::int64_t lanes, const Row& row, const Ask& ask,
                                 const Put& put) {
  using Residues = T[tree_lanes][most_vectors];
  Residues partial[2];
  for (std::int64_t first = 0; first < lanes; first += most_vectors * 16) {
    const std::int64_t vectors = (std::min)(most_vectors, (lanes - first + 15) / 16);
    // The last vector may overlap the one before it: each lane is for itself.
    const auto lane = [=](std::int64_t w) { return (std::min)(first + w * 16, lanes - 16); };
    std::int64_t i = 0;
    for (; i + step_size <= n; i += step_size) {
      Residues& sums = partial[i / step_size % 2];
      for (std::int64_t j = 0; j < tree_lanes; ++j) {
        for (std::int64_t next = i + j + step_size; next < i + 2 * step_size; next += 16) {
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
      Residues& sums = partial[i / step_size % 2];
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
    for (std::int64_t j = 0; n > step_size && j < tree_lanes; ++j) {
      for (std::int64_t w = 0; w < vectors; ++w) partial[0][j][w] = T::add(partial[0][j][w], partial[1][j][w]);
    }
    for (std::int64_t half = tree_lanes / 2; half > 0; half /= 2) {
      for (std::int64_t j = 0; j < half; ++j) {
        for (std::int64_t w = 0; w < vectors; ++w)
          partial[0][j][w] = T::add(partial[0][j][w], partial[0][j + half][w]);
      }
    }
    for (std::int64_t w = 0; w < vectors; ++w) put(lane(w), partial[0][0][w]);
  }
}

static void lane_sweeps(In x, std::int64_t n, std::int64_t lanes, const Scalar* h, Scalar* first,
                        Scalar* second) {
  lane_trees<Two>(
      n, lanes,
      [=](std::int64_t i) __attribute__((always_inline)) {
        const Storage* from = x(i);
        return [=](std::int64_t lane) __attribute__((always_inline)) {
          const V e = L::subtract(L::load(from + lane), L::load(h + lane));
          return Two{e, L::multiply(e, e)};
        };
      },
      [=](std::int64_t i, std::int64_t lane) __attribute__((always_inline)) { prefetch<16, 2>(x(i) + lane); },
      [=](std::int64_t lane, Two sum) __attribute__((always_inline)) {
        L::store(first + lane, sum.first);
        L::store(second + lane, sum.second);
      });
}

static void lane_gradient_sums(In x, In dy, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                               const Scalar* row_scale, Scalar* first, Scalar* second) {
  const Scalar* high = by.high;
  const Scalar* low = by.low;
  const Scalar* rstd = by.rstd;
  lane_trees<Two>(
      n, lanes,
      [=](std::int64_t i) __attribute__((always_inline)) {
        const Storage* from = x(i);
        const Storage* from_dy = dy(i);
        const Scalar scale = scale_of(row_scale, i);
        return [=](std::int64_t lane) __attribute__((always_inline)) {
          const V d = L::multiply(L::load(from_dy + lane), L::all(scale));
          const V deviation =
              L::subtract(L::subtract(L::load(from + lane), L::load(high + lane)), L::load(low + lane));
          return Two{d, L::multiply(d, L::multiply(deviation, L::load(rstd + lane)))};
        };
      },
      [=](std::int64_t i, std::int64_t lane) __attribute__((always_inline)) {
        prefetch<16, 2>(x(i) + lane);
        prefetch<16, 2>(dy(i) + lane);
      },
      [=](std::int64_t lane, Two sum) __attribute__((always_inline)) {
        L::store(first + lane, sum.first);
        L::store(second + lane, sum.second);
      });
}

// ---- trees of sixteen lanes whose blocks come in parts

/// Two terms of a tree that waits.
EIGENNORM_INLINE Two waiting(const OpenTree<Scalar>* trees, std::int64_t parity, std::int64_t r) {
  return {L::load(trees[r].sums[0][parity]), L::load(trees[r].sums[1][parity])};
}
EIGENNORM_INLINE void wait(OpenTree<Scalar>* trees, std::int64_t parity, std::int64_t r, Two sums) {
  L::store(trees[r].sums[0][parity], sums.first);
  L::store(trees[r].sums[1][parity], sums.second);
}

template <typename Row>
EIGENNORM_INLINE void continue_lane_trees(std::int64_t n, std::int64_t first, OpenTree<Scalar>* trees, const Row& row) {
  std::int64_t i = 0;
  for (; i + step_size <= n; i += step_size) {
    const std::int64_t parity = (first + i) / step_size % 2;
    for (std::int64_t j = 0; j < tree_lanes; ++j)
      wait(trees, parity, j,
           Two::add(waiting(trees, parity, j), step(row(i + j), row(i + j + 16), row(i + j + 32), row(i + j + 48))));
  }
  const std::int64_t rest = n - i, parity = (first + i) / step_size % 2;
  for (std::int64_t j = 0; j < (std::min)(rest, tree_lanes); ++j) {
    Two next = row(i + j);
    if (j + 16 < rest) next = Two::add(next, row(i + j + 16));
    if (j + 32 < rest) {
      Two back = row(i + j + 32);
      if (j + 48 < rest) back = Two::add(back, row(i + j + 48));
      next = Two::add(next, back);
    }
    wait(trees, parity, j, Two::add(waiting(trees, parity, j), next));
  }
}

static void continue_lane_sweeps(In x, std::int64_t n, const Scalar* h, std::int64_t first, OpenTree<Scalar>* trees) {
  const V shift = L::load(h);
  continue_lane_trees(
      n, first, trees, [=](std::int64_t i) __attribute__((always_inline)) {
        const V e = L::subtract(L::load(x(i)), shift);
        return Two{e, L::multiply(e, e)};
      });
}

static void continue_lane_gradient_sums(In x, In dy, std::int64_t n, const Lanes<Scalar>& by, const Scalar* row_scale,
                                        std::int64_t first, OpenTree<Scalar>* trees) {
  const V high = L::load(by.high), low = L::load(by.low), rstd = L::load(by.rstd);
  continue_lane_trees(
      n, first, trees, [=](std::int64_t i) __attribute__((always_inline)) {
        const V d = L::multiply(L::load(dy(i)), L::all(scale_of(row_scale, i)));
        const V deviation = L::subtract(L::subtract(L::load(x(i)), high), low);
        return Two{d, L::multiply(d, L::multiply(deviation, rstd))};
      });
}

static void fold_lanes(const OpenTree<Scalar>* trees, Scalar* first, Scalar* second) {
  Two sums[tree_lanes];
  for (std::int64_t j = 0; j < tree_lanes; ++j) sums[j] = Two::add(waiting(trees, 0, j), waiting(trees, 1, j));
  for (std::int64_t half = tree_lanes / 2; half > 0; half /= 2) {
    for (std::int64_t j = 0; j < half; ++j) sums[j] = Two::add(sums[j], sums[j + half]);
  }
  L::store(first, sums[0].first);
  L::store(second, sums[0].second);
}

/// y = value for all lanes of n rows, four rows at a time, so that what is by lane is read once for four:
/// `make(access, i)` gives the function of rows that makes the values of lanes i on.
template <typename Make>
EIGENNORM_INLINE void for_each_row(Out y, std::int64_t n, std::int64_t lanes, bool stream, const Make& make) {
  const auto place = reinterpret_cast<std::uintptr_t>(y.data) | static_cast<std::uintptr_t>(y.step) * sizeof(Storage);
  // Long rows would push what is by lane out of L1.
  constexpr std::int64_t short_row = 256;
  std::int64_t r = 0;
  if (lanes <= short_row && lanes % 16 == 0 && (!stream || place % 64 == 0)) {
    for (; r + 4 <= n; r += 4) {
      for (std::int64_t i = 0; i < lanes; i += 16) {
        const auto value = make(Whole{}, i);
        // All loads first: rows are often a multiple of 4 KB apart, where a load waits for a store before it.
        const V first = value(r), second = value(r + 1), third = value(r + 2), fourth = value(r + 3);
        put(y(r) + i, first, stream);
        put(y(r + 1) + i, second, stream);
        put(y(r + 2) + i, third, stream);
        put(y(r + 3) + i, fourth, stream);
      }
    }
  }
  for (; r < n; ++r) {
    for_each(
        y(r), lanes, stream ? Store::streamed : Store::usual,
        [=](auto access, std::int64_t i) __attribute__((always_inline)) { return make(access, i)(r); });
  }
}

static void lane_transform(In x, Out y, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                           const Scalar* row_scale, const Scalar* row_shift, Traffic traffic) {
  const Lanes<Scalar> from = by;
  const bool by_row = row_scale != nullptr || row_shift != nullptr;
  for_each_row(
      y, n, lanes, traffic.stream, [=](auto access, std::int64_t i) __attribute__((always_inline)) {
        const V high = access.template load<L>(access, from.high + i);
        const V low = access.template load<L>(access, from.low + i);
        const V rstd = access.template load<L>(access, from.rstd + i);
        const V scale = by_row ? high : access.template load<L>(access, from.scale + i);
        const V shift = by_row ? high : access.template load<L>(access, from.shift + i);
        return [=](std::int64_t r) __attribute__((always_inline)) {
          prefetch<16, 2>(x(r) + i + traffic.next);
          const V value = access.template load<L>(access, x(r) + i);
          const V xhat = L::multiply(L::subtract(L::subtract(value, high), low), rstd);
          return L::add(L::multiply(xhat, by_row ? L::all(scale_of(row_scale, r)) : scale),
                        by_row ? L::all(shift_of(row_shift, r)) : shift);
        };
      });
}

static void lane_gradient(In x, In dy, Out dx, std::int64_t n, std::int64_t lanes, const Lanes<Scalar>& by,
                          const Scalar* row_scale, Traffic traffic) {
  const Lanes<Scalar> from = by;
  for_each_row(
      dx, n, lanes, traffic.stream, [=](auto access, std::int64_t i) __attribute__((always_inline)) {
        const V high = access.template load<L>(access, from.high + i);
        const V low = access.template load<L>(access, from.low + i);
        const V rstd = access.template load<L>(access, from.rstd + i);
        const V scale = access.template load<L>(access, from.scale + i);
        const V mean = access.template load<L>(access, from.mean + i);
        const V slope = access.template load<L>(access, from.slope + i);
        return [=](std::int64_t r) __attribute__((always_inline)) {
          prefetch<16, 2>(x(r) + i + traffic.next);
          prefetch<16, 2>(dy(r) + i + traffic.next);
          const V value = access.template load<L>(access, x(r) + i);
          const V xhat = L::multiply(L::subtract(L::subtract(value, high), low), rstd);
          V d = access.template load<L>(access, dy(r) + i);
          if (row_scale != nullptr) d = L::multiply(d, L::all(row_scale[r]));
          const V rest = L::subtract(d, L::add(mean, L::multiply(xhat, slope)));
          return L::multiply(L::multiply(rest, rstd), scale);
        };
      });
}

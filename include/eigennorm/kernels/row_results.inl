// Inside Functions (functions.inl): y and dx of rows, the sums that are taken beside them, and plain copies.

/// How results are stored: through the caches, past them, or first of all in L1.
enum class Store { usual, streamed, staged };

/// y[i] = value(access, i) for every i < n, each value of a tensor read before it is written. Staged, what lies
/// behind y is overwritten up to a whole vector.
template <typename Value>
EIGENNORM_INLINE void for_each(Storage* y, std::int64_t n, Store store, const Value& value) {
  // Streaming stores need whole cache lines: ordinary stores go up to the first and on from the last. In this order:
  // the line that two rows share is then written at once.
  const std::int64_t past = store == Store::streamed ? past_line(y) : 0;
  std::int64_t i = 0, few = past == 0 ? 0 : (std::min)(n, line - past);
  while (true) {
    for (; few > 0; few -= 16) {
      const Few ends{(std::min)(std::int64_t{16}, few)};
      const V last = value(ends, i);
      if (store == Store::staged) {
        L::store(y + i, last);
      } else {
        Few::store<L>(ends, y + i, last);
      }
      i += ends.count;
    }
    if (i == n) return;
    // (A branch that never changes costs less than one more copy of the loop.)
    for (; i + 16 <= n; i += 16) put(y + i, value(Whole{}, i), store == Store::streamed);
    few = n - i;
    if (few == 0) return;
  }
}

/// Values between the cache line's start and y.
EIGENNORM_INLINE std::int64_t past_line(const Storage* y) {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(y) / sizeof(Storage)) & (line - 1);
}

/// Two kilobytes, so that writing to memory and computing take turns quickly. (With eight, both take up to twice as
/// long.)
static constexpr auto stage_size = static_cast<std::int64_t>(2048 / sizeof(Storage));

/// Calls `write(r, to, store)` for each row. Short rows that follow each other but do not end with a line are put
/// together in L1 first, so that all lines but the first and last are streamed whole.
template <typename Write>
EIGENNORM_INLINE void for_each_row_of(Out y, std::int64_t rows, std::int64_t n, bool stream, const Write& write) {
  std::int64_t begin = past_line(y.data);
  const bool staged = stream && rows > 1 && y.step == n && 2 * n <= stage_size && (n % line != 0 || begin != 0);
  const Store store = staged ? Store::staged : stream ? Store::streamed : Store::usual;
  alignas(64) Storage stage[stage_size + 2 * line];
  Storage* lines = y.data - begin;  // where stage[0] belongs
  std::int64_t end = begin;
  for (std::int64_t r = 0; r < rows; ++r) {
    write(r, staged ? stage + end : y(r), store);
    if (!staged) continue;
    end += n;
    const bool last = r + 1 == rows;
    if (end + n <= stage_size && !last) continue;
    const std::int64_t whole = end / line * line;
    stream_lines(lines, stage, begin, whole);
    if (last) {
      copy_few<line>(lines + (std::max)(whole, begin), stage + (std::max)(whole, begin),
                     end - (std::max)(whole, begin));
    } else {
      std::copy(stage + whole, stage + whole + line, stage);
      lines += whole;
      end -= whole;
      begin = 0;
    }
  }
}

/// Values [begin, end) of lines: the first may be part of one, the others are whole.
EIGENNORM_INLINE void stream_lines(Storage* lines, const Storage* from, std::int64_t begin, std::int64_t end) {
  using Line = Vector<float, 64>;
  std::int64_t i = begin;
  if (begin % line != 0) {
    i = (std::min)(line, end);
    copy_few<line>(lines + begin, from + begin, (std::max)(i - begin, std::int64_t{0}));
  }
  for (; i < end; i += line)
    Line::stream(reinterpret_cast<float*>(lines + i), Line::load(reinterpret_cast<const float*>(from + i)));
}

template <typename Scale, typename Shift>
EIGENNORM_INLINE void transform_row(const Storage* x, Storage* y, std::int64_t n, const Normalizer<Scalar>& by,
                                    Scale scale, Shift shift, Store store, std::int64_t next) {
  const V high = L::all(by.high), low = L::all(by.low), rstd = L::all(by.rstd);
  const bool centred = by.high != 0 || by.low != 0;
  for_each(
      y, n, store, [=](auto access, std::int64_t i) __attribute__((always_inline)) {
        prefetch<16, 2>(x + i + next);
        V value = access.template load<L>(access, x + i);
        // Subtracting 0 changes nothing.
        if (centred) value = L::subtract(L::subtract(value, high), low);
        return shift(access, i, scale(access, i, L::multiply(value, rstd)));
      });
}

static void transform(In x, Out y, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                      Affine<Scalar> affine, Traffic traffic) {
  for_each_row_of(
      y, rows, n, traffic.stream, [=](std::int64_t r, Storage* to, Store store) __attribute__((always_inline)) {
        const Scalar* scale = affine.scale == nullptr ? nullptr : affine.scale + r * affine.step;
        const Scalar* shift = affine.shift == nullptr ? nullptr : affine.shift + r * affine.step;
        if (affine.each) {
          transform_row(
              x(r), to, n, by[r],
              [=](auto access, std::int64_t i, V a) __attribute__((always_inline)) {
                return scale == nullptr ? a : L::multiply(a, access.template load<L>(access, scale + i));
              },
              [=](auto access, std::int64_t i, V a) __attribute__((always_inline)) {
                return shift == nullptr ? a : L::add(a, access.template load<L>(access, shift + i));
              },
              store, traffic.next);
        } else {
          const V scales = L::all(scale_of(scale, 0)), shifts = L::all(shift_of(shift, 0));
          transform_row(
              x(r), to, n, by[r],
              [=](auto, std::int64_t, V a) __attribute__((always_inline)) { return L::multiply(a, scales); },
              [=](auto, std::int64_t, V a) __attribute__((always_inline)) { return L::add(a, shifts); }, store,
              traffic.next);
        }
      });
}

static void gradient(In x, In dy, Out dx, std::int64_t rows, std::int64_t n, const Normalizer<Scalar>* by,
                     const Correction<Scalar>* correction, Affine<Scalar> affine, Traffic traffic) {
  for_each_row_of(
      dx, rows, n, traffic.stream, [=](std::int64_t r, Storage* to, Store store) __attribute__((always_inline)) {
        const auto deviation = Functions::deviation(by[r]);
        const V rstd = L::all(by[r].rstd);
        const V mean = L::all(correction[r].mean), slope = L::all(correction[r].slope);
        const Storage* from = x(r);
        const Storage* from_dy = dy(r);
        const Scalar* scale = scale_of_each(affine, r);
        const Scalar of_row = affine.each ? Scalar(1) : scale_of(affine.scale, r * affine.step);
        const V before = L::all(affine.inside ? of_row : Scalar(1)), after = L::all(affine.inside ? Scalar(1) : of_row);
        for_each(
            to, n, store, [=](auto access, std::int64_t i) __attribute__((always_inline)) {
              prefetch<16, 2>(from + i + traffic.next);
              prefetch<16, 2>(from_dy + i + traffic.next);
              const V xhat = L::multiply(deviation(access, from, i), rstd);
              V d = access.template load<L>(access, from_dy + i);
              d = L::multiply(d, scale == nullptr ? before : access.template load<L>(access, scale + i));
              const V rest = L::subtract(d, L::add(mean, L::multiply(xhat, slope)));
              return L::multiply(L::multiply(rest, rstd), after);
            });
      });
}

/// One row of a pair, with what it is made of.
struct PairRow {
  const Storage* x;
  const Storage* dy;
  Storage* dx;
  Deviation deviation;
  V rstd, mean, slope;

  inline __attribute__((always_inline)) PairRow(const Storage* from, const Storage* from_dy, Storage* to,
                                                const Normalizer<Scalar>& by,
                                                const Correction<Scalar>& correction)
      : x(from),
        dy(from_dy),
        dx(to),
        deviation(Functions::deviation(by)),
        rstd(L::all(by.rstd)),
        mean(L::all(correction.mean)),
        slope(L::all(correction.slope)) {}

  /// Writes dx; returns dy and dy * xhat.
  template <typename Access>
  inline __attribute__((always_inline)) Two write(Access access, V scale, std::int64_t i, bool stream) const {
    const V xhat = L::multiply(deviation(access, x, i), rstd);
    const V d = access.template load<L>(access, dy + i);
    const V rest = L::multiply(L::subtract(L::multiply(d, scale), L::add(mean, L::multiply(xhat, slope))), rstd);
    if constexpr (std::is_same_v<Access, Whole>) {
      put(dx + i, rest, stream);
    } else {
      access.template store<L>(access, dx + i, rest);
    }
    return {d, L::multiply(d, xhat)};
  }
};

EIGENNORM_INLINE void gradient_pair(const PairRow& a, const PairRow& b, std::int64_t n, const Scalar* scale,
                                    Scalar* sums, Scalar* products, Traffic traffic) {
  const auto write = [=](auto access, std::int64_t i) __attribute__((always_inline)) {
    const V scales = scale == nullptr ? L::all(Scalar(1)) : access.template load<L>(access, scale + i);
    const Two pair = Two::add(a.write(access, scales, i, traffic.stream), b.write(access, scales, i, traffic.stream));
    access.template store<L>(access, sums + i, L::add(access.template load<L>(access, sums + i), pair.first));
    access.template store<L>(access, products + i,
                             L::add(access.template load<L>(access, products + i), pair.second));
  };
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    // What is small enough not to be streamed is in a cache already, and L1 has no time to lose.
    if (traffic.stream) {
      prefetch<16, 2>(a.x + i + traffic.next);
      prefetch<16, 2>(a.dy + i + traffic.next);
      prefetch<16, 2>(b.x + i + traffic.next);
      prefetch<16, 2>(b.dy + i + traffic.next);
    }
    write(Whole{}, i);
  }
  if (i < n) write(Few{n - i}, i);
}

static void gradient_pairs(In x, In dy, Out dx, std::int64_t rows, std::int64_t n,
                           const Normalizer<Scalar>* by, const Correction<Scalar>* correction,
                           const Scalar* scale, Scalar* sums, Scalar* products, Traffic traffic) {
  // Whole lines only: rows that do not start on one are stored as usual.
  const auto bytes = static_cast<std::uintptr_t>(dx.step) * sizeof(Storage) |
                     reinterpret_cast<std::uintptr_t>(dx.data);
  const Traffic pairs{traffic.stream && bytes % 64 == 0, traffic.next};
  for (std::int64_t r = 0; r + 1 < rows; r += 2) {
    gradient_pair(PairRow(x(r), dy(r), dx(r), by[r], correction[r]),
                  PairRow(x(r + 1), dy(r + 1), dx(r + 1), by[r + 1], correction[r + 1]), n, scale,
                  sums, products, pairs);
  }
  if (rows % 2 != 0) {
    const std::int64_t r = rows - 1;
    add_position(x(r), dy(r), n, by[r], sums, products);  // first: dx may be dy
    gradient({x(r), 0}, {dy(r), 0}, {dx(r), 0}, 1, n, by + r, correction + r, {scale, nullptr, 0, true}, traffic);
  }
}

static void add_position(const Storage* x, const Storage* dy, std::int64_t n, const Normalizer<Scalar>& by,
                         Scalar* sums, Scalar* products) {
  const auto deviation = Functions::deviation(by);
  const V rstd = L::all(by.rstd);
  const auto add = [=](auto access, std::int64_t i) __attribute__((always_inline)) {
    const V d = access.template load<L>(access, dy + i);
    const V product = L::multiply(d, L::multiply(deviation(access, x, i), rstd));
    access.template store<L>(access, sums + i, L::add(access.template load<L>(access, sums + i), d));
    access.template store<L>(access, products + i,
                             L::add(access.template load<L>(access, products + i), product));
  };
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) add(Whole{}, i);
  if (i < n) add(Few{n - i}, i);
}

// ---- wide totals

/// totals += next(i) for all i < n, by vectors: sixteen at a time, a number that compilers unroll.
template <typename Next>
EIGENNORM_INLINE void add_wide(std::int64_t n, Wide<Scalar>* totals, Wide<Scalar>* lost, const Next& next) {
  const auto add = [=](std::int64_t i) __attribute__((always_inline)) {
    if constexpr (WideSum<Scalar>::compensated) {
      Wide<Scalar> error;
      totals[i] = two_sum(totals[i], next(i), error);
      lost[i] = lost[i] + error;
    } else {
      totals[i] = totals[i] + next(i);
    }
  };
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 16; ++j) add(i + j);
  }
  for (; i < n; ++i) add(i);
}

static void flush(Scalar* __restrict sums, std::int64_t n, Wide<Scalar>* __restrict totals,
                  Wide<Scalar>* __restrict lost) {
  add_wide(
      n, totals, lost, [=](std::int64_t i)
                           __attribute__((always_inline)) { return static_cast<Wide<Scalar>>(sums[i]); });
  std::fill(sums, sums + n, Scalar(0));
}

static void merge(const Wide<Scalar>* __restrict from, const Wide<Scalar>* __restrict from_lost,
                  std::int64_t n, Wide<Scalar>* __restrict totals, Wide<Scalar>* __restrict lost) {
  add_wide(
      n, totals, lost, [=](std::int64_t i) __attribute__((always_inline)) { return from[i]; });
  if constexpr (WideSum<Scalar>::compensated) {
    for (std::int64_t i = 0; i < n; ++i) lost[i] = lost[i] + from_lost[i];
  }
}

static void copy(In x, Out y, std::int64_t rows, std::int64_t n, Traffic traffic) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const Storage* from = x(r);
    Storage* to = y(r);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      prefetch<16>(from + i + traffic.next);
      __builtin_memcpy(static_cast<void*>(to + i), from + i, 16 * sizeof(Storage));
    }
    prefetch<16>(from + i + traffic.next);
    if (i < n) copy_few<16>(to + i, from + i, n - i);
  }
}

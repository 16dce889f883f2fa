// Inside Functions (functions.inl), behind stores.inl: y and dx of rows and columns.

// ---- statistics by row

/// A parameter of each value of a row; without, one that changes nothing, read from `none` again and again. (No branch
/// is in the loop, and none for each row: short rows would take a third longer.)
struct Each {
  const Scalar* values;
  std::int64_t step, mask;

  Each(const Scalar* of_each, std::int64_t row_step, Scalar otherwise, Scalar (&none)[16])
      : values(of_each == nullptr ? none : of_each),
        step(of_each == nullptr ? 0 : row_step),
        mask(of_each == nullptr ? 0 : -1) {
    if (of_each == nullptr) L::store(none, L::all(otherwise));
  }

  /// Those of row r: of value i that at i & mask. (Pointers, not copies of this: what is stored by parts and loaded as
  /// a whole has to wait.)
  inline __attribute__((always_inline)) const Scalar* row(std::int64_t r) const { return values + r * step; }
};

/// Whether rows are one or two whole vectors, and whole lines where they are streamed.
EIGENNORM_INLINE bool are_short(Out y, Extent size, bool stream) {
  const bool lines = past_line(y.data) == 0 && y.step % line == 0 && size.columns % line == 0;
  return (size.columns == 16 || size.columns == 32) && (!stream || lines);
}

/// Such rows, of `Vectors` vectors. (What has to be found out for each of other rows takes longer than these do: rows
/// of 16 and 32 take 0.65 of the time in evaluation.)
template <int Vectors>
EIGENNORM_INLINE void transform_short_rows(In x, Out y, std::int64_t rows, const Normalizers<Scalar>& by,
                                           const Each& scales, const Each& shifts, Traffic traffic) {
  const std::int64_t next = traffic.next();
  const bool stream = traffic.stream();
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto deviation = Functions::deviation(by, r);
    const V rstd = L::all(by.rstd[r * by.step]);
    const Storage* from = x(r);
    const Scalar* scale = scales.row(r);
    const Scalar* shift = shifts.row(r);
    Storage* to = y(r);
    const auto write = [=](std::int64_t i) __attribute__((always_inline)) {
      prefetch<16, 2>(from + i + next);
      const V scaled = L::multiply(L::multiply(deviation(Whole{}, from, i), rstd), L::load(scale + (i & scales.mask)));
      put(to + i, L::add(scaled, L::load(shift + (i & shifts.mask))), stream);
    };
    write(0);
    if constexpr (Vectors == 2) write(16);
  }
}

/// `OfEach`: values have scales and shifts of their own; otherwise a row has one of each.
template <bool OfEach>
static EIGENNORM_OUTLINE void transform_rows(In x, Out y, Extent size, const Normalizers<Scalar>& by,
                                             const Affine<Scalar>& affine, Traffic traffic) {
  alignas(64) Scalar no_scale[16], no_shift[16];
  const Each scales(affine.scale, affine.row, Scalar(1), no_scale);
  const Each shifts(affine.shift, affine.row, Scalar(-0.0), no_shift);
  if (OfEach && are_short(y, size, traffic.stream())) {
    return size.columns == 16 ? transform_short_rows<1>(x, y, size.rows, by, scales, shifts, traffic)
                              : transform_short_rows<2>(x, y, size.rows, by, scales, shifts, traffic);
  }
  const std::int64_t next = traffic.next(), scale_mask = scales.mask, shift_mask = shifts.mask;
  for_each_row(
      y, size, traffic.stream(), [&](std::int64_t r, Storage * to, Store store) __attribute__((always_inline)) {
        const auto deviation = Functions::deviation(by, r);
        const V rstd = L::all(by.rstd[r * by.step]);
        const Storage* from = x(r);
        const Scalar* scale = scales.row(r);
        const Scalar* shift = shifts.row(r);
        const auto write = [&](const auto& scaled) __attribute__((always_inline)) {
          for_each<true>(
              to, size.columns, store, next,
              [=](auto access, std::int64_t i) __attribute__((always_inline)) {
                return scaled(access, i, L::multiply(deviation(access, from, i), rstd));
              },
              [=](std::int64_t i) __attribute__((always_inline)) { prefetch<16, 2>(from + i + next); });
        };
        if constexpr (OfEach) {
          write([=](auto access, std::int64_t i, V a) __attribute__((always_inline)) {
            const V scaled = L::multiply(a, access.template load<L>(access, scale + (i & scale_mask)));
            return L::add(scaled, access.template load<L>(access, shift + (i & shift_mask)));
          });
        } else {
          const V of_row = L::all(*scale), shift_of_row = L::all(*shift);
          write([=](auto, std::int64_t, V a)
                    __attribute__((always_inline)) { return L::add(L::multiply(a, of_row), shift_of_row); });
        }
      });
}

static EIGENNORM_OUTLINE void gradient_rows(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by,
                                            Traffic traffic) {
  alignas(64) Scalar no_scale[16];
  const Each scales(scale_of_each(by.affine, 0), by.affine.row, Scalar(1), no_scale);
  // Where values have none of their own: that of a row, before the sums of backward or after them.
  const Scalar one = 1;
  const bool by_row = scales.mask == 0 && by.affine.scale != nullptr;
  const Scalar* of_rows = by_row ? by.affine.scale : &one;
  const std::int64_t of_rows_step = by_row ? by.affine.row : 0;
  const bool scale_first = by.scale_first;
  const std::int64_t next = traffic.next(), mask = scales.mask;
  for_each_row(
      dx, size, traffic.stream(), [&](std::int64_t r, Storage * to, Store store) __attribute__((always_inline)) {
        const std::int64_t own = r * by.by.step;
        const auto deviation = Functions::deviation(by.by, r);
        const V rstd = L::all(by.by.rstd[own]), mean = L::all(by.mean[own]), slope = L::all(by.slope[own]);
        const Storage* from = x(r);
        const Storage* from_dy = dy(r);
        const Scalar* before = scales.row(r);
        const V of_row = L::all(of_rows[r * of_rows_step]), after = scale_first ? L::all(Scalar(1)) : of_row;
        if (scale_first && by_row) L::store(no_scale, of_row);
        for_each<true>(
            to, size.columns, store, next,
            [=](auto access, std::int64_t i) __attribute__((always_inline)) {
              const V xhat = L::multiply(deviation(access, from, i), rstd);
              const V d = L::multiply(access.template load<L>(access, from_dy + i),
                                      access.template load<L>(access, before + (i & mask)));
              const V residual = L::subtract(d, L::add(mean, L::multiply(xhat, slope)));
              return L::multiply(L::multiply(residual, rstd), after);
            },
            [=](std::int64_t i) __attribute__((always_inline)) {
              prefetch<16, 2>(from + i + next);
              prefetch<16, 2>(from_dy + i + next);
            });
      });
}

// ---- statistics by column

/// All bits of the steps between rows: those of lines have lowest bits of 0.
EIGENNORM_INLINE std::uintptr_t steps_of(Out y, std::int64_t) {
  return static_cast<std::uintptr_t>(y.step) * sizeof(Storage);
}
EIGENNORM_INLINE std::uintptr_t steps_of(ListedOut y, std::int64_t rows) {
  std::uintptr_t steps = 0;
  for (std::int64_t r = 0; r < rows; ++r) steps |= static_cast<std::uintptr_t>(y.places[r]) * sizeof(Storage);
  return steps;
}

/// Long rows would push what is by lane out of L1. The shortest are little but ends.
static constexpr std::int64_t short_row = 256, shortest_row = 64;

/// Calls `part(c, size)` for the columns from c on: those before the first whole vector that is stored within a line,
/// where rows lie alike to lines, and the others. (Stores to several rows take over twice as long where they cross.)
template <typename Results, typename Part>
EIGENNORM_INLINE void by_lines(Results y, Extent size, bool stream, const Part& part) {
  const std::int64_t lanes = size.columns;
  const bool cuts = !stream && size.rows > 1 && lanes > shortest_row && lanes <= short_row;
  const std::int64_t before = cuts && steps_of(y, size.rows) % 64 == 0 ? to_vector(y.data) : 0;
  for (std::int64_t c = 0, columns = before > 0 ? before : lanes; c < lanes; c += columns, columns = lanes - c)
    part(c, Extent{size.rows, columns});
}
template <typename T>
EIGENNORM_INLINE Rows<T> from(Rows<T> rows, std::int64_t c) {
  return {rows.data + c, rows.step};
}
template <typename T>
EIGENNORM_INLINE ListedRows<T> from(ListedRows<T> rows, std::int64_t c) {
  return {rows.data + c, rows.places};
}

/// y = value for all lanes of n rows, several rows at a time, so that what is by lane is read once for all:
/// `make(access, i)` gives the function of rows that makes the values of lanes i on.
template <typename Results, typename Make>
EIGENNORM_INLINE void for_each_column(Results y, Extent size, bool stream, const Make& make) {
  const std::int64_t n = size.rows, lanes = size.columns;
  // (Registers of 16 bytes are too few for more.)
  constexpr std::int64_t rows_at_once = EIGENNORM_BYTES == 16 ? 2 : 4;
  std::int64_t r = 0;
  const std::int64_t whole = lanes / 16 * 16;
  const std::uintptr_t steps = steps_of(y, n);
  // Rows that lie differently to lines are made one after the other (250 lanes: 0.65 of the time, though stores cross
  // lines there, too), unless they are short: to read what is by lane again for each of 100 lanes costs a third.
  const bool alike = EIGENNORM_BYTES == 16 || lanes <= 2 * shortest_row || steps % 64 == 0;
  const bool fits = stream ? lanes == whole && (steps | reinterpret_cast<std::uintptr_t>(y.data)) % 64 == 0 : alike;
  if (lanes <= short_row && fits) {
    for (; r + rows_at_once <= n; r += rows_at_once) {
      for (std::int64_t i = 0; i < whole; i += 16) {
        const auto value = make(Whole{}, i);
        // All loads first: rows are often a multiple of 4 KB apart, where a load waits for a store before it.
        const V first = value(r), second = value(r + 1);
        if constexpr (rows_at_once == 4) {
          const V third = value(r + 2), fourth = value(r + 3);
          put(y(r + 2) + i, third, stream);
          put(y(r + 3) + i, fourth, stream);
        }
        put(y(r) + i, first, stream);
        put(y(r + 1) + i, second, stream);
      }
    }
    if (whole < lanes) {
      const Few ends{lanes - whole};
      const auto value = make(ends, whole);
      for (std::int64_t row = 0; row < r; ++row) Few::store<L>(ends, y(row) + whole, value(row));
    }
  }
  for (; r < n; ++r) {
    for_each<false>(
        y(r), lanes, stream ? Store::streamed : Store::usual,
        0, [=](auto access, std::int64_t i) __attribute__((always_inline)) { return make(access, i)(r); },
        [](std::int64_t) {});
  }
}

/// Scale or shift of row r, from column i on; `fixed` where it does not change from row to row.
template <typename Access>
EIGENNORM_INLINE V parameter_of(Access access, const Scalar* parameter, const Affine<Scalar>& affine, std::int64_t r,
                                std::int64_t i, V fixed) {
  if (parameter == nullptr || affine.row == 0) return fixed;
  if (affine.column == 0) return L::all(parameter[r * affine.row]);
  return access.template load<L>(access, parameter + r * affine.row + i);
}
/// That of the first row: of each column, or one for all. (To choose between vectors, compilers put them into memory.)
EIGENNORM_INLINE Each first_row(const Scalar* parameter, const Affine<Scalar>& affine, Scalar none,
                                Scalar (&room)[16]) {
  const bool of_each = affine.column != 0;
  return Each(of_each ? parameter : nullptr, 0, of_each || parameter == nullptr ? none : *parameter, room);
}

/// `ByRow`: scale or shift changes from row to row. (Apart: branches between loads and stores cost a quarter.)
template <bool ByRow, typename Values, typename Results>
static EIGENNORM_OUTLINE void transform_columns(Values x, Results y, Extent size, const Normalizers<Scalar>& by,
                                                const Affine<Scalar>& affine, Traffic traffic) {
  const Normalizers<Scalar> from = by;
  const Affine<Scalar> own = affine;
  alignas(64) Scalar no_scale[16], no_shift[16];
  const Each scales = first_row(own.scale, own, Scalar(1), no_scale);
  const Each shifts = first_row(own.shift, own, Scalar(-0.0), no_shift);
  for_each_column(
      y, size, traffic.stream(), [=](auto access, std::int64_t i) __attribute__((always_inline)) {
        const V high = access.template load<L>(access, from.high + i);
        const V low = access.template load<L>(access, from.low + i);
        const V rstd = access.template load<L>(access, from.rstd + i);
        const V scale = access.template load<L>(access, scales.values + (i & scales.mask));
        const V shift = access.template load<L>(access, shifts.values + (i & shifts.mask));
        return [=](std::int64_t r) __attribute__((always_inline)) {
          prefetch<16, 2>(x(r) + i + traffic.next());
          const V value = access.template load<L>(access, x(r) + i);
          const V xhat = L::multiply(L::subtract(L::subtract(value, high), low), rstd);
          if constexpr (!ByRow) return L::add(L::multiply(xhat, scale), shift);
          return L::add(L::multiply(xhat, parameter_of(access, own.scale, own, r, i, scale)),
                        parameter_of(access, own.shift, own, r, i, shift));
        };
      });
}

/// What becomes of dy before it is corrected: nothing, as Gradient::scale_first has it, when scale may also change from
/// row to row, or what passes the gate of an activation.
enum class DyIs { plain, scaled, gated };

template <DyIs How, typename Values, typename Results>
static EIGENNORM_OUTLINE void gradient_columns(Values x, Values dy, Results dx, Extent size, const Gradient<Scalar>& by,
                                               Traffic traffic) {
  const Gradient<Scalar> from = by;
  alignas(64) Scalar no_scale[16], no_shift[16];
  const Each scales = first_row(from.affine.scale, from.affine, Scalar(1), no_scale);
  const Each shifts = first_row(How == DyIs::gated ? from.affine.shift : nullptr, from.affine, Scalar(-0.0), no_shift);
  for_each_column(
      dx, size, traffic.stream(), [=](auto access, std::int64_t i) __attribute__((always_inline)) {
        const V high = access.template load<L>(access, from.by.high + i);
        const V low = access.template load<L>(access, from.by.low + i);
        const V rstd = access.template load<L>(access, from.by.rstd + i);
        const V mean = access.template load<L>(access, from.mean + i);
        const V slope = access.template load<L>(access, from.slope + i);
        const V scale = access.template load<L>(access, scales.values + (i & scales.mask));
        V shift{};
        if constexpr (How == DyIs::gated) shift = access.template load<L>(access, shifts.values + (i & shifts.mask));
        return [=](std::int64_t r) __attribute__((always_inline)) {
          prefetch<16, 2>(x(r) + i + traffic.next());
          prefetch<16, 2>(dy(r) + i + traffic.next());
          const V value = access.template load<L>(access, x(r) + i);
          const V xhat = L::multiply(L::subtract(L::subtract(value, high), low), rstd);
          V d = access.template load<L>(access, dy(r) + i);
          if constexpr (How == DyIs::gated) d = passed(d, L::add(L::multiply(xhat, scale), shift));
          if constexpr (How == DyIs::scaled)
            d = L::multiply(d, parameter_of(access, from.affine.scale, from.affine, r, i, scale));
          const V residual = L::multiply(L::subtract(d, L::add(mean, L::multiply(xhat, slope))), rstd);
          if constexpr (How == DyIs::scaled) return residual;
          return L::multiply(residual, scale);
        };
      });
}

template <typename Values, typename Results>
EIGENNORM_INLINE void gradient_by_lines(Values x, Values dy, Results dx, Extent size, const Gradient<Scalar>& by,
                                        Traffic traffic) {
  const auto columns = by.scale_first && by.affine.scale != nullptr ? gradient_columns<DyIs::scaled, Values, Results>
                                                                    : gradient_columns<DyIs::plain, Values, Results>;
  by_lines(dx, size, traffic.stream(), [&](std::int64_t c, Extent some) {
    columns(from(x, c), from(dy, c), from(dx, c), some, by.from(0, c), traffic);
  });
}

// ---- either

/// Streams need elements that are where their type wants them.
EIGENNORM_INLINE Traffic allowed(Traffic traffic, const Storage* y) {
  return {traffic.stream() && reinterpret_cast<std::uintptr_t>(y) % sizeof(Storage) == 0, traffic.next()};
}

static void transform(In x, Out y, Extent size, const Normalizers<Scalar>& by, const Affine<Scalar>& affine,
                      Traffic traffic) {
  const Traffic own = allowed(traffic, y.data);
  if (!by.by_column) {
    return affine.column != 0 ? transform_rows<true>(x, y, size, by, affine, own)
                              : transform_rows<false>(x, y, size, by, affine, own);
  }
  const bool by_row = affine.row != 0 && (affine.scale != nullptr || affine.shift != nullptr);
  if (!by_row && x.step == y.step && are_packed(y, size, own.stream()))
    return transform_packed(x.data, y.data, size, by, affine, own);
  const auto columns = by_row ? transform_columns<true, In, Out> : transform_columns<false, In, Out>;
  // (A frame is not cut, and copies of its arguments would take as long as 64 of its values.)
  if (size.rows == 1) return columns(x, y, size, by, affine, own);
  by_lines(y, size, own.stream(), [&](std::int64_t c, Extent some) {
    columns(from(x, c), from(y, c), some, by.from(c), affine.from(0, c), own);
  });
}

static void gradient(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Traffic traffic) {
  const Traffic own = allowed(traffic, dx.data);
  if (!by.by.by_column) return gradient_rows(x, dy, dx, size, by, own);
  const bool scale_first = by.scale_first && by.affine.scale != nullptr;
  if (!scale_first && x.step == dx.step && dy.step == dx.step && are_packed(dx, size, own.stream()))
    return gradient_packed(x.data, dy.data, dx.data, size, by, own);
  gradient_by_lines(x, dy, dx, size, by, own);
}

static void gradient_gated(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Traffic traffic) {
  const Traffic own = allowed(traffic, dx.data);
  by_lines(dx, size, own.stream(), [&](std::int64_t c, Extent some) {
    gradient_columns<DyIs::gated>(from(x, c), from(dy, c), from(dx, c), some, by.from(0, c), own);
  });
}

static void transform_listed(ListedIn x, ListedOut y, Extent size, const Normalizers<Scalar>& by,
                             const Affine<Scalar>& affine, Traffic traffic) {
  const Traffic own = allowed(traffic, y.data);
  by_lines(y, size, own.stream(), [&](std::int64_t c, Extent some) {
    transform_columns<false>(from(x, c), from(y, c), some, by.from(c), affine.from(0, c), own);
  });
}
static void gradient_listed(ListedIn x, ListedIn dy, ListedOut dx, Extent size, const Gradient<Scalar>& by,
                            Traffic traffic) {
  gradient_by_lines(x, dy, dx, size, by, allowed(traffic, dx.data));
}

// ---- rows by twos

/// One row of a pair, with what it is made of.
struct PairRow {
  const Storage* x;
  const Storage* dy;
  Storage* dx;
  Deviation deviation;
  V rstd, mean, slope;

  inline __attribute__((always_inline))
  PairRow(const Storage* from, const Storage* from_dy, Storage* to, const Gradient<Scalar>& by, std::int64_t r)
      : x(from),
        dy(from_dy),
        dx(to),
        deviation(Functions::deviation(by.by, r)),
        rstd(L::all(by.by.rstd[r * by.by.step])),
        mean(L::all(by.mean[r * by.by.step])),
        slope(L::all(by.slope[r * by.by.step])) {}

  inline __attribute__((always_inline)) void ask(std::int64_t i) const {
    prefetch<16, 2>(x + i);
    prefetch<16, 2>(dy + i);
  }
  /// Writes dx; returns dy and dy * xhat.
  template <typename Access>
  inline __attribute__((always_inline)) Two write(Access access, V scale, std::int64_t i, bool stream) const {
    const V xhat = L::multiply(deviation(access, x, i), rstd);
    const V d = access.template load<L>(access, dy + i);
    const V residual = L::multiply(L::subtract(L::multiply(d, scale), L::add(mean, L::multiply(xhat, slope))), rstd);
    if constexpr (std::is_same_v<Access, Whole>) {
      put(dx + i, residual, stream);
    } else {
      access.template store<L>(access, dx + i, residual);
    }
    return {d, L::multiply(d, xhat)};
  }
};

/// Of two rows, or of the last one alone.
template <typename... Second>
EIGENNORM_INLINE void gradient_pair(std::int64_t n, const Each& scales, Sums<Scalar> sums, Traffic traffic,
                                    const PairRow& first, const Second&... second) {
  // Rows that lie differently to lines are stored as usual, and short ones that do not begin with one: they are little
  // but ends (16 values take 1.4 times as long). Of 16 bits, also those whose next line is a vector away.
  constexpr std::int64_t shortest = 64;
  const bool alike = ((past_line(first.dx) == past_line(second.dx)) && ...), cuts = alike && n >= shortest;
  const bool stream = traffic.stream() && alike && to_line(first.dx) < (cuts ? 16 : 1);
  const Scalar* const scale = scales.values;
  const std::int64_t mask = scales.mask;
  const auto write = [=](auto access, std::int64_t i) __attribute__((always_inline)) {
    const V own = access.template load<L>(access, scale + (i & mask));
    Two pair = first.write(access, own, i, stream);
    ((pair = Two::add(pair, second.write(access, own, i, stream))), ...);
    access.template store<L>(access, sums.plain + i,
                             L::add(access.template load<L>(access, sums.plain + i), pair.first));
    access.template store<L>(access, sums.product + i,
                             L::add(access.template load<L>(access, sums.product + i), pair.second));
  };
  std::int64_t i = 0, left = !cuts ? 0 : stream ? to_line(first.dx) : to_vector(first.dx);
  while (true) {
    if (left > 0) write(Few{left}, i);
    i += left;
    for (; i + 16 <= n; i += 16) {
      // What is small enough not to be streamed is in a cache already: x and dy in L1, dx perhaps behind it. Stores to
      // two rows and to sums wait for each line of dx that is not in L1 (1.8 times as long from L2).
      if (stream) {
        first.ask(i + traffic.next());
        (second.ask(i + traffic.next()), ...);
      } else {
        prefetch<16>(first.dx + i + 4 * line);
        (prefetch<16>(second.dx + i + 4 * line), ...);
      }
      write(Whole{}, i);
    }
    left = n - i;
    if (left == 0) return;
  }
}

static void gradient_pairs(In x, In dy, Out dx, Extent size, const Gradient<Scalar>& by, Sums<Scalar> sums,
                           Traffic traffic) {
  const Traffic own = allowed(traffic, dx.data);
  alignas(64) Scalar no_scale[16];
  const Each scales(by.affine.scale, 0, Scalar(1), no_scale);
  const auto row = [&](std::int64_t r) __attribute__((always_inline)) { return PairRow(x(r), dy(r), dx(r), by, r); };
  std::int64_t r = 0;
  for (; r + 1 < size.rows; r += 2) gradient_pair(size.columns, scales, sums, own, row(r), row(r + 1));
  if (r < size.rows) gradient_pair(size.columns, scales, sums, own, row(r));
}

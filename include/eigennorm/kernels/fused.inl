// Inside Functions (functions.inl), behind results.inl: y with a residual or an activation, where plain y cannot lose
// time by it, and what backward needs to go back through them.

// What lies `next` values behind is asked for of x alone, which is near already for it was summed. A residual nobody
// has read yet, so it is asked for always, a little ahead of where it is needed.

/// What is done behind shift. What is missing changes nothing: -0 is added, and no bit is dropped. (No branch is in the
/// loop, and there is no further copy of it.)
struct Behind {
  alignas(64) Storage nothing[16];
  const Storage* values;
  std::int64_t step, mask;
  typename L::M rectified;

  explicit Behind(const Fused<Storage, Scalar>& by)
      : values(by.residual.data == nullptr ? nothing : by.residual.data),
        step(by.residual.data == nullptr ? 0 : by.residual.step),
        mask(by.residual.data == nullptr ? 0 : -1),
        rectified(L::at_most(L::all(Scalar(0)), L::all(by.relu ? Scalar(0) : Scalar(-1)))) {
    std::fill(nothing, nothing + 16, static_cast<Storage>(Scalar(-0.0)));
  }
  Behind(const Behind&) = delete;
  Behind& operator=(const Behind&) = delete;
};

template <typename Access>
EIGENNORM_INLINE V finished(Access access, V value, const Storage* residual, typename L::M rectified) {
  const V sum = L::add(value, access.template load<L>(access, residual));
  return L::drop(sum, L::both(L::at_most(sum, L::all(Scalar(0))), rectified));
}

/// What is at most this is stored as 0: in 16 bits the half of the smallest number.
EIGENNORM_INLINE Scalar stored_as_zero() {
  if constexpr (sizeof(Storage) == sizeof(Scalar)) return 0;
  return static_cast<Scalar>((std::numeric_limits<Storage>::denorm_min)()) / 2;
}
/// dy where y, once it is stored, is above 0.
EIGENNORM_INLINE V passed(V dy, V y) { return L::keep(dy, L::above(y, L::all(stored_as_zero()))); }

/// `Gated`: of y only the gate is wanted, and the result is dy where y is above 0, otherwise 0.
template <bool Gated>
static EIGENNORM_OUTLINE void fused_rows(In x, In dy, Out y, Extent size, const Fused<Storage, Scalar>& by,
                                         Traffic traffic) {
  const Normalizers<Scalar> own = by.by;
  const Affine<Scalar> affine = by.affine;
  const bool of_each = affine.column != 0;
  alignas(64) Scalar no_scale[16], no_shift[16];
  const Each scales(of_each ? affine.scale : nullptr, affine.row, Scalar(1), no_scale);
  const Each shifts(of_each ? affine.shift : nullptr, affine.row, Scalar(-0.0), no_shift);
  const Behind behind(by);
  const std::int64_t next = traffic.next(), scale_mask = scales.mask, shift_mask = shifts.mask, mask = behind.mask;
  const auto rectified = behind.rectified;
  for_each_row(
      y, size, traffic.stream(), [&](std::int64_t r, Storage * to, Store store) __attribute__((always_inline)) {
        const auto deviation = Functions::deviation(own, r);
        const V rstd = L::all(own.rstd[r * own.step]);
        // A row's own scale and shift lie where those of each value would.
        if (!of_each && affine.scale != nullptr) L::store(no_scale, L::all(affine.scale[r * affine.row]));
        if (!of_each && affine.shift != nullptr) L::store(no_shift, L::all(affine.shift[r * affine.row]));
        const Storage *from = x(r), *residual = behind.values + r * behind.step, *of_dy = Gated ? dy(r) : from;
        const Scalar *scale = scales.row(r), *shift = shifts.row(r);
        for_each<false>(
            to, size.columns, store, next,
            [=](auto access, std::int64_t i) __attribute__((always_inline)) {
              const V xhat = L::multiply(deviation(access, from, i), rstd);
              const V scaled = L::multiply(xhat, access.template load<L>(access, scale + (i & scale_mask)));
              const V value = L::add(scaled, access.template load<L>(access, shift + (i & shift_mask)));
              const Storage* const added = residual + (i & mask);
              if constexpr (!Gated) return finished(access, value, added, rectified);
              return passed(access.template load<L>(access, of_dy + i),
                            L::add(value, access.template load<L>(access, added)));
            },
            [=](std::int64_t i) __attribute__((always_inline)) {
              prefetch<16, 2>(from + i + next);
              if constexpr (Gated) prefetch<16, 2>(of_dy + i + next);
              prefetch<16, 2>(residual + ((i + 4 * ahead) & mask));
            });
      });
}

/// (Scale and shift are those of columns.)
template <bool Gated>
static EIGENNORM_OUTLINE void fused_columns(In x, In dy, Out y, Extent size, const Fused<Storage, Scalar>& by,
                                            Traffic traffic) {
  const Normalizers<Scalar> from = by.by;
  alignas(64) Scalar no_scale[16], no_shift[16];
  const Each scales = first_row(by.affine.scale, by.affine, Scalar(1), no_scale);
  const Each shifts = first_row(by.affine.shift, by.affine, Scalar(-0.0), no_shift);
  const Behind behind(by);
  const Storage* const residual = behind.values;
  const std::int64_t step = behind.step, mask = behind.mask, next = traffic.next();
  const auto rectified = behind.rectified;
  const std::int64_t rows_ahead = (std::max)(block_size / size.columns, std::int64_t{4});
  for_each_column(
      y, size, traffic.stream(), [=](auto access, std::int64_t i) __attribute__((always_inline)) {
        const V high = access.template load<L>(access, from.high + i);
        const V low = access.template load<L>(access, from.low + i);
        const V rstd = access.template load<L>(access, from.rstd + i);
        const V scale = access.template load<L>(access, scales.values + (i & scales.mask));
        const V shift = access.template load<L>(access, shifts.values + (i & shifts.mask));
        return [=](std::int64_t r) __attribute__((always_inline)) {
          prefetch<16, 2>(x(r) + i + next);
          if constexpr (Gated) prefetch<16, 2>(dy(r) + i + next);
          prefetch<16, 2>(residual + (r + rows_ahead) * step + (i & mask));
          const V value = access.template load<L>(access, x(r) + i);
          const V xhat = L::multiply(L::subtract(L::subtract(value, high), low), rstd);
          const V normalized = L::add(L::multiply(xhat, scale), shift);
          const Storage* const added = residual + r * step + (i & mask);
          if constexpr (!Gated) return finished(access, normalized, added, rectified);
          return passed(access.template load<L>(access, dy(r) + i),
                        L::add(normalized, access.template load<L>(access, added)));
        };
      });
}

template <bool Gated>
EIGENNORM_INLINE void fused(In x, In dy, Out y, Extent size, const Fused<Storage, Scalar>& by, Traffic traffic) {
  const Traffic own = allowed(traffic, y.data);
  if (!by.by.by_column) return fused_rows<Gated>(x, dy, y, size, by, own);
  if (by.affine.row == 0) {
    return by_lines(y, size, own.stream(), [&](std::int64_t c, Extent some) {
      fused_columns<Gated>(from(x, c), from(dy, c), from(y, c), some, by.from(0, c), own);
    });
  }
  // Scale or shift changes from row to row.
  for (std::int64_t r = 0; r < size.rows; ++r)
    fused_columns<Gated>({x(r), 0}, {dy(r), 0}, {y(r), 0}, {1, size.columns}, by.from(r, 0), own);
}

static void transform_fused(In x, Out y, Extent size, const Fused<Storage, Scalar>& by, Traffic traffic) {
  fused<false>(x, x, y, size, by, traffic);
}

/// Rows with a scale and a shift each, and no residual: half the instructions of what serves all.
static EIGENNORM_OUTLINE void gate_rows(In x, In dy, Out dx, Extent size, const Fused<Storage, Scalar>& by,
                                        Traffic traffic) {
  const std::int64_t next = traffic.next();
  for_each_row(
      dx, size, traffic.stream(), [&](std::int64_t r, Storage * to, Store store) __attribute__((always_inline)) {
        const auto deviation = Functions::deviation(by.by, r);
        const V rstd = L::all(by.by.rstd[r * by.by.step]);
        const V scale = L::all(scale_of(by.affine.scale, r * by.affine.row));
        const V shift = L::all(shift_of(by.affine.shift, r * by.affine.row));
        const Storage *from = x(r), *of_dy = dy(r);
        for_each<true>(
            to, size.columns, store, next,
            [=](auto access, std::int64_t i) __attribute__((always_inline)) {
              const V xhat = L::multiply(deviation(access, from, i), rstd);
              const V y = L::add(L::multiply(xhat, scale), shift);
              return passed(access.template load<L>(access, of_dy + i), y);
            },
            [=](std::int64_t i) __attribute__((always_inline)) {
              prefetch<16, 2>(from + i + next);
              prefetch<16, 2>(of_dy + i + next);
            });
      });
}

static void gate(In x, In dy, Out dx, const Extent& size, const Fused<Storage, Scalar>& by, Traffic traffic) {
  if (!by.by.by_column && by.affine.column == 0 && by.residual.data == nullptr)
    return gate_rows(x, dy, dx, size, by, allowed(traffic, dx.data));
  fused<true>(x, dy, dx, size, by, traffic);
}

static void add(In a, In b, Out sum, Extent size, Traffic traffic) {
  for_each_row(
      sum, size, allowed(traffic, sum.data).stream(),
      [&](std::int64_t r, Storage * to, Store store) __attribute__((always_inline)) {
        const Storage *first = a(r), *second = b(r);
        for_each<false>(
            to, size.columns, store, ahead,
            [=](auto access, std::int64_t i) __attribute__((always_inline)) {
              return L::add(access.template load<L>(access, first + i), access.template load<L>(access, second + i));
            },
            [=](std::int64_t i) __attribute__((always_inline)) {
              prefetch<16, 2>(first + i + ahead);
              prefetch<16, 2>(second + i + ahead);
            });
      });
}

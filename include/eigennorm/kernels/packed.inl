// Inside Functions (functions.inl), behind results.inl: y and dx of columns whose rows follow each other without gaps
// and do not begin with cache lines. Row by row, most vectors would be loaded and stored across two lines, and each row
// would end with a part of a vector. So vectors go on from row to row. After some rows, at most sixteen, lanes come
// back to the same places in vectors: such a period is like a long row, and four of these are made together. (0.45 to
// 0.75 of the time in cache; with stores past the caches 1.05.)

static constexpr std::int64_t periods_at_once = 4;
/// Lanes, so that six arrays of them are less than seven kilobytes of stack.
static constexpr std::int64_t most_packed = 1024 / static_cast<std::int64_t>(sizeof(Scalar));

/// Values in a period.
EIGENNORM_INLINE std::int64_t period_of(std::int64_t lanes) {
  return lanes * 16 / (std::min)(lanes & -lanes, std::int64_t{16});
}

EIGENNORM_INLINE bool are_packed(Out y, Extent size, bool stream) {
  const std::int64_t lanes = size.columns;
  // (Rows of fewer lanes than a vector would need more than one copy of what is by lane.)
  return EIGENNORM_BYTES > 16 && !stream && lanes >= 16 && lanes <= most_packed && y.step == lanes &&
         steps_of(y, size.rows) % 64 != 0 && size.rows * lanes >= periods_at_once * period_of(lanes) + 16;
}

/// What is by lane, and behind it the first lanes once more: a vector may begin at any lane.
template <int Count>
struct Wrapped {
  alignas(64) Scalar values[Count][most_packed + 16];

  /// `from`, or where it is null, `none`.
  inline __attribute__((always_inline)) const Scalar* fill(int k, const Scalar* from, Scalar none, std::int64_t lanes) {
    Scalar* const to = values[k];
    for (std::int64_t i = 0; i < lanes; i += 16) {
      const Few some{(std::min)(lanes - i, std::int64_t{16})};
      L::store(to + i, from == nullptr ? L::all(none) : Few::load<L>(some, from + i));
    }
    for (int i = 0; i < 16; ++i) to[lanes + i] = to[i];
    return to;
  }
  /// A parameter, which may be one for all lanes.
  inline __attribute__((always_inline)) const Scalar* fill(int k, const Scalar* parameter, const Affine<Scalar>& affine,
                                                           Scalar none, std::int64_t lanes) {
    const bool of_each = affine.column != 0;
    return fill(k, of_each ? parameter : nullptr, of_each || parameter == nullptr ? none : *parameter, lanes);
  }
};

/// y = value for every value of all rows: `make(access, lane)` gives the function of places in memory that makes those
/// of lanes from `lane` on.
template <typename Make>
EIGENNORM_INLINE void for_each_packed(Storage* y, Extent size, const Make& make) {
  const std::int64_t lanes = size.columns, n = size.rows * lanes, period = period_of(lanes), begin = to_vector(y);
  if (begin > 0) Few::store<L>(Few{begin}, y, make(Few{begin}, 0)(0));
  std::int64_t lane = begin, i = begin;
  const auto next = [&]() __attribute__((always_inline)) {
    lane += 16;
    lane = lane >= lanes ? lane - lanes : lane;
  };
  for (; i + periods_at_once * period <= n; i += (periods_at_once - 1) * period) {
    for (const std::int64_t end = i + period; i < end; i += 16, next()) {
      const auto value = make(Whole{}, lane);
      const V first = value(i), second = value(i + period), third = value(i + 2 * period),
              fourth = value(i + 3 * period);
      L::store(y + i, first);
      L::store(y + i + period, second);
      L::store(y + i + 2 * period, third);
      L::store(y + i + 3 * period, fourth);
    }
  }
  for (; i + 16 <= n; i += 16, next()) L::store(y + i, make(Whole{}, lane)(i));
  if (i < n) Few::store<L>(Few{n - i}, y + i, make(Few{n - i}, lane)(i));
}

static EIGENNORM_OUTLINE void transform_packed(const Storage* x, Storage* y, Extent size, const Normalizers<Scalar>& by,
                                               const Affine<Scalar>& affine, Traffic traffic) {
  Wrapped<5> own;
  const std::int64_t lanes = size.columns;
  const Scalar* const highs = own.fill(0, by.high, Scalar(0), lanes);
  const Scalar* const lows = own.fill(1, by.low, Scalar(0), lanes);
  const Scalar* const rstds = own.fill(2, by.rstd, Scalar(1), lanes);
  const Scalar* const scales = own.fill(3, affine.scale, affine, Scalar(1), lanes);
  const Scalar* const shifts = own.fill(4, affine.shift, affine, Scalar(-0.0), lanes);
  for_each_packed(
      y, size, [=](auto access, std::int64_t lane) __attribute__((always_inline)) {
        const V high = L::load(highs + lane), low = L::load(lows + lane), rstd = L::load(rstds + lane);
        const V scale = L::load(scales + lane), shift = L::load(shifts + lane);
        return [=](std::int64_t i) __attribute__((always_inline)) {
          prefetch<16, 2>(x + i + traffic.next());
          const V value = access.template load<L>(access, x + i);
          const V xhat = L::multiply(L::subtract(L::subtract(value, high), low), rstd);
          return L::add(L::multiply(xhat, scale), shift);
        };
      });
}

/// Scale behind the sums.
static EIGENNORM_OUTLINE void gradient_packed(const Storage* x, const Storage* dy, Storage* dx, Extent size,
                                              const Gradient<Scalar>& by, Traffic traffic) {
  Wrapped<6> own;
  const std::int64_t lanes = size.columns;
  const Scalar* const highs = own.fill(0, by.by.high, Scalar(0), lanes);
  const Scalar* const lows = own.fill(1, by.by.low, Scalar(0), lanes);
  const Scalar* const rstds = own.fill(2, by.by.rstd, Scalar(1), lanes);
  const Scalar* const means = own.fill(3, by.mean, Scalar(0), lanes);
  const Scalar* const slopes = own.fill(4, by.slope, Scalar(0), lanes);
  const Scalar* const scales = own.fill(5, by.affine.scale, by.affine, Scalar(1), lanes);
  for_each_packed(
      dx, size, [=](auto access, std::int64_t lane) __attribute__((always_inline)) {
        const V high = L::load(highs + lane), low = L::load(lows + lane), rstd = L::load(rstds + lane);
        const V mean = L::load(means + lane), slope = L::load(slopes + lane), scale = L::load(scales + lane);
        return [=](std::int64_t i) __attribute__((always_inline)) {
          prefetch<16, 2>(x + i + traffic.next());
          prefetch<16, 2>(dy + i + traffic.next());
          const V value = access.template load<L>(access, x + i);
          const V xhat = L::multiply(L::subtract(L::subtract(value, high), low), rstd);
          const V d = access.template load<L>(access, dy + i);
          return L::multiply(L::multiply(L::subtract(d, L::add(mean, L::multiply(xhat, slope))), rstd), scale);
        };
      });
}

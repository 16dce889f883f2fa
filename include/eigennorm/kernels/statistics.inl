// Inside Functions (functions.inl): what happens once a group, for sixteen groups by vectors.

/// A register of Scalar, and as many numbers of Wide.
static constexpr int together = EIGENNORM_BYTES / static_cast<int>(sizeof(Scalar));
using W = Wide<Scalar>;
using LS = Simd<Scalar, EIGENNORM_BYTES>;
using LW = Simd<W, together* static_cast<int>(sizeof(W))>;
using WV = typename LW::V;

EIGENNORM_INLINE WV wide(const Scalar* from) { return widen<Scalar, W, EIGENNORM_BYTES>(LS::load(from)); }
EIGENNORM_INLINE typename LS::V narrowed(WV a) { return narrow<Scalar, W, together* static_cast<int>(sizeof(W))>(a); }
/// Bit i where comparison i was false.
EIGENNORM_INLINE unsigned failed(typename LW::M good) { return ~LW::bits(good) & ((1U << together) - 1); }

/// Few are done one by one sooner.
static constexpr std::int64_t few = 4;
using OneByOne = reference::Functions<Storage, Scalar>;

static void shifts(Range groups, W of, Scalar* sums) {
  if (groups.count <= few) return OneByOne::shifts(groups, of, sums);
  const WV inverse = LW::all(W(1) / of);
  for (std::int64_t i = groups.first; i < groups.first + groups.count; i += together)
    LS::store(sums + i, narrowed(LW::multiply(wide(sums + i), inverse)));
}

static unsigned summarize(Range groups, const Scalar* h, Sums<Scalar> sums, Summaries<Scalar>& to) {
  if (groups.count <= few) return OneByOne::summarize(groups, h, sums, to);
  const WV inverse = LW::all(W(1) / to.count);
  unsigned distant = 0;
  for (std::int64_t g = 0; g < groups.count; g += together) {
    const std::int64_t i = groups.first + g;
    const WV shift = wide(h + i), sum = wide(sums.plain + i), squares = wide(sums.product + i);
    const WV correction = LW::multiply(sum, inverse), loss = LW::multiply(sum, correction);
    const WV mean = LW::add(shift, correction);
    LW::store(to.mean + i, mean);
    LW::store(to.m2 + i, LW::subtract(squares, loss));
    if constexpr (WideSum<Scalar>::compensated) {
      const WV part = LW::subtract(mean, shift);
      LW::store(to.low + i, LW::add(LW::subtract(shift, LW::subtract(mean, part)), LW::subtract(correction, part)));
      LW::store(to.lost + i, LW::all(W(0)));
    }
    // Far from the mean, squares cancel.
    distant |= failed(LW::at_most(loss, LW::multiply(LW::all(W(0.25)), squares))) << g;
  }
  return distant & ((1U << groups.count) - 1);
}

/// What reciprocal_root is, of float: the estimate of an instruction, made better in float and then in double, until
/// its error is below 2^-41 (3/8 of the square of `error`, which is below 2^-20), where that leaves no doubt how it is
/// rounded. A root and a quotient of double take two to four times as long. Returns false where there is doubt: of
/// sixteen numbers, one time in 3,000.
EIGENNORM_INLINE bool estimate_reciprocal_root(WV radicand, typename LS::V& rstd) {
  // What is done in float then is far from the ends of its range.
  constexpr W range = 1e30, doubt = W(1) / (std::int64_t{1} << 40);
  if (failed(LW::both(LW::at_most(LW::all(1 / range), radicand), LW::at_most(radicand, LW::all(range)))) != 0)
    return false;
  const auto narrow_radicand = narrowed(radicand), first = LS::reciprocal_root_estimate(narrow_radicand);
  const auto gap =
      LS::subtract(LS::all(Scalar(1.5)),
                   LS::multiply(LS::multiply(LS::multiply(narrow_radicand, first), first), LS::all(Scalar(0.5))));
  const WV root = widen<Scalar, W, EIGENNORM_BYTES>(LS::multiply(first, gap));
  const WV error = LW::subtract(LW::all(W(1)), LW::multiply(LW::multiply(radicand, root), root));
  const WV better = LW::add(root, LW::multiply(LW::multiply(root, error), LW::all(W(0.5))));
  rstd = narrowed(LW::multiply(better, LW::all(1 - doubt)));
  const auto above = narrowed(LW::multiply(better, LW::all(1 + doubt)));
  return LS::bits(LS::at_most(above, rstd)) == (1U << together) - 1;
}

/// 1 / sqrt(radicand); 0 where that is beyond the range of Scalar.
EIGENNORM_INLINE typename LS::V reciprocal_root(WV radicand) {
  if constexpr (Machine<Scalar>::has_root_estimate && std::is_same_v<Scalar, float>) {
    typename LS::V estimate;
    if (estimate_reciprocal_root(radicand, estimate)) return estimate;
  }
  const auto rstd = narrowed(LW::divide(LW::all(W(1)), LW::square_root(radicand)));
  return LS::keep(rstd, LS::at_most(rstd, LS::all((std::numeric_limits<Scalar>::max)())));
}

static unsigned finish(Range groups, const Rule<Scalar>& rule, const Summaries<Scalar>& of, Statistics<Scalar>& to) {
  if (groups.count <= few) return OneByOne::finish(groups, rule, of, to);
  constexpr W largest = (std::numeric_limits<W>::max)();
  const W inverse = exact_inverse(rule.divisor);
  unsigned out = 0;
  for (std::int64_t g = 0; g < groups.count; g += together) {
    const std::int64_t i = groups.first + g;
    const WV mean = LW::load(of.mean + i);
    WV residual = LW::all(W(0)), m2 = LW::load(of.m2 + i);
    if constexpr (WideSum<Scalar>::compensated) {
      residual = LW::load(of.low + i);
      m2 = LW::add(m2, LW::load(of.lost + i));
    }
    LS::store(to.high + i, narrowed(mean));
    LS::store(to.low + i, narrowed(LW::add(LW::subtract(mean, wide(to.high + i)), residual)));
    auto good = LW::both(LW::at_most(LW::all(-largest), mean), LW::at_most(mean, LW::all(largest)));
    if (rule.has_sigma) {
      good = LW::both(good, LW::both(LW::at_most(LW::all(rule.smallest), m2), LW::at_most(m2, LW::all(largest))));
      // (Each branch stores its own: a vector of one of two branches would go through memory by parts.)
      if (inverse != 0) {
        LW::store(to.variance + i, LW::multiply(m2, LW::all(inverse)));
      } else {
        LW::store(to.variance + i, LW::divide(m2, LW::all(rule.divisor)));
      }
      LS::store(to.rstd + i, reciprocal_root(LW::add(LW::load(to.variance + i), LW::all(rule.eps))));
    } else {
      LW::store(to.variance + i, LW::all(W(0)));
      LS::store(to.rstd + i, LS::all(Scalar(1)));
    }
    out |= failed(good) << g;
  }
  return out & ((1U << groups.count) - 1);
}

static void reciprocal_roots(const Scalar* variance, std::int64_t n, W eps, Scalar* rstd) {
  const WV epsilon = LW::all(eps);
  std::int64_t i = 0;
  for (; i + together <= n; i += together) LS::store(rstd + i, reciprocal_root(LW::add(wide(variance + i), epsilon)));
  if (i < n) {
    Scalar values[together];
    std::fill(values, values + together, Scalar(1));
    copy_few<together>(values, variance + i, n - i);
    LS::store(values, reciprocal_root(LW::add(wide(values), epsilon)));
    copy_few<together>(rstd + i, values, n - i);
  }
}

// ---- groups that are out of range

using M = typename L::M;

/// (Sixty-four at a time: most rows that are not, end soon.)
static bool is_quiet(const Storage* x, std::int64_t n, Scalar limit) {
  const V high = L::all(limit), low = L::all(-limit);
  const auto within = [=](V a) __attribute__((always_inline)) {
    return L::both(L::at_most(low, a), L::at_most(a, high));
  };
  const auto all = [](M good) __attribute__((always_inline)) { return L::bits(good) == 0xffffU; };
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const M first = L::both(within(L::load(x + i)), within(L::load(x + i + 16)));
    const M second = L::both(within(L::load(x + i + 32)), within(L::load(x + i + 48)));
    if (!all(L::both(first, second))) return false;
  }
  for (; i + 16 <= n; i += 16) {
    if (!all(within(L::load(x + i)))) return false;
  }
  return i == n || all(within(L::load_few(x + i, n - i)));
}

EIGENNORM_INLINE M no_bits() { return L::magnitude(L::all(Scalar(0))); }

/// Whether all n values have the bits of the one in `same`. (Sixty-four at a time: most rows that are not, end soon.)
EIGENNORM_INLINE bool are_same(const Storage* x, std::int64_t n, V same) {
  std::int64_t i = 0;
  M differing = no_bits();
  const auto look = [&](std::int64_t k) __attribute__((always_inline)) {
    differing = L::differing(differing, L::load(x + k), same);
  };
  for (; i + 64 <= n; i += 64) {
    look(i), look(i + 16), look(i + 32), look(i + 48);
    if (L::any(differing)) return false;
  }
  for (; i + 16 <= n; i += 16) look(i);
  if (i < n) differing = L::differing(differing, L::load_few(x + i, n - i), L::keep_few(same, n - i));
  return !L::any(differing);
}

EIGENNORM_INLINE Scalar largest_of(const Storage* x, std::int64_t n, Scalar so_far) {
  // (Two, which do not wait for each other.)
  M most = L::magnitude(L::all(so_far)), more = most;
  std::int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    most = L::larger(most, L::magnitude(L::load(x + i)));
    more = L::larger(more, L::magnitude(L::load(x + i + 16)));
  }
  for (; i + 16 <= n; i += 16) most = L::larger(most, L::magnitude(L::load(x + i)));
  if (i < n) most = L::larger(most, L::magnitude(L::load_few(x + i, n - i)));
  const M all = L::larger(most, more);
  if (!L::any(all)) return 0;
  MaskOf<Scalar> bits[16];
  __builtin_memcpy(bits, &all, sizeof bits);
  Scalar largest;
  __builtin_memcpy(&largest, std::max_element(bits, bits + 16), sizeof largest);
  return largest;
}

static unsigned ranges(In x, Extent size, unsigned which, const Scalar* first, Scalar* largest) {
  unsigned varied = 0;
  for (std::int64_t r = 0; r < size.rows; ++r) {
    if ((which >> r & 1U) == 0 || are_same(x(r), size.columns, L::all(first[r]))) continue;
    largest[r] = largest_of(x(r), size.columns, largest[r]);
    varied |= 1U << r;
  }
  return varied;
}

static unsigned lane_ranges(const Lanes& x, std::int64_t rows, unsigned which, const Scalar* first, Scalar* largest) {
  const V same = L::load(first);
  M differing = no_bits(), most = L::magnitude(L::load(largest));
  for (std::int64_t r = 0; r < rows; ++r) differing = L::differing(differing, L::load(x(r)), same);
  MaskOf<Scalar> bits[16];
  __builtin_memcpy(bits, &differing, sizeof bits);
  unsigned varied = 0;
  for (int i = 0; i < 16; ++i) varied |= static_cast<unsigned>(bits[i] != 0) << i;
  varied &= which;
  if (varied == 0) return 0;
  for (std::int64_t r = 0; r < rows; ++r) most = L::larger(most, L::magnitude(L::load(x(r))));
  __builtin_memcpy(bits, &most, sizeof bits);
  for (int i = 0; i < 16; ++i) {
    if ((varied >> i & 1U) != 0) __builtin_memcpy(largest + i, bits + i, sizeof bits[i]);
  }
  return varied;
}

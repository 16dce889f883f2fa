// Inside Functions (functions.inl), behind results.inl: a frame, from its values to y.

/// The summary of a row of one block.
EIGENNORM_INLINE void summarize_row(const Storage* x, std::int64_t n, bool centred, Summaries<Scalar>& to) {
  to.count = static_cast<W>(n);
  const std::int64_t q = centred ? (std::min)(step_size, n) : n;
  const auto values = [=](auto access, std::int64_t i) __attribute__((always_inline)) {
    const V value = access.template load<L>(access, x + i);
    return One{centred ? value : L::multiply(value, value)};
  };
  Scalar h = L::fold(tree<One>(q, values).first), plain, product;
  if (!centred) {
    to.mean[0] = 0;
    to.m2[0] = static_cast<W>(h);
    if constexpr (Summaries<Scalar>::two_parts) to.low[0] = to.lost[0] = 0;
    return;
  }
  OneByOne::shifts({0, 1}, static_cast<W>(q), &h);
  for (int sweep = 0; sweep < 2; ++sweep) {
    const V about = L::all(h);
    const auto deviations = [=](auto access, std::int64_t i) __attribute__((always_inline)) {
      const V e = L::subtract(access.template load<L>(access, x + i), about);
      return Two{e, L::multiply(e, e)};
    };
    tree<Two>(n, deviations).fold({&plain, &product}, 0);
    if (OneByOne::summarize({0, 1}, &h, {&plain, &product}, to) == 0) return;
    h = static_cast<Scalar>(static_cast<W>(h) + static_cast<W>(plain) * (W(1) / to.count));
  }
}

static bool normalize(const Storage* x, Storage* y, std::int64_t n, bool centred, const Rule<Scalar>& rule,
                      const Affine<Scalar>& affine, Statistics<Scalar>& to) {
  Summaries<Scalar> summary;
  summarize_row(x, n, centred, summary);
  if (OneByOne::finish({0, 1}, rule, summary, to) != 0) return false;
  if (y != nullptr) transform({x, 0}, {y, 0}, {1, n}, to.by(), affine, {});
  return true;
}

// Inside Functions (functions.inl): values that a mask leaves, neighbours in memory, put side by side and back.

EIGENNORM_INLINE int lowest(std::uint64_t bits) { return __builtin_ctzll(bits); }
/// All bits but the lowest `count` of those that are set.
EIGENNORM_INLINE std::uint64_t without_lowest(std::uint64_t bits, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) bits &= bits - 1;
  return bits;
}

/// Sixteen lanes, or as many as are set: one by one where there is no instruction for it.
EIGENNORM_INLINE void pack_lanes(const Storage* x, unsigned lanes, Storage* to) {
  if constexpr (Machine<Storage>::template selects<Storage>) {
    Machine<Storage>::pack(x, lanes, to);
  } else {
    for (; lanes != 0; lanes &= lanes - 1) *to++ = x[lowest(lanes)];
  }
}
/// Those lanes that are `written`: packed values where `lanes` are set, otherwise 0. `stream`: all are, and it is a
/// cache line, or a whole part of one.
EIGENNORM_INLINE void unpack_lanes(const Storage* from, unsigned lanes, unsigned written, Storage* y, bool stream) {
  if constexpr (Machine<Storage>::template selects<Storage>) {
    Machine<Storage>::unpack(from, lanes, written, y, stream);
  } else {
    for (; written != 0; written &= written - 1) {
      const int lane = lowest(written);
      y[lane] = (lanes >> lane & 1U) != 0 ? *from++ : static_cast<Storage>(Scalar(0));
    }
  }
}

static void pack(const Storage* x, const MaskWord* word, std::int64_t skipped, std::int64_t n, Storage* to) {
  std::uint64_t bits = without_lowest(word->bits, skipped);
  while (true) {
    const Storage* from = x + word->at;
    for (; bits != 0; bits >>= 16, from += 16) {
      // (Rows follow each other only by chance: processors do not see what comes next.)
      prefetch<16, 2>(from + ahead);
      auto lanes = static_cast<unsigned>(bits & 0xffffU);
      const std::int64_t count = __builtin_popcount(lanes);
      // (What belongs to others is not read.)
      if (count > n) lanes &= ~static_cast<unsigned>(without_lowest(lanes, n));
      pack_lanes(from, lanes, to);
      if (count >= n) return;
      to += count;
      n -= count;
    }
    bits = (++word)->bits;
  }
}

/// Lanes [first, last) of a word.
EIGENNORM_INLINE void unpack_word(const Storage* from, std::uint64_t bits, std::int64_t first, std::int64_t last,
                                  Storage* y, bool stream) {
  const bool lines = stream && reinterpret_cast<std::uintptr_t>(y) % 64 == 0;
  for (std::int64_t lane = first / 16 * 16; lane < last; lane += 16) {
    const auto lanes = static_cast<unsigned>(bits >> lane & 0xffffU);
    unsigned written = 0xffffU;
    if (lane < first) written &= written << (first - lane);
    if (last - lane < 16) written &= (1U << (last - lane)) - 1;
    unpack_lanes(from, lanes, written, y + lane, lines && written == 0xffffU);
    from += __builtin_popcount(lanes);
  }
}

static void unpack(const Storage* from, const MaskWord* word, std::int64_t skipped, std::int64_t n, Storage* y,
                   bool stream) {
  std::uint64_t bits = without_lowest(word->bits, skipped);
  std::int64_t first = lowest(bits);
  while (true) {
    const std::int64_t count = __builtin_popcountll(bits);
    if (count > n) {
      // Here the next values begin, which belong to others.
      const std::uint64_t others = without_lowest(bits, n);
      return unpack_word(from, bits & ~others, first, lowest(others), y + word->at, stream);
    }
    unpack_word(from, bits, first, word->lanes, y + word->at, stream);
    from += count;
    n -= count;
    ++word;
    if (n == 0 && word->bits != 0) return;
    bits = word->bits;
    first = 0;
  }
}

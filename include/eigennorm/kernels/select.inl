// Inside Functions (functions.inl): values that a mask leaves, neighbours in memory.

EIGENNORM_INLINE int lowest(std::uint64_t bits) { return __builtin_ctzll(bits); }
/// Of bits that are set, all but the lowest `count`.
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

/// The bits of lanes [of.first, of.last) of a word that begins with lane `start`, which is before the last.
EIGENNORM_INLINE std::uint64_t bits_of(LaneRange of, std::int64_t start) {
  const std::uint64_t all = ~std::uint64_t{0};
  const std::int64_t first = (std::max)(of.first - start, std::int64_t{0}), last = of.last - start;
  return (first >= 64 ? 0 : all << first) & (last >= 64 ? all : ~(all << last));
}

/// to = from in sixteen lanes: those that are set; others are not read, and become 0.
EIGENNORM_INLINE void keep_lanes(const Storage* from, unsigned lanes, Storage* to) {
  if constexpr (Machine<Storage>::template selects<Storage>) {
    Machine<Storage>::keep(from, lanes, to);
  } else {
    std::fill(to, to + 16, static_cast<Storage>(Scalar(0)));
    for (; lanes != 0; lanes &= lanes - 1) to[lowest(lanes)] = from[lowest(lanes)];
  }
}
/// The same, to those lanes alone that are `written`.
EIGENNORM_INLINE void write_lanes(const Storage* from, unsigned lanes, unsigned written, Storage* to) {
  for (; written != 0; written &= written - 1) {
    const int lane = lowest(written);
    to[lane] = (lanes >> lane & 1U) != 0 ? from[lane] : static_cast<Storage>(Scalar(0));
  }
}

static void keep(const Storage* x, const MaskWord* words, LaneRange of, Storage* to) {
  const Storage* from = x + words->at;
  for (std::int64_t start = 0; start < of.last; start += 64, ++words) {
    std::uint64_t bits = words->bits & bits_of(of, start);
    for (std::int64_t lane = start; lane < (std::min)(start + 64, of.last); lane += 16, bits >>= 16) {
      prefetch<16, 2>(from + lane + ahead);
      keep_lanes(from + lane, static_cast<unsigned>(bits & 0xffffU), to + lane);
    }
  }
}

static void put_kept(const Storage* from, const MaskWord* words, LaneRange of, Storage* y, bool stream) {
  Storage* const to = y + words->at;
  const bool lines = line <= 16 && stream && reinterpret_cast<std::uintptr_t>(to) % 64 == 0;
  for (std::int64_t start = 0; start < of.last; start += 64, ++words) {
    std::uint64_t bits = words->bits, written = bits_of(of, start);
    for (std::int64_t lane = start; lane < (std::min)(start + 64, of.last); lane += 16, bits >>= 16, written >>= 16) {
      const auto lanes = static_cast<unsigned>(bits & 0xffffU), these = static_cast<unsigned>(written & 0xffffU);
      if (these != 0xffffU) {
        write_lanes(from + lane, lanes, these, to + lane);
      } else if (lines) {
        alignas(64) Storage kept[16];
        keep_lanes(from + lane, lanes, kept);
        stream_lines(to + lane, kept, 0, 16);
      } else {
        keep_lanes(from + lane, lanes, to + lane);
      }
    }
  }
}

// Inside Functions (functions.inl): how results are stored, by rows.

/// How results are stored: through the caches, past them, or first of all in L1.
enum class Store { usual, streamed, staged };

/// Values between the cache line's start and y, and from y to the next line.
EIGENNORM_INLINE std::int64_t past_line(const Storage* y) {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(y) / sizeof(Storage)) & (line - 1);
}
EIGENNORM_INLINE std::int64_t to_line(const Storage* y) { return -past_line(y) & (line - 1); }
/// Values to write apart, so that vectors of sixteen begin on a line, or on half of one in 16 bits. (Registers of 16
/// bytes cross none where a user's memory is aligned at all.)
EIGENNORM_INLINE std::int64_t to_vector(const Storage* y) {
  return EIGENNORM_BYTES == 16 ? 0 : to_line(y) & ((std::min)(line, std::int64_t{16}) - 1);
}

/// y[i] = value(access, i) for every i < n, each value of a tensor read before it is written. Staged, what lies
/// behind y is overwritten up to a whole vector. `ask(i)` asks for what comes `next` values behind.
/// (`Quiet`: with a loop of its own for asking for nothing.)
template <bool Quiet, typename Value, typename Ask>
EIGENNORM_INLINE void for_each(Storage* y, std::int64_t n, Store store, std::int64_t next, const Value& value,
                               const Ask& ask) {
  // Streaming stores need whole cache lines: ordinary stores go up to the first and on from the last. In this order:
  // the line that two rows share is then written at once. Other vectors had better not cross lines, either, where rows
  // are long enough to make up for their ends.
  constexpr std::int64_t shortest = 256;
  const bool aligns = store == Store::usual && n >= shortest;
  std::int64_t i = 0, left = store == Store::streamed ? (std::min)(n, to_line(y)) : aligns ? to_vector(y) : 0;
  while (true) {
    for (; left > 0; left -= 16) {
      const Few ends{(std::min)(std::int64_t{16}, left)};
      const V last = value(ends, i);
      if (store == Store::staged) {
        L::store(y + i, last);
      } else {
        Few::store<L>(ends, y + i, last);
      }
      i += ends.count;
    }
    if (i == n) return;
    if (Quiet && store != Store::streamed && next == 0) {
      for (; i + 16 <= n; i += 16) L::store(y + i, value(Whole{}, i));
    } else {
      // (From memory or to it, a branch that never changes costs less than one more copy of the loop.)
      for (; i + 16 <= n; i += 16) {
        ask(i);
        put(y + i, value(Whole{}, i), store == Store::streamed);
      }
    }
    left = n - i;
    if (left == 0) return;
  }
}

/// Two kilobytes, so that writing to memory and computing take turns quickly. (With eight, both take up to twice as
/// long.)
static constexpr auto stage_size = static_cast<std::int64_t>(2048 / sizeof(Storage));

/// Where short rows are put together, and what of it is written to where.
struct Stage {
  alignas(64) Storage values[stage_size + 2 * line];
  Storage* lines;  ///< where values[0] belongs
  std::int64_t begin, end;

  /// Writes all whole lines; of the last rows, all.
  EIGENNORM_OUTLINE void write(bool last) {
    const std::int64_t whole = end / line * line;
    stream_lines(lines, values, begin, whole);
    if (last) {
      const std::int64_t from = (std::max)(whole, begin);
      copy_few<line>(lines + from, values + from, end - from);
    } else {
      std::copy(values + whole, values + whole + line, values);
      lines += whole;
      end -= whole;
      begin = 0;
    }
  }
};

/// Calls `write(r, to, store)` for each row. Short rows that follow each other but do not end with a line are put
/// together in L1 first, so that all lines but the first and last are streamed whole.
template <typename Write>
EIGENNORM_INLINE void for_each_row(Out y, Extent size, bool stream, const Write& write) {
  const std::int64_t rows = size.rows, n = size.columns, begin = past_line(y.data);
  const bool staged = stream && rows > 1 && y.step == n && 2 * n <= stage_size && (n % line != 0 || begin != 0);
  const Store store = staged ? Store::staged : stream ? Store::streamed : Store::usual;
  Stage stage;
  stage.lines = y.data - begin;
  stage.begin = stage.end = begin;
  for (std::int64_t r = 0; r < rows; ++r) {
    write(r, staged ? stage.values + stage.end : y(r), store);
    if (!staged) continue;
    stage.end += n;
    if (r + 1 == rows || stage.end + n > stage_size) stage.write(r + 1 == rows);
  }
}

/// Values [begin, end) of lines: the first may be part of one, the others are whole.
EIGENNORM_INLINE void stream_lines(Storage* lines, const Storage* from, std::int64_t begin, std::int64_t end) {
  using Line = Simd<float, 64>;
  std::int64_t i = begin;
  if (begin % line != 0) {
    i = (std::min)(line, end);
    copy_few<line>(lines + begin, from + begin, (std::max)(i - begin, std::int64_t{0}));
  }
  for (; i < end; i += line)
    Line::stream(reinterpret_cast<float*>(lines + i), Line::load(reinterpret_cast<const float*>(from + i)));
}

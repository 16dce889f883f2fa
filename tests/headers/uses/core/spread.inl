namespace eigennorm {

inline std::int64_t use(core::SpreadMerge& spread, Peers::Record& record) {
  const core::AppendNumbers append = [](core::SpreadHeader&, Peers::Record&, const core::SpreadHeader&,
                                        Peers::Record&) {};
  return spread.merge(record, record, append, [&] {
    core::make_record(record, 8);
    return static_cast<std::int64_t>(*core::numbers_of<double>(record));
  });
}

}  // namespace eigennorm

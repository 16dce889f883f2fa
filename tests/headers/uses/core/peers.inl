namespace eigennorm {

inline void use(Peers& peers, Peers::Record& record, Peers::Record& next) {
  core::merge_records(peers, record, next, [](Peers::Record&, Peers::Record&) {});
}

}  // namespace eigennorm

namespace eigennorm {

inline bool use_written_once(core::WrittenOnce& word) {
  return word.try_write([] {}) && word.is_there();
}

}  // namespace eigennorm

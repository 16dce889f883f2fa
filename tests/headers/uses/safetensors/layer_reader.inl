namespace eigennorm {

inline void use(core::LayerReader& reader) {
  reader.statistics<float>("running_mean", {reader.batches().value()}, false);
}

}  // namespace eigennorm

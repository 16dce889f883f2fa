namespace eigennorm {

template void core::append_summaries<double>(core::SpreadHeader&, Peers::Record&, const core::SpreadHeader&,
                                             Peers::Record&);
template void core::append_looks<float>(core::SpreadHeader&, Peers::Record&, const core::SpreadHeader&, Peers::Record&);
template class core::SpreadStatistics<float, float>;

}  // namespace eigennorm

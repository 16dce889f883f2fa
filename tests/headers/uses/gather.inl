namespace eigennorm {

template void gather(PopulationStatistics<float>&, Peers&);
template void gather(PopulationStatistics<double>&, Peers&);

}  // namespace eigennorm

namespace eigennorm {

template struct Estimate<float>;
template struct RunningStatistics<float>;
template struct RunningStatistics<double>;
template class core::Sieve<float>;
template class RunningUpdate<float>;
template void core::check_numbers(const Vector<float>&, bool, const char*, const char*, const char*);

}  // namespace eigennorm

namespace eigennorm {

template bool kernels::streams<float>(std::int64_t);

}  // namespace eigennorm

namespace eigennorm {

template const kernels::BlockKernels<float, float>& kernels::block_kernels<float, float>();

}  // namespace eigennorm

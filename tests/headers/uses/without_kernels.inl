// The kernels themselves take longest to compile: only kernels/dispatch.inl makes them.
namespace eigennorm::kernels {

extern template const BlockKernels<float, float>& block_kernels<float, float>();
extern template const BlockKernels<double, double>& block_kernels<double, double>();

}  // namespace eigennorm::kernels

// Begins a region whose arithmetic is done as written: no fused multiply-add unless a kernel asks for one, whatever
// -ffp-contract says. Ended by strict_end.inl. No include guard: it is meant to be included many times.
#if defined(__FAST_MATH__)
#error "EigenNorm needs IEEE arithmetic: compile this file without -ffast-math (or -Ofast)."
#endif
#if defined(__clang__)
#pragma float_control(push)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

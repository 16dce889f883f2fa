// Begins a region whose arithmetic is done as written: no fused multiply-add unless a kernel asks for one.
// (g++ keeps to
// that under any flag; clang does not under -ffp-contract=fast, of which it tells nobody.) Ended by
// strict_end.inl. No
// include guard: it is meant to be included many times.
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#error "EigenNorm needs IEEE arithmetic: compile this file without -ffast-math (or -Ofast)."
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "EigenNorm needs arithmetic in the type of its operands: compile for SSE2 (-mfpmath=sse) or better."
#endif
#if defined(__clang__)
#if __clang_major__ >= 11  // the older ones contract nothing by themselves
#pragma float_control(push)
#endif
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

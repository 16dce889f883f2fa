// Begins a region whose arithmetic is done as written, whatever the unit's flags and pragmas say outside: no sum in
// another order, no product with a reciprocal, no comparison that takes NaN for impossible, no fused multiply-add
// unless a kernel asks for one. What is left to the unit: errno and traps, on which no bit depends. (Functions of
// other headers, such as std::isfinite or Eigen's expressions, are compiled as the unit says: what a result depends
// on does not call them.) Ended by strict_end.inl. No include guard: it is meant to be included many times.
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
#pragma float_control(precise, on)
#endif
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off", "no-unsafe-math-optimizations", "no-associative-math", "no-reciprocal-math", \
                     "no-finite-math-only", "signed-zeros")
// The second one has set this, too; functions that differ in it are not inlined into each other.
#if defined(__NO_TRAPPING_MATH__)
#pragma GCC optimize("no-trapping-math")
#endif
#endif

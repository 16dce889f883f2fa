// Ends the region begun by strict_begin.inl.
#if defined(__clang__)
#if __clang_major__ >= 11
#pragma float_control(pop)
#endif
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif

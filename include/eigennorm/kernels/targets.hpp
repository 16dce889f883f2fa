#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

/// \file
/// The kernels for each instruction set, from one source. Every standard header comes first: included for the first
/// time inside a target region, its inline functions would be emitted for that target. A further target is one file of
/// its registers, one namespace here and one row in dispatch.hpp.

#include "eigennorm/instruction_set.hpp"
#include "eigennorm/kernels/block.hpp"
#include "eigennorm/kernels/reference.hpp"

// A unit built with -march=native and a plain one may be linked into one program. Kernels are weak symbols, so without
// a name of their own for each set of flags, link order would decide whose code is "baseline".
#if defined(__AVX512F__)
#define EIGENNORM_UNIT unit_for_avx512
#elif defined(__AVX2__)
#define EIGENNORM_UNIT unit_for_avx2
#elif defined(__AVX__)
#define EIGENNORM_UNIT unit_for_avx
#elif defined(__SSE4_1__)
#define EIGENNORM_UNIT unit_for_sse4
#else
#define EIGENNORM_UNIT unit_for_baseline
#endif

#define EIGENNORM_INLINE static inline __attribute__((always_inline))
#define EIGENNORM_OUTLINE __attribute__((noinline))

// Between these two, functions are compiled for a target.
#define EIGENNORM_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define EIGENNORM_BEGIN_TARGET(features) \
  EIGENNORM_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define EIGENNORM_END_TARGET EIGENNORM_PRAGMA(clang attribute pop)
#else
#define EIGENNORM_BEGIN_TARGET(features) EIGENNORM_PRAGMA(GCC push_options) EIGENNORM_PRAGMA(GCC target(features))
#define EIGENNORM_END_TARGET EIGENNORM_PRAGMA(GCC pop_options)
#endif

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {
inline namespace EIGENNORM_UNIT {

namespace baseline {
#include "eigennorm/kernels/baseline.inl"

#include "eigennorm/kernels/simd.inl"

#include "eigennorm/kernels/functions.inl"
}  // namespace baseline

#if defined(EIGENNORM_X86_REGIONS)

EIGENNORM_BEGIN_TARGET("avx2,fma,f16c")
namespace avx2 {
#include "eigennorm/kernels/avx2.inl"

#include "eigennorm/kernels/simd.inl"

#include "eigennorm/kernels/functions.inl"
}  // namespace avx2
EIGENNORM_END_TARGET

EIGENNORM_BEGIN_TARGET("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")
namespace avx512 {
#include "eigennorm/kernels/avx512.inl"

#include "eigennorm/kernels/simd.inl"

#include "eigennorm/kernels/functions.inl"
}  // namespace avx512
EIGENNORM_END_TARGET

#endif  // EIGENNORM_X86_REGIONS

}  // namespace EIGENNORM_UNIT
}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

#undef EIGENNORM_END_TARGET
#undef EIGENNORM_BEGIN_TARGET
#undef EIGENNORM_PRAGMA
#undef EIGENNORM_OUTLINE
#undef EIGENNORM_INLINE

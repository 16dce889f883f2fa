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
/// time inside a target region, its inline functions would be emitted for that target.

#include "eigennorm/instruction_set.hpp"
#include "eigennorm/kernels/block.hpp"
// A unit built with -march=native and a plain one may be linked into one program. Kernels are weak symbols, so
// without a name of their own for each set of flags, link order would decide whose code is "baseline".
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

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::kernels {
inline namespace EIGENNORM_UNIT {

namespace baseline {
#define EIGENNORM_BYTES 16
#define EIGENNORM_STREAM __builtin_ia32_movntps
#include "eigennorm/kernels/lanes.inl"

#include "eigennorm/kernels/functions.inl"
#undef EIGENNORM_INLINE
#undef EIGENNORM_APART
#undef EIGENNORM_END
#undef EIGENNORM_STREAM
#undef EIGENNORM_BYTES
}  // namespace baseline

#if defined(EIGENNORM_X86_REGIONS)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
namespace avx2 {
#define EIGENNORM_BYTES 32
#define EIGENNORM_STREAM __builtin_ia32_movntps256
#include "eigennorm/kernels/lanes.inl"

#include "eigennorm/kernels/functions.inl"
#undef EIGENNORM_INLINE
#undef EIGENNORM_APART
#undef EIGENNORM_END
#undef EIGENNORM_STREAM
#undef EIGENNORM_BYTES
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")
#endif
namespace avx512 {
#define EIGENNORM_BYTES 64
#define EIGENNORM_STREAM __builtin_ia32_movntps512
#include "eigennorm/kernels/lanes.inl"

#include "eigennorm/kernels/functions.inl"
#undef EIGENNORM_INLINE
#undef EIGENNORM_APART
#undef EIGENNORM_END
#undef EIGENNORM_STREAM
#undef EIGENNORM_BYTES
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // EIGENNORM_X86_REGIONS

}  // namespace EIGENNORM_UNIT
}  // namespace eigennorm::kernels

#include "eigennorm/kernels/strict_end.inl"

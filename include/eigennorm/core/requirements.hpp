#pragma once

/// \file
/// What a compiler must be. Included before anything that fails without it, so that a compiler that cannot build the
/// library says one sentence instead of hundreds. g++ and clang go on after `#error`; a header that does not exist is
/// what stops them.

#if defined(_MSC_VER) && !defined(__clang__)
#error "EigenNorm needs GCC's vector extensions, which cl.exe does not have: use clang-cl."
#include "EigenNorm needs GCC's vector extensions"
#elif defined(__INTEL_COMPILER) || (defined(__clang__) ? __clang_major__ < 9 : !defined(__GNUC__) || __GNUC__ < 9)
#error "EigenNorm needs g++ 9 or clang 9, or a newer one of these."
#include "EigenNorm needs g++ 9 or clang 9"
#elif __cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L)
#error "EigenNorm needs C++17: compile with -std=c++17 or newer."
#include "EigenNorm needs C++17"
#endif

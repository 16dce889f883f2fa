#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

/// \file
/// The one way in which wrong use ends.

namespace eigennorm {

/// Ends a call that was used wrongly: throws `std::invalid_argument` with `text`, or, in a build
/// without exceptions, prints it to stderr and aborts. Every caller checks before it changes
/// anything, so whoever catches the exception finds all state as it was.
[[noreturn]] inline void fail(const std::string& text) {
#if defined(__cpp_exceptions)
  throw std::invalid_argument(text);
#else
  std::fprintf(stderr, "%s\n", text.c_str());
  std::abort();
#endif
}

namespace core {

/// "[2, 3]", as error texts show shapes and axes.
template <typename Iterator>
std::string list_text(Iterator first, Iterator last) {
  std::string text = "[";
  for (Iterator it = first; it != last; ++it) {
    if (it != first) text += ", ";
    text += std::to_string(*it);
  }
  return text + "]";
}

}  // namespace core
}  // namespace eigennorm

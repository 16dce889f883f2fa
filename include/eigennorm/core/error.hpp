#pragma once

#include "eigennorm/core/requirements.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>

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

/// A piece of an error text: words, a number, or a list such as a shape. Texts are put together only where a call
/// fails, in one place, because string code at each of many checks would be most of what a compiler sees of this
/// library.
class TextPart {
 public:
  TextPart(const char* words) : words_(words) {}  // NOLINT(google-explicit-constructor)
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  TextPart(Number number)  // NOLINT(google-explicit-constructor)
      : kind_(std::is_integral_v<Number> ? Kind::integer : Kind::real),
        integer_(integer_of(number)),
        real_(static_cast<double>(number)) {}
  TextPart(const std::int64_t* list, int size) : kind_(Kind::list), list_(list), integer_(size) {}

  /// (Of infinity there is none.)
  template <typename Number>
  static constexpr std::int64_t integer_of(Number number) {
    if constexpr (std::is_integral_v<Number>) {
      return static_cast<std::int64_t>(number);
    } else {
      return 0;
    }
  }

  void append_to(std::string& text) const {
    switch (kind_) {
      case Kind::words:
        text += words_;
        break;
      case Kind::integer:
        text += std::to_string(integer_);
        break;
      case Kind::real: {
        char digits[32];
        std::snprintf(digits, sizeof digits, "%g", real_);
        text += digits;
        break;
      }
      case Kind::list:
        text += "[";
        for (std::int64_t i = 0; i < integer_; ++i) {
          if (i > 0) text += ", ";
          text += std::to_string(list_[i]);
        }
        text += "]";
        break;
    }
  }

 private:
  enum class Kind { words, integer, real, list };

  Kind kind_ = Kind::words;
  const char* words_ = nullptr;
  const std::int64_t* list_ = nullptr;
  std::int64_t integer_ = 0;
  double real_ = 0;
};

/// Stands in place of a result where a `static_assert` has refused the call: nothing gets here, and no
/// compiler misses a `return` besides.
[[noreturn]] inline void refused() { std::abort(); }

/// These pieces, one after the other.
inline std::string text_of(std::initializer_list<TextPart> pieces) {
  std::string text;
  for (const TextPart& piece : pieces) piece.append_to(text);
  return text;
}

/// Fails with these pieces, one after the other.
[[noreturn]] inline void fail_with(std::initializer_list<TextPart> pieces) { fail(text_of(pieces)); }

/// What `call(of)` fails with, for who has to tell others first; empty where it does not. (In a build without
/// exceptions a failure ends the program, here as anywhere.)
inline std::string failure_of(void (*call)(const void* of), const void* of) {
#if defined(__cpp_exceptions)
  try {
    call(of);
  } catch (const std::exception& failure) {
    const std::string text = failure.what();
    return text.empty() ? "an exception without a text" : text;
  } catch (...) {
    // (A device may throw anything.)
    return "an exception that is no std::exception";
  }
#else
  call(of);
#endif
  return {};
}

}  // namespace core
}  // namespace eigennorm

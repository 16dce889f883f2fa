/// Numbers as text, and the line that tells how far the work has come.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <iomanip>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>
#include <utility>

namespace digits {

inline std::string fixed_text(double value, int decimals) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(decimals) << value;
  return text.str();
}

/// At most `digits` significant digits and no trailing zeros.
inline std::string short_text(double value, int digits = 3) {
  std::ostringstream text;
  text << std::setprecision(digits) << value;
  return text.str();
}

/// How far the work has come, on the error stream; any thread may call. On a terminal one line that is written over
/// itself, five times a second at most; elsewhere, as in a log, a line every ten seconds.
class Progress {
 public:
  Progress(std::string title, std::size_t total) : title_(std::move(title)), total_(total) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (on_terminal_) std::cerr << '\n';
  }

  void show(const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(on_terminal_ ? 200 : 10'000)) return;
    last_ = now;
    write(text);
  }

  void finish_one() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++finished_;
    if (finished_ == total_) write("done");
  }

 private:
  /// As if what is left took as long as what is done.
  std::string remaining() const {
    if (finished_ == 0 || finished_ == total_) return "";
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
    const double left = passed.count() / static_cast<double>(finished_) * static_cast<double>(total_ - finished_);
    return ", about " + fixed_text(left, 0) + " s left";
  }

  void write(const std::string& text) {
    std::cerr << (on_terminal_ ? "\r" : "") << title_ << " [" << finished_ << '/' << total_ << remaining() << "] "
              << std::left << std::setw(on_terminal_ ? 55 : 0) << text << (on_terminal_ ? "" : "\n") << std::flush;
  }

  std::string title_;
  std::size_t total_;
  std::size_t finished_ = 0;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  const bool on_terminal_ = isatty(STDERR_FILENO) != 0;
  std::mutex mutex_;
};

}  // namespace digits

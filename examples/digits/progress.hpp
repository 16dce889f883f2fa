/// Numbers as text, and the line that tells how far the work has come.
#pragma once

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

/// One line on the error stream, written over itself; any thread may call. Not more than five times a second,
/// so that a log of it stays readable.
class Progress {
 public:
  Progress(std::string title, std::size_t total) : title_(std::move(title)), total_(total) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { std::cerr << '\n'; }

  void show(const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(200)) return;
    last_ = now;
    write(text);
  }

  void finish_one() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++finished_;
    if (finished_ == total_) write("done");
  }

 private:
  void write(const std::string& text) {
    std::cerr << '\r' << title_ << " [" << finished_ << '/' << total_ << "] " << std::left << std::setw(55)
              << text << std::flush;
  }

  std::string title_;
  std::size_t total_;
  std::size_t finished_ = 0;
  std::chrono::steady_clock::time_point last_{};
  std::mutex mutex_;
};

}  // namespace digits

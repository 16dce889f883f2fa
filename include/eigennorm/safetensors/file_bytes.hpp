#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#if defined(_WIN32)
#include <fstream>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "eigennorm/core/error.hpp"

/// \file
/// Bytes of a file, read and written.

namespace eigennorm::core {

inline std::string system_error() { return std::generic_category().message(errno); }

/// The bytes of a file. Mapped, so that what nobody looks at is not read; on Windows read at once.
struct FileBytes {
  const unsigned char* data = nullptr;
  std::uint64_t size = 0;
  std::shared_ptr<const void> owner;

  FileBytes(const std::string& path, const std::string& where) {
#if defined(_WIN32)
    std::ifstream file(std::filesystem::u8path(path), std::ios::binary | std::ios::ate);
    if (!file) fail(where + ": expected a file that can be read, got " + system_error());
    auto bytes = std::make_shared<std::vector<unsigned char>>(static_cast<std::size_t>(file.tellg()));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(bytes->data()), static_cast<std::streamsize>(bytes->size()));
    if (!file) fail(where + ": expected a file that can be read, got " + system_error());
    data = bytes->data();
    size = bytes->size();
    owner = std::move(bytes);
#else
    // Not to wait for the other end of a pipe.
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) fail(where + ": expected a file that can be read, got " + system_error());
    const std::string problem = map(file);
    ::close(file);
    if (!problem.empty()) fail(where + ": expected a file that can be read, got " + problem);
#endif
  }

#if !defined(_WIN32)
 private:
  std::string map(int file) {
    struct stat status {};
    if (::fstat(file, &status) != 0) return system_error();
    if (!S_ISREG(status.st_mode)) return "something that is no regular file";
    if (status.st_size == 0) return {};
    const auto length = static_cast<std::size_t>(status.st_size);
    void* const begin = ::mmap(nullptr, length, PROT_READ, MAP_PRIVATE, file, 0);
    if (begin == MAP_FAILED) return system_error();
    owner = std::shared_ptr<const void>(begin, [length](const void* p) { ::munmap(const_cast<void*>(p), length); });
    data = static_cast<const unsigned char*>(begin);
    size = length;
    return {};
  }
#endif
};

/// A file that takes its name when it is whole: until then what had that name before is there, whatever happens. Where
/// the name is a symbolic link's, the file that it leads to is written, and the link stays. A writer that is killed
/// leaves a file "eigennorm-<number>.tmp" beside it.
class NewFile {
 public:
  NewFile(const std::string& path, std::string where) : where_(std::move(where)), path_(name(path)) {
    follow_links();
    std::error_code ignored;
    const std::filesystem::file_status before = std::filesystem::status(path_, ignored);
    if (std::filesystem::exists(before) && !std::filesystem::is_regular_file(before))
      stop("something that is no regular file");
    open_temporary();
    if (std::filesystem::exists(before)) take_mode(before.permissions());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() { give_up(); }

  void write(const void* bytes, std::size_t size) {
    if (size > 0 && std::fwrite(bytes, 1, size, file_) != size) stop();
  }

  void finish() {
    if (std::fflush(file_) != 0) stop();
#if !defined(_WIN32)
    if (::fsync(::fileno(file_)) != 0) stop();
#endif
    if (std::fclose(std::exchange(file_, nullptr)) != 0) stop();
    std::error_code problem;
    std::filesystem::rename(temporary_, path_, problem);
    if (problem) stop(problem.message());
    temporary_.clear();
  }

 private:
#if defined(_WIN32)
  static std::filesystem::path name(const std::string& path) { return std::filesystem::u8path(path); }
  static std::FILE* open(const std::filesystem::path& path) { return ::_wfopen(path.c_str(), L"wbx"); }
  void take_mode(std::filesystem::perms) {}
#else
  static std::filesystem::path name(const std::string& path) { return path; }
  static std::FILE* open(const std::filesystem::path& path) { return std::fopen(path.c_str(), "wbx"); }
  /// Before anything is written: what only its owner could read stays so.
  void take_mode(std::filesystem::perms mode) {
    if (::fchmod(::fileno(file_), static_cast<mode_t>(mode)) != 0) stop();
  }
#endif

  void follow_links() {
    constexpr int most = 40;
    std::error_code problem;
    for (int i = 0; std::filesystem::is_symlink(std::filesystem::symlink_status(path_, problem)); ++i) {
      if (i == most) stop("too many symbolic links");
      path_ = path_.parent_path() / std::filesystem::read_symlink(path_, problem);
    }
  }

  /// Of a short name, so that the file's own may be as long as the system allows. One that is there already is
  /// somebody else's.
  void open_temporary() {
    constexpr int tries = 100;
    std::random_device random;
    for (int i = 0; i < tries; ++i) {
      const std::filesystem::path path = path_.parent_path() / ("eigennorm-" + std::to_string(random()) + ".tmp");
      file_ = open(path);
      if (file_ != nullptr) {
        temporary_ = path;
        return;
      }
      if (errno != EEXIST) break;
    }
    stop();
  }

  void give_up() {
    if (file_ != nullptr) std::fclose(std::exchange(file_, nullptr));
    std::error_code ignored;
    if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
    temporary_.clear();
  }

  [[noreturn]] void stop() { stop(system_error()); }
  [[noreturn]] void stop(const std::string& problem) {
    give_up();
    fail(where_ + ": expected a file that can be written, got " + problem);
  }

  std::string where_;
  std::filesystem::path path_, temporary_;
  std::FILE* file_ = nullptr;
};

}  // namespace eigennorm::core

/// Reads the IDX files in which MNIST and its relatives are distributed: a big-endian header, then one byte a
/// value.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace digits {

using IdxImages = Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using IdxLabels = Eigen::Matrix<std::uint8_t, Eigen::Dynamic, 1>;

namespace detail {

class IdxFile {
 public:
  /// Checks that the file is what its header says: the magic number, sizes that are not zero, and exactly as
  /// many bytes as the sizes ask for.
  IdxFile(const std::filesystem::path& path, std::uint32_t magic, std::size_t rank) : path_(path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) fail("cannot be opened");
    bytes_.assign(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
    const std::size_t header = 4 * (1 + rank);
    if (bytes_.size() < header) {
      fail("truncated: the header alone takes " + std::to_string(header) + " bytes, the file has " +
           std::to_string(bytes_.size()));
    }
    if (word(0) != magic) fail("wrong magic number: expected " + hex(magic) + ", got " + hex(word(0)));
    double announced =
        1;  // a double, because the product of three sizes out of a damaged header may not fit any integer
    std::string shape;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const std::uint32_t size = word(4 * (1 + axis));
      if (size == 0) fail("axis " + std::to_string(axis) + " has no values");
      sizes_.push_back(static_cast<Eigen::Index>(size));
      announced *= size;
      shape += (axis == 0 ? "" : " x ") + std::to_string(size);
    }
    const std::size_t values = bytes_.size() - header;
    if (static_cast<double>(values) != announced) {
      fail((static_cast<double>(values) < announced ? "truncated" : "too long") +
           std::string(": its header announces ") + shape + " values, the file has " + std::to_string(values));
    }
  }

  Eigen::Index size(std::size_t axis) const { return sizes_[axis]; }

  const std::uint8_t* values() const {
    return reinterpret_cast<const std::uint8_t*>(bytes_.data()) + 4 * (1 + sizes_.size());
  }

  [[noreturn]] void fail(const std::string& text) const { throw std::runtime_error(path_.string() + ": " + text); }

 private:
  std::uint32_t word(std::size_t offset) const {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes_[offset + i]);
    return value;
  }

  static std::string hex(std::uint32_t value) {
    std::ostringstream text;
    text << "0x" << std::hex << value;
    return text.str();
  }

  std::filesystem::path path_;
  std::vector<char> bytes_;
  std::vector<Eigen::Index> sizes_;
};

}  // namespace detail

/// One image a row, its pixels row by row.
inline IdxImages read_idx_images(const std::filesystem::path& path) {
  const detail::IdxFile file(path, 0x803, 3);
  IdxImages images(file.size(0), file.size(1) * file.size(2));
  std::copy_n(file.values(), images.size(), images.data());
  return images;
}

/// The labels of `images` images, each below `classes`.
inline IdxLabels read_idx_labels(const std::filesystem::path& path, Eigen::Index images, int classes) {
  const detail::IdxFile file(path, 0x801, 1);
  if (file.size(0) != images) {
    file.fail("has " + std::to_string(file.size(0)) + " labels for " + std::to_string(images) + " images");
  }
  IdxLabels labels(images);
  std::copy_n(file.values(), images, labels.data());
  const int largest = labels.maxCoeff();
  if (largest >= classes) {
    file.fail("has a label " + std::to_string(largest) + ", expected labels below " + std::to_string(classes));
  }
  return labels;
}

}  // namespace digits

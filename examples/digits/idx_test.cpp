/// Writes good and damaged IDX files into the folder it is given, and checks what the reader makes of them.

#include "idx.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Bytes = std::vector<std::uint8_t>;

const Bytes good_images{0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 11, 12, 250, 251, 252};
const Bytes good_labels{0, 0, 8, 1, 0, 0, 0, 2, 9, 0};

Bytes shortened(Bytes bytes, std::size_t size) {
  bytes.resize(size);
  return bytes;
}

Bytes changed(Bytes bytes, std::size_t at, std::uint8_t value) {
  bytes.at(at) = value;
  return bytes;
}

Bytes longer(Bytes bytes) {
  bytes.push_back(0);
  return bytes;
}

void read(const std::filesystem::path& folder) {
  const digits::IdxImages images = digits::read_idx_images(folder / "digits-images.idx3-ubyte");
  const digits::IdxLabels labels = digits::read_idx_labels(folder / "digits-labels.idx1-ubyte", images.rows(), 10);
  const bool right = images.rows() == 2 && images.cols() == 3 && images(0, 0) == 10 && images(0, 2) == 12 &&
                     images(1, 1) == 251 && labels(0) == 9 && labels(1) == 0;
  if (!right) throw std::runtime_error("other values than were written");
}

void write(const std::filesystem::path& path, const Bytes& bytes) {
  std::ofstream stream(path, std::ios::binary);
  for (const std::uint8_t byte : bytes) stream.put(static_cast<char>(byte));
  if (!stream) throw std::runtime_error(path.string() + ": cannot be written");
}

struct Case {
  std::string name;
  Bytes images, labels;
  std::string expected;  // part of the error's text; empty for files that are in order
};

/// What is wrong with the reader's answer, or nothing.
std::string judge(const Case& c, const std::filesystem::path& folder) {
  try {
    read(folder);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    const bool named = text.find(folder.string()) != std::string::npos;
    const bool said = !c.expected.empty() && text.find(c.expected) != std::string::npos;
    return named && said ? "" : "unexpected error: " + text;
  }
  return c.expected.empty() ? "" : "no error";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: idx_test FOLDER\n";
    return 1;
  }
  const std::vector<Case> cases{
      {"good", good_images, good_labels, ""},
      {"empty", {}, good_labels, "truncated: the header alone takes 16 bytes, the file has 0"},
      {"truncated_header", shortened(good_images, 11), good_labels, "truncated: the header alone takes 16 bytes"},
      {"truncated", shortened(good_images, 20), good_labels,
       "truncated: its header announces 2 x 1 x 3 values, the file has 4"},
      {"truncated_labels", good_images, shortened(good_labels, 9), "truncated: its header announces 2 values"},
      {"too_long", longer(good_images), good_labels, "too long: its header announces 2 x 1 x 3 values, the file has 7"},
      {"wrong_magic", changed(good_images, 3, 1), good_labels, "wrong magic number: expected 0x803, got 0x801"},
      {"wrong_label_magic", good_images, changed(good_labels, 0, 31), "wrong magic number: expected 0x801"},
      {"no_rows", changed(good_images, 11, 0), good_labels, "axis 1 has no values"},
      {"huge", changed(changed(changed(good_images, 4, 255), 8, 255), 12, 255), good_labels,
       "truncated: its header announces 4278190082 x 4278190081 x 4278190083 values"},
      {"label_count", good_images, {0, 0, 8, 1, 0, 0, 0, 3, 9, 0, 1}, "has 3 labels for 2 images"},
      {"label_value", good_images, changed(good_labels, 9, 10), "has a label 10, expected labels below 10"},
  };
  int failures = 0;
  for (const Case& c : cases) {
    const std::filesystem::path folder = std::filesystem::path(argv[1]) / c.name;
    std::filesystem::create_directories(folder);
    write(folder / "digits-images.idx3-ubyte", c.images);
    write(folder / "digits-labels.idx1-ubyte", c.labels);
    const std::string fault = judge(c, folder);
    if (!fault.empty()) ++failures;
    std::cout << c.name << ": " << (fault.empty() ? "as expected" : fault) << '\n';
  }
  return failures == 0 ? 0 : 1;
}

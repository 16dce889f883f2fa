#pragma once

// Loads reference cases: a manifest and its binary files (format: data/pytorch/README.md). Every bound and
// every checksum is checked, so that a damaged file cannot pass for a case.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace vectors {

using Shape = std::vector<std::int64_t>;
using Bytes = std::vector<unsigned char>;

struct Tensor {
  std::string role;          // "in", "out" (the source system's answer) or "ref" (long double, rounded to double)
  std::string name;          // x, gamma, y, dx, ...
  Shape shape;               // empty: a scalar
  std::vector<double> data;  // row-major; single precision is widened exactly
};

struct Case {
  std::string id, source, op, dtype, tags;
  std::map<std::string, std::string> attributes;
  std::vector<Tensor> tensors;

  bool has_tag(const std::string& tag) const { return ("+" + tags + "+").find("+" + tag + "+") != std::string::npos; }
  bool has(const std::string& key) const { return attributes.count(key) != 0; }
  const std::string& text(const std::string& key) const {
    const auto found = attributes.find(key);
    if (found == attributes.end()) throw std::out_of_range(id + ": no attribute " + key);
    return found->second;
  }
  double number(const std::string& key) const { return std::stod(text(key)); }
  double number(const std::string& key, double otherwise) const { return has(key) ? number(key) : otherwise; }
  int integer(const std::string& key) const { return std::stoi(text(key)); }
  int integer(const std::string& key, int otherwise) const { return has(key) ? integer(key) : otherwise; }

  const Tensor* find(const std::string& role, const std::string& name) const {
    for (const Tensor& tensor : tensors) {
      if (tensor.role == role && tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  const Tensor& in(const std::string& name) const {
    if (const Tensor* tensor = find("in", name)) return *tensor;
    throw std::out_of_range(id + ": no input " + name);
  }
};

namespace detail {

inline std::uint64_t little_endian(const unsigned char* bytes, int count) {
  std::uint64_t word = 0;
  for (int k = count; k-- > 0;) word = (word << 8) | bytes[k];
  return word;
}

// FNV-1a over words of eight bytes.
inline std::uint64_t checksum(const Bytes& bytes) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    hash = (hash ^ little_endian(&bytes[i], 8)) * 0x100000001B3ull;
  }
  return hash;
}

inline std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

inline Tensor read_tensor(const std::string& specification, const Bytes& bytes, const std::string& where) {
  const auto fields = split(specification, ',');
  if (fields.size() != 5) throw std::runtime_error(where + ": bad tensor " + specification);
  const std::string &storage = fields[2], &shape = fields[3];
  Tensor tensor;
  tensor.role = fields[0];
  tensor.name = fields[1];
  if (shape != "scalar") {
    for (const auto& extent : split(shape, 'x')) tensor.shape.push_back(std::stoll(extent));
  }
  constexpr std::uint64_t most = std::uint64_t{1} << 40;
  std::uint64_t count = 1;
  for (const auto extent : tensor.shape) {
    if (extent < 0 || (extent > 0 && count > most / static_cast<std::uint64_t>(extent))) {
      throw std::runtime_error(where + ": bad shape " + shape);
    }
    count *= static_cast<std::uint64_t>(extent);
  }
  if (storage != "f32" && storage != "f64") throw std::runtime_error(where + ": bad storage " + storage);
  const std::uint64_t width = storage == "f64" ? 8 : 4, offset = std::stoull(fields[4]);
  if (offset > bytes.size() || count * width > bytes.size() - offset) {
    throw std::runtime_error(where + ": beyond the end of the file: " + specification);
  }
  tensor.data.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t word = little_endian(bytes.data() + offset + i * width, static_cast<int>(width));
    if (width == 8) {
      double value;
      std::memcpy(&value, &word, sizeof value);
      tensor.data.push_back(value);
    } else {
      const auto half_word = static_cast<std::uint32_t>(word);
      float value;
      std::memcpy(&value, &half_word, sizeof value);
      tensor.data.push_back(static_cast<double>(value));
    }
  }
  return tensor;
}

inline Case read_case(const std::string& line, const std::string& folder, const std::string& where) {
  Case result;
  std::string file, expected;
  std::vector<std::string> specifications;
  for (const auto& token : split(line, ' ')) {
    const auto equals = token.find('=');
    if (equals == std::string::npos) throw std::runtime_error(where + ": bad token " + token);
    const std::string key = token.substr(0, equals), value = token.substr(equals + 1);
    if (key == "case") {
      result.id = value;
    } else if (key == "src") {
      result.source = value;
    } else if (key == "op") {
      result.op = value;
    } else if (key == "dtype") {
      result.dtype = value;
    } else if (key == "tags") {
      result.tags = value;
    } else if (key == "bin") {
      file = value;
    } else if (key == "fnv") {
      expected = value;
    } else if (key == "t") {
      specifications.push_back(value);
    } else if (key.compare(0, 2, "a.") == 0) {
      result.attributes[key.substr(2)] = value;
    } else {
      throw std::runtime_error(where + ": unknown key " + key);
    }
  }
  std::ifstream stream(folder + file, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot open " + folder + file);
  const Bytes bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (checksum(bytes) != std::stoull(expected, nullptr, 16)) {
    throw std::runtime_error(folder + file + ": the checksum differs from the manifest");
  }
  for (const auto& specification : specifications) {
    result.tensors.push_back(read_tensor(specification, bytes, result.id));
  }
  return result;
}

}  // namespace detail

inline std::vector<Case> load(const std::string& manifest) {
  std::ifstream stream(manifest);
  if (!stream) throw std::runtime_error("cannot open " + manifest);
  const std::string folder = manifest.substr(0, manifest.find_last_of('/') + 1);
  std::vector<Case> cases;
  std::string header;
  std::getline(stream, header);
  int line_number = 1;
  for (std::string line; std::getline(stream, line);) {
    ++line_number;
    if (line.empty() || line[0] == '#') continue;
    cases.push_back(detail::read_case(line, folder, manifest + ":" + std::to_string(line_number)));
  }
  if (header != "# vectors manifest 1; " + std::to_string(cases.size()) + " cases") {
    throw std::runtime_error(manifest + ": has " + std::to_string(cases.size()) + " cases, but begins with: " + header);
  }
  return cases;
}

}  // namespace vectors

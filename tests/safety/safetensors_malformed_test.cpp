#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <eigennorm/safetensors.hpp>

#include "catch.hpp"

// Files from strangers: each is refused with a text that says why, at once, and without allocating what it claims.

using Catch::Matchers::ContainsSubstring;
using eigennorm::SafeTensors;

namespace {

std::atomic<std::size_t> largest_allocation{0};

void* allocate(std::size_t size) {
  std::size_t before = largest_allocation;
  while (size > before && !largest_allocation.compare_exchange_weak(before, size)) {
  }
  if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

std::string claiming(std::uint64_t length, const std::string& header, std::size_t data) {
  std::string file;
  for (unsigned k = 0; k < 8; ++k) file += static_cast<char>(length >> 8U * k & 0xFFU);
  return file + header + std::string(data, '\1');
}
std::string file_of(const std::string& header, std::size_t data = 0) { return claiming(header.size(), header, data); }

std::string entry(const std::string& name, const std::string& shape, const std::string& offsets,
                  const std::string& type = "F32") {
  return "\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

std::string error_of(const std::string& file) {
  try {
    SafeTensors::from_memory(file.data(), file.size(), "a.safetensors");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

struct Malformed {
  std::string file, text;
};

const std::string two = "[0,8]";

std::string ones(int count) {
  std::string shape = "[1";
  for (int i = 1; i < count; ++i) shape += ",1";
  return shape + "]";
}

std::vector<Malformed> malformed() {
  const std::string good = "{" + entry("a", "[2]", two) + "}";
  const std::string deep(10000, '[');
  std::string deep_objects;
  for (int i = 0; i < 10000; ++i) deep_objects += "{\"a\":";
  return {
      // Lengths.
      {"", "at least the 8 bytes"},
      {"1234567", "at least the 8 bytes"},
      {claiming(std::uint64_t{1} << 63U, good, 8), "got one of 9223372036854775808"},
      {claiming(std::numeric_limits<std::uint64_t>::max() - 7, good, 8), "got one of 18446744073709551608"},
      {claiming(good.size() + 9, good, 8), "expected a header of at most"},
      {file_of(""), "one JSON object"},
      // No JSON object in UTF-8.
      {file_of("[]"), "one JSON object, got an array"},
      {file_of("null"), "got null"},
      {file_of("\"a\""), "got a string"},
      {file_of("7"), "got a number"},
      {file_of("{"), "at byte"},
      {file_of(good + "x", 8), "at byte"},
      {file_of(good + "{}", 8), "at byte"},
      {file_of(good + std::string(1, '\0'), 8), "at byte 62"},
      {file_of("\xEF\xBB\xBF" + good, 8), "at byte 8"},
      {file_of("{" + entry("\xFF", "[2]", two) + "}", 8), "at byte"},
      {file_of("{" + entry("\xC0\xAF", "[2]", two) + "}", 8), "at byte"},
      {file_of("{" + entry("\\ud800", "[2]", two) + "}", 8), "at byte"},
      {file_of("{" + entry("a\nb", "[2]", two) + "}", 8), "at byte"},
      {file_of("{/**/" + entry("a", "[2]", two) + "}", 8), "at byte"},
      {file_of("{" + entry("a", "[2]", two) + ",}", 8), "at byte"},
      {file_of("{'a':1}"), "at byte"},
      {file_of(deep), "got an array"},
      {file_of("{\"a\":" + deep), "got an array"},
      {file_of("{" + entry("a", deep, two)), "got an array"},
      {file_of(deep_objects), "dtype, shape and data_offsets, got \"a\""},
      {file_of("{\"__metadata__\":" + deep_objects), "got an object"},
      // Twice.
      {file_of("{" + entry("a", "[2]", two) + "," + entry("a", "[2]", two) + "}", 8), "\"a\" twice"},
      {file_of("{" + entry("a", "[2]", two) + "," + entry("\\u0061", "[2]", "[8,16]") + "}", 16), "\"a\" twice"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
       "\"dtype\" twice"},
      {file_of("{\"__metadata__\":{},\"__metadata__\":{}}"), "\"__metadata__\" twice"},
      {file_of("{\"__metadata__\":{\"k\":\"1\",\"k\":\"1\"}}"), "\"k\" twice"},
      // Entries.
      {file_of("{\"a\":{}}"), "got no dtype"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8), "got no shape"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8), "got no data_offsets"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8), "got \"x\""},
      {file_of("{\"a\":[]}"), "got an array"},
      {file_of("{\"a\":null}"), "got null"},
      {file_of("{\"__metadata__\":{\"k\":1}}"), "expected a string, got a number"},
      {file_of("{\"__metadata__\":[]}"), "an object of strings, got an array"},
      {file_of("{" + entry("a", "[2]", two, "F31") + "}", 8), "got \"F31\""},
      {file_of("{" + entry("a", "[2]", two, "f32") + "}", 8), "got \"f32\""},
      {file_of("{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8), "a string as dtype, got a number"},
      {file_of("{" + entry("a", "2", two) + "}", 8), "as shape, got a number"},
      {file_of("{" + entry("a", "[\"2\"]", two) + "}", 8), "as shape, got a string"},
      {file_of("{" + entry("a", "[true]", two) + "}", 8), "as shape, got a boolean"},
      // Extents and offsets.
      {file_of("{" + entry("a", "[-2]", two) + "}", 8), "a number with a minus sign"},
      {file_of("{" + entry("a", "[-0]", two) + "}", 8), "a number with a minus sign"},
      {file_of("{" + entry("a", "[2.0]", two) + "}", 8), "the number 2.0"},
      {file_of("{" + entry("a", "[2e0]", two) + "}", 8), "the number 2e0"},
      {file_of("{" + entry("a", "[1e999]", two) + "}", 8), "expected"},
      {file_of("{" + entry("a", "[18446744073709551618]", two) + "}", 8), "the number 1844674"},
      {file_of("{" + entry("a", "[9223372036854775808]", two) + "}", 8), "got 9223372036854775808"},
      {file_of("{" + entry("a", "[4611686018427387904,2]", two) + "}", 8), "64 bits can hold"},
      {file_of("{" + entry("a", "[4611686018427387904,4,1]", "[0,0]") + "}"), "64 bits can hold"},
      {file_of("{" + entry("a", "[4294967296,4294967296]", "[0,0]") + "}"), "64 bits can hold"},
      {file_of("{" + entry("a", "[0,4294967296,4294967296]", "[0,0]") + "}"), "64 bits can hold"},
      {file_of("{" + entry("a", ones(65), "[0,4]") + "}", 4),
       "at most 64 integers from 0 to 2^63 - 1 as shape, got more"},
      {file_of("{" + entry("a", "[2]", "[-1,7]") + "}", 8), "as data_offsets, got a number with a minus sign"},
      {file_of("{" + entry("a", "[2]", "[0.0,8]") + "}", 8), "as data_offsets, got the number 0.0"},
      {file_of("{" + entry("a", "[2]", "[0]") + "}", 8), "got fewer"},
      {file_of("{" + entry("a", "[2]", "[0,8,8]") + "}", 8), "got more than two"},
      {file_of("{" + entry("a", "[2]", "[8,0]") + "}", 8), "got those from 8 to 0"},
      {file_of("{" + entry("a", "[2]", "[0,9]") + "}", 9), "expected 8 bytes for F32 of shape [2], got 9"},
      {file_of("{" + entry("a", "[3]", "[0,8]") + "}", 8), "expected 12 bytes"},
      {file_of("{" + entry("a", "[0]", "[0,8]") + "}", 8), "expected 0 bytes"},
      {file_of("{" + entry("a", "[3]", "[0,2]", "F4") + "}", 2), "whole bytes"},
      // Where tensors lie.
      {file_of("{" + entry("a", "[2]", "[0,8]") + "}", 7), "within the 7 of the data"},
      {file_of("{" + entry("a", "[1]", "[9223372036854775803,9223372036854775807]") + "}", 8), "within the 8"},
      {file_of("{" + entry("a", "[2305843009213693951]", "[0,9223372036854775804]") + "}", 8), "within the 8"},
      {file_of("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[4,12]") + "}", 12), "at 8, got 4"},
      {file_of("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[0,8]") + "}", 8), "at 8, got 0"},
      {file_of("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[1]", "[12,16]") + "}", 16), "at 8, got 12"},
      {file_of("{" + entry("a", "[2]", "[4,12]") + "}", 12), "at 0, got 4"},
      {file_of("{" + entry("a", "[2]", "[0,8]") + "}", 9), "expected 8 bytes of data"},
      {file_of("{}", 1), "expected 0 bytes of data"},
  };
}

// The shortest of some tries: what else the machine does is not counted.
template <typename F>
double seconds_of(const F& f) {
  double least = 1;
  for (int i = 0; i < 20 && least >= 0.01; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    f();
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return least;
}

std::string many_entries() {
  std::string header = "{";
  for (int i = 0; i < 5000; ++i) header += entry("tensor" + std::to_string(i), "[1]", "[0,4]") + ",";
  header.back() = '}';
  return file_of(header, 4);
}

}  // namespace

TEST_CASE("each malformed file is refused, at once, with a reason") {
  for (const Malformed& each : malformed()) {
    CAPTURE(each.file.substr(0, 200));
    largest_allocation = 0;
    const std::string text = error_of(each.file);
    CHECK(largest_allocation < 16 * each.file.size() + 4096);
    CHECK_THAT(text, ContainsSubstring("SafeTensors::read: a.safetensors: "));
    CHECK_THAT(text, ContainsSubstring(each.text));
    CHECK(text.size() < 500);
    CHECK(seconds_of([&] { error_of(each.file); }) < 0.01);
  }
  CHECK_THAT(error_of(many_entries()), ContainsSubstring("at 4, got 0"));
}

TEST_CASE("a good file cut short anywhere, or with any one bit turned, does no harm") {
  const std::string file =
      file_of("{" + entry("a", "[1]", "[0,4]") + "," + entry("b", "[]", "[4,12]", "F64") + "}", 12);
  CHECK(error_of(file) == "accepted");
  for (std::size_t size = 0; size < file.size(); ++size) CHECK(error_of(file.substr(0, size)) != "accepted");
  for (std::size_t bit = 0; bit < 8 * (file.size() - 12); ++bit) {
    std::string turned = file;
    turned[bit / 8] = static_cast<char>(turned[bit / 8] ^ (1 << bit % 8));
    error_of(turned);  // another name is no harm; under sanitizers, nor is anything else
  }
}

TEST_CASE("what a file may be") {
  for (const std::string& header :
       {std::string("{}"), std::string("  {\n\t} \r\n "), std::string("{\"__metadata__\":{}}"),
        "{" + entry("b", "[0,7]", "[0,0]") + "," + entry("a", "[0]", "[0,0]") + "}"}) {
    CAPTURE(header);
    CHECK(error_of(file_of(header)) == "accepted");
  }
  CHECK(error_of(file_of("{" + entry("a", ones(64), "[0,4]") + "}", 4)) == "accepted");
  for (const char* type : {"F8_E4M3FNUZ", "F8_E5M2FNUZ"})
    CHECK(error_of(file_of("{" + entry("a", "[3]", "[0,3]", type) + "}", 3)) == "accepted");
  const std::string odd =
      "{ \"\\u0061\\ud83d\\ude00\" : {\"shape\":[1,2] , \"data_offsets\":[0,2],\"dtype\":\"F8_E4M3\"},"
      "\"__metadata__\":{\"a\":\"\",\"\":\"x\"}, \"z\":{\"data_offsets\":[2,3],\"dtype\":\"F4\",\"shape\":[2]}}   ";
  const std::string file = file_of(odd, 3);
  const SafeTensors read = SafeTensors::from_memory(file.data(), file.size());
  REQUIRE(read.tensors().size() == 2);
  CHECK(read.tensors()[0].name == "a\xF0\x9F\x98\x80");
  CHECK(read.tensors()[0].type == "F8_E4M3");
  CHECK(read.tensors()[0].bytes == reinterpret_cast<const unsigned char*>(file.data()) + file.size() - 3);
  CHECK(read.metadata().at("") == "x");
  CHECK_THROWS_WITH(read.get<Eigen::MatrixXf>("z"), ContainsSubstring("expected"));
}

TEST_CASE("what is no file is refused") {
  CHECK_THROWS_WITH(SafeTensors::read("no/such.safetensors"),
                    ContainsSubstring("SafeTensors::read: no/such.safetensors: expected a file that can be read"));
  CHECK_THROWS_WITH(SafeTensors::read("."), ContainsSubstring("expected a file that can be read"));
}

TEST_CASE("of a large sparse file that claims much, nothing is read or allocated") {
  const std::string path = "safetensors_malformed_test.safetensors";
  const std::string begin = file_of("{" + entry("a", "[1000000000]", "[0,4000000000]") + "}");
  {
    std::ofstream stream(path, std::ios::binary);
    stream << begin;
  }
  std::filesystem::resize_file(path, begin.size() + 4000000001);
  largest_allocation = 0;
  CHECK_THROWS_WITH(SafeTensors::read(path), ContainsSubstring("expected 4000000000 bytes of data"));
  std::filesystem::resize_file(path, begin.size() + 4000000000);
  CHECK(SafeTensors::read(path).tensors().front().count() == 1000000000);
  CHECK(largest_allocation < 100000);
  CHECK(seconds_of([&] { SafeTensors::read(path); }) < 0.01);
  std::filesystem::remove(path);
}

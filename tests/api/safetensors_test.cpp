#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <eigennorm/eigennorm.hpp>
#include <eigennorm/safetensors.hpp>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "support.hpp"

// Tensors into a file and out of it: what the format asks of a writer, and what a reader gives.

using namespace eigennorm;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

SafeTensors some_tensors() {
  SafeTensors file;
  file.add("w", Eigen::MatrixXf(test::random_matrix(3, 4, 1)));
  file.add("half", Eigen::Matrix<Eigen::half, 3, 1>(Eigen::Vector3f(1, 2, 3).cast<Eigen::half>()));
  file.add("double", Eigen::Vector2d(1, 2));
  file.add("byte", Eigen::Matrix<std::uint8_t, 3, 1>(1, 2, 3));
  file.add("bool", Eigen::Array<bool, 2, 1>(true, false));
  file.add("none", Eigen::MatrixXf(0, 3));
  file.add("count", "I64", {}, {7, 0, 0, 0, 0, 0, 0, 0});
  file.add("f4", "F4", {3, 2}, {1, 2, 3});
  file.set_metadata("format", "pt");
  file.set_metadata("a \"b\"", "line\n\xC3\xA9");
  return file;
}

const std::map<std::string, int>& bits_of_types() {
  static const std::map<std::string, int> bits = {{"F64", 64}, {"I64", 64}, {"F32", 32}, {"F16", 16},
                                                  {"U8", 8},   {"BOOL", 8}, {"F4", 4}};
  return bits;
}

}  // namespace

TEST_CASE("a written file keeps the rules of the format, by which its other readers check it") {
  const std::vector<unsigned char> bytes = some_tensors().bytes();
  std::uint64_t length = 0;
  for (int k = 8; k-- > 0;) length = length << 8U | bytes[static_cast<std::size_t>(k)];
  REQUIRE(length % 8 == 0);
  REQUIRE(length + 8 <= bytes.size());
  const std::string text(bytes.begin() + 8, bytes.begin() + 8 + static_cast<std::ptrdiff_t>(length));
  CHECK(text.front() == '{');
  const std::string json = text.substr(0, text.find_last_not_of(' ') + 1);
  CHECK(json.back() == '}');
  CHECK(text.size() - json.size() < 8);

  const nlohmann::json header = nlohmann::json::parse(json);
  CHECK(header.at("__metadata__") == nlohmann::json({{"format", "pt"}, {"a \"b\"", "line\n\xC3\xA9"}}));
  std::map<std::int64_t, std::int64_t> pieces;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    CAPTURE(name);
    CHECK(entry.size() == 3);
    std::int64_t bits = bits_of_types().at(entry.at("dtype").get<std::string>());
    const std::int64_t begin = entry.at("data_offsets").at(0), end = entry.at("data_offsets").at(1);
    if (bits >= 8) CHECK((static_cast<std::int64_t>(length) + 8 + begin) % (bits / 8) == 0);
    for (const auto& extent : entry.at("shape")) bits *= extent.get<std::int64_t>();
    CHECK(end - begin == bits / 8);
    if (end > begin) CHECK(pieces.emplace(begin, end).second);
  }
  std::int64_t end = 0;
  for (const auto& [from, to] : pieces) {
    CHECK(from == end);
    end = to;
  }
  CHECK(end == static_cast<std::int64_t>(bytes.size() - 8 - length));
}

TEST_CASE("equal content gives equal bytes, whatever the order in which it came") {
  const SafeTensors file = some_tensors();
  SafeTensors reversed;
  for (auto tensor = file.tensors().rbegin(); tensor != file.tensors().rend(); ++tensor) reversed.add(*tensor);
  reversed.set_metadata("a \"b\"", "line\n\xC3\xA9");
  reversed.set_metadata("format", "pt");
  CHECK(reversed.bytes() == file.bytes());

  // The values of a matrix, not its layout.
  SafeTensors rows, columns;
  const Eigen::MatrixXf large = test::random_matrix(6, 8, 2);
  rows.add("w", Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>(large.block(1, 2, 3, 4)));
  columns.add("w", large.block(1, 2, 3, 4));
  CHECK(rows.bytes() == columns.bytes());
  CHECK(rows.get<Eigen::MatrixXf>("w") == large.block(1, 2, 3, 4));
}

TEST_CASE("a file takes its name when it is whole") {
  const std::string path = "safetensors_test_file.safetensors";
  SafeTensors first;
  first.add("x", Eigen::Vector2f(1, 2));
  first.write(path);
  const SafeTensors mapped = SafeTensors::read(path);
  const SafeTensors second = some_tensors();
  second.write(path);
  const std::vector<unsigned char> bytes = second.bytes();
  CHECK(bytes_of(path) == std::string(bytes.begin(), bytes.end()));
  CHECK(mapped.get<Eigen::VectorXf>("x") == Eigen::Vector2f(1, 2));  // of the file that had the name before
  for (const auto& entry : std::filesystem::directory_iterator(".")) {
    CHECK(entry.path().extension() != ".tmp");
  }
  std::filesystem::remove(path);
  CHECK_THROWS_WITH(first.write("no/such/folder/x.safetensors"),
                    ContainsSubstring("SafeTensors::write: no/such/folder/x.safetensors: expected a file that can be"));

  // Where a folder has the name, nothing can take it: what was there stays, and nothing else is left.
  std::filesystem::create_directories(path + "/inside");
  CHECK_THROWS_WITH(first.write(path), ContainsSubstring("expected a file that can be written"));
  CHECK(std::filesystem::exists(path + "/inside"));
  for (const auto& entry : std::filesystem::directory_iterator(".")) CHECK(entry.path().extension() != ".tmp");
  std::filesystem::remove_all(path);
}

#if !defined(_WIN32)
TEST_CASE("a file is replaced where a link leads, keeps its mode, and may have a long name") {
  namespace fs = std::filesystem;
  const std::string folder = "safetensors_test_folder";
  fs::remove_all(folder);
  fs::create_directories(folder + "/inside");
  const std::string target = folder + "/inside/target", link = folder + "/link";
  fs::create_symlink("inside/target", link);
  const SafeTensors file = some_tensors();
  file.write(link);  // nothing was there
  CHECK(fs::is_symlink(link));
  CHECK(fs::is_regular_file(target));
  fs::permissions(target, fs::perms::owner_read | fs::perms::owner_write);
  file.write(link);
  CHECK(fs::is_symlink(link));
  CHECK(fs::status(target).permissions() == (fs::perms::owner_read | fs::perms::owner_write));
  const std::vector<unsigned char> bytes = file.bytes();
  CHECK(bytes_of(target) == std::string(bytes.begin(), bytes.end()));

  fs::create_symlink("loop", folder + "/loop");
  CHECK_THROWS_WITH(file.write(folder + "/loop"), ContainsSubstring("got too many symbolic links"));
  CHECK_THROWS_WITH(file.write("/dev/null"),
                    "SafeTensors::write: /dev/null: expected a file that can be written, got something that is no "
                    "regular file");
  file.write(folder + "/" + std::string(255, 'n'));
  for (const auto& entry : fs::recursive_directory_iterator(folder)) CHECK(entry.path().extension() != ".tmp");
  fs::remove_all(folder);
}
#endif

TEST_CASE("get gives Eigen objects of the stored shape") {
  SafeTensors file = some_tensors();
  Eigen::Tensor<float, 3, Eigen::RowMajor> cube(2, 3, 4);
  for (Eigen::Index i = 0; i < cube.size(); ++i) cube.data()[i] = static_cast<float>(i);
  file.add("cube", cube);
  const auto columns = file.get<Eigen::Tensor<float, 3>>("cube");
  CHECK(columns(1, 2, 3) == 23);
  CHECK(columns(1, 0, 2) == 14);
  CHECK((file.get<Eigen::TensorFixedSize<double, Eigen::Sizes<2, 3, 4>>>("cube")(1, 2, 3)) == 23);
  file.add("one", "F32", {}, {0, 0, 128, 63});
  CHECK(file.get<Eigen::Tensor<float, 0>>("one")() == 1);
  CHECK(file.get<double>("one") == 1);
  CHECK(file.get<Eigen::half>("one") == Eigen::half(1));
  CHECK(file.get<Eigen::MatrixXd>("w") == test::random_matrix(3, 4, 1).cast<double>());
  CHECK(file.get<Eigen::Matrix<float, 3, 4>>("w") == test::random_matrix(3, 4, 1));
  CHECK(file.get<Eigen::RowVectorXf>("half") == Eigen::RowVector3f(1, 2, 3));
  CHECK(file.get<Eigen::MatrixXf>("none").cols() == 3);
  CHECK(file.get<int>("count") == 7);
  CHECK(file.get<Eigen::VectorXi>("byte") == Eigen::Vector3i(1, 2, 3));
  CHECK(file.get<Eigen::Array<bool, Eigen::Dynamic, 1>>("bool")[0]);

  CHECK_THROWS_WITH(
      file.get<Eigen::VectorXf>("w"),
      "SafeTensors::get: file in memory: \"w\": expected a shape that the Eigen object can have, got [3, 4]");
  CHECK_THROWS_WITH((file.get<Eigen::Matrix<float, 4, 4>>("w")), ContainsSubstring("got [3, 4]"));
  file.add("long", "F32", {0, (std::int64_t{1} << 32) + 3}, {});
  CHECK_THROWS_WITH((file.get<Eigen::Tensor<float, 2, Eigen::RowMajor, int>>("long")), ContainsSubstring("can have"));
  CHECK(file.get<Eigen::Tensor<float, 2>>("long").dimension(1) == (std::int64_t{1} << 32) + 3);
  CHECK_THROWS_WITH((file.get<Eigen::Tensor<float, 2>>("cube")), ContainsSubstring("got [2, 3, 4]"));
  CHECK_THROWS_WITH(file.get<Eigen::MatrixXi>("w"), ContainsSubstring("expected integers, got F32"));
  CHECK_THROWS_WITH(file.get<Eigen::VectorXf>("byte"), ContainsSubstring("expected F64, F32, F16 or BF16, got U8"));
  CHECK_THROWS_WITH(file.get<double>("double"), ContainsSubstring("expected one value, got shape [2]"));
  CHECK_THROWS_WITH(file.get<Eigen::MatrixXf>("f4"), ContainsSubstring("got F4"));
  CHECK_THROWS_WITH(file.at("coun"),
                    "SafeTensors::at: file in memory: expected the key \"coun\", got none (nearest: \"count\")");
}

TEST_CASE("values that a type cannot hold are refused, NaN and infinity are kept") {
  SafeTensors file;
  const double infinity = std::numeric_limits<double>::infinity();
  file.add("far", Eigen::Vector2d(1, 1e39));
  file.add("special", Eigen::Vector3d(infinity, -infinity, std::numeric_limits<double>::quiet_NaN()));
  file.add("integers", Eigen::Matrix<std::int64_t, 2, 1>(-1, std::int64_t{1} << 40));
  CHECK_THROWS_WITH(file.get<Eigen::VectorXf>("far"), ContainsSubstring("range of F32, got one beyond it at index 1"));
  CHECK_THROWS_WITH((file.get<Eigen::Matrix<Eigen::half, Eigen::Dynamic, 1>>("far")),
                    ContainsSubstring("range of F16"));
  const Eigen::VectorXf special = file.get<Eigen::VectorXf>("special");
  CHECK(special[0] == std::numeric_limits<float>::infinity());
  CHECK(special[1] == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(special[2]));
  CHECK_THROWS_WITH(file.get<Eigen::VectorXi>("integers"),
                    ContainsSubstring("range of I32, got one beyond it at index 1"));
  CHECK_THROWS_WITH((file.get<Eigen::Matrix<std::uint64_t, 2, 1>>("integers")), ContainsSubstring("at index 0"));
}

TEST_CASE("what cannot be added is refused, and nothing is added") {
  SafeTensors file = some_tensors();
  const std::vector<unsigned char> before = file.bytes();
  CHECK_THROWS_WITH(file.add("w", Eigen::Vector2f(1, 2)),
                    ContainsSubstring("\"w\": expected a name that is not there yet"));
  CHECK_THROWS_WITH(file.add("__metadata__", Eigen::Vector2f(1, 2)), ContainsSubstring("not \"__metadata__\""));
  CHECK_THROWS_WITH(file.add("\xFF", Eigen::Vector2f(1, 2)), ContainsSubstring("a name in UTF-8"));
  CHECK_THROWS_WITH(file.add("x", "F31", {1}, {0}), ContainsSubstring("got \"F31\""));
  CHECK_THROWS_WITH(file.add("x", "F32", {2}, {0, 0, 0, 0}), ContainsSubstring("the bytes of F32 of shape [2], got 4"));
  CHECK_THROWS_WITH(file.add("x", "F32", {-1}, {}), ContainsSubstring("of shape [-1]"));
  CHECK_THROWS_WITH(file.add("x", "U8", std::vector<std::int64_t>(65, 1), {0}), ContainsSubstring("at most 64 axes"));
  CHECK_THROWS_WITH(file.add({"x", "F32", {-1}, nullptr, -1}), ContainsSubstring("of shape [-1], got -1"));
  CHECK_THROWS_WITH(file.add_all({{"x", "F32", {0}, nullptr, 0}, {"x", "F32", {0}, nullptr, 0}}),
                    ContainsSubstring("\"x\": expected a name that is not there yet"));
  if (std::numeric_limits<long double>::max_exponent > std::numeric_limits<double>::max_exponent) {
    const Eigen::Matrix<long double, 2, 1> far(1, std::numeric_limits<long double>::max());
    CHECK_THROWS_WITH(file.add("x", far), ContainsSubstring("range of F64, got one beyond it at index 1"));
  }
  CHECK_THROWS_WITH(file.set_metadata("k", "\xC0\xAF"), ContainsSubstring("expected UTF-8"));
  CHECK_THROWS_WITH(file.remove("y"), ContainsSubstring("expected the key \"y\""));
  CHECK(file.bytes() == before);
}

TEST_CASE("tensors that were taken out of a file outlive it") {
  const std::string path = "safetensors_test_owner.safetensors";
  some_tensors().write(path);
  SafeTensors later;
  {
    const SafeTensors file = SafeTensors::read(path);
    later.add(file.at("w"));
  }
  std::filesystem::remove(path);
  CHECK(later.get<Eigen::MatrixXf>("w") == test::random_matrix(3, 4, 1));
}

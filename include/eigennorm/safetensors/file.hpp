#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/overlap.hpp"
#include "eigennorm/core/view.hpp"
#include "eigennorm/safetensors/elements.hpp"
#include "eigennorm/safetensors/file_bytes.hpp"
#include "eigennorm/safetensors/header.hpp"
#include "eigennorm/safetensors/stored_tensor.hpp"
#include "eigennorm/safetensors/text.hpp"

/// \file
/// SafeTensors: tensors by name, from a file and into one.

namespace eigennorm {

/// Named tensors as a safetensors file has them: what was read, what was added, or both.
///
/// **Reading** looks at the header alone, and checks all of it: a file that is not what the format says is refused,
/// whatever it claims. `tensors()` lists what is there; nothing is copied before `get` asks for it. A file that was
/// read is mapped into memory: do not write into it, or make it shorter, meanwhile. (`write` does not: it makes a new
/// file.)
///
/// **Writing** gives equal bytes for equal content: tensors by the size of their types, largest first, then by name, so
/// that each is aligned to its type. The file takes its name when it is whole; until then what had the name stays.
///
/// **Types.** `get` makes float, double, half and bfloat16 of each other, and integers of integers, where they can hold
/// the value; other types of the format are listed, and their bytes are there. `add` writes a type as it is, a long
/// double as a double.
///
/// **Errors.** `fail()` (std::invalid_argument) names the file and the tensor, what was expected and what came;
/// everything is as it was.
///
/// \code
/// #include <cstdio>
/// #include <eigennorm/safetensors.hpp>
///
/// int main() {
///   const Eigen::MatrixXf w = Eigen::MatrixXf::Random(3, 4);
///   eigennorm::SafeTensors out;
///   out.add("head.weight", w);
///   out.set_metadata("format", "pt");
///   out.write("file_program.safetensors");
///
///   const auto in = eigennorm::SafeTensors::read("file_program.safetensors");
///   for (const eigennorm::StoredTensor& tensor : in.tensors()) {
///     std::printf("%s %ld\n", tensor.name.c_str(), long(tensor.count()));
///   }
///   const bool same = in.get<Eigen::MatrixXf>("head.weight") == w;
///   return std::remove("file_program.safetensors") == 0 && same ? 0 : 1;
/// }
/// \endcode
class SafeTensors {
 public:
  /// Without tensors.
  SafeTensors() = default;

  /// What a file holds. Fails where it cannot be read, or is not right in every part.
  static SafeTensors read(const std::string& path) {
    const core::FileBytes bytes(path, "SafeTensors::read: " + path);
    return {bytes.data, bytes.size, path, bytes.owner};
  }

  /// The same of a file that is in memory, and stays there as long as this or a copy of it is used. `name` is for
  /// errors.
  static SafeTensors from_memory(const void* bytes, std::size_t size, std::string name = "file in memory") {
    return {static_cast<const unsigned char*>(bytes), size, std::move(name), nullptr};
  }

  /// What errors call the file: its path.
  const std::string& name() const { return name_; }

  /// All tensors, by name.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }

  /// One tensor, or null.
  const StoredTensor* find(std::string_view name) const {
    const auto place = place_of(name);
    return place != tensors_.end() && place->name == name ? &*place : nullptr;
  }

  /// One tensor. Fails where there is none, and says which name is like it.
  const StoredTensor& at(std::string_view name) const {
    if (const StoredTensor* tensor = find(name)) return *tensor;
    fail("SafeTensors::at: " + name_ + ": expected the key " + core::in_quotes(name) + ", got none" + hint(name));
  }

  /// One tensor as an Eigen object: `get<Eigen::MatrixXf>("head.weight")`, `get<Eigen::Tensor<float, 4>>(...)`; as a
  /// vector where it has one axis; one value as a number, `get<double>(...)`. Fails where it has another shape, or a
  /// value that the object's type cannot hold.
  template <typename X>
  X get(std::string_view name) const {
    static_assert(core::is_number<X> || core::holds_numbers<X>,
                  "A safetensors file holds numbers: integers, bool, float, double, Eigen::half and Eigen::bfloat16.");
    const StoredTensor& tensor = at(name);
    if constexpr (core::is_number<X>) {
      X value{};
      if (tensor.count() != 1) stop("get", tensor, "expected one value, got shape " + core::shape_text(tensor.shape));
      decode_into<X>(tensor, [&](X each) { value = each; });
      return value;
    } else if constexpr (core::holds_numbers<X>) {
      core::Maker<X> made(tensor.shape);
      if (!made.fits) {
        stop("get", tensor, "expected a shape that the Eigen object can have, got " + core::shape_text(tensor.shape));
      }
      using T = core::Element<X>;
      decode_into<T>(tensor, core::output_view(made.result));
      return std::move(made.result);
    } else {
      core::refused();
    }
  }

  /// Adds a copy of an Eigen object whose values are in memory. A vector has one axis in the file, a matrix two, in the
  /// order of its rows. Fails where the name is there already, is none, or is "__metadata__".
  template <typename X>
  void add(const std::string& name, const X& x) {
    using T = core::Element<X>;
    static_assert(core::DoorOf<X>::direct,
                  "EigenNorm needs an Eigen object whose values are in memory (Matrix, Array, Map, Ref, Block, Tensor, "
                  "TensorMap, TensorFixedSize); evaluate the expression into one first.");
    const View<const T> view = core::view(x);
    core::check_strides(view.shape, view.strides, "SafeTensors::add", "x");
    std::vector<std::int64_t> shape = core::list_of(view.shape);
    if constexpr (core::DoorOf<X>::direct) {
      if (core::DoorOf<X>::order == Order::any) shape = {view.shape.size()};
    }
    std::vector<unsigned char> bytes;
    const std::string problem = core::encode(view, bytes);
    StoredTensor tensor = core::stored(name, core::type_name<T>(), std::move(shape), std::move(bytes));
    if (!problem.empty()) stop("add", tensor, problem);
    add(std::move(tensor));
  }

  /// Adds bytes as they are, of any type of the format.
  void add(const std::string& name, std::string_view type, std::vector<std::int64_t> shape,
           std::vector<unsigned char> bytes) {
    add(core::stored(name, type, std::move(shape), std::move(bytes)));
  }

  /// Adds a tensor of another file, without a copy.
  void add(StoredTensor tensor) {
    check_new(tensor);
    tensor.type = core::element_type(tensor.type)->name;
    tensors_.insert(tensors_.begin() + (place_of(tensor.name) - tensors_.cbegin()), std::move(tensor));
  }

  /// Adds several, or none of them where one cannot be added.
  void add_all(std::vector<StoredTensor> tensors) {
    std::sort(tensors.begin(), tensors.end(), is_before);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      check_new(tensors[i]);
      if (i > 0 && tensors[i].name == tensors[i - 1].name) stop_again(tensors[i]);
      tensors[i].type = core::element_type(tensors[i].type)->name;
    }
    const auto before = static_cast<std::ptrdiff_t>(tensors_.size());
    tensors_.insert(tensors_.end(), std::make_move_iterator(tensors.begin()), std::make_move_iterator(tensors.end()));
    std::inplace_merge(tensors_.begin(), tensors_.begin() + before, tensors_.end(), is_before);
  }

  /// Takes a tensor out. Fails where there is none.
  void remove(std::string_view name) {
    at(name);
    tensors_.erase(place_of(name));
  }

  /// Words that the file has beside its tensors.
  const core::Metadata& metadata() const { return metadata_; }
  /// Adds or replaces some.
  void set_metadata(const std::string& key, const std::string& value) {
    if (!core::is_utf8(key) || !core::is_utf8(value))
      fail("SafeTensors::set_metadata: expected UTF-8, got something else for " + core::in_quotes(key));
    metadata_[key] = value;
  }

  /// The bytes of the file.
  std::vector<unsigned char> bytes() const {
    std::vector<unsigned char> all;
    for_each_piece([&](const unsigned char* begin, std::size_t size) { all.insert(all.end(), begin, begin + size); });
    return all;
  }

  /// Writes the file, or replaces it. Fails where that is not possible, and leaves what was there.
  void write(const std::string& path) const {
    core::NewFile file(path, "SafeTensors::write: " + path);
    for_each_piece([&](const unsigned char* begin, std::size_t size) { file.write(begin, size); });
    file.finish();
  }

  /// For errors: the key that a missing one was meant to be, if any is like it: behind a prefix, or with a few letters
  /// that are others.
  std::string hint(std::string_view name) const {
    std::size_t limit = (std::min)(name.size() / 3, std::size_t{3}) + 1;
    constexpr std::ptrdiff_t most = 10000;
    const StoredTensor* nearest = nullptr;
    const auto end = tensors_.begin() + (std::min)(most, static_cast<std::ptrdiff_t>(tensors_.size()));
    for (auto tensor = tensors_.begin(); tensor != end && name.size() <= 1000; ++tensor) {
      if (core::is_behind_prefix(name, tensor->name)) return " (nearest: " + core::in_quotes(tensor->name) + ")";
      const std::size_t distance = core::edit_distance(name, tensor->name, limit);
      if (distance >= limit) continue;
      limit = distance;
      nearest = &*tensor;
    }
    return nearest == nullptr ? "" : " (nearest: " + core::in_quotes(nearest->name) + ")";
  }

 private:
  SafeTensors(const unsigned char* bytes, std::uint64_t size, std::string name,
              const std::shared_ptr<const void>& owner)
      : name_(std::move(name)) {
    core::HeaderParser header(bytes, size, "SafeTensors::read: " + name_);
    tensors_ = std::move(header.tensors);
    metadata_ = std::move(header.metadata);
    for (StoredTensor& tensor : tensors_) tensor.owner = owner;
  }

  static bool is_before(const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; }

  /// Fails where a tensor cannot be added.
  void check_new(const StoredTensor& tensor) const {
    const core::ElementType* type = core::element_type(tensor.type);
    if (type == nullptr)
      stop("add", tensor, "expected a type of the format, such as F32, got " + core::in_quotes(tensor.type));
    if (tensor.shape.size() > core::most_axes) {
      stop("add", tensor,
           "expected at most " + std::to_string(core::most_axes) + " axes, got " + std::to_string(tensor.shape.size()));
    }
    if (tensor.size < 0 || core::bytes_of(tensor.shape, type->bits) != tensor.size) {
      stop("add", tensor,
           "expected the bytes of " + std::string(type->name) + " of shape " + core::shape_text(tensor.shape) +
               ", got " + std::to_string(tensor.size));
    }
    if (tensor.name == "__metadata__" || !core::is_utf8(tensor.name)) {
      stop("add", tensor, "expected a name in UTF-8 that is not \"__metadata__\", got this one");
    }
    if (find(tensor.name) != nullptr) stop_again(tensor);
  }

  [[noreturn]] void stop_again(const StoredTensor& tensor) const {
    stop("add", tensor, "expected a name that is not there yet, got this one again");
  }
  [[noreturn]] void stop(const char* verb, const StoredTensor& tensor, const std::string& problem) const {
    fail(std::string("SafeTensors::") + verb + ": " + name_ + ": " + core::in_quotes(tensor.name) + ": " + problem);
  }

  /// `to`: a view, or a function that is called with each value.
  template <typename T, typename To>
  void decode_into(const StoredTensor& tensor, const To& to) const {
    const std::string problem = core::decode<T>(tensor, to);
    if (!problem.empty()) stop("get", tensor, problem);
  }

  std::vector<StoredTensor>::const_iterator place_of(std::string_view name) const {
    return std::lower_bound(tensors_.begin(), tensors_.end(), name,
                            [](const StoredTensor& tensor, std::string_view word) { return tensor.name < word; });
  }

  /// As they lie in a file.
  std::vector<const StoredTensor*> in_order() const {
    std::vector<const StoredTensor*> order;
    for (const StoredTensor& tensor : tensors_) order.push_back(&tensor);
    const auto bits = [](const StoredTensor* tensor) { return core::element_type(tensor->type)->bits; };
    std::stable_sort(order.begin(), order.end(), [&](const auto* a, const auto* b) { return bits(a) > bits(b); });
    return order;
  }

  /// Its length, and the header, filled up with blanks so that data begin at a multiple of eight.
  std::string header(const std::vector<const StoredTensor*>& order) const {
    std::string json;
    for (const auto& [key, value] : metadata_) {
      json += (json.empty() ? R"("__metadata__":{)" : ",") + core::json_string(key) + ":" + core::json_string(value);
    }
    if (!json.empty()) json += "}";
    std::int64_t begin = 0;
    for (const StoredTensor* tensor : order) {
      json += (json.empty() ? "" : ",") + core::json_string(tensor->name) + R"(:{"dtype":")" +
              std::string(tensor->type) + R"(","shape":[)";
      for (std::size_t i = 0; i < tensor->shape.size(); ++i)
        json += (i == 0 ? "" : ",") + std::to_string(tensor->shape[i]);
      const std::int64_t end = begin + tensor->size;
      json += "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
      begin = end;
    }
    json = "{" + json + "}";
    json.append((8 - json.size() % 8) % 8, ' ');
    if (json.size() > core::most_header_bytes) {
      fail("SafeTensors: expected names and metadata of at most " + std::to_string(core::most_header_bytes) +
           " bytes, which is the format's limit, got " + std::to_string(json.size()));
    }
    std::string length;
    for (unsigned k = 0; k < 8; ++k) length += static_cast<char>(json.size() >> 8U * k & 0xFFU);
    return length + json;
  }

  template <typename F>
  void for_each_piece(const F& f) const {
    const std::vector<const StoredTensor*> order = in_order();
    const std::string begin = header(order);
    f(reinterpret_cast<const unsigned char*>(begin.data()), begin.size());
    for (const StoredTensor* tensor : order) f(tensor->bytes, static_cast<std::size_t>(tensor->size));
  }

  std::string name_ = "file in memory";
  std::vector<StoredTensor> tensors_;  // by name
  core::Metadata metadata_;
};

}  // namespace eigennorm

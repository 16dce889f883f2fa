#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigennorm/core/error.hpp"
#include "eigennorm/parameter.hpp"
#include "eigennorm/running_statistics.hpp"
#include "eigennorm/safetensors/elements.hpp"
#include "eigennorm/safetensors/file.hpp"
#include "eigennorm/safetensors/names.hpp"
#include "eigennorm/safetensors/text.hpp"

/// \file
/// Finds a layer's state in a file, and keeps account of all that is wrong.

namespace eigennorm {

/// What becomes of keys under the prefix that nothing was made of.
enum class Leftovers {
  refused,  ///< an error: they may be misspelled, or belong to another layer
  allowed,
};

namespace core {

/// Everything is read and checked before anything is taken over; `finish` fails with all problems in one text.
class LayerReader {
 public:
  LayerReader(const SafeTensors& file, std::string_view prefix, const Names& names, const char* layer)
      : file_(file), prefix_(prefix), names_(names), layer_(layer) {}

  bool has(std::string_view state) const {
    for (const std::string& key : names_.keys(state)) {
      if (file_.find(prefix_ + key) != nullptr) return true;
    }
    return false;
  }

  /// The tensor of a state, or null; its key counts as used.
  const StoredTensor* find(std::string_view state) {
    for (const std::string& key : names_.keys(state)) {
      if (const StoredTensor* tensor = file_.find(prefix_ + key)) {
        used_.push_back(tensor);
        return tensor;
      }
    }
    return nullptr;
  }

  /// The same; that there is none is a problem.
  const StoredTensor* need(std::string_view state, const std::string& what) {
    if (const StoredTensor* tensor = find(state)) return tensor;
    const std::vector<std::string> keys = names_.keys(state);
    if (keys.empty()) {
      note("expected names with a key for " + std::string(state) + ", got none");
      return nullptr;
    }
    std::string text = "expected " + in_quotes(prefix_ + keys[0]);
    for (std::size_t i = 1; i < keys.size(); ++i) text += " or " + in_quotes(prefix_ + keys[i]);
    note(text + " of " + what + ", got none" + file_.hint(prefix_ + keys[0]));
    return nullptr;
  }

  /// A state of that shape, or flat. Extents of 1 may be there or not, as in (n, 1, 1); others have to agree, because
  /// as many values of another shape are in another order, or another layer's.
  template <typename Scalar>
  Vector<Scalar> values(std::string_view state, const std::vector<std::int64_t>& shape) {
    const StoredTensor* tensor = need(state, "shape " + shape_text(shape));
    return tensor == nullptr ? Vector<Scalar>() : values<Scalar>(*tensor, shape);
  }
  template <typename Scalar>
  Vector<Scalar> values(const StoredTensor& tensor, const std::vector<std::int64_t>& shape) {
    const std::int64_t count = count_of(shape);
    const std::vector<std::int64_t> stored = essential(tensor.shape);
    if (stored != essential(shape) && stored != essential({count})) {
      note(tensor, "expected shape " + shape_text(shape) + ", got " + shape_text(tensor.shape));
      return {};
    }
    Vector<Scalar> result(count);
    std::int64_t next = 0;
    const std::string problem = decode<Scalar>(tensor, [&](Scalar value) { result[next++] = value; });
    if (!problem.empty()) note(tensor, problem);
    return result;
  }

  /// Finite numbers; of `sizes`, none below 0.
  template <typename Scalar>
  Vector<Scalar> statistics(std::string_view state, const std::vector<std::int64_t>& shape, bool sizes) {
    const std::size_t before = problems_.size();
    Vector<Scalar> result = values<Scalar>(state, shape);
    const std::int64_t bad = problems_.size() == before ? first_bad(result.data(), result.size(), sizes) : -1;
    if (bad >= 0) {
      char number[32];
      std::snprintf(number, sizeof number, "%g", static_cast<double>(result[bad]));
      note(*used_.back(), std::string("expected finite values") + (sizes ? " of at least 0" : "") + ", got " + number +
                              " at index " + std::to_string(bad));
    }
    return result;
  }

  /// A count, where the file has one.
  std::optional<std::int64_t> batches() {
    const StoredTensor* tensor = find("batches");
    if (tensor == nullptr) return std::nullopt;
    std::int64_t count = 0;
    if (tensor->count() != 1) {
      note(*tensor, "expected one value, got shape " + shape_text(tensor->shape));
      return std::nullopt;
    }
    const std::string problem = decode<std::int64_t>(*tensor, [&](std::int64_t value) { count = value; });
    if (!problem.empty()) {
      note(*tensor, problem);
    } else if (count < 0 || count == (std::numeric_limits<std::int64_t>::max)()) {
      note(*tensor, "expected a number of batches from 0 to 2^63 - 2, got " + std::to_string(count));
    }
    return count;
  }

  /// A key that is no leftover.
  void allow(const std::string& key) {
    if (const StoredTensor* tensor = file_.find(prefix_ + key)) used_.push_back(tensor);
  }

  void note(const std::string& problem) { problems_.push_back(problem); }
  void note(const StoredTensor& tensor, const std::string& problem) { note(in_quotes(tensor.name) + ": " + problem); }

  /// Fails where there was a problem.
  void finish(Leftovers leftovers) {
    if (leftovers == Leftovers::refused) find_leftovers();
    if (problems_.empty()) return;
    constexpr std::size_t most = 10;
    std::string text;
    for (std::size_t i = 0; i < problems_.size() && i < most; ++i) text += (i == 0 ? "" : "; ") + problems_[i];
    if (problems_.size() > most) text += "; and " + std::to_string(problems_.size() - most) + " more";
    fail(std::string(layer_) + ": " + file_.name() + ": " + text);
  }

 private:
  void find_leftovers() {
    for (const StoredTensor& tensor : file_.tensors()) {
      const bool under = tensor.name.compare(0, prefix_.size(), prefix_) == 0;
      if (!under || std::find(used_.begin(), used_.end(), &tensor) != used_.end()) continue;
      note("expected nothing else under " + in_quotes(prefix_) + ", got " + in_quotes(tensor.name));
    }
  }

  const SafeTensors& file_;
  std::string prefix_;
  const Names& names_;
  const char* layer_;
  std::vector<const StoredTensor*> used_;
  std::vector<std::string> problems_;
};

}  // namespace core
}  // namespace eigennorm

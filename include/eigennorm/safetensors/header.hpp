#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigennorm/core/error.hpp"
#include "eigennorm/safetensors/stored_tensor.hpp"
#include "eigennorm/safetensors/text.hpp"

/// \file
/// The header of a safetensors file: read as if a stranger had made it. Nothing is believed before it is checked, and
/// nothing is allocated but for what is there.

namespace eigennorm::core {

using Metadata = std::map<std::string, std::string>;

/// The format's limit.
inline constexpr std::uint64_t most_header_bytes = 100'000'000;

/// What the header says, in JSON: for each tensor its type, its extents and where its bytes begin and end.
struct HeaderEntry {
  std::string name;
  std::string type;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> offsets;
  bool has_type = false, has_shape = false, has_offsets = false;
};

/// Takes the events of a parser of JSON and goes through the only form that a header may have. Whatever is elsewhere
/// ends it, so nothing nests deeper than an array in an object in an object.
class HeaderReader {
 public:
  std::vector<HeaderEntry> entries;
  Metadata metadata;
  std::string problem;  // empty: none

  // The names and signatures of nlohmann_json's SAX interface.
  bool null() { return refuse("null"); }
  bool boolean(bool) { return refuse("a boolean"); }
  bool number_integer(std::int64_t) { return refuse("a number with a minus sign"); }
  bool number_float(double, const std::string& digits) { return refuse("the number " + digits.substr(0, 40)); }
  bool number_unsigned(std::uint64_t number) {
    if (place_ != Place::shape && place_ != Place::offsets) return refuse("a number");
    if (number > static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)()))
      return refuse(std::to_string(number));
    auto& list = place_ == Place::shape ? entries.back().shape : entries.back().offsets;
    if (place_ == Place::offsets && list.size() == 2) return refuse("more than two");
    if (place_ == Place::shape && list.size() == most_axes) return refuse("more");
    list.push_back(static_cast<std::int64_t>(number));
    return true;
  }
  bool string(std::string& text) {
    if (place_ == Place::type) {
      entries.back().type = std::move(text);
      place_ = Place::entry;
      return true;
    }
    if (place_ != Place::metadata_value) return refuse("a string");
    if (!metadata.emplace(std::move(key_), std::move(text)).second) return refuse_twice();
    place_ = Place::metadata;
    return true;
  }
  template <typename Binary>
  bool binary(Binary&) {
    return refuse("bytes");
  }
  bool start_object(std::size_t) {
    if (place_ == Place::begin) {
      place_ = Place::root;
    } else if (place_ == Place::entry_begins) {
      entries.emplace_back().name = key_;
      place_ = Place::entry;
    } else if (place_ == Place::metadata_begins) {
      place_ = Place::metadata;
    } else {
      return refuse("an object");
    }
    return true;
  }
  bool end_object() {
    if (place_ == Place::entry) return end_entry();
    place_ = place_ == Place::metadata ? Place::root : Place::end;
    return true;
  }
  bool start_array(std::size_t) {
    if (place_ == Place::shape_begins) {
      place_ = Place::shape;
    } else if (place_ == Place::offsets_begin) {
      place_ = Place::offsets;
    } else {
      return refuse("an array");
    }
    return true;
  }
  bool end_array() {
    if (place_ == Place::offsets && entries.back().offsets.size() != 2) return refuse("fewer");
    place_ = Place::entry;
    return true;
  }
  bool key(std::string& name) {
    if (place_ == Place::entry) return entry_key(name);
    key_ = name;
    if (place_ == Place::metadata) {
      if (metadata.count(name) != 0) return refuse_twice();
      place_ = Place::metadata_value;
      return true;
    }
    if (name != "__metadata__") {
      place_ = Place::entry_begins;
      return true;
    }
    if (has_metadata_) return refuse_twice();
    has_metadata_ = true;
    place_ = Place::metadata_begins;
    return true;
  }
  template <typename Exception>
  bool parse_error(std::size_t position, const std::string&, const Exception&) {
    problem = "expected a header that is one JSON object in UTF-8, got something else at byte " +
              std::to_string(position + 7) + " of the file";
    return false;
  }

 private:
  enum class Place {
    begin,
    root,
    metadata_begins,
    metadata,
    metadata_value,
    entry_begins,
    entry,
    type,
    shape_begins,
    shape,
    offsets_begin,
    offsets,
    end
  };

  bool entry_key(const std::string& name) {
    HeaderEntry& entry = entries.back();
    bool* has = name == "dtype"          ? &entry.has_type
                : name == "shape"        ? &entry.has_shape
                : name == "data_offsets" ? &entry.has_offsets
                                         : nullptr;
    if (has == nullptr) return refuse(in_quotes(name));
    if (*has) return refuse(in_quotes(name) + " twice");
    *has = true;
    place_ = name == "dtype" ? Place::type : name == "shape" ? Place::shape_begins : Place::offsets_begin;
    return true;
  }

  bool end_entry() {
    const HeaderEntry& entry = entries.back();
    if (!entry.has_type) return refuse("no dtype");
    if (!entry.has_shape) return refuse("no shape");
    if (!entry.has_offsets) return refuse("no data_offsets");
    place_ = Place::root;
    return true;
  }

  bool refuse_twice() {
    problem = "expected each key once, got " + in_quotes(key_) + " twice";
    return false;
  }

  bool refuse(const std::string& got) {
    problem = (key_.empty() ? "" : in_quotes(key_) + ": ") + "expected " + expected() + ", got " + got;
    return false;
  }

  const char* expected() const {
    switch (place_) {
      case Place::metadata_begins:
        return "an object of strings";
      case Place::metadata_value:
        return "a string";
      case Place::entry_begins:
      case Place::entry:
        return "an object of dtype, shape and data_offsets";
      case Place::type:
        return "a string as dtype";
      case Place::shape_begins:
      case Place::shape:
        return "an array of at most 64 integers from 0 to 2^63 - 1 as shape";
      case Place::offsets_begin:
      case Place::offsets:
        return "an array of two integers from 0 to 2^63 - 1 as data_offsets";
      default:
        return "a header that is one JSON object";
    }
  }

  Place place_ = Place::begin;
  std::string key_;  // the last one of the header or of the metadata
  bool has_metadata_ = false;
};

/// The header of a file of `size` bytes at `bytes`, checked against them, and the tensors that it describes. Fails in
/// the name of `where`.
class HeaderParser {
 public:
  HeaderParser(const unsigned char* bytes, std::uint64_t size, std::string where) : where_(std::move(where)) {
    if (size < 8) stop("expected at least the 8 bytes of the header's length, got " + std::to_string(size));
    std::uint64_t length = 0;
    for (int k = 8; k-- > 0;) length = length << 8U | bytes[k];
    if (length > size - 8 || length > most_header_bytes) {
      stop("expected a header of at most " + std::to_string((std::min)(size - 8, most_header_bytes)) +
           " bytes, got one of " + std::to_string(length));
    }
    const unsigned char* begin = bytes + 8;
    parse(begin, begin + length);
    place(begin + length, static_cast<std::int64_t>(size - 8 - length));
  }

  /// By name.
  std::vector<StoredTensor> tensors;
  Metadata metadata;

 private:
  [[noreturn]] void stop(const std::string& problem) const { fail(where_ + ": " + problem); }
  [[noreturn]] void stop(const HeaderEntry& entry, const std::string& problem) const {
    stop(in_quotes(entry.name) + ": " + problem);
  }

  void parse(const unsigned char* begin, const unsigned char* end) {
    // The parser would take a byte 0 for the end, and a byte order mark for nothing.
    const auto* zero =
        begin == end ? nullptr : static_cast<const unsigned char*>(std::memchr(begin, 0, std::size_t(end - begin)));
    if (zero != nullptr || (begin != end && *begin == 0xEF)) {
      stop("expected a header that is one JSON object in UTF-8, got something else at byte " +
           std::to_string((zero == nullptr ? 0 : zero - begin) + 8) + " of the file");
    }
    HeaderReader reader;
    nlohmann::json::sax_parse(begin, end, &reader);
    if (!reader.problem.empty()) stop(reader.problem);
    entries_ = std::move(reader.entries);
    metadata = std::move(reader.metadata);
    std::sort(entries_.begin(), entries_.end(),
              [](const HeaderEntry& a, const HeaderEntry& b) { return a.name < b.name; });
    const auto twice = std::adjacent_find(entries_.begin(), entries_.end(),
                                          [](const HeaderEntry& a, const HeaderEntry& b) { return a.name == b.name; });
    if (twice != entries_.end()) stop("expected each key once, got " + in_quotes(twice->name) + " twice");
  }

  /// Every byte of the data belongs to one tensor.
  void place(const unsigned char* data, std::int64_t size) {
    std::vector<const HeaderEntry*> by_place;
    by_place.reserve(entries_.size());
    for (const HeaderEntry& entry : entries_) {
      check(entry, size);
      by_place.push_back(&entry);
    }
    std::sort(by_place.begin(), by_place.end(),
              [](const HeaderEntry* a, const HeaderEntry* b) { return a->offsets < b->offsets; });
    std::int64_t end = 0;
    for (const HeaderEntry* entry : by_place) {
      if (entry->offsets[0] != end) {
        stop(*entry, "expected bytes that begin where those before end, at " + std::to_string(end) + ", got " +
                         std::to_string(entry->offsets[0]));
      }
      end = entry->offsets[1];
    }
    if (end != size) {
      stop("expected " + std::to_string(end) + " bytes of data, where the last tensor ends, got " +
           std::to_string(size));
    }
    tensors.reserve(entries_.size());
    for (HeaderEntry& entry : entries_) {
      tensors.push_back({std::move(entry.name), element_type(entry.type)->name, std::move(entry.shape),
                         data + entry.offsets[0], entry.offsets[1] - entry.offsets[0]});
    }
    entries_.clear();
  }

  void check(const HeaderEntry& entry, std::int64_t size) const {
    const ElementType* type = element_type(entry.type);
    if (type == nullptr) stop(entry, "expected a dtype of the format, such as F32, got " + in_quotes(entry.type));
    const std::int64_t begin = entry.offsets[0], end = entry.offsets[1];
    if (begin > end || end > size) {
      stop(entry, "expected bytes within the " + std::to_string(size) + " of the data, got those from " +
                      std::to_string(begin) + " to " + std::to_string(end));
    }
    const std::int64_t bytes = bytes_of(entry.shape, type->bits);
    if (bytes < 0) {
      stop(entry, "expected a number of whole bytes that 64 bits can hold, got " + entry.type + " of shape " +
                      shape_text(entry.shape));
    }
    if (bytes != end - begin) {
      stop(entry, "expected " + std::to_string(bytes) + " bytes for " + entry.type + " of shape " +
                      shape_text(entry.shape) + ", got " + std::to_string(end - begin));
    }
  }

  std::string where_;
  std::vector<HeaderEntry> entries_;
};

}  // namespace eigennorm::core

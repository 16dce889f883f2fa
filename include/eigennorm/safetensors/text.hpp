#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "eigennorm/core/error.hpp"

/// \file
/// Words for errors about files. What a file brings may be of any length and hold any character, so it is cut and
/// escaped.

namespace eigennorm::core {

/// As a JSON string; bytes that are not UTF-8 are replaced.
inline std::string json_string(std::string_view text) {
  return nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

inline bool is_utf8(std::string_view text) {
  return json_string(text) ==
         nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
}

/// In quotes, cut where it is long.
inline std::string in_quotes(std::string_view text) {
  constexpr std::size_t most = 100;
  return text.size() <= most ? json_string(text) : json_string(text.substr(0, most)) + "...";
}

inline std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size() && i < 16; ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + (shape.size() > 16 ? ", ...]" : "]");
}

/// Whether `name` ends in `wanted`, with a dot or slash before it: "module.bn1.weight" for "bn1.weight".
inline bool is_behind_prefix(std::string_view wanted, std::string_view name) {
  if (wanted.empty() || name.size() <= wanted.size()) return false;
  const std::size_t begin = name.size() - wanted.size();
  return name.substr(begin) == wanted && (name[begin - 1] == '.' || name[begin - 1] == '/');
}

/// How many letters have to be changed, added or left out; `limit` where there are as many or more.
inline std::size_t edit_distance(std::string_view a, std::string_view b, std::size_t limit) {
  if ((std::max)(a.size(), b.size()) - (std::min)(a.size(), b.size()) >= limit) return limit;
  // What they begin with alike, a long prefix often, costs nothing.
  const auto from = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  a.remove_prefix(from);
  b.remove_prefix(from);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    std::size_t least = row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = (std::min)({changed, row[j] + 1, row[j + 1] + 1});
      least = (std::min)(least, row[j + 1]);
    }
    if (least >= limit) return limit;
  }
  return (std::min)(row[b.size()], limit);
}

}  // namespace eigennorm::core

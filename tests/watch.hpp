#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <eigennorm/eigennorm.hpp>

#include "same_bits.hpp"

// Bits of everything that a call could change, so that two states can be compared, signs of zeros and
// payloads of NaNs included.

namespace watch {

using Bytes = std::vector<unsigned char>;

template <typename T>
void add(Bytes& bytes, const T* data, std::int64_t count) {
  const auto* begin = reinterpret_cast<const unsigned char*>(data);
  for (std::int64_t i = 0; i < count; ++i) {
    const unsigned char* value = begin + static_cast<std::size_t>(i) * sizeof(T);
    std::copy(value, value + test::value_bytes<T>, std::back_inserter(bytes));
  }
}

// A Matrix, Array or Tensor that owns its values.
template <typename Plain, typename = typename Plain::Index>
Bytes bits(const Plain& plain) {
  Bytes bytes;
  const auto size = static_cast<std::int64_t>(plain.size());
  add(bytes, &size, 1);
  if (size > 0) add(bytes, plain.data(), size);
  return bytes;
}

inline void append(Bytes& bytes, const Bytes& more) { bytes.insert(bytes.end(), more.begin(), more.end()); }

template <typename Scalar>
Bytes bits(const eigennorm::Moments<Scalar>& moments) {
  Bytes bytes;
  if (moments.empty()) return bytes;
  const std::array<std::int64_t, 2> sizes = {static_cast<std::int64_t>(moments.count()),
                                             static_cast<std::int64_t>(moments.groups())};
  add(bytes, sizes.data(), 2);
  append(bytes, bits(moments.mean()));
  append(bytes, bits(moments.rstd()));
  append(bytes, bits(moments.variance()));
  if (moments.r().size() == 0) return bytes;
  append(bytes, bits(moments.r()));
  append(bytes, bits(moments.d()));
  return bytes;
}

template <typename Scalar>
Bytes bits(const eigennorm::RunningStatistics<Scalar>& running) {
  Bytes bytes;
  append(bytes, bits(running.mean));
  append(bytes, bits(running.variance));
  const std::array<std::int64_t, 4> numbers = {running.batches, running.rejected_batches, running.update,
                                               running.use_in_forward};
  add(bytes, numbers.data(), 4);
  return bytes;
}

template <typename Scalar>
Bytes bits(const eigennorm::Normalization<Scalar>& layer) {
  Bytes bytes;
  add(bytes, &layer.eps, 1);
  for (const auto* vector : {&layer.scale.value, &layer.scale.grad, &layer.shift.value, &layer.shift.grad}) {
    append(bytes, bits(*vector));
  }
  if (layer.running) append(bytes, bits(*layer.running));
  try {
    append(bytes, bits(layer.moments()));
  } catch (const std::invalid_argument&) {
    bytes.push_back(0);  // none yet
  }
  return bytes;
}

// Of what for_each_state shows: every bit, and the sizes by name.
template <typename Object>
Bytes state_bits(const Object& object) {
  Bytes bytes;
  object.for_each_state([&](std::string_view, const auto& values) {
    add(bytes, values.data(), static_cast<std::int64_t>(values.size()));
  });
  return bytes;
}

using StateSizes = std::vector<std::pair<std::string, std::int64_t>>;

template <typename Object>
StateSizes state_sizes(const Object& object) {
  StateSizes sizes;
  object.for_each_state([&](std::string_view name, const auto& values) {
    sizes.emplace_back(name, static_cast<std::int64_t>(values.size()));
  });
  return sizes;
}

template <typename... Watched>
std::vector<Bytes> bits_of_all(const Watched&... watched) {
  std::vector<Bytes> all;
  (all.push_back(bits(watched)), ...);
  return all;
}

// What a wrong call must do: throw std::invalid_argument with a text that starts with `owner` and has all of
// `parts`, and change no bit of `watched`. Returns what was wrong with it, nothing if nothing was.
template <typename Call, typename... Watched>
std::string refused(const std::string& owner, std::initializer_list<std::string> parts, Call call,
                    const Watched&... watched) {
  const std::vector<Bytes> before = bits_of_all(watched...);
  std::string text;
  try {
    call();
    return "was accepted";
  } catch (const std::invalid_argument& error) {
    text = error.what();
  } catch (const std::exception& error) {
    return std::string("threw something else: ") + error.what();
  }
  if (text.compare(0, owner.size(), owner) != 0) return "does not begin with " + owner + ": " + text;
  const char after_owner = text.size() > owner.size() ? text[owner.size()] : ' ';
  if (after_owner != ':' && after_owner != ',') return "does not begin with the name " + owner + " alone: " + text;
  for (const std::string& part : parts) {
    if (text.find(part, owner.size()) == std::string::npos) return "does not say " + part + ": " + text;
  }
  if (before != bits_of_all(watched...)) return "changed something: " + text;
  return {};
}

}  // namespace watch

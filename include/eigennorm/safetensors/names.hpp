#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigennorm/core/error.hpp"
#include "eigennorm/safetensors/text.hpp"

/// \file
/// What a layer's state is called in a file.

namespace eigennorm {

/// The keys of a layer's state behind its prefix: pairs of a state and its key.
///
///     Names{{"scale", "gain"}, {"shift", "offset"}}
///
/// States are those of for_each_state: "scale", "shift", "running_mean", "running_variance" and "batches"; and of
/// WeightNorm "g", which is its scale, and "v", the weight that it works on. A state may have several keys: `save`
/// writes the first, `load` takes the one that is there. Batches without a key are neither written nor read.
class Names {
 public:
  Names(std::initializer_list<std::pair<std::string_view, std::string>> pairs) {
    for (const auto& [state, key] : pairs) {
      static constexpr std::string_view states[] = {"scale", "shift", "running_mean", "running_variance", "batches",
                                                    "g",     "v"};
      if (std::find(std::begin(states), std::end(states), state) == std::end(states)) {
        fail("Names: expected scale, shift, running_mean, running_variance, batches, g or v, got " +
             core::in_quotes(state));
      }
      if (!core::is_utf8(key)) fail("Names: expected keys in UTF-8, got " + core::in_quotes(key));
      pairs_.emplace_back(state, key);
    }
  }

  /// The keys of a state, the one to write first; none: the file does not have it.
  std::vector<std::string> keys(std::string_view state) const {
    std::vector<std::string> keys;
    for (const auto& [name, key] : pairs_) {
      if (name == state) keys.push_back(key);
    }
    return keys;
  }

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

/// Those of a state_dict of PyTorch. WeightNorm's are written as torch.nn.utils.weight_norm has them, which both of
/// PyTorch's functions load; those of parametrizations.weight_norm are read, too.
inline Names pytorch_names() {
  return {{"scale", "weight"},
          {"shift", "bias"},
          {"running_mean", "running_mean"},
          {"running_variance", "running_var"},
          {"batches", "num_batches_tracked"},
          {"g", "weight_g"},
          {"g", "parametrizations.weight.original0"},
          {"v", "weight_v"},
          {"v", "parametrizations.weight.original1"}};
}

/// Those of Flax, which counts no batches. None of WeightNorm: its g and v lie under two modules, by whose names they
/// are called.
inline Names flax_names() {
  return {{"scale", "scale"}, {"shift", "bias"}, {"running_mean", "mean"}, {"running_variance", "var"}};
}

/// Those of Keras, which counts no batches, and has no WeightNorm of its own.
inline Names keras_names() {
  return {
      {"scale", "gamma"}, {"shift", "beta"}, {"running_mean", "moving_mean"}, {"running_variance", "moving_variance"}};
}

}  // namespace eigennorm

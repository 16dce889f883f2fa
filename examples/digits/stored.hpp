/// Trained nets in a file, one of each method, and what they score when they are read again.
#pragma once

#include <eigennorm/eigennorm.hpp>
#if __has_include(<nlohmann/json.hpp>)
#include <eigennorm/safetensors.hpp>
#endif
#include <ostream>
#include <stdexcept>
#include <string>

#include "data.hpp"
#include "network.hpp"
#include "report.hpp"
#include "training.hpp"

namespace digits {

inline void write_score(std::ostream& out, Method method, const Score& score) {
  out << name(method) << ": test accuracy " << fixed_text(100 * score.accuracy, 2) << " %, loss "
      << fixed_text(score.loss, 6) << '\n';
}

#if __has_include(<nlohmann/json.hpp>)

/// One net of each method, of seed 1, is trained and written.
inline void save_nets(const std::string& path, const Data& data, float rate, const Settings& settings,
                      std::ostream& out) {
  eigennorm::SafeTensors file;
  for (const Method method : methods) {
    Generator generator(1);
    Network network(method, data.training.inputs.cols(), generator);
    Batches batches(data.training, settings.batch_size, generator);
    for (int step = 0; step < settings.steps; ++step) network.train(batches.next(), rate);
    write_score(out, method, network.evaluate(data.test));
    network.write_to(file, std::string(name(method)) + ".");
  }
  file.set_metadata("data", data.name);
  file.write(path);
}

/// What such nets score, without training.
inline void load_nets(const std::string& path, const Data& data, std::ostream& out) {
  const eigennorm::SafeTensors file = eigennorm::SafeTensors::read(path);
  for (const Method method : methods) {
    Generator generator(2);
    Network network(method, data.training.inputs.cols(), generator);
    network.read_from(file, std::string(name(method)) + ".");
    write_score(out, method, network.evaluate(data.test));
  }
}

#else

[[noreturn]] inline void no_file() { throw std::runtime_error("--save and --load were built without nlohmann_json"); }
inline void save_nets(const std::string&, const Data&, float, const Settings&, std::ostream&) { no_file(); }
inline void load_nets(const std::string&, const Data&, std::ostream&) { no_file(); }

#endif

}  // namespace digits

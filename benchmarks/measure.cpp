// Every system on every workload, side by side: Google Benchmark times them, interleaved at random within a workload
// and pass, so that what disturbs the machine disturbs all alike.

#include "measure.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>

namespace benchmarks {
namespace {

struct System {
  const char* name;
  Make make;
};

const std::vector<System>& systems() {
  static const std::vector<System> all = {
      {"copy", copy},
      {"copy, streamed", copy_streamed},
      {ours, eigennorm},
      {"EigenNorm, prepared", eigennorm_prepared},
      {"EigenNorm, AVX2", eigennorm_avx2},
      {"EigenNorm, SSE2", eigennorm_baseline},
      {"Eigen loop", eigen_loop},
#ifdef EIGENNORM_HAS_TORCH
      {"libtorch", libtorch},
#endif
#ifdef EIGENNORM_HAS_DNNL
      {"oneDNN", onednn},
#endif
  };
  return all;
}

/// We and those whom somebody might use instead.
bool competes(const std::string& system) {
  return system == ours || std::find(peers.begin(), peers.end(), system) != peers.end();
}

/// What goes with the call; without any the layer, BatchNorm by where its channels are.
const char* panel_of(const Workload& workload) {
  if (workload.has_mask()) return "With masks: three of four positions valid";
  if (workload.extra != Extra::none) return "With ReLU and residual";
  switch (workload.layer) {
    case Layer::layer_norm:
      return "LayerNorm";
    case Layer::rms_norm:
      return "RMSNorm";
    case Layer::batch_norm:
      return "BatchNorm, N x C x positions";
    case Layer::batch_norm_last:
      return "BatchNorm, channels last";
    case Layer::group_norm:
      return "GroupNorm";
    case Layer::instance_norm:
      return "InstanceNorm";
    default:
      return "WeightNorm";
  }
}

/// How the picture calls a row: without what its panel says.
std::string label_of(const Workload& workload, const Row& row) {
  std::string label = row.name + ", " + row.pass;
  const auto valid = label.find(valid_text);
  if (valid != std::string::npos) label.erase(valid, std::string(valid_text).size());
  return workload.extra == Extra::none ? label.substr(label.find(' ') + 1) : label;
}

/// Collects the median time of each benchmark.
class Medians : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Aggregate && run.aggregate_name == "median")
        seconds[run.run_name.function_name] = run.GetAdjustedRealTime() / 1e9;
    }
  }
  std::map<std::string, double> seconds;
};

using Times = std::map<std::string, double>;

/// Times all that has been registered, at random in turns.
Times run() {
  Medians medians;
  benchmark::RunSpecifiedBenchmarks(&medians);
  benchmark::ClearRegisteredBenchmarks();
  return medians.seconds;
}

/// Registers work on the same buffers, again and again. A first call leaves what later ones need.
void add_hot(const std::string& name, const Work& work, const Buffers& buffers) {
  work(buffers);
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    for (auto _ : state) work(buffers);
  })->UseRealTime();
}

/// Registers work on other buffers each time.
void add_cold(const std::string& name, const Work& work, Ring& ring, const Workload& workload) {
  work(ring.next(workload));
  benchmark::RegisterBenchmark(name.c_str(), [=, &ring](benchmark::State& state) {
    for (auto _ : state) work(ring.next(workload));
  })->UseRealTime();
}

}  // namespace

std::vector<std::string> names(bool competing) {
  std::vector<std::string> result;
  for (const System& system : systems()) {
    if (!competing || competes(system.name)) result.emplace_back(system.name);
  }
  return result;
}

const char* name_of(Pass pass) {
  return pass == Pass::forward ? "forward" : pass == Pass::backward ? "backward" : "evaluate";
}

Row measure(const Workload& workload, Pass pass, int threads, Ring& ring) {
  for (const System& system : systems()) {
    const Work work = system.make(workload, pass, threads);
    if (!work) continue;
    if (workload.hot) {
      add_hot(system.name, work, ring.at(0, workload));
    } else {
      add_cold(system.name, work, ring, workload);
    }
  }
  const Times times = run();
  // In cache, an ordinary copy is the measure; from memory, the better of the two.
  const double copied = times.at("copy");
  const double best = workload.hot ? copied : std::min(copied, times.at("copy, streamed"));
  const std::string name = workload.name + (workload.hot ? " (hot)" : "");
  Row row{name, name_of(pass), {}, best * 1e6, panel_of(workload), ""};
  row.label = label_of(workload, row);
  for (const auto& [system, seconds] : times) row.ratios[system] = seconds / best;
  return row;
}

std::vector<Row> measure_values(const ValueWorkload& shape, Pass pass, int threads, Ring& ring) {
  std::vector<Values> all = {Values()};
  all.insert(all.end(), shape.values.begin(), shape.values.end());
  const auto key = [](const std::string& system, const Values& values) { return system + ": " + values.name; };
  for (std::size_t i = 0; i < all.size(); ++i) {
    ring.fill(i, shape.workload, all[i]);
    for (const System& system : systems()) {
      if (!competes(system.name)) continue;
      const Work work = system.make(shape.workload, pass, threads);
      if (work) add_hot(key(system.name, all[i]), work, ring.at(i, shape.workload));
    }
  }
  const Times times = run();
  std::vector<Row> rows;
  for (const Values& values : shape.values) {
    Row row{shape.workload.name + ", " + values.name, name_of(pass), {}, times.at(key(ours, all[0])) * 1e6, "", ""};
    for (const std::string& system : names(true)) {
      const auto found = times.find(key(system, values));
      if (found != times.end()) row.ratios[system] = found->second / times.at(key(system, all[0]));
    }
    rows.push_back(row);
  }
  return rows;
}

}  // namespace benchmarks

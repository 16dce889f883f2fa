// Every system on every workload, side by side: Google Benchmark times them, interleaved at random within a workload
// and pass, so that what disturbs the machine disturbs all alike. Results are ratios to the better of two copies.

#include <benchmark/benchmark.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <regex>
#include <sstream>

#include "workload.hpp"

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
      {"EigenNorm", eigennorm},
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

std::vector<Workload> workloads() {
  using L = Layer;
  return {
      {L::layer_norm, "LayerNorm 1 x 64", {1, 64}, true},
      {L::layer_norm, "LayerNorm 64 x 768", {64, 768}, true},
      {L::layer_norm, "LayerNorm 4096 x 1024", {4096, 1024}, false},
      {L::layer_norm, "LayerNorm 8192 x 4096", {8192, 4096}, false},
      {L::layer_norm, "LayerNorm 128 x 8191", {128, 8191}, false},
      {L::layer_norm, "LayerNorm 262144 x 32", {262144, 32}, false},
      {L::layer_norm, "LayerNorm 16 x 262144", {16, 262144}, false},
      {L::rms_norm, "RMSNorm 64 x 768", {64, 768}, true},
      {L::rms_norm, "RMSNorm 4096 x 1024", {4096, 1024}, false},
      {L::batch_norm, "BatchNorm 32 x 64 x 56 x 56", {32, 64, 56, 56}, false},
      {L::batch_norm, "BatchNorm 8 x 3 x 224 x 224", {8, 3, 224, 224}, false},
      {L::batch_norm, "BatchNorm 32 x 256 x 14 x 14", {32, 256, 14, 14}, false},
      {L::batch_norm, "BatchNorm 64 x 2048 x 7 x 7", {64, 2048, 7, 7}, false},
      {L::batch_norm_last, "BatchNorm 60 x 100", {60, 100}, true},
      {L::batch_norm_last, "BatchNorm 256 x 1024", {256, 1024}, true},
      {L::batch_norm_last, "BatchNorm 256 x 1024", {256, 1024}, false},
      {L::batch_norm_last, "BatchNorm 8192 x 512", {8192, 512}, false},
      {L::batch_norm_last, "BatchNorm 32 x 56 x 56 x 64, NHWC", {32, 56, 56, 64}, false},
      {L::group_norm, "GroupNorm 8 x 256 x 28 x 28", {8, 256, 28, 28}, false},
      {L::instance_norm, "InstanceNorm 8 x 64 x 56 x 56", {8, 64, 56, 56}, false},
      {L::weight_norm, "WeightNorm 1024 x 1024", {1024, 1024}, false},
      {L::weight_norm, "WeightNorm 4096 x 4096", {4096, 4096}, false},
  };
}

/// Memory that the buffers of all workloads are cut from, in pages of 2 MB where the system has them.
class Ring {
 public:
  explicit Ring(std::size_t bytes) : bytes_(bytes) {
    constexpr std::size_t page = std::size_t{2} << 20;
    void* memory = mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no memory for the buffers");
    const auto address = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
    data_ = reinterpret_cast<float*>(address);
    madvise(data_, bytes, MADV_HUGEPAGE);
    std::uint32_t random = 1;
    for (std::size_t i = 0; i < bytes / sizeof(float); ++i) {
      random = random * 1664525U + 1013904223U;
      data_[i] = static_cast<float>(random >> 8) / 16777216.0F - 0.5F;
    }
  }

  /// The next set of three buffers of `size` values: one after the other, or always the same.
  Buffers next(std::int64_t size, bool hot) {
    // A page and a line apart, so that no two buffers share their place in every cache.
    const std::size_t step = (static_cast<std::size_t>(size) + 1023) / 1024 * 1024 + 1024 + 16;
    const std::size_t sets = hot ? 1 : std::max<std::size_t>(bytes_ / sizeof(float) / (3 * step), 1);
    float* first = data_ + turn_++ % sets * 3 * step;
    return {first, first + step, first + 2 * step};
  }

 private:
  std::size_t bytes_;
  float* data_;
  std::size_t turn_ = 0;
};

const char* name_of(Pass pass) {
  return pass == Pass::forward ? "forward" : pass == Pass::backward ? "backward" : "evaluate";
}

bool is_batch_norm(const Workload& w) { return w.layer == Layer::batch_norm || w.layer == Layer::batch_norm_last; }

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

/// One line of the table.
struct Row {
  std::string name, pass;
  bool hot;
  std::map<std::string, double> ratios;
  double microseconds;  ///< of the better copy
};

/// Times one workload and pass on all systems.
Row measure(const Workload& workload, Pass pass, int threads, Ring& ring) {
  benchmark::ClearRegisteredBenchmarks();
  std::vector<Work> works;
  for (const System& system : systems()) {
    Work work = system.make(workload, pass, threads);
    if (!work) continue;
    benchmark::RegisterBenchmark(system.name, [work, &workload, &ring](benchmark::State& state) {
      for (auto _ : state) work(ring.next(workload.size(), workload.hot));
    })->UseRealTime();
  }
  Medians medians;
  benchmark::RunSpecifiedBenchmarks(&medians);
  Row row{workload.name, name_of(pass), workload.hot, {}, 0};
  const auto time = [&](const std::string& system) {
    const auto found = medians.seconds.find(system);
    return found == medians.seconds.end() ? 0.0 : found->second;
  };
  // In cache, an ordinary copy is the measure; from memory, the better of the two.
  const double best = workload.hot ? time("copy") : std::min(time("copy"), time("copy, streamed"));
  for (const System& system : systems()) {
    if (const double seconds = time(system.name); seconds > 0) row.ratios[system.name] = seconds / best;
  }
  row.microseconds = best * 1e6;
  return row;
}

std::string rounded(double value) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(value < 9.995 ? 2 : value < 99.95 ? 1 : 0) << value;
  return text.str();
}

void write_table(std::ostream& out, const std::vector<Row>& rows) {
  out << "| | pass | copy, us |";
  for (const System& system : systems()) out << ' ' << system.name << " |";
  out << "\n|---|---|---|";
  for (std::size_t i = 0; i < systems().size(); ++i) out << "---|";
  out << '\n';
  for (const Row& row : rows) {
    out << "| " << row.name << (row.hot ? " (hot)" : "") << " | " << row.pass << " | " << rounded(row.microseconds)
        << " |";
    for (const System& system : systems()) {
      const auto found = row.ratios.find(system.name);
      const bool ours = std::string(system.name) == "EigenNorm";
      const std::string mark = ours ? "**" : "";
      out << ' ' << (found == row.ratios.end() ? "" : mark + rounded(found->second) + mark) << " |";
    }
    out << '\n';
  }
}

/// Columns for a plot: name, then a ratio for each system, "NaN" where there is none.
void write_data(std::ostream& out, const std::vector<Row>& rows) {
  out << "name";
  for (const System& system : systems()) out << '\t' << system.name;
  out << '\n';
  for (const Row& row : rows) {
    out << row.name << (row.hot ? " (hot)" : "") << ", " << row.pass;
    for (const System& system : systems()) {
      const auto found = row.ratios.find(system.name);
      out << '\t' << (found == row.ratios.end() ? "NaN" : rounded(found->second));
    }
    out << '\n';
  }
}

}  // namespace
}  // namespace benchmarks

int main(int argc, char** argv) {
  using namespace benchmarks;
  CLI::App app{"Times normalization layers against the limits of memory and against other systems."};
  int threads = 1;
  double seconds = 0.05;
  int repetitions = 9;
  std::string only, table, data;
  std::size_t megabytes = 768;
  app.add_option("--threads", threads, "threads of each system")->check(CLI::Range(1, 64));
  app.add_option("--only", only, "workloads whose name and pass match this regular expression");
  app.add_option("--repetitions", repetitions, "runs of each system; their median counts")->check(CLI::Range(1, 1000));
  app.add_option("--seconds", seconds, "time of all repetitions of one system together");
  app.add_option("--ring", megabytes, "memory for the buffers, in MB: many times the last cache");
  app.add_option("--table", table, "writes the table, as Markdown, here");
  app.add_option("--data", data, "writes columns for a plot here");
  CLI11_PARSE(app, argc, argv);

  // Systems that allocate their results keep the memory instead of returning it to the system after each call.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2000000000);

  std::string options[] = {
      argv[0], "--benchmark_enable_random_interleaving=true", "--benchmark_repetitions=" + std::to_string(repetitions),
      "--benchmark_min_time=" + std::to_string(seconds) + EIGENNORM_SECONDS, "--benchmark_report_aggregates_only=true"};
  std::vector<char*> pointers;
  for (std::string& option : options) pointers.push_back(option.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());

  Ring ring(megabytes << 20);
  std::vector<Row> rows;
  for (const Workload& workload : workloads()) {
    std::vector<Pass> passes = {Pass::forward, Pass::backward};
    if (is_batch_norm(workload)) passes.push_back(Pass::evaluate);
    for (const Pass pass : passes) {
      const std::string full = workload.name + (workload.hot ? " (hot), " : ", ") + name_of(pass);
      if (!std::regex_search(full, std::regex(only))) continue;
      if (threads > 1 && workload.size() < 250000) continue;
      rows.push_back(measure(workload, pass, threads, ring));
      std::cout << full << ':';
      for (const auto& [system, ratio] : rows.back().ratios) std::cout << "  " << system << ' ' << rounded(ratio);
      std::cout << std::endl;
    }
  }
  if (!table.empty()) {
    std::ofstream out(table);
    write_table(out, rows);
  }
  if (!data.empty()) {
    std::ofstream out(data);
    write_data(out, rows);
  }
}

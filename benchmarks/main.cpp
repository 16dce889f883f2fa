// Times every system on every workload, and writes what the page and the picture are made of.

#include <benchmark/benchmark.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <regex>

#include "measure.hpp"

namespace benchmarks {
namespace {

void print(const Row& row) {
  std::cout << row.name << ", " << row.pass << ':';
  for (const auto& [system, ratio] : row.ratios) std::cout << "  " << system << ' ' << rounded(ratio);
  std::cout << std::endl;
}

struct Options {
  int threads = 1;
  double seconds = 0.05;
  int repetitions = 9;
  std::string only, table, data;
  std::size_t megabytes = 768;

  bool wants(const Workload& workload, Pass pass, const std::string& values) const {
    // Fewer values are one thread's work.
    if (threads > 1 && workload.size() < 250000) return false;
    const std::string name = workload.name + (workload.hot ? " (hot)" : "") + values + ", " + name_of(pass);
    return std::regex_search(name, std::regex(only));
  }
};

std::vector<Row> all_rows(const Options& options, Ring& ring) {
  std::vector<Row> rows;
  for (const Workload& workload : workloads()) {
    for (const Pass pass : workload.passes) {
      if (!options.wants(workload, pass, "")) continue;
      rows.push_back(measure(workload, pass, options.threads, ring));
      print(rows.back());
    }
  }
  return rows;
}

std::vector<Row> all_value_rows(const Options& options, Ring& ring) {
  std::vector<Row> rows;
  if (options.threads > 1) return rows;
  for (const ValueWorkload& shape : value_workloads()) {
    for (const Pass pass : shape.workload.passes) {
      if (!options.wants(shape.workload, pass, ", values")) continue;
      for (const Row& row : measure_values(shape, pass, options.threads, ring)) {
        print(row);
        rows.push_back(row);
      }
    }
  }
  return rows;
}

/// The last section, for the page and for the screen.
void write_summary(std::ostream& out, const std::vector<Row>& rows, const std::vector<Row>& value_rows) {
  write_comparison(out, rows);
  out << '\n';
  write_values(out, value_rows);
}

void write_page(std::ostream& out, const std::vector<Row>& rows, const std::vector<Row>& value_rows) {
  write_table(out, "copy, us", names(false), rows);
  if (!value_rows.empty()) {
    out << "\n#### Other values, as multiples of random ones\n\n";
    write_table(out, "random, us", names(true), value_rows);
  }
  out << "\n#### Who is ahead\n\n";
  write_summary(out, rows, value_rows);
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--threads", options.threads, "threads of each system")->check(CLI::Range(1, 64));
  app.add_option("--only", options.only,
                 "workloads whose name and pass match this regular expression; rows on other values are named 'SHAPE "
                 "(hot), values, PASS'");
  app.add_option("--repetitions", options.repetitions, "runs of each system; their median counts")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seconds", options.seconds, "time of all repetitions of one system together");
  app.add_option("--ring", options.megabytes, "memory for the buffers, in MB: many times the last cache");
  app.add_option("--table", options.table, "writes the tables, as Markdown, here");
  app.add_option("--data", options.data, "writes columns for a plot here");
}

void initialize_library(char* program, const Options& options) {
  std::string arguments[] = {program, "--benchmark_enable_random_interleaving=true",
                             "--benchmark_repetitions=" + std::to_string(options.repetitions),
                             "--benchmark_min_time=" + std::to_string(options.seconds) + EIGENNORM_SECONDS,
                             "--benchmark_report_aggregates_only=true"};
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
}

}  // namespace
}  // namespace benchmarks

int main(int argc, char** argv) {
  using namespace benchmarks;
  CLI::App app{"Times normalization layers against the limits of memory and against other systems."};
  Options options;
  add_options(app, options);
  CLI11_PARSE(app, argc, argv);

  // Systems that allocate their results keep the memory instead of returning it to the system after each call.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2000000000);
  initialize_library(argv[0], options);

  Ring ring(options.megabytes << 20);
  const std::vector<Row> rows = all_rows(options, ring);
  // Last, since these change what x holds.
  const std::vector<Row> value_rows = all_value_rows(options, ring);

  std::cout << '\n';
  write_summary(std::cout, rows, value_rows);
  if (!options.table.empty()) {
    std::ofstream out(options.table);
    write_page(out, rows, value_rows);
  }
  if (!options.data.empty()) {
    std::ofstream out(options.data);
    write_data(out, rows);
  }
}

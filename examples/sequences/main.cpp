/// Trains a net with BatchNorm on padded sequences, with and without Context::valid.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "comparison.hpp"
#include "data.hpp"
#include "outcome.hpp"
#include "plot.hpp"
#include "progress.hpp"
#include "report.hpp"

namespace {

using namespace digits;

/// The source folder or, where the program was moved without it, ./data.
std::string default_data() { return std::filesystem::exists(DIGITS_DATA) ? DIGITS_DATA : "data"; }

struct Options {
  std::string data = default_data();
  std::string out = ".";
  bool quick = false;
  sequences::Settings settings;
};

bool run(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  const sequences::Settings& settings = options.settings;
  const Data data = read_digits(options.data);
  const std::filesystem::path folder = options.out;
  std::filesystem::create_directories(folder);
  std::cout << "runs: " << settings.steps << " steps of " << settings.batch_size << " sequences, learning rate "
            << short_text(settings.rate) << ", seeds: " << settings.seeds << "; tables: median [smallest, largest]\n"
            << std::flush;
  const std::vector<sequences::Run> runs = sequences::compare(data, settings);

  std::ostringstream tables;
  sequences::write_tables(tables, runs, settings);
  std::cout << tables.str();
  write_file(folder / "sequences.md", [&](std::ostream& out) { out << tables.str(); });
  write_file(folder / "sequences.csv", [&](std::ostream& out) { sequences::write_csv(out, runs); });
  write_file(folder / "sequences.gnuplot",
             [&](std::ostream& out) { sequences::write_plot(out, "sequences.svg", runs, settings); });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << "\nin all: " << fixed_text(seconds.count(), 0) << " s on " << settings.threads << " thread(s)\n"
            << "files: sequences.md, sequences.csv, sequences.svg in " << folder.string() << '\n';
  if (!draw(folder, "sequences.gnuplot", "sequences.svg")) {
    std::cerr << "sequences: gnuplot is missing or failed, so there is no picture; install it (Debian, Ubuntu: "
                 "gnuplot-nox) and run \"gnuplot sequences.gnuplot\" in "
              << std::filesystem::absolute(folder).string() << '\n';
  }
  return sequences::padding_shows_where_it_should(runs, std::cerr);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  sequences::Settings& settings = options.settings;
  settings.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  CLI::App app("Trains a small net on padded sequences, with and without valid positions.", "sequences");
  app.add_option("--out", options.out, "folder for tables, picture, CSV file and gnuplot script; default: here");
  app.add_option("--data", options.data, "folder of the 1,797 digits; default: " + options.data);
  auto* steps =
      app.add_option("--steps", settings.steps, "training steps of a run; default: 400")->check(CLI::PositiveNumber);
  auto* seeds = app.add_option("--seeds", settings.seeds, "runs to take median and range of; default: 5")
                    ->check(CLI::PositiveNumber);
  app.add_option("--rate", settings.rate, "learning rate; default: 0.3")->check(CLI::PositiveNumber);
  app.add_option("--threads", settings.threads, "runs at a time; default: one for each core")
      ->check(CLI::PositiveNumber);
  app.add_flag("--quick", options.quick, "a check of a few seconds");
  CLI11_PARSE(app, argc, argv);
  if (options.quick && steps->count() == 0) settings.steps = 20;
  if (options.quick && seeds->count() == 0) settings.seeds = 1;
  try {
    return run(options) ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "sequences: " << error.what() << '\n';
    return 1;
  }
}

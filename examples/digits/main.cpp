/// Trains the BatchNorm paper's net on handwritten digits without normalization, with BatchNorm, with
/// LayerNorm and with WeightNorm: first all at one learning rate, then each at its best of a grid.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <filesystem>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "data.hpp"
#include "plot.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "stored.hpp"
#include "training.hpp"

namespace {

using namespace digits;

/// The source folder or, where the program was moved without it, ./data.
std::string default_data() { return std::filesystem::exists(DIGITS_DATA) ? DIGITS_DATA : "data"; }

struct Options {
  std::string data = default_data();
  std::string mnist;
  std::string out = ".";
  std::string save, load;
  std::vector<float> grid{0.1F, 0.3F, 1.0F, 3.0F, 10.0F};
  float rate = 1;
  int seeds = 5;
  int grid_seeds = 2;
  bool quick = false;
  Settings settings;
};

/// For each method the rate with the smallest mean loss on the validation images. The seeds are others than
/// those of the comparison, which are 1, 2, 3, ...
std::map<Method, float> best_rates(const Options& options, const Data& data) {
  std::vector<Job> jobs;
  for (const Method method : methods) {
    for (const float rate : options.grid) {
      for (int seed = 1; seed <= options.grid_seeds; ++seed) {
        jobs.push_back({method, rate, 100U + static_cast<unsigned>(seed)});
      }
    }
  }
  std::map<Method, std::map<float, double>> losses;
  for (const Run& run : train_all("learning rates", jobs, data.training, data.validation, options.settings)) {
    const double loss = run.curve.back().score.loss;
    losses[run.job.method][run.job.rate] += std::isfinite(loss) ? loss : std::numeric_limits<double>::infinity();
  }
  std::map<Method, float> rates;
  for (const auto& [method, by_rate] : losses) {
    const auto smaller = [](const auto& one, const auto& other) { return one.second < other.second; };
    rates[method] = std::min_element(by_rate.begin(), by_rate.end(), smaller)->first;
  }
  return rates;
}

Experiment compare(const std::string& name, const std::string& title, const std::map<Method, float>& rates,
                   const Options& options, const Data& data) {
  std::vector<Job> jobs;
  for (const auto& [method, rate] : rates) {
    for (int seed = 1; seed <= options.seeds; ++seed) jobs.push_back({method, rate, static_cast<unsigned>(seed)});
  }
  return {name, title, train_all(title, jobs, data.training, data.test, options.settings)};
}

/// A tenth of the answers are right by chance; three times as many mean that a method has learned. Any point
/// of the curve will do: a short run may end in one of the dips that plain gradient descent has.
bool all_have_learned(const Experiment& experiment) {
  bool learned = true;
  for (const Run& run : experiment.runs) {
    if (std::isfinite(run.steps_to(0.3))) continue;
    std::cerr << "digits: " << name(run.job.method) << " has not learned\n";
    learned = false;
  }
  return learned;
}

/// What a table was made with.
std::string versions() {
  std::ostringstream text;
#ifdef __clang__
  text << "clang " << __clang_major__ << '.' << __clang_minor__;
#else
  text << "g++ " << __GNUC__ << '.' << __GNUC_MINOR__;
#endif
  text << ", Eigen " << EIGEN_WORLD_VERSION << '.' << EIGEN_MAJOR_VERSION << '.' << EIGEN_MINOR_VERSION
       << ", EigenNorm " << EIGENNORM_VERSION_MAJOR << '.' << EIGENNORM_VERSION_MINOR << '.' << EIGENNORM_VERSION_PATCH;
  return text.str();
}

std::string grid_text(const Options& options) {
  std::string text;
  for (const float rate : options.grid) text += (text.empty() ? "" : ", ") + short_text(rate);
  return text + (options.grid_seeds == 1 ? " (one seed)" : " (" + std::to_string(options.grid_seeds) + " seeds)");
}

bool run(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  const Data data = options.mnist.empty() ? read_digits(options.data) : read_mnist(options.mnist);
  if (!options.save.empty()) save_nets(options.save, data, options.rate, options.settings, std::cout);
  if (!options.load.empty()) load_nets(options.load, data, std::cout);
  if (!options.save.empty() || !options.load.empty()) return true;
  const std::filesystem::path folder = options.out;
  std::filesystem::create_directories(folder);
  const Settings& settings = options.settings;
  std::cout << "data: " << data.title << ": " << data.training.size() << " training, " << data.validation.size()
            << " validation and " << data.test.size() << " test images\n"
            << "runs: " << settings.steps << " steps of " << settings.batch_size << " images, evaluated every "
            << settings.evaluate_every << " steps; seeds: " << options.seeds << '\n'
            << "learning rates: " << grid_text(options) << ", chosen by the loss on the validation images\n"
            << "tables: median [smallest, largest] of the seeds; seconds are of processor time, for all steps\n\n"
            << std::flush;

  std::map<Method, float> same;
  for (const Method method : methods) same[method] = options.rate;
  const std::map<Method, float> best = best_rates(options, data);
  const std::vector<Experiment> experiments{
      compare("same_rate", "All at learning rate " + short_text(options.rate), same, options, data),
      compare("best_rate", "Each at its best learning rate", best, options, data)};

  std::ostringstream tables;
  for (const Experiment& experiment : experiments) write_results(tables, experiment);
  write_statistics(tables, experiments);
  std::cout << tables.str();
  const std::filesystem::path markdown = folder / (data.name + ".md");
  write_file(markdown, [&](std::ostream& out) { out << tables.str(); });
  const std::string picture = data.name + ".svg";
  const std::string script = data.name + ".gnuplot";
  const std::filesystem::path csv = folder / (data.name + ".csv");
  write_file(csv, [&](std::ostream& out) { write_csv(out, experiments); });
  const std::string title = data.title + ", median and range (seeds: " + std::to_string(options.seeds) + ")";
  write_file(folder / script, [&](std::ostream& out) { write_plot(out, picture, title, experiments); });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << "\nin all: " << fixed_text(seconds.count(), 0) << " s on " << settings.threads << " thread(s)\n"
            << "tables: " << markdown.string() << '\n'
            << "curves: " << csv.string() << '\n';
  if (draw(folder, script, picture)) {
    std::cout << "picture: " << (folder / picture).string() << '\n';
  } else {
    std::cerr << "digits: gnuplot is missing or failed, so there is no picture; install it (Debian, Ubuntu: "
                 "gnuplot-nox) and run \"gnuplot "
              << script << "\" in " << std::filesystem::absolute(folder).string() << '\n';
  }
  return !options.quick || all_have_learned(experiments.back());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.settings.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  CLI::App app("Trains a small net on handwritten digits with and without normalization.", "digits");
  app.add_option("--out", options.out, "folder for the picture, the CSV file and the gnuplot script; default: here");
  app.add_option("--data", options.data, "folder of the 1,797 digits; default: " + options.data);
  app.add_option("--mnist", options.mnist, "folder of the MNIST files (not compressed), to train on those instead");
  app.add_option("--save", options.save, "train one net of each method, at --rate, and write them to this file");
  app.add_option("--load", options.load, "read nets from such a file and test them, without training");
  auto* steps = app.add_option("--steps", options.settings.steps, "training steps of a run; default: 1200")
                    ->check(CLI::PositiveNumber);
  auto* seeds = app.add_option("--seeds", options.seeds, "runs to take median and range of; default: 5")
                    ->check(CLI::PositiveNumber);
  app.add_option("--rate", options.rate, "learning rate of the first comparison; default: 1")
      ->check(CLI::PositiveNumber);
  auto* every = app.add_option("--every", options.settings.evaluate_every,
                               "steps between two evaluations; default: a 60th of all steps")
                    ->check(CLI::PositiveNumber);
  app.add_option("--threads", options.settings.threads, "runs at a time; default: one for each core")
      ->check(CLI::PositiveNumber);
  app.set_version_flag("--version", versions(), "compiler, Eigen and EigenNorm");
  app.add_flag("--quick", options.quick, "a check of a few seconds: fails where a method does not learn");
  CLI11_PARSE(app, argc, argv);
  if (options.quick) {
    if (steps->count() == 0) options.settings.steps = 600;
    if (seeds->count() == 0) options.seeds = 1;
    options.grid = {1.0F};
    options.grid_seeds = 1;
  }
  if (every->count() == 0) {
    options.settings.evaluate_every = std::max(1, options.settings.steps / (options.quick ? 20 : 60));
  }
  try {
    return run(options) ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "digits: " << error.what() << '\n';
    return 1;
  }
}

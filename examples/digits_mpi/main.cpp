/// Trains the net of examples/digits with BatchNorm by all processes of an MPI job, each of which has a part of every
/// batch; or compares statistics of the whole batch with those of each part.

#include <mpi.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "comparison.hpp"
#include "data.hpp"
#include "job.hpp"
#include "plot.hpp"
#include "report.hpp"
#include "spread_training.hpp"

namespace {

using namespace digits;

/// The source folder or, where the program was moved without it, ./data.
std::string default_data() { return std::filesystem::exists(DIGITS_DATA) ? DIGITS_DATA : "data"; }

struct Options {
  std::string data = default_data();
  std::string out = ".";
  std::string checkpoint;
  std::string statistics = "synchronized";
  int steps = 600;
  int every = 60;
  int checkpoint_every = 50;
  bool resume = false;
  bool compares = false;
  SpreadSettings training;
  ComparisonSettings comparison;
};

void train_one(const Options& options, const Data& data) {
  const bool speaks = rank_in(MPI_COMM_WORLD) == 0;
  SpreadTraining training(data, options.training, MPI_COMM_WORLD);
  if (options.resume) training.resume(options.checkpoint);
  if (speaks) std::cout << "from step " << training.steps() << " to " << options.steps << '\n' << std::flush;
  Progress progress("training", 1);
  std::vector<Row> rows{{"step", "training loss", "test accuracy %", "test loss"}};
  while (training.steps() < options.steps) {
    const double loss = training.step();
    const int step = training.steps();
    if (!options.checkpoint.empty() && (step % options.checkpoint_every == 0 || step == options.steps))
      training.store(options.checkpoint);
    if (!speaks || (step % options.every != 0 && step != options.steps)) continue;
    const Score score = training.network().evaluate(data.test);
    rows.push_back(
        {std::to_string(step), short_text(loss), fixed_text(100 * score.accuracy, 1), short_text(score.loss)});
    progress.show("step " + rows.back()[0] + ": " + rows.back()[2] + " %");
  }
  if (speaks) write_table(std::cout, rows);
}

void compare_all(const Options& options, const Data& data) {
  const std::vector<Outcome> outcomes = compare(data, options.comparison);
  if (rank_in(MPI_COMM_WORLD) != 0) return;
  const std::filesystem::path folder = options.out;
  std::filesystem::create_directories(folder);
  std::ostringstream table;
  write_comparison(table, outcomes);
  std::cout << table.str();
  write_file(folder / "digits_mpi.md", [&](std::ostream& out) { out << table.str(); });
  const std::string title =
      "BatchNorm on a spread batch: median and range (seeds: " + std::to_string(options.comparison.seeds) + ") after " +
      std::to_string(options.comparison.steps) + " steps";
  write_file(folder / "digits_mpi.gnuplot",
             [&](std::ostream& out) { write_plot(out, "digits_mpi.svg", title, outcomes, options.comparison); });
  if (draw(folder, "digits_mpi.gnuplot", "digits_mpi.svg")) {
    std::cout << "picture: " << (folder / "digits_mpi.svg").string() << '\n';
  } else {
    std::cerr << "digits_mpi: gnuplot is missing or failed, so there is no picture\n";
  }
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--data", options.data, "folder of the 1,797 digits; default: " + options.data);
  app.add_option("--local-batch", options.training.local_batch, "images of each process in a batch; default: 15")
      ->check(CLI::PositiveNumber);
  app.add_option("--statistics", options.statistics, "synchronized (of the whole batch) or local (each its own)")
      ->check(CLI::IsMember({"synchronized", "local"}));
  app.add_option("--rate", options.training.rate, "learning rate; default: 1")->check(CLI::PositiveNumber);
  app.add_option("--seed", options.training.seed, "decides initial weights and batches; default: 1");
  app.add_option("--steps", options.steps, "training steps; default: 600")->check(CLI::PositiveNumber);
  app.add_option("--every", options.every, "steps between two rows of the table; default: 60")
      ->check(CLI::PositiveNumber);
  auto* checkpoint =
      app.add_option("--checkpoint", options.checkpoint, "file that keeps the net, made anew as it learns");
  app.add_option("--checkpoint-every", options.checkpoint_every, "steps between two checkpoints; default: 50")
      ->check(CLI::PositiveNumber);
  app.add_flag("--resume", options.resume, "go on from the checkpoint, if there is one")->needs(checkpoint);
  app.add_flag("--compare", options.compares, "compare both statistics on 1, 2, 4, ... processes");
  app.add_option("--local-batches", options.comparison.local_batches, "to compare with; default: 60 15 8 2");
  app.add_option("--seeds", options.comparison.seeds, "runs of each combination; default: 8")
      ->check(CLI::PositiveNumber);
  app.add_option("--out", options.out, "folder for the table and the picture of --compare; default: here");
}

}  // namespace

int main(int argc, char** argv) {
  const MpiJob job(&argc, &argv);
  Options options;
  CLI::App app("Trains a small net on handwritten digits, each batch spread over the processes of a job.",
               "digits_mpi");
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return rank_in(MPI_COMM_WORLD) == 0 ? app.exit(error) : error.get_exit_code();
  }
  options.training.synchronized = options.statistics == "synchronized";
  options.comparison.steps = options.steps;
  options.comparison.rate = options.training.rate;
  try {
    const Data data = read_digits(options.data);
    options.compares ? compare_all(options, data) : train_one(options, data);
  } catch (const std::exception& error) {
    std::cerr << "digits_mpi: " << error.what() << '\n';
    MPI_Abort(MPI_COMM_WORLD, 1);  // the others would wait for this one
  }
  return 0;
}

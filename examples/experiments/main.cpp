/// The statements of a study note on normalization, each as a picture, its numbers, and a verdict.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "batches.hpp"
#include "distributions.hpp"
#include "evaluation.hpp"
#include "experiment.hpp"
#include "framework.hpp"
#include "invariance.hpp"
#include "lengths.hpp"
#include "moments.hpp"
#include "rates.hpp"

namespace {

using namespace digits;
using namespace digits::experiments;

struct Subcommand {
  const char* name;
  const char* help;
  Result (*run)(const Options&, const Data&);
};

constexpr std::array subcommands{
    Subcommand{"framework", "which values share a statistic, for each layer", framework},
    Subcommand{"invariance", "Ba et al. 2016, table 1, as measured numbers", invariance},
    Subcommand{"distributions", "Ioffe & Szegedy 2015, figure 1: what one sigmoid is given", distributions},
    Subcommand{"moments", "three consequences of moving inputs: shift, saturation, careful steps", moments},
    Subcommand{"rates", "Bjorck et al. 2018, figures 1 and 2 in small: which rates a net bears", rates},
    Subcommand{"batches", "Ba et al. 2016, figure 6: BatchNorm and LayerNorm at four batch sizes", batches},
    Subcommand{"evaluation", "statistics to evaluate with, where the truth is known", evaluation},
    Subcommand{"lengths", "Salimans & Kingma 2016: how v grows, and its start", lengths},
};

/// The source folder or, where the program was moved without it, ./data.
std::string default_data() { return std::filesystem::exists(DIGITS_DATA) ? DIGITS_DATA : "data"; }

void write_claims(std::ostream& out, const std::vector<Claim>& claims) {
  std::vector<Row> rows{{"claim", "verdict", "figure"}};
  for (const Claim& claim : claims) rows.push_back({claim.statement, text(claim.verdict), claim.figure});
  write_table(out, rows);
}

/// Tables and verdicts, on the terminal and as NAME.md.
Result run_one(const Subcommand& subcommand, const Options& options, const Data& data) {
  Result result = subcommand.run(options, data);
  std::ostringstream page;
  for (const Table& table : result.tables) {
    page << '\n' << table.title << "\n\n";
    write_table(page, table.rows);
  }
  page << '\n';
  write_claims(page, result.claims);
  std::cout << "\n# " << subcommand.name << '\n' << page.str() << std::flush;
  write_file(std::filesystem::path(options.out) / (std::string(subcommand.name) + ".md"),
             [&](std::ostream& out) { out << page.str(); });
  return result;
}

/// Whether all holds that few steps decide.
bool run(const std::string& asked, const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return fixed_text(std::chrono::duration<double>(Clock::now() - start).count(), 0) + " s";
  };
  const auto start = Clock::now();
  const Data data = options.mnist.empty() ? read_digits(options.data) : read_mnist(options.mnist);
  std::filesystem::create_directories(options.out);
  std::cout << "data: " << data.title << "; seeds 1 to " << options.seeds
            << "; figures are median [smallest, largest] of the seeds\n";
  std::vector<Claim> claims;
  for (const Subcommand& subcommand : subcommands) {
    if (asked != "all" && asked != subcommand.name) continue;
    const auto begin = Clock::now();
    const Result result = run_one(subcommand, options, data);
    std::cout << "\n" << subcommand.name << ": " << seconds_since(begin) << ", in all " << seconds_since(start) << '\n';
    claims.insert(claims.end(), result.claims.begin(), result.claims.end());
  }
  if (asked == "all") {
    std::cout << "\n# All claims\n\n";
    write_claims(std::cout, claims);
    write_file(std::filesystem::path(options.out) / "claims.md", [&](std::ostream& out) { write_claims(out, claims); });
  }
  std::cout << "\npictures, numbers and tables: " << std::filesystem::absolute(options.out).string() << '\n';
  return std::none_of(claims.begin(), claims.end(),
                      [](const Claim& claim) { return claim.decided_quickly && claim.verdict != Verdict::reproduced; });
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.data = default_data();
  options.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  CLI::App app("Statements on normalization, each as a picture that you can make again.", "experiments");
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--out", options.out, "folder for pictures, CSV files and tables; default: here");
  app.add_option("--data", options.data, "folder of the 1,797 digits; default: " + options.data);
  app.add_option("--mnist", options.mnist, "folder of the MNIST files (not compressed), to train on those instead");
  app.add_option("--seeds", options.seeds, "runs to take median and range of; default: 5")->check(CLI::PositiveNumber);
  app.add_option("--threads", options.threads, "runs at a time, which changes no result; default: one for each core")
      ->check(CLI::PositiveNumber);
  app.add_flag("--quick", options.quick, "few steps: fails where a statement does not hold that they decide");
  for (const Subcommand& subcommand : subcommands) app.add_subcommand(subcommand.name, subcommand.help);
  app.add_subcommand("all", "all of these, and a table of all claims");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(app.get_subcommands().front()->get_name(), options) ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "experiments: " << error.what() << '\n';
    return 1;
  }
}

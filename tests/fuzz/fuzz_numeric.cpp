// Random cases against the formula in long double: any layer, shape, axes, layout, type and kind of data. Every case is
// made from a number of its own, so that one alone can be run again; the report says how.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "numeric/trial.hpp"

namespace fuzz {
namespace {

const std::vector<std::string> type_names = {"float", "double", "half", "bfloat16"};
const std::vector<std::string> layout_names = {"row", "column"};

struct Options {
  std::uint64_t seed = 1, first = 0, cases = 500;
  std::uint64_t values = 0;      // at most so many in a case; 0: as many as a case has time for
  std::string op, type, layout;  // empty: all
};

const char* const usage =
    "usage: fuzz_numeric [--n CASES] [--seed SEED] [--op NAME] [--type NAME] [--layout row|column]\n"
    "                    [--first NUMBER] [--values MOST]\n"
    "Runs CASES of each layer, type and storage order, from NUMBER on, of at most MOST values each.\n";

[[noreturn]] void stop(const std::string& text) {
  std::fprintf(stderr, "%s\n%s", text.c_str(), usage);
  std::exit(2);
}

std::string one_of(const std::vector<std::string>& names, const std::string& name) {
  std::string all;
  for (const std::string& each : names) {
    if (each == name) return name;
    all += " " + each;
  }
  stop("expected one of" + all + ", got " + name);
}

Options read(int count, char** words) {
  Options options;
  for (int i = 1; i < count; i += 2) {
    const std::string option = words[i];
    if (i + 1 == count) stop("expected a value after " + option);
    const std::string value = words[i + 1];
    if (option == "--n") {
      options.cases = std::stoull(value);
    } else if (option == "--seed") {
      options.seed = std::stoull(value);
    } else if (option == "--first") {
      options.first = std::stoull(value);
    } else if (option == "--values") {
      options.values = std::stoull(value);
    } else if (option == "--op") {
      options.op = one_of(op_names, value);
    } else if (option == "--type") {
      options.type = one_of(type_names, value);
    } else if (option == "--layout") {
      options.layout = one_of(layout_names, value);
    } else {
      stop("unknown option " + option);
    }
  }
  if (options.cases == 0) stop("expected --n of at least 1, got 0");
  return options;
}

/// Which case: places in the lists of names, and its number among its like.
struct Which {
  std::size_t op, type, layout;
  std::uint64_t number;

  std::string words(const Options& options) const {
    const std::string values = options.values == 0 ? "" : " --values " + std::to_string(options.values);
    return "--seed " + std::to_string(options.seed) + values + " --op " + op_names[op] + " --type " + type_names[type] +
           " --layout " + layout_names[layout] + " --first " + std::to_string(number) + " --n 1";
  }

  /// A well mixed number (Steele, Lea and Flood 2014), different for every case.
  std::uint64_t seed_from(std::uint64_t seed) const {
    for (const std::uint64_t part : {std::uint64_t{op}, std::uint64_t{type}, std::uint64_t{layout}, number}) {
      seed += 0x9e3779b97f4a7c15U + part;
      seed = (seed ^ seed >> 30U) * 0xbf58476d1ce4e5b9U;
      seed = (seed ^ seed >> 27U) * 0x94d049bb133111ebU;
      seed ^= seed >> 31U;
    }
    return seed;
  }
};

template <typename Data>
Outcome run(const Which& which, std::ptrdiff_t most, std::uint64_t seed) {
  const auto op = static_cast<Op>(which.op);
  return which.layout == 0 ? Trial<Data, Eigen::RowMajor>(op, most, seed).run()
                           : Trial<Data, Eigen::ColMajor>(op, most, seed).run();
}

Outcome run(const Which& which, const Options& options) {
  const std::uint64_t own = which.seed_from(options.seed);
  // Most cases are small, because there are many; a few have groups of more than one segment.
  Random random(own);
  const double bound = options.values != 0     ? static_cast<double>(options.values)
                       : chance(random, 0.005) ? 80000
                                               : magnitude(random, 0.5, 4.2);
  const auto most = static_cast<std::ptrdiff_t>(bound);
  switch (which.type) {
    case 0:
      return run<float>(which, most, own);
    case 1:
      return run<double>(which, most, own);
    case 2:
      return run<Eigen::half>(which, most, own);
    default:
      return run<Eigen::bfloat16>(which, most, own);
  }
}

/// Of one layer and type.
struct Row {
  Units ordinary{}, unbalanced{};
  Excuses excuses;
  Real worst = -1;
  Which where{};
  std::string what;
  std::uint64_t cases = 0, failed = 0;

  /// Of the largest errors alone.
  void merge(const Row& other) {
    cases += other.cases;
    for (std::size_t result = 0; result < ordinary.size(); ++result) {
      ordinary[result] = std::max(ordinary[result], other.ordinary[result]);
      unbalanced[result] = std::max(unbalanced[result], other.unbalanced[result]);
    }
  }

  void add(const Which& which, const Outcome& outcome) {
    ++cases;
    failed += outcome.failure.empty() ? 0 : 1;
    excuses.add(outcome.excuses);
    for (std::size_t result = 0; result < ordinary.size(); ++result) {
      ordinary[result] = std::max(ordinary[result], outcome.ordinary[result]);
      unbalanced[result] = std::max(unbalanced[result], outcome.unbalanced[result]);
      if (outcome.ordinary[result] <= worst) continue;
      worst = outcome.ordinary[result];
      where = which;
      what = result_names[result] + ", " + outcome.description;
    }
  }
};

void print(const char* title, const Units& units) {
  std::printf("  %-10s", title);
  for (const Real each : units) std::printf(" %6.2Lf", each);
}

void print(const Row& row, const Options& options) {
  std::printf("%s %s, %llu cases\n", op_names[row.where.op].c_str(), type_names[row.where.type].c_str(),
              static_cast<unsigned long long>(row.cases));
  print("ordinary", row.ordinary);
  std::printf("    %s\n", row.what.c_str());
  print("unbalanced", row.unbalanced);
  std::printf("    %s\n", row.where.words(options).c_str());
}

bool fuzz_all(const Options& options) {
  const auto wanted = [](const std::string& asked, const std::string& name) { return asked.empty() || asked == name; };
  std::printf("seed %llu\n%12s %6s %6s %6s %6s %6s %6s\n", static_cast<unsigned long long>(options.seed), "", "y", "dx",
              "dscale", "dshift", "r.mean", "r.var");
  std::uint64_t failed = 0;
  Excuses excuses;
  std::vector<Row> of_type(type_names.size());
  for (std::size_t op = 0; op < op_names.size(); ++op) {
    for (std::size_t type = 0; type < type_names.size(); ++type) {
      Row row;
      for (std::size_t layout = 0; layout < layout_names.size(); ++layout) {
        if (!wanted(options.op, op_names[op]) || !wanted(options.type, type_names[type]) ||
            !wanted(options.layout, layout_names[layout])) {
          continue;
        }
        for (std::uint64_t i = 0; i < options.cases; ++i) {
          const Which which{op, type, layout, options.first + i};
          const Outcome outcome = run(which, options);
          row.add(which, outcome);
          if (outcome.failure.empty()) continue;
          std::printf("FAILED fuzz_numeric %s\n    %s\n    %s\n", which.words(options).c_str(), outcome.failure.c_str(),
                      outcome.description.c_str());
        }
      }
      failed += row.failed;
      of_type[type].merge(row);
      excuses.add(row.excuses);
      if (row.cases > 0) print(row, options);
    }
  }
  for (std::size_t type = 0; type < type_names.size(); ++type) {
    if (of_type[type].cases == 0) continue;
    std::printf("all %s, %llu cases\n", type_names[type].c_str(), static_cast<unsigned long long>(of_type[type].cases));
    print("ordinary", of_type[type].ordinary);
    print("\n  unbalanced", of_type[type].unbalanced);
    std::printf("\n");
  }
  std::printf(
      "The largest errors in units of roundoff of their natural scale, and the case of the first line's "
      "largest.\n"
      "Allowed are 4 of float, 8 of double, and 16 where a sum is unbalanced.\n"
      "Out of range and not judged: the deviation of %zu groups, 1 / sigma of %zu, dx of %zu, dscale of %zu "
      "features.\n",
      excuses.deviation, excuses.sigma, excuses.gradient, excuses.product);
  if (failed > 0) std::printf("%llu cases failed\n", static_cast<unsigned long long>(failed));
  return failed == 0;
}

}  // namespace
}  // namespace fuzz

int main(int count, char** words) { return fuzz::fuzz_all(fuzz::read(count, words)) ? 0 : 1; }

#pragma once

#include <string>
#include <vector>

#include "report.hpp"
#include "ring.hpp"
#include "workload.hpp"

/// \file
/// What is timed against what.

namespace benchmarks {

/// All systems, or only ours and the peers.
std::vector<std::string> names(bool competing);

const char* name_of(Pass pass);

/// Times one workload and pass on all systems. Ratios are to the better of two copies.
Row measure(const Workload& workload, Pass pass, int threads, Ring& ring);

/// Times ours and the peers on random values and on others. Ratios are to the same system on random ones.
std::vector<Row> measure_values(const ValueWorkload& shape, Pass pass, int threads, Ring& ring);

}  // namespace benchmarks

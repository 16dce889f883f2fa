#pragma once

#include <cstddef>

/// Whether so many inputs, all replayed, have tested anything. Each fuzzer says for itself.
bool has_tested(std::size_t inputs);

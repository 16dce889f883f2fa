#pragma once

/// \file
/// The version of EigenNorm: written here and nowhere else. The build reads it from these lines.

#define EIGENNORM_VERSION_MAJOR 0
#define EIGENNORM_VERSION_MINOR 1
#define EIGENNORM_VERSION_PATCH 0

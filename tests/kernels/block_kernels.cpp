#include "block_kernels.hpp"

EIGENNORM_BLOCK_KERNELS()

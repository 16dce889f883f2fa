#define EIGENNORM_IMPLEMENTATION
#include <eigennorm/eigennorm.hpp>

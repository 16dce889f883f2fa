// expect: eigennorm/mpi.hpp needs MPI
// flags: -nostdinc
#if defined(CONTROL)
#include <eigennorm/version.hpp>
#else
#include <eigennorm/mpi.hpp>
#endif

int main() {}

#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <eigennorm/mpi.hpp>
#include <stdexcept>

// It is run without mpiexec, so it goes no further than the door.
int main() {
  try {
    eigennorm::MpiPeers peers;
  } catch (const std::invalid_argument& error) {
    std::printf("%s\n", error.what());
    return 0;
  }
  return 1;
}

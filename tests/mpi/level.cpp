// MPI that is not as peers need it: not yet there, without threads, ended.

#include <cstdio>
#include <eigennorm/mpi.hpp>
#include <stdexcept>
#include <string>

namespace {

/// What making peers says; nothing where it makes them.
std::string said() {
  try {
    eigennorm::MpiPeers peers;
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

bool is(const std::string& said, const std::string& expected) {
  if (said == expected) return true;
  std::fprintf(stderr, "expected \"%s\", got \"%s\"\n", expected.c_str(), said.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  bool right = is(said(), "MpiPeers: expected MPI to be initialized, by MPI_Init_thread, and it is not yet");
  MPI_Init(&argc, &argv);
  int level = MPI_THREAD_MULTIPLE;
  MPI_Query_thread(&level);
  // An MPI may give more than it is asked for.
  right &= is(said(), level > MPI_THREAD_SINGLE ? ""
                                                : "MpiPeers: expected MPI_Init_thread to have given "
                                                  "MPI_THREAD_FUNNELED or more, got MPI_THREAD_SINGLE");
  MPI_Finalize();
  right &= is(said(), "MpiPeers: expected MPI to be initialized, and MPI_Finalize has ended it");
  return right ? 0 : 1;
}

// One member ends early, and the others wait for it: the job must end. How it ends is the argument.

#include <cstdlib>
#include <eigennorm/mpi.hpp>
#include <stdexcept>
#include <string>

#include "job.hpp"

int main(int argc, char** argv) {
  const Job job(&argc, &argv);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);  // which is not for the peers' messages
  eigennorm::MpiPeers peers;
  const std::string way = argc > 1 ? argv[1] : "";
  if (peers.member() == peers.members() - 1) {
    if (way == "abort") std::abort();
    if (way == "exit") std::_Exit(3);
    if (way == "throw") throw std::runtime_error("thrown on purpose");
  }
  // A receiver that does not exist is an error of MPI itself.
  if (way == "wrong") peers.send(peers.members(), {});
  eigennorm::Peers::Record record;
  eigennorm::core::merge_records(peers, record, record, [](auto&, const auto&) {});
}
